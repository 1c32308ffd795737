//! A service's entry point for requests.

use ::http::Response;
use wasip2::http::types as wasi;

use super::{Request, host, whole};
use crate::problem::Problem;
use crate::whole_requests::exports::hotdock::http::handler;

/// Makes a function the service's handler of requests:
///
/// ```ignore
/// fn answer(request: &Request) -> Result<Response<Vec<u8>>, Problem> {
///     match request.path() {
///         "/hello" => json(&"Hello!"),
///         path => Err(Problem::not_found(format!("there is nothing at {path}"))),
///     }
/// }
///
/// hotdock_sdk::http_handler!(answer);
/// ```
///
/// It looks at the [`Request`](crate::http::Request) as it likes, and its answer is whole, an
/// [`Answer`](crate::http::Answer). A service that awaits something, or streams, takes `wstd`
/// instead.
///
/// The component exports `hotdock:http/handler`, by which Hotdock calls it, and
/// `wasi:http/incoming-handler` 0.2 for every other host;
/// [`wasi_http_handler!`](crate::wasi_http_handler) makes the latter alone. To be used once,
/// where the component's other entry points are.
#[macro_export]
macro_rules! http_handler {
    ($handler:path) => {
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
    ($handler:path) => {
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
    };
}

pub use ::wasip2 as bindings;
pub use wasi::{IncomingRequest, ResponseOutparam};
pub use wasip2::exports::http::incoming_handler::Guest;
pub use wasip2::http::proxy::export;

/// What a handler may return: an answer, or a problem in its place.
pub trait Answer {
    /// What is sent.
    fn into_response(self) -> Response<Vec<u8>>;
}

impl Answer for Response<Vec<u8>> {
    fn into_response(self) -> Response<Vec<u8>> {
        self
    }
}

impl Answer for Result<Response<Vec<u8>>, Problem> {
    fn into_response(self) -> Response<Vec<u8>> {
        self.unwrap_or_else(Problem::into_response)
    }
}

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
