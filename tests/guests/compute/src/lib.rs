//! Computes for as long as it is told to, then answers what it came to (`hotdock:http`).
//!
//! ```text
//! GET <any>?rounds=   so many rounds of work
//! ```

mod target;
mod work;

use hotdock_sdk::http::{Request, Response};

fn answer(request: &Request) -> Response {
    let came_to = target::of_target(&request.uri().to_string());
    Response::new(format!("{came_to}\n").into_bytes())
}

hotdock_sdk::http_handler!(answer);
