//! Computes for as long as it is told to, then answers what it came to (`hotdock:http`).
//!
//! ```text
//! GET <any>?rounds=   so many rounds of work
//! ```

mod target;
mod work;

use hotdock_sdk::http::Request;
use hotdock_sdk::problem::Problem;
use http::Response;

fn answer(request: &Request) -> Result<Response<Vec<u8>>, Problem> {
    let came_to = target::of_target(&request.uri().to_string());
    Ok(Response::new(format!("{came_to}\n").into_bytes()))
}

hotdock_sdk::http_handler!(crate::answer);
