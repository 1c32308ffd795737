//! Answers hello and its version (`wasi:http` 0.3).
//!
//! Tests patch `VERSION` in the built component to make another version of the same service, so
//! its bytes occur there exactly once: they are only ever read through a volatile pointer, which
//! keeps the compiler from copying them into other constants.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

#[used]
static VERSION: [u8; 16] = *b"VERSION-00000001";

struct Hello;

wasip3::http::service::export!(Hello);

impl wasip3::exports::http::handler::Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let version = version();
        let headers = Fields::new();
        headers.append("x-version", version.as_bytes()).expect("a version is a valid header value");
        let (mut body, body_reader) = wit_stream::new();
        let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
        wasip3::spawn_local(async move {
            body.write_all(format!("Hello, world! {version}\n").into_bytes()).await;
            drop(body);
            // A host that no longer wants trailers is no error.
            let _ = trailers.write(Ok(None)).await;
        });
        Ok(Response::new(headers, Some(body_reader), trailers_reader).0)
    }
}

fn version() -> String {
    // SAFETY: a reference to an initialized static is valid to read from.
    let bytes = unsafe { std::ptr::read_volatile(&raw const VERSION) };
    String::from_utf8_lossy(&bytes).into_owned()
}
