//! A service's entry point for requests.

use ::http::Response;
use wasip2::http::types as wasi;

use super::{Request, host};
use crate::problem::Problem;

/// Makes a function the service's handler of requests (`wasi:http/incoming-handler` 0.2):
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
/// The function is called once it is known what is asked for, and looks at the rest of the
/// [`Request`](crate::http::Request) as it likes; its answer is whole, an
/// [`Answer`](crate::http::Answer). A service that awaits something, or streams, takes `wstd`
/// instead.
///
/// To be used once, where the component's other entry points are.
#[macro_export]
macro_rules! http_handler {
    ($handle:path) => {
        const _: () = {
            struct Service;

            impl $crate::http::entry::Guest for Service {
                fn handle(
                    request: $crate::http::entry::IncomingRequest,
                    out: $crate::http::entry::ResponseOutparam,
                ) {
                    $crate::http::entry::handle(request, out, $handle);
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

/// For [`http_handler!`] only.
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
