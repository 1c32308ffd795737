//! The ways an invocation can end.
//!
//! ```text
//! /spin            computes forever
//! /sleep?ms=       waits, then answers `slept`
//! /act             answers as the config says: `name`, after `slow` ms, with 500 in `fail` % of calls
//! /trap            traps before the answer
//! /trap-after?key= sends the head and `part of a body`, then traps; sets the key in bucket `late`
//!                  before, if it has one
//! /no-answer       returns without an answer
//! /error-code      answers with `internal-error`
//! /late?ms=&key=   answers `ok`, waits, then sets the key in bucket `late` and prints the result
//! /read-late?key=  sets the key in bucket `late`, answers, and then reads it: its body
//! /end?rounds=&key=&then=&body=   computes, sets the key in bucket `end`, answers `ended`, and then
//!                  does what `then` says: `trap`, `spin`, `wait`, `compute` (as long again), or
//!                  nothing; `body=open`: before the end of its body, which has none then
//! ```

use crate::answer;
use crate::bindings::{config, store};
use crate::call::Call;
use crate::streams;
use crate::work::compute;
use std::time::Duration;
use wasip2::http::types::{ErrorCode, ResponseOutparam};

pub fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

pub fn sleep(call: &Call, outparam: ResponseOutparam) {
    std::thread::sleep(Duration::from_millis(call.number("ms", 0)));
    answer::text(outparam, 200, "slept\n");
}

pub fn act(outparam: ResponseOutparam) {
    let get = |key| config::get(key).ok().flatten().unwrap_or_default();
    let number = |key| get(key).parse::<u64>().unwrap_or_default();
    std::thread::sleep(Duration::from_millis(number("slow")));
    let failed = wasip2::random::random::get_random_u64() % 100 < number("fail");
    answer::text(outparam, if failed { 500 } else { 200 }, &get("name"));
}

pub fn trap() -> ! {
    panic!("the probe was asked to trap");
}

pub fn trap_after(call: &Call, outparam: ResponseOutparam) -> ! {
    if let Some(key) = call.get("key") {
        let set = store::open("late").and_then(|bucket| bucket.set(key, b"early"));
        set.expect("a small value can be set");
    }
    let body = answer::head(outparam, 200, "text/plain");
    let stream = body.write().expect("a body's stream is taken once");
    // The trap comes whether or not the client still listens.
    let _ = streams::write(&stream, b"part of a body");
    trap();
}

pub fn end(call: &Call, outparam: ResponseOutparam) {
    let rounds = call.number("rounds", 0);
    compute(rounds);
    if let Some(key) = call.get("key") {
        let set = store::open("end").and_then(|bucket| bucket.set(key, b"set"));
        set.expect("a small value can be set");
    }
    let body = answer::head(outparam, 200, "text/plain");
    let stream = body.write().expect("a body's stream is taken once");
    // What comes then comes whether or not the client still listens.
    let _ = streams::write(&stream, b"ended\n");
    let open = if call.text("body") == "open" {
        Some((stream, body))
    } else {
        drop(stream);
        streams::finish(body, None);
        None
    };
    match call.text("then") {
        "trap" => trap(),
        "spin" => spin(),
        "wait" => std::thread::sleep(Duration::from_hours(1)),
        "compute" => _ = compute(rounds),
        _ => {}
    }
    drop(open);
}

pub fn no_answer(outparam: ResponseOutparam) {
    drop(outparam);
}

pub fn error_code(outparam: ResponseOutparam) {
    let error = ErrorCode::InternalError(Some("the probe was asked to fail".to_owned()));
    ResponseOutparam::set(outparam, Err(error));
}

pub fn read_late(call: &Call, outparam: ResponseOutparam) {
    let bucket = store::open("late").expect("a bucket");
    bucket.set(call.text("key"), b"written before\n").expect("a small value can be set");
    let body = answer::head(outparam, 200, "text/plain");
    let stream = body.write().expect("a body's stream is taken once");
    let read = match bucket.get(call.text("key")) {
        Ok(read) => read.unwrap_or_else(|| b"nothing\n".to_vec()),
        Err(error) => format!("{error:?}\n").into_bytes(),
    };
    let _ = streams::write(&stream, &read);
    drop(stream);
    streams::finish(body, None);
}

pub fn late(call: &Call, outparam: ResponseOutparam) {
    // Opened in time, so that it is the write that is late.
    let bucket = store::open("late");
    answer::text(outparam, 200, "ok\n");
    std::thread::sleep(Duration::from_millis(call.number("ms", 0)));
    let set = bucket.and_then(|bucket| bucket.set(call.text("key"), b"late"));
    eprintln!("late: {set:?}");
}
