//! Exports the asynchronous functions of `test:calls` to other services.

use hotdock_sdk::kv::Bucket;
use wasip3::clocks::monotonic_clock;

const NS_PER_MS: u64 = 1_000_000;

struct Callee;

mod bindings {
    use super::Callee;

    wit_bindgen::generate!({ path: "../callee/wit", world: "callee3" });

    export!(Callee);
}

impl bindings::exports::test::calls::patient::Guest for Callee {
    async fn sum(one: u32, other: u32, ms: u32) -> u32 {
        monotonic_clock::wait_for(u64::from(ms) * NS_PER_MS).await;
        one.wrapping_add(other)
    }

    async fn count(key: String, by: u32, ms: u32) -> Result<u32, String> {
        monotonic_clock::wait_for(u64::from(ms) * NS_PER_MS).await;
        let counted = count(&key, by).map_err(|error| error.to_string())?;
        wasip3::spawn_local(async move { eprintln!("counted {key}") });
        Ok(counted)
    }
}

fn count(key: &str, by: u32) -> Result<u32, hotdock_sdk::kv::Error> {
    let counters = Bucket::open("counters")?;
    let counted = counters.get_json::<u32>(key)?.unwrap_or_default() + by;
    counters.set_json(key, &counted)?;
    Ok(counted)
}
