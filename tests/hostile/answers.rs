//! Guests that never answer, answer twice, answer for ever, or leave in the
//! middle.

use super::guest::{forever, handle, handling, trapping_in, with};
use super::{Hostile, SHORT};

const FAILED: &str = "the service failed";
const NO_ANSWER: &str = "the service gave no answer";

/// Waits longer than any deadline.
const WAIT: &str = "(call $block (call $timer (i64.const 1000000000000000)))";

/// Mangled, a name can stand for one that is longer than any memory; it is told with its trap.
#[tokio::test]
async fn a_trap_in_a_function_whose_name_stands_for_gigabytes_costs_what_others_cost() {
    // As C++ has it: each level has the one before it four times, which is over 1 GB of text.
    let levels = (0..12_u32).map(|level| {
        let before = char::from_digit(2 * level + 1, 36).expect("a digit").to_ascii_uppercase();
        format!("1BI{}E", format!("S{before}_").repeat(4))
    });
    let names = [
        format!("_Z1fI1AIccE{}Evv", levels.collect::<String>()),
        format!("_RINvC1a1fTuuE{}E", "TB7_B7_E".repeat(64)),
        format!("_ZN{}E", "4cart".repeat(2_000)),
        "x".repeat(1 << 14),
    ];
    let guests: Vec<(String, Vec<u8>)> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (format!("named-{at}"), trapping_in(name)))
        .collect();
    let guests: Vec<(&str, &str, Vec<u8>)> =
        guests.iter().map(|(name, bytes)| (name.as_str(), "", bytes.clone())).collect();
    let host = Hostile::start(&guests).await;
    for (name, ..) in &guests {
        host.fails(name, 502, "failed", FAILED, "`unreachable`").await;
    }
    let longest = host.host.log().lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 4 << 10, "a line of {longest} bytes");
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_problem() {
    let error = "(call $set (local.get $out) (i32.const 1) (i32.const 37) (i32.const 0)
        (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let read = "(call $consume (local.get $request) (i32.const 0))
        (call $body-stream (i32.load (i32.const 4)) (i32.const 8))
        (call $block (call $input-pollable (i32.load (i32.const 12))))
        (call $read (i32.load (i32.const 12)) (i64.const 1) (i32.const 16))";
    let host = Hostile::start(&[
        ("returns", "", handling("")),
        ("drops", "", handling("(call $drop-out (local.get $out))")),
        ("waits", SHORT, handling(WAIT)),
        ("error", "", handling(error)),
        ("traps", "", handling("unreachable")),
        ("exits-well", "", handling("(call $exit (i32.const 0))")),
        ("exits-badly", "", handling("(call $exit (i32.const 1))")),
        ("reads", SHORT, handling(&format!("{read} {WAIT}"))),
    ])
    .await;
    host.fails("returns", 502, "no-answer", NO_ANSWER, "returned without an answer").await;
    host.fails("drops", 502, "no-answer", NO_ANSWER, "returned without an answer").await;
    let late = "the service did not answer within 2s";
    host.fails("waits", 504, "deadline", late, late).await;
    host.fails("reads", 504, "deadline", late, late).await;
    let detail = "the service answered with an error";
    host.fails("error", 502, "failed", detail, "ConfigurationError").await;
    host.fails("traps", 502, "failed", FAILED, "`unreachable`").await;
    host.fails("exits-well", 502, "failed", FAILED, "exit status 0").await;
    host.fails("exits-badly", 502, "failed", FAILED, "exit status 1").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_trap_at_any_moment_ends_the_invocation_and_nothing_else() {
    let begin = "(local.set $x (call $begin (local.get $out)))";
    let write =
        "(call $write-and-flush (local.get $x) (i32.const 0) (i32.const 100) (i32.const 200))";
    let host = Hostile::start(&[
        ("start", "", with(&format!("(start $s) (func $s unreachable) {}", handle("")))),
        ("divide", "", handling("(drop (i32.div_u (i32.const 1) (local.get $x)))")),
        ("convert", "", handling("(drop (i32.trunc_f64_s (f64.const nan)))")),
        ("load", "", handling("(drop (i32.load (i32.const -8)))")),
        (
            "call",
            "",
            with(&format!(
                "(type $t (func (result i64))) (table $t 2 funcref) (elem (table $t) (i32.const 0) func $handle)
                {}",
                handle("(drop (call_indirect $t (type $t) (i32.const 0)))")
            )),
        ),
        ("answered", "", handling("(call $answer (local.get $out)) unreachable")),
        ("twice", "", handling("(call $answer (local.get $out)) (call $answer (local.get $out))")),
        ("begun", "", handling(&format!("{begin} unreachable"))),
        ("written", "", handling(&format!("{begin} {write} unreachable"))),
        ("exits", "", handling(&format!("{begin} {write} (call $exit (i32.const 0))"))),
    ])
    .await;
    host.is_refused("start", "`unreachable`").await;
    host.fails("divide", 502, "failed", FAILED, "integer divide by zero").await;
    host.fails("convert", 502, "failed", FAILED, "invalid conversion to integer").await;
    host.fails("load", 502, "failed", FAILED, "out of bounds memory access").await;
    host.fails("call", 502, "failed", FAILED, "indirect call type mismatch").await;
    // These ended their answers before.
    for name in ["answered", "twice"] {
        host.answers(name).await;
        host.until_logged(name, "the service failed after its answer").await;
    }
    for name in ["begun", "written", "exits"] {
        host.is_cut_off(name, "the service failed after its answer").await;
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_body_has_an_end() {
    let endless = format!(
        "(local.set $x (call $begin (local.get $out))) {}",
        forever("(call $write-zeroes (local.get $x) (i64.const 4096) (i32.const 200))")
    );
    // Stops when its write fails.
    let polite = "(local.set $x (call $begin (local.get $out)))
        (loop $more
            (call $write-zeroes (local.get $x) (i64.const 4096) (i32.const 200))
            (br_if $more (i32.eqz (i32.load8_u (i32.const 200)))))";
    let just = "(local.set $x (call $begin (local.get $out)))
        (loop $more
            (call $write-zeroes (local.get $x) (i64.const 4096) (i32.const 200))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 512))))
        (call $drop-output (local.get $x)) (call $finish (i32.load (i32.const 4)) (i32.const 0)
            (i32.const 0) (i32.const 304))";
    let limit = "[limits]\nresponse-body = \"2MiB\"\ncpu = \"20s\"\ndeadline = \"30s\"\n";
    let small = "[limits]\nresponse-body = \"1KiB\"\n";
    let default = "[limits]\ncpu = \"20s\"\ndeadline = \"60s\"\n";
    let host = Hostile::start(&[
        ("endless", limit, handling(&endless)),
        ("polite", limit, handling(polite)),
        ("just", limit, handling(just)),
        ("small", small, handling(just)),
        ("default", default, handling(polite)),
    ])
    .await;
    let reached = |limit: u64| {
        format!(
            "the answer's body is larger than {limit} bytes ([limits] response-body); it was cut off"
        )
    };
    host.is_cut_off("endless", &reached(2 << 20)).await;
    host.is_cut_off("polite", &reached(2 << 20)).await;
    assert_eq!(host.answers("just").await.body.len(), 2 << 20);
    host.is_cut_off("small", &reached(1024)).await;
    host.is_cut_off("default", &reached(64 << 20)).await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_body_that_is_left_open_ends_with_its_guest() {
    let begin = "(local.set $x (call $begin (local.get $out)))";
    let write =
        "(call $write-and-flush (local.get $x) (i32.const 0) (i32.const 100) (i32.const 200))";
    let open = format!("{begin} {write}");
    let unwritten = "(local.set $x (call $response (call $fields)))
        (call $response-body (local.get $x) (i32.const 0))
        (call $set (local.get $out) (i32.const 0) (local.get $x) (i32.const 0)
            (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let dropped = format!(
        "{open} (call $drop-output (local.get $x)) (call $drop-body (i32.load (i32.const 4)))"
    );
    let idle = "[limits]\ncpu = \"200ms\"\ndeadline = \"1s\"\nbody-idle = \"2s\"\n";
    let reuse = "[limits]\ndeadline = \"2s\"\n[instances]\nreuse = 1000\nidle = \"1h\"\n";
    let host = Hostile::start(&[
        ("open", "", handling(&open)),
        ("unwritten", "", handling(unwritten)),
        ("dropped", "", handling(&dropped)),
        ("waits", idle, handling(&format!("{open} {WAIT}"))),
        ("reused", reuse, handling(&open)),
        ("answered-waits", SHORT, handling(&format!("(call $answer (local.get $out)) {WAIT}"))),
    ])
    .await;
    for (name, length) in [("open", 100), ("unwritten", 0), ("reused", 100), ("reused", 100)] {
        assert_eq!(host.answers(name).await.body.len(), length, "{name}");
    }
    let given_up = "the service gave its answer's body up before its end; it was cut off";
    host.is_cut_off("dropped", given_up).await;
    host.is_cut_off("waits", "nothing came of its body for 2s ([limits] body-idle)").await;
    host.answers("answered-waits").await;
    host.until_logged("answered-waits", "its deadline passed").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_request_body_that_nobody_reads_is_no_hindrance() {
    let half = "(call $consume (local.get $request) (i32.const 0))
        (call $body-stream (i32.load (i32.const 4)) (i32.const 8))
        (call $read (i32.load (i32.const 12)) (i64.const 10) (i32.const 16))
        (call $answer (local.get $out))";
    let host = Hostile::start(&[
        ("unread", "", handling("(call $answer (local.get $out))")),
        ("half", "", handling(half)),
    ])
    .await;
    for name in ["unread", "half"] {
        for _ in 0..10 {
            let reply = host.host.post(&format!("/{name}"), vec![b'x'; 1 << 20]).await;
            assert_eq!(reply.status, 200, "{name}");
        }
    }
    host.ends_as_it_began().await;
}
