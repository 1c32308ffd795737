//! Calls the service `callee`, for requests and for events; and itself.
//!
//! ```text
//! GET  /relay/add?one=&other=&times=   the sum, called for as often as that (1)
//! GET  /relay/values                   sends every kind of value and compares: what differs
//! GET  /relay/bytes?length=&times=     so many bytes there and back, as often as that (1): how many
//! POST /relay/count?key=&by=           `count`; then a row in `calls`
//! POST /relay/contended?key=&by=       reads `own`, calls `count`, writes `own`: conflicts with others
//! POST /relay/write-first?call=        writes, then calls `get`, `count`, `insert` or `publish`
//! POST /relay/lease-first              writes by SQL, then calls `count`
//! POST /relay/call-and-trap?key=       `count`, then traps
//! POST /relay/publish?text=            `publish`
//! POST /relay/fail?key=                `fail`
//! POST /relay/commit                   `commit`
//! POST /relay/insert?text=             `insert`
//! GET  /relay/get?key=&times=          `get`, as often as that (1)
//! POST /relay/end?how=&by=             `end`, `end-in-words` or `end-in-a-case`
//! GET  /relay/down?left=               `down`, of itself
//! GET  /relay/calls                    the rows of `calls`, as ["key=result", …]
//! ```
//!
//! An event `test.call` with `{"key", "by", "rows"}` is a call of `count`, then a row, or as many.

mod asked;
mod matrix;

use hotdock_sdk::events::{Delivery, Failure};
use serde_json::Value;

struct Relay;

mod bindings {
    use super::Relay;

    wit_bindgen::generate!({
        path: "../callee/wit",
        world: "relay",
        additional_derives: [Clone],
        generate_unused_types: true,
    });

    export!(Relay);
}

use bindings::test::calls::deep;

hotdock_sdk::http_handler! {
    "/relay/add" => { GET: asked::add },
    "/relay/values" => { GET: asked::values },
    "/relay/bytes" => { GET: asked::bytes },
    "/relay/count" => { POST: asked::count },
    "/relay/contended" => { POST: asked::contended },
    "/relay/write-first" => { POST: asked::write_first },
    "/relay/lease-first" => { POST: asked::lease_first },
    "/relay/call-and-trap" => { POST: asked::call_and_trap },
    "/relay/publish" => { POST: asked::publish },
    "/relay/fail" => { POST: asked::fail },
    "/relay/commit" => { POST: asked::commit },
    "/relay/insert" => { POST: asked::insert },
    "/relay/get" => { GET: asked::get },
    "/relay/end" => { POST: asked::end },
    "/relay/down" => { GET: asked::down },
    "/relay/calls" => { GET: asked::calls },
}

hotdock_sdk::event_handler! {
    "test.call" => called,
}

fn called(_: &Delivery, told: &Value) -> Result<(), Failure> {
    let key = told["key"].as_str().unwrap_or_default();
    let by = told["by"].as_u64().unwrap_or(1);
    let by = u32::try_from(by).map_err(|error| Failure::Reject(error.to_string()))?;
    asked::count_and_note(key, by).map_err(Failure::Retry)?;
    Ok(())
}

impl bindings::exports::test::calls::deep::Guest for Relay {
    fn down(left: u32) -> Result<u32, String> {
        if left == 0 { Ok(0) } else { deep::down(left - 1).map(|deeper| deeper + 1) }
    }
}
