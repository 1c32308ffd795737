//! The ways an invocation can end, and what an instance remembers.

use crate::answer;
use crate::bindings::store;
use crate::call::Call;
use crate::work::compute;
use std::sync::atomic::{AtomicU64, Ordering};
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::Response;

pub async fn sleep(call: &Call) -> Response {
    monotonic_clock::wait_for(nanoseconds(call)).await;
    answer::text(200, "slept\n")
}

pub fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

pub fn trap() -> ! {
    panic!("the probe was asked to trap");
}

pub fn count() -> Response {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    answer::text(200, &format!("{count}\n"))
}

pub fn late(call: &Call) -> Response {
    let (pause_ns, key) = (nanoseconds(call), call.text("key").to_owned());
    // Opened in time, so that it is the write that is late.
    let bucket = store::open("late");
    wasip3::spawn_local(async move {
        monotonic_clock::wait_for(pause_ns).await;
        let set = bucket.and_then(|bucket| bucket.set(&key, b"late"));
        eprintln!("late: {set:?}");
    });
    answer::text(200, "ok\n")
}

pub fn end(call: &Call) -> Response {
    let rounds = call.number("rounds", 0);
    compute(rounds);
    if let Some(key) = call.get("key") {
        let set = store::open("default").and_then(|bucket| bucket.set(key, b"set"));
        set.expect("a small value can be set");
    }
    let (then, open) = (call.text("then").to_owned(), call.text("body") == "open");
    answer::stream("text/plain", move |mut body| async move {
        // What comes then comes whether or not the client still listens.
        let _unread = body.write_all(b"ended\n".to_vec()).await;
        let open = open.then_some(body);
        match &*then {
            "trap" => trap(),
            "spin" => spin(),
            "wait" => monotonic_clock::wait_for(u64::MAX / 2).await,
            "compute" => _ = compute(rounds),
            _ => {}
        }
        drop(open);
    })
}

fn nanoseconds(call: &Call) -> u64 {
    call.number("ms", 0u64).saturating_mul(1_000_000)
}
