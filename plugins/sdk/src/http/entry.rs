//! A service's entry point for requests.

use wasip2::http::types as wasi;

use super::{Answer, Request, host, whole};
use crate::whole_requests::exports::hotdock::http::handler;

/// Makes a function, or routes to functions, the service's handler of requests:
///
/// ```
/// use hotdock_sdk::http::{Request, Response, json};
/// use hotdock_sdk::problem::Problem;
///
/// hotdock_sdk::http_handler! {
///     "/hello" => { GET: hello },
///     "/hello/{name}" => { GET: hello_to },
/// }
///
/// fn hello() -> &'static str {
///     "Hello!"
/// }
///
/// fn hello_to(request: &Request, name: String) -> Result<Response, Problem> {
///     let times: i64 = request.query().optional("times")?.unwrap_or(1);
///     json(&format!("Hello {name}, {times} times!"))
/// }
/// ```
///
/// [`routes!`](crate::routes) says what routes are. A single function looks at the
/// [`Request`](crate::http::Request) as it likes, and its answer is whole, an
/// [`Answer`](crate::http::Answer):
///
/// ```
/// # use hotdock_sdk::http::Request;
/// fn answer(request: &Request) -> String {
///     format!("This is {}.", request.path())
/// }
///
/// hotdock_sdk::http_handler!(answer);
/// ```
///
/// A service that awaits something, or streams, takes `wstd` instead.
///
/// The component exports `hotdock:http/handler`, by which Hotdock calls it, and
/// `wasi:http/incoming-handler` 0.2 for every other host;
/// [`wasi_http_handler!`](crate::wasi_http_handler) makes the latter alone. Elsewhere than in
/// WebAssembly, where tests run, nothing is exported. To be used once.
#[macro_export]
macro_rules! http_handler {
    ($pattern:literal $($routes:tt)+) => {
        const _: () = {
            fn answer(request: &$crate::http::Request) -> $crate::http::Response {
                $crate::routes!(request, { $pattern $($routes)+ })
            }

            $crate::http_handler!(answer);
        };
    };
    ($handler:path) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Service;

            impl $crate::whole_requests::exports::hotdock::http::handler::Guest for Service {
                fn handle(
                    request: $crate::whole_requests::exports::hotdock::http::handler::Request,
                ) -> $crate::whole_requests::exports::hotdock::http::handler::Response {
                    $crate::http::entry::handle_whole(request, $handler)
                }
            }

            $crate::whole_requests::export_whole_requests!(
                Service with_types_in $crate::whole_requests
            );
        };

        $crate::wasi_http_handler!($handler);
    };
}

/// As [`http_handler!`](crate::http_handler), but Hotdock, too, calls it by
/// `wasi:http/incoming-handler` 0.2.
#[macro_export]
macro_rules! wasi_http_handler {
    ($pattern:literal $($routes:tt)+) => {
        const _: () = {
            fn answer(request: &$crate::http::Request) -> $crate::http::Response {
                $crate::routes!(request, { $pattern $($routes)+ })
            }

            $crate::wasi_http_handler!(answer);
        };
    };
    ($handler:path) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Service;

            impl $crate::http::entry::Guest for Service {
                fn handle(
                    request: $crate::http::entry::IncomingRequest,
                    out: $crate::http::entry::ResponseOutparam,
                ) {
                    $crate::http::entry::handle(request, out, $handler);
                }
            }

            $crate::http::entry::export!(Service with_types_in $crate::http::entry::bindings);
        };

        // So that it is known to be used where tests run.
        #[cfg(not(target_family = "wasm"))]
        const _: fn(&$crate::http::Request) -> $crate::http::Response =
            |request| $crate::http::Answer::into_response($handler(request));
    };
}

pub use ::wasip2 as bindings;
pub use wasi::{IncomingRequest, ResponseOutparam};
pub use wasip2::exports::http::incoming_handler::Guest;
pub use wasip2::http::proxy::export;

/// For [`http_handler!`](crate::http_handler) only.
pub fn handle_whole<A: Answer>(
    request: handler::Request,
    handle: impl FnOnce(&Request) -> A,
) -> handler::Response {
    whole::response(handle(&Request::of_whole(request)).into_response())
}

/// For [`wasi_http_handler!`](crate::wasi_http_handler) only.
pub fn handle<A: Answer>(
    request: IncomingRequest,
    out: ResponseOutparam,
    handle: impl FnOnce(&Request) -> A,
) {
    let request = Request::of_host(request);
    let answer = handle(&request).into_response();
    match request.into_broken() {
        Some(broken) => host::give_up(out, broken),
        None => host::send(out, answer),
    }
}
