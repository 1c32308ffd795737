//! Guests that lie about their memory: pointers, lengths, texts and allocators.

use super::guest::{HANDLE, bare, forever, handle, handling, with};
use super::{Hostile, SPINS};

/// What a client is told of a trap.
const FAILED: &str = "the service failed";

/// Logs the text at `at`.
fn log(at: &str, length: &str) -> String {
    format!(
        "(call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const {at}) (i32.const {length}))"
    )
}

/// A component with an allocator of its own, which is called for the environment.
fn allocating(realloc: &str) -> Vec<u8> {
    bare(&format!(
        "(memory (export \"memory\") 1)
        (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {realloc})
        {}",
        handle("(call $random (i64.const 64) (i32.const 0)) (call $answer (local.get $out))")
    ))
}

#[tokio::test]
async fn a_pointer_beyond_memory_is_a_trap_and_nothing_is_allocated_for_it() {
    let gibibyte = "0x40000000";
    let list = |at: &str, length: &str| {
        format!("(call $poll (i32.const {at}) (i32.const {length}) (i32.const 0))")
    };
    let result = |at: &str| format!("(call $environment (i32.const {at}))");
    let host = Hostile::start(&[
        ("text-length", "", handling(&log("0", gibibyte))),
        ("text-pointer", "", handling(&log("0x7ffffff0", "16"))),
        ("text-wraps", "", handling(&log("-16", "-1"))),
        ("text-edge", "", handling(&log("262143", "2"))),
        ("list-length", "", handling(&list("0", gibibyte))),
        ("list-wraps", "", handling(&list("0", "-1"))),
        ("list-pointer", "", handling(&list("0x7ffffff0", "1"))),
        ("list-unaligned", "", handling(&list("1", "1"))),
        ("result-pointer", "", handling(&result("0x7ffffff0"))),
        ("result-unaligned", "", handling(&result("3"))),
    ])
    .await;
    for name in ["text-length", "text-pointer", "text-wraps", "text-edge"] {
        host.fails(name, 502, "failed", FAILED, "out of bounds").await;
    }
    for name in ["list-length", "list-wraps", "list-pointer"] {
        host.fails(name, 502, "failed", FAILED, "out of bounds").await;
    }
    host.fails("list-unaligned", 502, "failed", FAILED, "not aligned").await;
    host.fails("result-pointer", 502, "failed", FAILED, "out of bounds").await;
    host.fails("result-unaligned", 502, "failed", FAILED, "not aligned").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_text_that_is_none_and_a_number_that_is_none_are_traps() {
    let text = |bytes: &str, length: &str| {
        with(&format!("(data (i32.const 0) \"{bytes}\") {}", handle(&log("0", length))))
    };
    let level =
        "(call $log (i32.const 77) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let result = "(call $set (local.get $out) (i32.const 2) (i32.const 0) (i32.const 0)
        (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let code = "(call $set (local.get $out) (i32.const 1) (i32.const 4000) (i32.const 0)
        (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let host = Hostile::start(&[
        ("overlong", "", text("\\c0\\80", "2")),
        ("cut", "", text("\\e2\\82", "2")),
        ("surrogate", "", text("\\ed\\a0\\80", "3")),
        ("level", "", handling(level)),
        ("result", "", handling(result)),
        ("error-code", "", handling(code)),
    ])
    .await;
    for name in ["overlong", "cut", "surrogate"] {
        host.fails(name, 502, "failed", FAILED, "utf-8").await;
    }
    for name in ["level", "result", "error-code"] {
        host.fails(name, 502, "failed", FAILED, "discriminant").await;
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn one_call_takes_and_gives_no_more_than_its_limit() {
    let fill = "(drop (memory.grow (i32.const 700)))
        (memory.fill (i32.const 0) (i32.const 97) (i32.const 0x2900000))";
    let same = "(local.set $i (call $timer (i64.const 0)))
        (drop (memory.grow (i32.const 700)))
        (loop $more
            (i32.store (local.get $x) (local.get $i))
            (local.set $x (i32.add (local.get $x) (i32.const 4)))
            (br_if $more (i32.lt_u (local.get $x) (i32.const 0x2800000))))
        (call $poll (i32.const 0) (i32.const 0xa00000) (i32.const 0))";
    let random = "(call $random (i64.const 0x10000000000) (i32.const 0))";
    let host = Hostile::start(&[
        ("text", "", handling(&format!("{fill} {}", log("0", "0x2800000")))),
        ("list", "[limits]\ncpu = \"20s\"\ndeadline = \"30s\"\n", handling(same)),
        ("random", "", handling(random)),
    ])
    .await;
    let detail = "the service used more data in one call to the host than it may";
    let reached = "it reached its limit of 33554432 bytes of data in one call to the host";
    host.fails("text", 502, "over-limit", detail, reached).await;
    host.fails("list", 502, "over-limit", detail, reached).await;
    let detail = "the service used more random data in one call than it may";
    let reached = "it reached its limit of 1048576 bytes of random data in one call";
    host.fails("random", 502, "over-limit", detail, reached).await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn an_allocator_cannot_lie_to_the_host() {
    let host = Hostile::start(&[
        ("beyond", "", allocating("(i32.const 0x7ffffff0)")),
        ("last", "", allocating("(i32.const -1)")),
        ("edge", "", allocating("(i32.const 65500)")),
        ("trap", "", allocating("unreachable")),
        ("spin", SPINS, allocating(&format!("{} unreachable", forever("")))),
        ("host", "", allocating("(call $fields)")),
        ("zero", "", allocating("(i32.const 0)")),
    ])
    .await;
    for name in ["beyond", "last", "edge"] {
        host.fails(name, 502, "failed", FAILED, "beyond end of memory").await;
    }
    host.fails("trap", 502, "failed", FAILED, "`unreachable`").await;
    let used_up = "the service used its CPU time of 200ms up";
    host.fails("spin", 504, "out-of-cpu", used_up, used_up).await;
    host.fails("host", 502, "failed", FAILED, "cannot leave component instance").await;
    // Over its own data: its own affair.
    host.answers("zero").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn what_follows_the_return_of_the_handler_is_under_the_same_limits() {
    let after = |body: &str| {
        with(&format!(
            "{} (func (export \"cabi_post_{HANDLE}\") {body})",
            handle("(call $answer (local.get $out))")
        ))
    };
    let host = Hostile::start(&[
        ("trap", "", after("unreachable")),
        ("spin", SPINS, after(&forever(""))),
        ("leave", "", after("(drop (call $fields))")),
        (
            "deep",
            "",
            with(&format!(
                "(func $deep (call $deep)) (func (export \"cabi_post_{HANDLE}\") (call $deep)) {}",
                handle("(call $answer (local.get $out))")
            )),
        ),
    ])
    .await;
    // Their answers were whole.
    for (name, words) in [
        ("trap", "the service failed after its answer"),
        ("leave", "cannot leave component instance"),
        ("deep", "call stack exhausted"),
        ("spin", "it used its CPU time up"),
    ] {
        host.answers(name).await;
        host.until_logged(name, words).await;
    }
    host.ends_as_it_began().await;
}
