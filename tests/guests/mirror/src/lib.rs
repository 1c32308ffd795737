//! Answers with what it sees of a request, as JSON, whatever the path.
//!
//! ```text
//! ?code=    with this status
//! ```

use hotdock_sdk::http::{Request, Response, StatusCode, json};
use hotdock_sdk::problem::Problem;

hotdock_sdk::http_handler!(answer);

fn answer(request: &Request) -> Result<Response, Problem> {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let seen = serde_json::json!({
        "method": request.method().as_str(),
        "path_with_query": request.uri().path_and_query().map(|target| target.as_str()),
        "headers": headers,
        "body": String::from_utf8_lossy(request.body()?),
    });
    let mut response = json(&seen)?;
    if let Some(code) = request.query().integer("code", &(200..=599))? {
        let code = u16::try_from(code).expect("it is in range");
        *response.status_mut() = StatusCode::from_u16(code).expect("it is in range");
    }
    Ok(response)
}
