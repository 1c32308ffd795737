//! `If-Match` and `If-None-Match` of what has no entity tag (RFC 9110 §13.1).

use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use super::{SUBSCRIPTION, delete, get, hopeless, refused, until};
use crate::events::{consumer, publish};
use crate::harness::Client;

#[tokio::test]
async fn what_has_no_entity_tag_is_changed_by_nobody_who_names_one() {
    let host = consumer("").await;
    publish(&host, json!([hopeless("a"), hopeless("b")])).await;
    until(&host, SUBSCRIPTION, "dead", json!(2)).await;
    for (letter, client) in [(1, Client::new()), (2, Client::h2c())] {
        let ask = async |method: &Method, path: &str, name: &str, value: &str| {
            let request = Request::builder().method(method).uri(host.admin_url(path));
            let request = request.header(name, value).body(Full::default());
            client.send(request.expect("a request")).await.expect("an answer")
        };
        let letter = format!("/v1/dead-letters/consumer/{letter}");
        let changes = [
            (Method::DELETE, letter.clone()),
            (Method::POST, format!("{letter}/retry")),
            (Method::DELETE, SUBSCRIPTION.to_owned()),
            (Method::POST, format!("{SUBSCRIPTION}/resume")),
            (Method::POST, format!("{SUBSCRIPTION}/replay")),
            (Method::POST, format!("{SUBSCRIPTION}/retry")),
            (Method::POST, format!("{SUBSCRIPTION}/skip")),
            (Method::POST, "/events".to_owned()),
        ];
        for (method, path) in &changes {
            for (name, value) in
                [("if-match", "\"1\""), ("if-match", "W/\"1\", \"2\""), ("if-none-match", "*")]
            {
                refused(&ask(method, path, name, value).await, 412, "no entity tag");
            }
            for name in ["if-match", "if-none-match"] {
                let wrong = ask(method, path, name, "1").await;
                refused(&wrong, 400, "neither * nor entity tags");
            }
        }
        for path in [
            letter.as_str(),
            SUBSCRIPTION,
            "/v1/dead-letters",
            "/v1/events",
            "/v1/subscriptions",
            "/v1/services",
            "/v1/services/consumer/versions",
            "/v1/deployments",
            "/healthz",
        ] {
            let get = &Method::GET;
            refused(&ask(get, path, "if-match", "\"1\"").await, 412, "no entity tag");
            let wrong = ask(get, path, "if-none-match", "1").await;
            refused(&wrong, 400, "neither * nor entity tags");
            for (name, value) in [("if-match", "*"), ("if-none-match", "\"1\"")] {
                assert_eq!(ask(get, path, name, value).await.status, 200, "{path}: {name}");
            }
            // It is there (RFC 9110 §13.1.2).
            for method in [Method::GET, Method::HEAD] {
                let known = ask(&method, path, "if-none-match", "*").await;
                let length = known.headers.get("content-length");
                assert_eq!((known.status.as_u16(), length), (304, None), "{path}: {known:?}");
                assert!(known.body.is_empty(), "{path}: {known:?}");
            }
        }
        // What is not there is said first.
        for (name, value) in [("if-match", "\"1\""), ("if-match", "*"), ("if-none-match", "*")] {
            let absent = "/v1/dead-letters/consumer/99";
            refused(&ask(&Method::DELETE, absent, name, value).await, 404, "consumer/99");
            let absent = "/v1/subscriptions/consumer/absent/resume";
            refused(&ask(&Method::POST, absent, name, value).await, 404, "consumer/absent");
            let wrong = ask(&Method::PATCH, "/v1/services", name, value).await;
            refused(&wrong, 405, "does not answer PATCH");
        }
        assert_eq!(get(&host, &letter).await.status, 200, "nothing was done");
        let (name, value) =
            if letter.ends_with('1') { ("if-match", "*") } else { ("if-none-match", "\"1\"") };
        assert_eq!(ask(&Method::DELETE, &letter, name, value).await.status, 204, "{name}");
        refused(&delete(&host, &letter).await, 404, &letter["/v1/dead-letters/".len()..]);
    }
}
