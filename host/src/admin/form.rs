//! The form of a request, which is as strict here as on the public listener: who sends it may be
//! behind something that reads it otherwise.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use axum::http::{Response, StatusCode, Version};
use axum::middleware::Next;

use crate::http::request;
use crate::http::response;
use crate::invocation::ResponseBody;

/// Answers a request that is none, or one about the host; lets others through.
pub(super) async fn check(request: Request, next: Next) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    // What follows a chunked body need not be where its client believes (`http::arriving`).
    let is_http_1 = head.version < Version::HTTP_2;
    let mut closes = is_http_1 && head.headers.contains_key(TRANSFER_ENCODING);
    let mut response = match request::check(&mut head) {
        Err(problem) => {
            // The client may hold its body back, and then may not send it at all.
            closes |= is_http_1 && problem.status() == StatusCode::EXPECTATION_FAILED;
            whole(problem.into_response())
        }
        Ok(()) if request::is_about_host(&head) => whole(response::options()),
        Ok(()) => next.run(Request::from_parts(head, body)).await,
    };
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn whole(response: Response<ResponseBody>) -> Response<Body> {
    response.map(Body::new)
}
