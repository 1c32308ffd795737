//! What the greeters answer.

use hotdock_sdk::http::header::ACCEPT;
use hotdock_sdk::http::{HeaderValue, Method, Request, Response, StatusCode, json};
use hotdock_sdk::problem::Problem;
use serde_json::json as object;

pub fn answer(request: &Request) -> Result<Response, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let mut response = Response::new(b"Hello, world! VERSION-00000001\n".to_vec());
            let version = HeaderValue::from_static("VERSION-00000001");
            response.headers_mut().insert("x-version", version);
            Ok(response)
        }
        Method::POST => Ok(Response::new(request.body()?.to_vec())),
        Method::PUT => see(request),
        Method::DELETE => panic!("the greeter was asked to trap"),
        Method::PATCH => {
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::EARLY_HINTS;
            Ok(response)
        }
        ref method => Err(Problem::method_not_allowed(method, "GET, HEAD, POST, PUT")),
    }
}

fn see(request: &Request) -> Result<Response, Problem> {
    let accepted = request.headers().get_all(ACCEPT).iter();
    let accepted: Vec<_> =
        accepted.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    json(&object!({
        "path": request.path(),
        "target": request.uri().to_string(),
        "name": request.query().get("name")?,
        "accept": accepted,
        "agent": request.header("x-agent").map(HeaderValue::as_bytes),
        "bytes": request.body()?.len(),
    }))
}
