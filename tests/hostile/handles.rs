//! Guests that hoard, forge and misuse handles, and that build headers which
//! no HTTP has a place for.

use super::Hostile;
use super::guest::{forever, handle, handling, with};

const TOO_MANY: &str = "the service used more handles than it may";
const REACHED: &str = "it reached its limit of 10000 handles ([limits] handles)";

#[tokio::test]
async fn handles_end_at_their_limit() {
    let poll_many = "
        (loop $more
            (i32.store (local.get $x) (call $timer (i64.const 0)))
            (local.set $x (i32.add (local.get $x) (i32.const 4)))
            (br_if $more (i32.lt_u (local.get $x) (i32.const 8000))))
        (call $poll (i32.const 0) (i32.const 2000) (i32.const 30000))
        (call $answer (local.get $out))";
    let few = "[limits]\nhandles = 100\n";
    let host = Hostile::start(&[
        ("fields", "", handling(&forever("(drop (call $fields))"))),
        ("clones", "", handling(&forever("(drop (call $request-headers (local.get $request)))"))),
        ("timers", "", handling(&forever("(drop (call $timer (i64.const 1000000000000)))"))),
        ("stdout", "", handling(&forever("(drop (call $stdout))"))),
        ("poll-many", "", handling(poll_many)),
        ("few", few, handling(&forever("(drop (call $fields))"))),
    ])
    .await;
    for name in ["fields", "clones", "timers", "stdout"] {
        host.fails(name, 502, "over-limit", TOO_MANY, REACHED).await;
    }
    host.answers("poll-many").await;
    let reached = "it reached its limit of 100 handles ([limits] handles)";
    host.fails("few", 502, "over-limit", TOO_MANY, reached).await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_reused_instance_that_leaks_is_replaced_when_it_is_full() {
    let leak = format!("{} (call $answer (local.get $out))", "(drop (call $fields))".repeat(20));
    let manifest = "[limits]\nhandles = 100\n[instances]\nreuse = 1000\n";
    let host = Hostile::start(&[("leak", manifest, handling(&leak))]).await;
    let mut answered = 0;
    for _ in 0..20 {
        let reply = host.host.get("/leak").await;
        if reply.status == 200 {
            answered += 1;
        } else {
            assert_eq!(reply.problem(502, "over-limit"), TOO_MANY);
        }
    }
    assert!((10..20).contains(&answered), "{answered}");
    host.until_logged("leak", "it reached its limit of 100 handles").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_handle_that_is_none_ends_the_guest() {
    let twice = "(local.set $x (call $fields))
        (call $drop-fields (local.get $x)) (call $drop-fields (local.get $x))";
    let after = "(call $drop-out (local.get $out)) (call $answer (local.get $out))";
    let kind = "(call $block (call $fields))";
    let lent = "(local.set $x (call $timer (i64.const 0))) (call $drop-pollable (local.get $x))
        (call $block (local.get $x))";
    let used = "(local.set $x (call $fields)) (drop (call $response (local.get $x)))
        (drop (call $response (local.get $x)))";
    let parent = "(local.set $x (call $response (call $fields)))
        (call $response-body (local.get $x) (i32.const 0))
        (call $response-body (local.get $x) (i32.const 0))
        (if (i32.load8_u (i32.const 0)) (then (call $answer (local.get $out))))";
    let host = Hostile::start(&[
        ("forged", "", handling("(call $drop-fields (i32.const 4711))")),
        ("zero", "", handling("(call $drop-fields (i32.const 0))")),
        ("negative", "", handling("(call $block (i32.const -1))")),
        ("twice", "", handling(twice)),
        ("after-drop", "", handling(after)),
        ("wrong-kind", "", handling(kind)),
        ("dropped-pollable", "", handling(lent)),
        ("used-up", "", handling(used)),
        ("body-twice", "", handling(parent)),
    ])
    .await;
    for name in ["forged", "zero", "negative", "twice", "dropped-pollable"] {
        host.fails(name, 502, "failed", "the service failed", "unknown handle index").await;
    }
    for name in ["wrong-kind", "after-drop", "used-up"] {
        host.fails(name, 502, "failed", "the service failed", "with the wrong type").await;
    }
    host.answers("body-twice").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn headers_have_their_limits_and_their_grammar() {
    // One page of `a`; the name is its first byte.
    let letters = "(memory.fill (i32.const 0) (i32.const 97) (i32.const 65536))
        (local.set $x (call $fields))";
    let append = |name: &str, value: &str| {
        format!(
            "(call $fields-append (local.get $x) (i32.const 0) (i32.const {name})
                (i32.const 0) (i32.const {value}) (i32.const 65520))"
        )
    };
    // 1: the call returned an error.
    let refused = "(if (i32.eqz (i32.load8_u (i32.const 65520))) (then unreachable))
        (call $answer (local.get $out))";
    let page = append("1", "60000");
    let one = append("1", "1");
    let bytes = |text: &str| format!("(data (i32.const 0) \"{text}\")");
    let invalid = |text: &str, name: usize, value: usize| {
        let append = format!(
            "(local.set $x (call $fields))
            (call $fields-append (local.get $x) (i32.const 0) (i32.const {name})
                (i32.const {name}) (i32.const {value}) (i32.const 65520))"
        );
        with(&format!("{} {}", bytes(text), handle(&format!("{append} {refused}"))))
    };
    let status = "(if (i32.eqz (call $status (call $response (call $fields)) (i32.const 9999)))
        (then unreachable)) (call $answer (local.get $out))";
    let immutable = "(local.set $x (call $request-headers (local.get $request)))
        (call $fields-append (local.get $x) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 65520))";
    let host = Hostile::start(&[
        ("large", "", handling(&format!("{letters} {}", forever(&page)))),
        ("many", "", handling(&format!("{letters} {}", forever(&one)))),
        ("name", "", invalid("a\\0ab", 3, 1)),
        ("newline", "", invalid("ab\\0d\\0aset-cookie: a", 1, 16)),
        ("forbidden", "", invalid("connectionclose", 10, 5)),
        ("empty-name", "", invalid("a", 0, 1)),
        ("status", "", handling(status)),
        ("immutable", "", handling(&format!("{immutable} {refused}"))),
    ])
    .await;
    let detail = "the service used more header data than it may";
    let reached = "it reached its limit of 131072 bytes of header data";
    host.fails("large", 502, "over-limit", detail, reached).await;
    host.fails("many", 502, "over-limit", detail, reached).await;
    for name in ["name", "newline", "forbidden", "empty-name", "status", "immutable"] {
        let reply = host.answers(name).await;
        assert!(!reply.headers.contains_key("set-cookie"));
    }
    host.ends_as_it_began().await;
}
