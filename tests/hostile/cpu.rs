//! Guests that compute for ever, wherever they get the chance.

use super::guest::{forever, handle, handling, nested, with};
use super::{Hostile, SPINS};

/// What a client is told.
const USED_UP: &str = "the service used its CPU time of 200ms up";

#[tokio::test]
async fn a_handler_that_computes_for_ever_is_stopped() {
    let recursion = "(func $down (param i32) (result i32)
        (if (result i32) (local.get 0)
            (then (i32.add (call $down (i32.sub (local.get 0) (i32.const 1)))
                           (call $down (i32.sub (local.get 0) (i32.const 1)))))
            (else (i32.const 1))))";
    let fill = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 262144))";
    let call_host = "(call $drop-fields (call $fields))";
    let host = Hostile::start(&[
        ("spin", SPINS, handling(&forever(""))),
        ("fill", SPINS, handling(&forever(fill))),
        (
            "recurse",
            SPINS,
            with(&format!("{recursion}{}", handle("(drop (call $down (i32.const 60)))"))),
        ),
        ("call-host", SPINS, handling(&forever(call_host))),
        ("timers", SPINS, handling(&forever("(call $drop-pollable (call $timer (i64.const 0)))"))),
    ])
    .await;
    for name in ["spin", "fill", "recurse", "call-host", "timers"] {
        host.fails(name, 504, "out-of-cpu", USED_UP, USED_UP).await;
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn one_that_computes_for_ever_while_it_is_instantiated_is_refused_and_stopped() {
    let start = |body: &str| with(&format!("(start $s) (func $s {body}) {}", handle("")));
    // Its answer to the health path takes for ever, too.
    let health = "[deploy]\nhealth = \"/health\"\n";
    let host = Hostile::start(&[
        ("start", "", start(&forever(""))),
        ("several", "", nested(&forever(""))),
        ("health", &format!("{SPINS}{health}"), handling(&forever(""))),
    ])
    .await;
    let refused = "it could not be instantiated: it computed for over 2s";
    host.is_refused("start", refused).await;
    host.is_refused("several", refused).await;
    host.is_refused("health", "its health path /health failed: it computed for over 200ms").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn one_that_computes_on_after_its_answer_is_stopped_and_its_answer_stands() {
    let answered = format!("(call $answer (local.get $out)) {}", forever(""));
    let begun = format!("(drop (call $begin (local.get $out))) {}", forever(""));
    let host = Hostile::start(&[
        ("answered", SPINS, handling(&answered)),
        ("begun", SPINS, handling(&begun)),
        ("reused", &format!("{SPINS}[instances]\nreuse = 100\n"), handling(&answered)),
    ])
    .await;
    for name in ["answered", "reused", "answered", "reused"] {
        host.answers(name).await;
        host.until_logged(name, "it used its CPU time up").await;
    }
    host.is_cut_off("begun", "it used its CPU time up").await;
    host.ends_as_it_began().await;
}

/// At 19, the least preferred there is, it would get on only where nobody else wants a processor.
#[tokio::test]
async fn what_computes_is_ten_nicer_than_what_serves() {
    let host = Hostile::start(&[("spin", SPINS, handling(&forever("")))]).await;
    host.fails("spin", 504, "out-of-cpu", USED_UP, USED_UP).await;
    let nice = host.host.nice_by_thread();
    let least = |name: &str| {
        let of_name = nice.iter().filter(|(thread, _)| thread.starts_with(name));
        of_name.map(|(_, nice)| *nice).min().unwrap_or_else(|| panic!("no {name} in {nice:?}"))
    };
    assert_eq!(least("slow-lane"), (least("tokio") + 10).min(19), "{nice:?}");
    host.ends_as_it_began().await;
}
