//! What is asked, by HTTP/1.1 and HTTP/2, of guests of all four kinds, and what their clients and
//! they themselves see of it.

use serde_json::Value;

use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, fields, frame,
};
use crate::harness::raw::Raw;
use crate::harness::wire::{Answer, Asked, Came, read};
use crate::harness::{Host, component};

/// `wasi:http` 0.2 and 0.3, and `hotdock:http`: what each answers with all that it sees; and
/// JavaScript, which says method and target only.
const KINDS: [&str; 4] = ["probe", "probe3", "mirror", "js"];

/// The path at which a guest says what it sees.
fn seen_at(kind: &str) -> String {
    match kind {
        "probe" | "probe3" => format!("/{kind}/request"),
        _ => format!("/{kind}"),
    }
}

async fn all_kinds() -> Host {
    let mut builder = Host::builder();
    for kind in KINDS {
        let routes = format!(
            "[[route]]\npath = \"/{kind}\"\n[[route]]\nhost = \"{kind}.example\"\npath = \"/\"\n\
             [[route]]\npath = \"/read-{kind}\"\nmethods = [\"GET\"]\n[limits]\ndeadline = \"60s\"\ncpu = \"60s\"\n"
        );
        builder = match kind {
            "probe" => builder
                .file("probe.wasm", component("probe").0)
                .file("probe.toml", format!("{routes}[[migration]]\nname = \"1\"\nsql = \"CREATE TABLE probe (id INTEGER PRIMARY KEY, x INTEGER)\"\n")),
            _ => builder
                .file(&format!("{kind}.wasm"), component(kind).0)
                .file(&format!("{kind}.toml"), routes),
        };
    }
    builder.start().await
}

/// What a guest saw.
struct Seen(Value);

impl Seen {
    /// As the answer says that was asked for it.
    fn of(kind: &str, answer: &Answer) -> Self {
        if kind != "js" {
            return Self(answer.json());
        }
        let text = answer.text();
        let (line, body) = text.split_once(" from JavaScript\n").expect("its line");
        let (method, target) = line.split_once(' ').expect("method and target");
        Self(serde_json::json!({ "method": method, "path_with_query": target, "body": body }))
    }

    fn target(&self) -> &str {
        self.0["path_with_query"].as_str().expect("a target")
    }

    fn method(&self) -> String {
        self.0["method"].as_str().expect("a method").to_uppercase()
    }

    /// All lines of a header; none where it says nothing of headers.
    fn header(&self, name: &str) -> Option<Vec<&str>> {
        let headers = self.0["headers"].as_array()?;
        let named = headers.iter().filter(|header| header[0] == name);
        Some(named.map(|header| header[1].as_str().expect("text")).collect())
    }
}

/// What comes of it by each version of HTTP by which it can be asked.
async fn asked(host: &Host, asked: &Asked) -> Vec<(&'static str, Came)> {
    let mut came = vec![("HTTP/1.1", asked.http1(host.address).await)];
    came.extend(asked.http2(host.address).await.map(|second| ("HTTP/2", second)));
    came
}

/// Each row: what is asked (of `{at}`, where a guest says what it sees), the status that its
/// client sees, and the target and one header that the guest sees.
type Row = (&'static str, Asked, u16, Option<&'static str>, Option<(&'static str, &'static str)>);

fn rows(at: &str, kind: &str) -> Vec<Row> {
    let get = |target: &str| Asked::new("GET", target.replace("{at}", at));
    let mut rows = vec![
        ("plain", get("{at}?a=b%20c"), 200, Some("{at}?a=b%20c"), None),
        ("a body", Asked::new("POST", at).body("hello"), 200, Some("{at}"), None),
        ("a method", Asked::new("PUT", at), 200, Some("{at}"), None),
        ("an unknown method", Asked::new("PURGE", at), 200, Some("{at}"), None),
        (
            "cookies in crumbs",
            get("{at}").header("cookie", "a=1").header("cookie", "b=2"),
            200,
            None,
            Some(("cookie", "a=1; b=2")),
        ),
        // RFC 9113 §8.2.3: they are put behind one another; what is empty is none.
        (
            "odd crumbs",
            get("{at}").header("cookie", "a=1;").header("cookie", "").header("cookie", "b = 2"),
            200,
            None,
            Some(("cookie", "a=1;; b = 2")),
        ),
        (
            "an empty crumb at the end",
            get("{at}").header("cookie", "s=1").header("cookie", ""),
            200,
            None,
            Some(("cookie", "s=1")),
        ),
        (
            "the host's own with a blank in it",
            get("{at}").header("cookie", "a=1; hotdock-traffic =1f"),
            200,
            None,
            Some(("cookie", "a=1")),
        ),
        (
            "crumbs, and the host's own among them",
            get("{at}").header("cookie", "a=1;b=2; hotdock-traffic=1f").header("cookie", "c;"),
            200,
            None,
            Some(("cookie", "a=1;b=2; c;")),
        ),
        ("a slash too many", get("/{at}"), 400, None, None),
        ("a dot segment", get("/.{at}"), 400, None, None),
        ("an encoded dot segment", get("/x/%2e%2e{at}"), 400, None, None),
        ("an encoded slash before", get("/%2f{at}"), 400, None, None),
        ("a port that is none", get("{at}").header("host", "shop.example:abc"), 400, None, None),
        ("a port that is too large", get("{at}").header("host", "a:65536"), 400, None, None),
        ("an empty port", get("{at}").header("host", "a:"), 200, None, None),
        ("two labels without a name between", get("{at}").header("host", "a..b"), 400, None, None),
        ("an address that is none", get("{at}").header("host", "[::1%25lo]"), 400, None, None),
        ("an encoded host", get("{at}").header("host", "a%62"), 400, None, None),
        (
            "an authority and another spelling of it",
            get("{at}").authority("shop.example").header("host", "SHOP.example"),
            200,
            None,
            None,
        ),
        ("options of the host", Asked::new("OPTIONS", "*"), 204, None, None),
        ("everything by another method", get("*"), 400, None, None),
        ("trailers are asked for", get("{at}").header("te", "trailers"), 200, Some("{at}"), None),
        (
            "it expects what is not to be expected",
            get("{at}").header("expect", "100-continue"),
            200,
            Some("{at}"),
            None,
        ),
        ("it expects nothing", get("{at}").header("expect", ""), 200, Some("{at}"), None),
        ("it expects nothing, twice", get("{at}").header("expect", ","), 200, Some("{at}"), None),
        ("it expects it in a list", get("{at}").header("expect", "100-continue,"), 417, None, None),
        (
            "it expects it twice",
            get("{at}").header("expect", "100-continue, 100-continue"),
            417,
            None,
            None,
        ),
        (
            "it expects it in two lines",
            get("{at}").header("expect", "100-continue").header("expect", "100-continue"),
            417,
            None,
            None,
        ),
        (
            "a length that is said twice",
            Asked::new("POST", at)
                .header("content-length", "5")
                .header("content-length", "5")
                .body("hello"),
            200,
            None,
            Some(("content-length", "5")),
        ),
        ("what begins HTTP/2 as a method", Asked::new("PRI", at), 400, None, None),
        ("it expects something else", get("{at}").header("expect", "foo"), 417, None, None),
        (
            "it expects something besides",
            get("{at}").header("expect", "100-continue, foo"),
            417,
            None,
            None,
        ),
        (
            "it expects something in another line",
            get("{at}").header("expect", "foo").header("expect", "100-continue"),
            417,
            None,
            None,
        ),
        // What is no encoding stands for itself, as with most servers.
        ("a percent sign alone", get("{at}?a=%zz&b=%"), 200, Some("{at}?a=%zz&b=%"), None),
    ];
    // The probes have other paths of their own.
    if matches!(kind, "mirror" | "js") {
        let spelled = format!("/%{:02x}{}", kind.as_bytes()[0], &at[2..]);
        rows.push(("another spelling", get(&spelled), 200, Some("{asked}"), None));
        let slash = get("{at}/a%2Fb");
        rows.push(("an encoded slash in its place", slash, 200, Some("{asked}"), None));
        rows.push(("a broken encoding", get("{at}/%zz/%4"), 200, Some("{asked}"), None));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_guests_see_of_a_request_what_they_should() {
    let host = all_kinds().await;
    for kind in KINDS {
        let at = seen_at(kind);
        for (what, request, status, target, header) in rows(&at, kind) {
            for (version, came) in asked(&host, &request).await {
                // HTTP/2 lets nobody ask for everything by another method: the stream is none.
                let answer = came.answer();
                let what = format!("{what}, of {kind} by {version}: {request:?}: {answer:?}");
                assert_eq!(answer.status, status, "{what}");
                if status != 200 {
                    continue;
                }
                let is_said = kind == "js" || answer.text().starts_with('{');
                if !is_said {
                    continue;
                }
                let seen = Seen::of(kind, answer);
                assert_eq!(seen.method(), request.method, "{what}");
                if let Some(target) = target {
                    let target = target.replace("{asked}", &request.target).replace("{at}", &at);
                    assert_eq!(seen.target(), target, "{what}");
                }
                if let (Some((name, value)), Some(header)) =
                    (header, header.and_then(|(name, _)| seen.header(name)))
                {
                    assert_eq!(header, [value], "{name}: {what}");
                }
                for name in ["te", "connection", "transfer-encoding", "expect"] {
                    assert!(seen.header(name).is_none_or(|lines| lines.is_empty()), "{what}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_found_in_any_spelling_and_its_guest_is_told_one() {
    let host = all_kinds().await;
    for kind in KINDS {
        for name in [format!("{kind}.example"), format!("{}.Example.:81", kind.to_uppercase())] {
            let request = Asked::new("GET", "/some/where").header("host", name);
            for (version, came) in asked(&host, &request).await {
                let answer = came.answer();
                assert_ne!(
                    answer.header("content-type"),
                    "application/problem+json",
                    "{version}: {answer:?}"
                );
            }
        }
    }
    // An absolute target wins over `Host`, which the guest is not told (RFC 9112 §3.2.2).
    let absolute = Asked::new("GET", "/mirror").authority("a.example").header("host", "b.example");
    let answer = absolute.http1(host.address).await;
    assert_eq!(Seen::of("mirror", answer.answer()).header("host"), Some(vec!["a.example"]));
    // HTTP/2 has one name (RFC 9113 §8.3.1).
    let second = absolute.http2(host.address).await.expect("it can be said");
    assert_eq!(second.answer().status, 400);
    let named = Asked::new("GET", "/mirror").authority("a.example");
    let answer = named.http2(host.address).await.expect("it can be said");
    assert_eq!(Seen::of("mirror", answer.answer()).header("host"), Some(vec!["a.example"]));
    // A path that is left out is the root by HTTP/1.1; by HTTP/2 there is none.
    let bare = Asked::new("GET", "?user_id=7").authority("mirror.example");
    let bare = bare.header("host", "mirror.example");
    let answer = bare.http1(host.address).await;
    assert_eq!(Seen::of("mirror", answer.answer()).target(), "/?user_id=7");
    assert_eq!(bare.http2(host.address).await, Some(Came::Reset(1)), "PROTOCOL_ERROR");
    let errors = host.metrics().await;
    let errors: Vec<_> =
        errors.lines().filter(|line| line.contains("trapped") && !line.ends_with(" 0")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// RFC 9112 §3.2.4.
#[tokio::test]
async fn options_of_an_absolute_target_without_a_path_are_the_hosts() {
    let host = Host::builder()
        .file("mirror.wasm", component("mirror").0)
        .file("mirror.toml", "[[route]]\npath = \"/\"\n")
        .start()
        .await;
    for (target, status) in [("", 204), ("/", 200), ("?a", 200), ("/a", 200)] {
        let came = Asked::new("OPTIONS", target).authority("x").http1(host.address).await;
        assert_eq!(came.answer().status, status, "{target}: {came:?}");
    }
}

/// A target has none (RFC 9112 §3.2). The library takes it off before the host sees the target, by
/// either version: so nobody, router or guest, sees more than what is before it.
#[tokio::test]
async fn a_fragment_is_seen_by_nobody() {
    let host = Host::builder().plugin("mirror").plugin("probe").start().await;
    let mut raw = Raw::connect(host.address).await;
    for (target, seen) in [("/mirror?a#/../probe", "/mirror?a"), ("/mirror#?b", "/mirror")] {
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let answer = read(&mut raw, "GET").await;
        assert_eq!(Seen::of("mirror", &answer).target(), seen);
        let head =
            [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", target)];
        let mut frames = Frames::connect(host.address, &[]).await;
        frames.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&head))).await;
        let body = frames.until(DATA).await.expect("an answer").payload;
        let said: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(Seen(said).target(), seen);
    }
}

/// RFC 9113 §8.1: such a message is malformed. The library says so where they come after other
/// fields; those that come before it drops, so that no guest sees them either.
#[tokio::test]
async fn trailers_bring_no_pseudo_headers() {
    let host = Host::builder().plugin("probe").plugin("probe3").start().await;
    for kind in ["probe", "probe3"] {
        let path = format!("/{kind}/echo");
        let head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", path.as_str()),
        ];
        let trailers =
            [[(":path", "/absent"), ("x-sum", "1")], [("x-sum", "1"), (":path", "/absent")]];
        for (trailers, is_reset) in trailers.iter().zip([false, true]) {
            let mut frames = Frames::connect(host.address, &[]).await;
            frames.send(frame(HEADERS, END_HEADERS, 1, &fields(&head))).await;
            frames.send(frame(DATA, 0, 1, b"hello")).await;
            let end = frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(trailers));
            frames.send(end).await;
            if is_reset {
                let reset = frames.until(RST_STREAM).await.expect("the connection goes on");
                assert_eq!(reset.payload, 1u32.to_be_bytes(), "{kind}: PROTOCOL_ERROR");
                continue;
            }
            // The answer's head, and the trailers that the guest sends back.
            let head = frames.until(HEADERS).await.expect("an answer");
            assert_eq!(head.flags & END_STREAM, 0, "{kind}: {head:?}");
            let echoed = frames.until(HEADERS).await.expect("trailers");
            // There is no room in it for more than `x-sum: 1`, however that is compressed.
            assert!(echoed.payload.len() <= 9, "{kind}: {echoed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_no_content_has_none_on_the_wire() {
    let host = all_kinds().await;
    let mut asks: Vec<(&str, String)> = vec![("HEAD", "/absent".to_owned())];
    asks.extend(KINDS.map(|kind| ("HEAD", format!("{}?a", seen_at(kind)))));
    for code in [204, 205, 304] {
        asks.push(("GET", format!("/probe/status?code={code}")));
        asks.push(("GET", format!("/mirror?code={code}")));
        asks.push(("HEAD", format!("/mirror?code={code}")));
    }
    for (method, target) in asks {
        let mut frames = Frames::connect(host.address, &[]).await;
        let head = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", target.as_str()),
        ];
        frames.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&head))).await;
        let head = frames.until(HEADERS).await.expect("an answer");
        assert_ne!(head.flags & END_STREAM, 0, "{method} {target}: all of it");
        frames.send(frame(PING, 0, 0, &[7; 8])).await;
        loop {
            let next = frames.next().await.expect("it goes on");
            assert_ne!(next.kind, DATA, "{method} {target}");
            if next.kind == PING {
                break;
            }
        }
        let answer = Asked::new(method, target.clone()).http1(host.address).await;
        let Came::Answer(answer) = answer else { panic!("HTTP/1.1 has no resets") };
        assert!(answer.body.is_empty(), "{method} {target}: {answer:?}");
        if method == "HEAD" && answer.status == 200 && target.starts_with("/mirror") {
            assert_ne!(answer.header("content-length"), "", "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_get_takes_head_and_says_so() {
    let host = all_kinds().await;
    for kind in KINDS {
        let target = format!("/read-{kind}");
        for (version, came) in asked(&host, &Asked::new("HEAD", target.clone())).await {
            let answer = came.answer();
            assert_ne!(answer.status, 405, "{kind} by {version}: {answer:?}");
        }
        for (version, came) in asked(&host, &Asked::new("POST", target.clone())).await {
            let answer = came.answer();
            assert_eq!(answer.status, 405, "{kind} by {version}: {answer:?}");
            assert_eq!(answer.header("allow"), "GET, HEAD");
        }
    }
}

#[tokio::test]
async fn a_body_in_a_coding_that_is_not_understood_is_refused() {
    let host = Host::builder().plugin("probe").start().await;
    for coding in ["gzip, chunked", "chunked, chunked", "identity, chunked"] {
        let request = Asked::new("POST", "/probe/echo").header("transfer-encoding", coding);
        let came = request.http1(host.address).await;
        assert_eq!(came.answer().status, 501, "{coding}");
        assert_eq!(came.answer().header("connection"), "close", "{coding}");
    }
}

#[tokio::test]
async fn one_key_by_both_versions_of_http_is_one_order() {
    let host = Host::builder().plugin("cart").plugin("order").start().await;
    let order = |target: &str| {
        let body = "{\"user_id\": 7, \"product_id\": 42, \"quantity\": 2}";
        Asked::new("POST", target).header("idempotency-key", "\"one\"").body(body)
    };
    let first = order("/order").header("cookie", "a=1; b=2").http1(host.address).await;
    let crumbs = order("/order").header("cookie", "a=1").header("cookie", "b=2");
    let second = crumbs.http2(host.address).await.expect("it can be said");
    let third = order("/%6Frder").header("cookie", "a=1; b=2").http1(host.address).await;
    assert_eq!(first.answer().status, 200, "{first:?}");
    let empty = order("/order").header("cookie", "a=1; b=2").header("cookie", "");
    let fourth = empty.http1(host.address).await;
    let fifth = empty.http2(host.address).await.expect("it can be said");
    for again in [second, third, fourth, fifth] {
        assert_eq!(again.answer().header("idempotency-replayed"), "true", "{again:?}");
        assert_eq!(again.answer().body, first.answer().body);
    }
}
