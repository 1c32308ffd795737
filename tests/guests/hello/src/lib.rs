//! Answers hello and its version, and a body with the same body (`wasi:http` 0.2).
//!
//! Tests patch `VERSION` in the built component to make another version of the same service, so
//! its bytes occur there exactly once: they are only ever read through a volatile pointer, which
//! keeps the compiler from copying them into other constants.

use wstd::http::{Body, Error, Method, Request, Response};

#[used]
static VERSION: [u8; 16] = *b"VERSION-00000001";

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    if request.method() == Method::POST {
        return Ok(Response::new(request.into_body()));
    }
    let version = version();
    let body = format!("Hello, world! {version}\n");
    Ok(Response::builder().header("x-version", version).body(body.into())?)
}

fn version() -> String {
    // SAFETY: a reference to an initialized static is valid to read from.
    let bytes = unsafe { std::ptr::read_volatile(&raw const VERSION) };
    String::from_utf8_lossy(&bytes).into_owned()
}
