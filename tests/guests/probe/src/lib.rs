//! One path for each thing that a service can do to its host (`wasi:http` 0.2).
//!
//! ```text
//! http      /request /status /read-none /echo /upload /sse /trailers /big
//! endings   /spin /sleep /act /trap /trap-after /no-answer /error-code /late /end
//! resources /memory /count /print /log /config /fs /socket /outbound
//! outbound  /send /relay
//! state     /kv /transfer /increment /skew /book /commit /rollback /sql /sql-script /sql-slow
//! ```
//!
//! All of them are under `/probe`. A parameter that is missing is empty or zero unless its function
//! says otherwise.

mod answer;
mod bindings;
mod call;
mod endings;
mod http;
mod keyvalue;
mod outbound;
mod races;
mod resources;
mod sql;
mod streams;
mod transaction;
#[path = "../../compute/src/work.rs"]
mod work;

use call::Call;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Probe;

wasip2::http::proxy::export!(Probe);

impl wasip2::exports::http::incoming_handler::Guest for Probe {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let call = Call::new(&request);
        match call.path.strip_prefix("/probe/").unwrap_or_default() {
            "request" => http::request(&request, outparam),
            "status" => http::status(&call, outparam),
            "read-none" => http::read_none(outparam),
            "echo" => http::echo(&request, outparam),
            "upload" => http::upload(&call, &request, outparam),
            "sse" => http::sse(&call, outparam),
            "trailers" => http::trailers(outparam),
            "big" => http::big(&call, outparam),
            "sized" => http::sized(&call, outparam),

            "spin" => endings::spin(),
            "sleep" => endings::sleep(&call, outparam),
            "act" => endings::act(outparam),
            "trap" => endings::trap(),
            "trap-after" => endings::trap_after(&call, outparam),
            "no-answer" => endings::no_answer(outparam),
            "error-code" => endings::error_code(outparam),
            "late" => endings::late(&call, outparam),
            "read-late" => endings::read_late(&call, outparam),
            "end" => endings::end(&call, outparam),

            "memory" => resources::memory(&call, outparam),
            "count" => resources::count(outparam),
            "print" => resources::print(&call, outparam),
            "log" => resources::log(&call, outparam),
            "config" => resources::config(&call, outparam),
            "fs" => resources::fs(outparam),
            "socket" => resources::socket(outparam),
            "outbound" => resources::outbound(&call, outparam),

            "send" => outbound::send(&call, outparam),
            "relay" => outbound::relay(&call, &request, outparam),

            "kv" => keyvalue::kv(&call, outparam),
            "transfer" => races::transfer(&call, outparam),
            "increment" => races::increment(&call, outparam),
            "skew" => races::skew(&call, outparam),
            "book" => races::book(&call, outparam),
            "commit" => transaction::commit(&call, outparam),
            "rollback" => transaction::rollback(&call, outparam),
            "sql" => sql::sql(&call, &request, outparam),
            "sql-script" => sql::sql_script(&request, outparam),
            "sql-slow" => sql::sql_slow(&call, outparam),

            _ => answer::text(outparam, 404, "probe has no such path\n"),
        }
    }
}
