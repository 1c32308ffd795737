//! One path for each thing that a service can do to its host (`wasi:http` 0.3).
//!
//! ```text
//! /request         what the guest sees of the request, as JSON
//! /echo            sends the body back as it comes, trailers too
//! /sse?n=&ms=      n events, ms apart
//! /big?bytes=      so many bytes
//! /sleep?ms=       waits, then answers `slept`
//! /spin            computes forever
//! /trap            traps before the answer
//! /count           how many times this instance was asked, from 1
//! /relay?url=      sends the body on by its method, and back what comes back
//! /kv?op=get|set&key=&value=   {"value": text or null}, {}
//! /increment?key=  get and set one more; the new value
//! /late?ms=&key=   answers `ok`; a task left behind waits, then sets the key in bucket `late` and
//!                  prints the result
//! /end?rounds=&key=&then=&body=   computes, sets the key, answers `ended`, and a task
//!                  does then what `then` says: `trap`, `spin`, `wait`, `compute` (as long again), or
//!                  nothing; `body=open`: before the end of its body
//! ```
//!
//! All of them are under `/probe3`. A parameter that is missing is empty or zero.

mod answer;
mod bindings;
mod call;
mod endings;
mod http;
mod keyvalue;
mod outbound;
#[path = "../../compute/src/work.rs"]
mod work;

use call::Call;
use wasip3::http::types::{ErrorCode, Request, Response};

struct Probe;

wasip3::http::service::export!(Probe);

impl wasip3::exports::http::handler::Guest for Probe {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let call = Call::new(&request);
        Ok(match call.path.strip_prefix("/probe3/").unwrap_or_default() {
            "request" => http::request(&request),
            "echo" => http::echo(request),
            "sse" => http::sse(&call),
            "big" => http::big(&call),
            "sized" => http::sized(&call),

            "sleep" => endings::sleep(&call).await,
            "spin" => endings::spin(),
            "trap" => endings::trap(),
            "count" => endings::count(),
            "late" => endings::late(&call),
            "end" => endings::end(&call),

            "relay" => outbound::relay(&call, request).await,

            "kv" => keyvalue::kv(&call),
            "increment" => keyvalue::increment(&call),

            _ => answer::text(404, "probe3 has no such path\n"),
        })
    }
}
