//! The ways an invocation can end, and what an instance remembers.

use crate::answer;
use crate::bindings::store;
use crate::call::Call;
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

fn nanoseconds(call: &Call) -> u64 {
    call.number("ms", 0u64).saturating_mul(1_000_000)
}
