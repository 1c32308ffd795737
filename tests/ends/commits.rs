//! What a client is told of an invocation that is ended at a moment of its commit, and what is
//! in the store.

use hotdock::config::Config;
use http::Method;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::in_process::{Folders, InProcess};
use crate::harness::raw::Raw;
use crate::harness::valve::Valve;

/// Short, but not so short that a busy machine meets it before the commit.
const LIMITS: &str = "[limits]\ndeadline = \"6s\"\ncpu = \"400ms\"\n[deploy]\ndrain = \"1h\"\n";

/// The ways to write, as requests; each sets a key of its own.
#[derive(Clone, Copy, Debug)]
enum Write {
    /// By key and value, with `wasi:http` 0.2, 0.3 and `hotdock:http`.
    Buffered(&'static str),
    /// The same under an idempotency key.
    Keyed,
    /// With the store's writer.
    Leased,
    /// In a guest that goes on after its answer.
    GoesOn(&'static str),
}

const WRITES: [Write; 9] = [
    Write::Buffered("probe"),
    Write::Buffered("probe3"),
    Write::Buffered("consumer"),
    Write::Keyed,
    Write::Leased,
    Write::GoesOn("trap"),
    Write::GoesOn("spin"),
    Write::GoesOn("wait"),
    Write::GoesOn("compute"),
];

impl Write {
    fn service(self) -> &'static str {
        match self {
            Self::Buffered(service) => service,
            _ => "probe",
        }
    }

    fn request(self, key: &str) -> String {
        let head = |target: String| format!("POST {target} HTTP/1.1\r\nHost: x\r\n");
        let head = match self {
            Self::Buffered(service) => head(format!("/{service}/end?key={key}")),
            Self::Keyed => {
                format!("{}Idempotency-Key: {key}\r\n", head(format!("/probe/end?key={key}")))
            }
            Self::Leased => {
                let insert = format!("INSERT+INTO+probe+(x)+VALUES+({key})");
                head(format!("/probe/sql?mode=execute&sql={insert}"))
            }
            Self::GoesOn(then) => head(format!("/probe/end?key={key}&then={then}")),
        };
        format!("{head}Content-Length: 0\r\n\r\n")
    }

    /// Reads the answer, which tells that it has taken effect.
    async fn is_answered(self, raw: &mut Raw) {
        match self {
            // One that traps is cut off, maybe before its head is sent.
            Self::GoesOn("trap") => {
                let answer = raw.read_to_end().await;
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            }
            _ => _ = raw.until("HTTP/1.1 200 OK").await,
        }
    }

    /// Whether what it writes under this key is in the store.
    async fn is_there(self, host: &InProcess, key: &str) -> bool {
        match self {
            Self::Leased => {
                let sql = format!("SELECT+x+FROM+probe+WHERE+x={key}");
                let target = format!("/probe/sql?mode=query&sql={sql}");
                let rows = host.request(Method::POST, &target, String::new()).await.json();
                rows["rows"] != json!([])
            }
            Self::Buffered("consumer") => {
                let target = format!("/consumer/value?bucket=end&key={key}");
                host.request(Method::GET, &target, String::new()).await.status == 200
            }
            Self::Buffered("probe3") => {
                let target = format!("/probe3/kv?op=get&key={key}");
                let value = host.request(Method::GET, &target, String::new()).await.json();
                !value["value"].is_null()
            }
            _ => {
                let target = format!("/probe/kv?op=get&bucket=end&key={key}");
                let value = host.request(Method::GET, &target, String::new()).await.json();
                !value["value"].is_null()
            }
        }
    }
}

/// A host whose commits are held back while its valve is closed.
struct Gated {
    host: InProcess,
    folders: Folders,
    valve: Valve,
    versions: std::cell::Cell<u64>,
}

impl Gated {
    async fn start() -> Self {
        let (folders, valve) = (Folders::new(), Valve::default());
        // Without a migration the probe is swapped whatever its store does.
        for name in ["probe", "probe3"] {
            folders.deploy_bare(name, LIMITS);
        }
        folders.deploy_with("consumer", LIMITS);
        let host = folders.host(Config::default(), valve.options()).await;
        let gated = Self { host, folders, valve, versions: std::cell::Cell::new(1) };
        let table = "CREATE+TABLE+probe+(id+INTEGER+PRIMARY+KEY,+x+INTEGER)";
        let made = format!("/probe/sql?mode=execute&sql={table}");
        let made = gated.host.request(Method::POST, &made, String::new()).await;
        assert_eq!(made.status, 200, "{made:?}");
        gated
    }

    async fn swap(&self) {
        let version = self.versions.get() + 1;
        self.versions.set(version);
        for name in ["probe", "probe3"] {
            let manifest =
                format!("{LIMITS}[capabilities]\nconfig = {{ version = \"{version}\" }}\n");
            self.folders.configure(name, &manifest);
            self.host.until_version(name, version).await;
        }
    }

    /// Sends the request with the valve closed, and waits until its commit is held back.
    async fn held_back(&self, write: Write, key: &str) -> Raw {
        let before = self.valve.held();
        self.valve.set(true);
        let mut raw = Raw::connect(self.host.address).await;
        raw.send(write.request(key)).await;
        eventually("its commit is held back", async || (self.valve.held() > before).then_some(()))
            .await;
        raw
    }

    /// Waits until the deadline of whatever was sent before has passed.
    async fn until_late(&self, service: &str) {
        let mut raw = Raw::connect(self.host.address).await;
        let target = if service == "consumer" { "end?then=wait" } else { "sleep?ms=3600000" };
        raw.send(format!("GET /{service}/{target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        raw.until("504 Gateway Timeout").await;
    }

    /// Has the drain end of the version that has the traffic now.
    async fn drain(&self, service: &str) {
        let mut witness = Raw::connect(self.host.address).await;
        let target = format!("GET /{service}/sse?n=1000000&ms=20 HTTP/1.1\r\nHost: x\r\n\r\n");
        witness.send(target).await;
        witness.until("data: 0").await;
        self.swap().await;
        let path = format!("/v1/services/{service}/drain");
        let told = self.host.admin_post(&path, json!({"within_ms": 0}).to_string()).await;
        assert_eq!(told.status, 200, "{told:?}");
        let cut = witness.read_to_end().await;
        assert!(!cut.contains("data: 999999"), "it was cut");
    }

    async fn until_all_is_back(&self) {
        eventually("all is given back", async || {
            let metrics = self.host.admin("/metrics").await.text();
            ["probe", "probe3", "consumer"]
                .iter()
                .all(|name| {
                    metrics.contains(&format!("hotdock_permits_free{{service=\"{name}\"}} 64\n"))
                        && metrics.contains(&format!("hotdock_leases{{service=\"{name}\"}} 0\n"))
                })
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_whose_commit_is_under_way_is_answered_by_what_comes_of_it() {
    let gated = Gated::start().await;
    for (index, write) in WRITES.into_iter().enumerate() {
        let key = format!("1{index}");
        let mut raw = gated.held_back(write, &key).await;
        gated.until_late(write.service()).await;
        assert!(!raw.has_more(), "{write:?}: not one byte");
        gated.valve.set(false);
        write.is_answered(&mut raw).await;
        assert!(write.is_there(&gated.host, &key).await, "{write:?}");
        if write.service() != "consumer" {
            let key = format!("2{index}");
            let mut raw = gated.held_back(write, &key).await;
            gated.drain(write.service()).await;
            assert!(!raw.has_more(), "{write:?}: not one byte");
            gated.valve.set(false);
            write.is_answered(&mut raw).await;
            assert!(write.is_there(&gated.host, &key).await, "{write:?}");
        }
        // One that leaves is not told, but what it was promised is there.
        let key = format!("3{index}");
        drop(gated.held_back(write, &key).await);
        gated.valve.set(false);
        eventually("it is there", async || write.is_there(&gated.host, &key).await.then_some(()))
            .await;
    }
    gated.until_all_is_back().await;
    gated.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_is_ended_before_the_writer_has_it_leaves_nothing() {
    let gated = Gated::start().await;
    for (index, write) in WRITES.into_iter().enumerate() {
        let service = write.service();
        // The writer is at another's commit all the while.
        let first = Write::Buffered(service);
        let mut before = gated.held_back(first, &format!("4{index}")).await;
        let (late, drained, left) = (format!("5{index}"), format!("6{index}"), format!("7{index}"));
        let mut raw = Raw::connect(gated.host.address).await;
        raw.send(write.request(&late)).await;
        let answer = raw.until("urn:hotdock:problem:deadline").await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{write:?}: {answer}");
        let mut leaving = Raw::connect(gated.host.address).await;
        leaving.send(write.request(&left)).await;
        if service != "consumer" {
            let mut raw = Raw::connect(gated.host.address).await;
            raw.send(write.request(&drained)).await;
            gated.drain(service).await;
            let answer = raw.until("urn:hotdock:problem:drained").await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{write:?}: {answer}");
            assert!(answer.contains("retry-after: 1"), "{write:?}: {answer}");
        }
        drop(leaving);
        gated.until_all_is_back().await;
        gated.valve.set(false);
        before.until("HTTP/1.1 200 OK").await;
        // Those that come now are committed after what waited.
        let after = format!("8{index}");
        let mut raw = Raw::connect(gated.host.address).await;
        raw.send(write.request(&after)).await;
        write.is_answered(&mut raw).await;
        assert!(write.is_there(&gated.host, &after).await, "{write:?}");
        for key in [late, drained, left] {
            assert!(!write.is_there(&gated.host, &key).await, "{write:?} {key}");
        }
    }
    gated.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_an_explicit_commit_says_that_it_may_have_taken_effect() {
    const MAYBE: &str = "may-have-taken-effect";
    let gated = Gated::start().await;
    let host = &gated.host;
    for (then, status, plain) in
        [("trap", 502, "failed"), ("spin", 504, "out-of-cpu"), ("wait", 504, "deadline")]
    {
        let path = format!("/consumer/end?key={then}&then={then}");
        let refused = host.request(Method::POST, &path, String::new()).await;
        refused.problem(status, plain);
        let write = Write::Buffered("consumer");
        assert!(!write.is_there(host, then).await, "{then}");
        let told = host.request(Method::POST, &format!("{path}&commit=true"), String::new()).await;
        told.problem(status, MAYBE);
        assert_eq!(told.json()["cause"], plain);
        assert!(!told.headers.contains_key("retry-after"), "{told:?}");
        assert!(write.is_there(host, then).await, "{then}");
    }
    // While it is committed its outcome is not known, either.
    gated.valve.set(true);
    let path = "/consumer/end?key=between&commit=true";
    let told = host.request(Method::POST, path, String::new()).await;
    told.problem(504, MAYBE);
    gated.valve.set(false);
    gated.until_all_is_back().await;
    gated.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_commit_is_under_way_is_done_once_whatever_ends() {
    let gated = Gated::start().await;
    let before = gated.valve.held();
    gated.valve.set(true);
    let steps = json!([{"do": "log", "key": "k", "text": "once"}, {"do": "seen"}]);
    let event = json!({"specversion": "1.0", "id": "e", "source": "/x", "type": "test.steps",
        "data": steps});
    let request = http::Request::post(gated.host.admin_url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(http_body_util::Full::new(bytes::Bytes::from(event.to_string())));
    let taken = gated.host.client.send(request.expect("a request")).await.expect("an answer");
    assert_eq!(taken.status, 202, "{taken:?}");
    eventually("its commit is held back", async || (gated.valve.held() > before).then_some(()))
        .await;
    gated.until_late("consumer").await;
    gated.valve.set(false);
    let value = async |bucket: &str, key: &str| {
        let target = format!("/consumer/value?bucket={bucket}&key={key}");
        gated.host.request(Method::GET, &target, String::new()).await
    };
    eventually("it is handled", async || (value("seen", "e").await.status == 200).then_some(()))
        .await;
    assert_eq!(value("seen", "e").await.json()["attempt"], 1);
    assert_eq!(value("logs", "k").await.text(), "once ");
    gated.until_all_is_back().await;
    gated.host.stop().await;
}
