//! Computes for as long as it is told to, then answers what it came to (`wasi:http` 0.2).

#[path = "../../compute/src/target.rs"]
mod target;
#[path = "../../compute/src/work.rs"]
mod work;

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let came_to = target::of_target(&request.uri().to_string());
    Ok(Response::new(format!("{came_to}\n").into()))
}
