//! `/relay?url=`: sends the request's body on by the request's method and answers as it is
//! answered; both bodies are handed on without being read.

use crate::answer;
use crate::call::Call;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_future;

pub async fn relay(call: &Call, request: Request) -> Response {
    match relayed(call.text("url"), request).await {
        Ok(response) => response,
        Err(error) => answer::json(Err(error)),
    }
}

async fn relayed(url: &str, request: Request) -> Result<Response, ErrorCode> {
    let method = request.get_method();
    // Dropping the writer's end of a future leaves its default.
    let (_, handled) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, handled);
    let (outgoing, _sent) = Request::new(Fields::new(), Some(body), trailers, None);
    let (scheme, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some((_, rest)) => (Scheme::Http, rest),
        None => (Scheme::Http, url),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    outgoing
        .set_scheme(Some(&scheme))
        .and_then(|()| outgoing.set_method(&method))
        .and_then(|()| outgoing.set_authority(Some(authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(path)))
        .map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let answered = client::send(outgoing).await?;
    let status = answered.get_status_code();
    let (_, handled) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(answered, handled);
    let headers = answer::headers("application/octet-stream");
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    response.set_status_code(status).map_err(|()| ErrorCode::HttpProtocolError)?;
    Ok(response)
}
