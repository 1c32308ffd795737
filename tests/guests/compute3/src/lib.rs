//! Computes for as long as it is told to, then answers what it came to (`wasi:http` 0.3).

#[path = "../../compute/src/target.rs"]
mod target;
#[path = "../../compute/src/work.rs"]
mod work;

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

struct Compute;

wasip3::http::service::export!(Compute);

impl wasip3::exports::http::handler::Guest for Compute {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let came_to = target::of_target(&request.get_path_with_query().unwrap_or_default());
        let (mut body, body_reader) = wit_stream::new();
        let (_, no_trailers) = wit_future::new(|| Ok(None));
        wasip3::spawn_local(async move {
            // What a client that went away leaves unread is lost, and rightly.
            let _unread = body.write_all(format!("{came_to}\n").into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(body_reader), no_trailers).0)
    }
}
