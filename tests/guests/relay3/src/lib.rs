//! Calls the asynchronous functions of `callee3`, and a plain one of `callee`.
//!
//! ```text
//! /relay3/sum        a sum by each of them, as [asynchronous, plain]
//! /relay3/together   eight calls at once, each of which counts one after some milliseconds: what
//!                    they came to
//! /relay3/given-up   gives a call up that would take an hour: `given up`
//! ```

use std::future::poll_fn;
use std::task::Poll;

use serde_json::{Value, json};
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

struct Relay;

mod bindings {
    wit_bindgen::generate!({ path: "../callee/wit", world: "relay3" });
}

use bindings::test::calls::{patient, work};

wasip3::http::service::export!(Relay);

impl wasip3::exports::http::handler::Guest for Relay {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        Ok(match path.as_str() {
            "/relay3/sum" => answer(200, &json!([patient::sum(1, 2, 1).await, work::add(3, 4)])),
            "/relay3/together" => answer(200, &together().await),
            "/relay3/given-up" => answer(200, &given_up().await),
            _ => answer(404, &Value::Null),
        })
    }
}

/// All of them have begun before the first is waited for.
async fn together() -> Value {
    let count = |ms| Box::pin(patient::count("together".to_owned(), 1, ms));
    let mut calls: Vec<_> = [8, 1, 4, 2, 6, 3, 7, 5].map(count).into();
    let mut counted = Vec::new();
    poll_fn(|context| {
        calls.retain_mut(|call| match call.as_mut().poll(context) {
            Poll::Ready(result) => {
                counted.push(json!(result.unwrap_or_default()));
                false
            }
            Poll::Pending => true,
        });
        if calls.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Value::Array(counted)
}

async fn given_up() -> Value {
    {
        let mut call = std::pin::pin!(patient::sum(1, 2, 3_600_000));
        let mut pause = std::pin::pin!(monotonic_clock::wait_for(1_000_000));
        poll_fn(|context| {
            assert!(call.as_mut().poll(context).is_pending(), "it takes an hour");
            pause.as_mut().poll(context)
        })
        .await;
    }
    json!("given up")
}

fn answer(status: u16, value: &Value) -> Response {
    let headers = Fields::new();
    let json = b"application/json";
    headers.append("content-type", json).expect("a content type is a valid header");
    let (mut body, reader) = wit_stream::new();
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let text = value.to_string().into_bytes();
    wasip3::spawn_local(async move {
        // A client that has left reads no more.
        body.write_all(text).await;
    });
    let (response, _) = Response::new(headers, Some(reader), no_trailers);
    response.set_status_code(status).expect("a status");
    response
}
