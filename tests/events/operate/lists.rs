//! Lists, and what is wrong with a request.

use http::Method;
use serde_json::{Value, json};

use super::{SUBSCRIPTION, consumer_as, get, hopeless, pages, refused, until};
use crate::deploy::operator::ask;
use crate::events::{consumer, event, publish, until_done};

#[tokio::test]
async fn events_page_without_gaps_or_repeats() {
    let host = consumer("").await;
    let events: Vec<Value> = (0..25)
        .map(|number| {
            let event_type = if number % 3 == 0 { "test.third" } else { "test.steps" };
            json!({"type": event_type, "key": "k", "data": []})
        })
        .collect();
    publish(&host, Value::Array(events)).await;
    until(&host, SUBSCRIPTION, "position", json!(25)).await;
    let positions = |found: Vec<Value>| -> Vec<u64> {
        found.iter().map(|position| position.as_u64().expect("a position")).collect()
    };
    for limit in [1, 7, 25, 1_000] {
        let found = pages(&host, "/v1/events?", "events", limit, "position").await;
        let all = get(&host, &format!("/v1/events?after=0&limit={limit}")).await.json();
        assert_eq!(all["last"], 25);
        assert_eq!(positions(found), (1..=25).collect::<Vec<_>>(), "{limit}");
        let path = "/v1/events?type=*.third&";
        let found = pages(&host, path, "events", limit, "position").await;
        assert_eq!(positions(found), (1..=25).step_by(3).collect::<Vec<_>>(), "{limit}");
    }
    // Without a beginning: the newest that fit.
    for (path, expected) in
        [("?limit=3", json!([23, 24, 25])), ("?limit=2&type=test.third", json!([22, 25]))]
    {
        let page = get(&host, &format!("/v1/events{path}")).await.json();
        let found: Vec<Value> = page["events"]
            .as_array()
            .expect("events")
            .iter()
            .map(|e| e["position"].clone())
            .collect();
        assert_eq!((json!(found), &page["next"]), (expected, &json!(25)), "{path}");
    }
}

#[tokio::test]
async fn a_query_that_is_wrong_is_refused_with_what_each_parameter_should_be() {
    let host = consumer("").await;
    for (path, told) in [
        (
            "/v1/events?after=x&limit=0",
            &[
                "after: must be a whole number from 0 on; found: `x`",
                "limit: must be a whole number from 1 to 1000; found: `0`",
            ][..],
        ),
        (
            "/v1/events?afer=1",
            &["`afer` is no parameter of this: there are `after`, `limit`, `type` and `wait`"],
        ),
        ("/v1/events?limit=1&limit=2", &["limit: it is said more than once"]),
        ("/v1/logs?level=loud", &["level: must be one of ", "found: `loud`"]),
        ("/v1/services?limit=1", &["`limit` is no parameter of this: there are none"]),
        ("/v1/services/consumer?x=1", &["`x` is no parameter of this"]),
        ("/v1/deployments?limit=1", &["`limit` is no parameter of this: there is `service`"]),
        ("/v1/notices?x", &["`x` is no parameter of this"]),
        ("/v1/openapi.json?x", &["`x` is no parameter of this"]),
        ("/v1/subscriptions/consumer/test.%3E/held?after=-1", &["after: must be a whole number"]),
    ] {
        let reply = get(&host, path).await;
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
        let detail = reply.json()["detail"].as_str().expect("a detail").to_owned();
        for told in told {
            assert!(detail.contains(told), "{path}: {detail}");
        }
    }
    let put = ask(&host, Method::PUT, "/v1/services/a?allow_breaking=yes&canry=1", json!(null));
    let detail = put.await.json()["detail"].to_string();
    assert!(detail.contains("allow_breaking: must be true or false; found: `yes`"), "{detail}");
    assert!(detail.contains("`canry` is no parameter of this: there are `allow_breaking`"));
    let skip = "/v1/subscriptions/consumer/test.%3E/skip";
    let skipped = ask(&host, Method::POST, skip, json!({"position": "x"})).await;
    assert_eq!(skipped.status, 400, "{skipped:?}");
    let detail = skipped.json()["detail"].to_string();
    assert!(detail.contains("position") && detail.contains("expected a whole number"), "{detail}");
    // Who probes or scrapes has parameters of its own.
    for path in ["/healthz?x=1", "/readyz?x=1", "/metrics?format=prometheus", "/v1/services?"] {
        assert_eq!(get(&host, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_other_lists_page_without_gaps_or_repeats() {
    let names = ["test.>", "a", "b"];
    let manifest: String = names
        .iter()
        .map(|name| {
            format!(
                "[[subscribe]]\ntype = \"test.>\"\nname = \"{name}\"\nfrom = \"beginning\"\n\
                 backoff = {{ first = \"1h\", max = \"1h\" }}\n"
            )
        })
        .collect();
    let host = consumer_as(&manifest).await;
    let waits = json!([{"do": "fail", "times": 1}]);
    let events = (0..7).map(|number| hopeless(&number.to_string()));
    let events = events.chain((0..7).map(|_| event("k", waits.clone())));
    publish(&host, Value::Array(events.collect())).await;
    for name in ["test.%3E", "a", "b"] {
        let path = format!("/v1/subscriptions/consumer/{name}");
        until(&host, &path, "dead", json!(7)).await;
        until(&host, &path, "held", json!(7)).await;
    }
    for limit in [1, 2, 3, 7, 1_000] {
        let path = "/v1/subscriptions?";
        let found = pages(&host, path, "subscriptions", limit, "name").await;
        assert_eq!(json!(found), json!(["consumer/a", "consumer/b", "consumer/test.>"]));
        let path = "/v1/dead-letters?";
        let found = pages(&host, path, "dead_letters", limit, "id").await;
        let all: Vec<String> = (1..=21).map(|number| format!("consumer/{number}")).collect();
        assert_eq!(json!(found), json!(all), "{limit}");
        let path = "/v1/dead-letters?subscription=consumer/b&";
        let found = pages(&host, path, "dead_letters", limit, "position").await;
        let mut found: Vec<u64> = found.iter().filter_map(Value::as_u64).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4, 5, 6, 7], "{limit}");
        let path = format!("{SUBSCRIPTION}/held?");
        let found = pages(&host, &path, "held", limit, "position").await;
        assert_eq!(json!(found), json!([8, 9, 10, 11, 12, 13, 14]), "{limit}");
    }
}

#[tokio::test]
async fn a_request_waits_for_the_next_event_and_not_for_the_host_to_stop() {
    let mut host = consumer("").await;
    until_done(&host, "k").await;
    let last = get(&host, "/v1/events").await.json()["last"].as_u64().expect("a position");
    let wait = |pattern: &str| {
        let url = host.admin_url(&format!("/v1/events?after={last}&wait=30&type={pattern}"));
        let client = host.client.clone();
        tokio::spawn(async move { client.try_request(Method::GET, &url, "").await })
    };
    let (waiting, in_vain) = (wait("test.wanted"), wait("test.never"));
    publish(&host, json!([event("k", json!([])), {"type": "test.wanted", "key": "k", "data": []}]))
        .await;
    let page = waiting.await.expect("no panic").expect("an answer").json();
    assert_eq!(page["events"][0]["event"]["type"], "test.wanted");
    assert_eq!(
        (&page["events"][0]["position"], &page["next"]),
        (&json!(last + 2), &json!(last + 2))
    );
    assert!(host.stop().await.success());
    let page = in_vain.await.expect("no panic").expect("an answer").json();
    assert_eq!((&page["events"], &page["next"]), (&json!([]), &json!(last + 2)));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_by_name() {
    let host = consumer("").await;
    let get = Method::GET;
    let post = Method::POST;
    let none = || Value::Null;
    for (method, path, body, status, says) in [
        (&get, "/v1/events?after=x", none(), 400, "after"),
        (&get, "/v1/events?limit=0", none(), 400, "limit"),
        (&get, "/v1/events?limit=1001", none(), 400, "limit"),
        (&get, "/v1/events?type=a..b", none(), 400, "type"),
        (&get, "/v1/events?wait=31", none(), 400, "wait"),
        (&get, "/v1/events?afer=1", none(), 400, "afer"),
        (&get, "/v1/subscriptions?limit=x", none(), 400, "limit"),
        (&get, "/v1/subscriptions/consumer/absent", none(), 404, "consumer/absent"),
        (&get, "/v1/subscriptions/consumer/absent/held", none(), 404, "consumer/absent"),
        (&get, "/v1/subscriptions/consumer/test.%3E/held?after=x", none(), 400, "after"),
        (&post, "/v1/subscriptions/consumer/test.%3E/skip", json!({}), 400, "position"),
        (
            &post,
            "/v1/subscriptions/consumer/test.%3E/skip",
            json!({"position": "x"}),
            400,
            "position",
        ),
        (&post, "/v1/subscriptions/consumer/test.%3E/retry", json!({"pos": 1}), 400, "pos"),
        (
            &post,
            "/v1/subscriptions/consumer/test.%3E/skip",
            json!({"position": 9}),
            409,
            "no event",
        ),
        (&post, "/v1/subscriptions/consumer/absent/resume", none(), 404, "consumer/absent"),
        (
            &post,
            "/v1/subscriptions/consumer/absent/replay",
            json!({"from": 1}),
            404,
            "consumer/absent",
        ),
        (&get, "/v1/dead-letters?service=No", none(), 400, "service"),
        (&get, "/v1/dead-letters?service=absent", none(), 404, "absent"),
        (&get, "/v1/dead-letters?subscription=x", none(), 400, "subscription"),
        (&get, "/v1/dead-letters?service=cart&subscription=order/x", none(), 400, "subscription"),
        (&get, "/v1/dead-letters?after=7", none(), 400, "after"),
        (&get, "/v1/dead-letters/consumer/7", none(), 404, "consumer/7"),
        (&get, "/v1/dead-letters/consumer/x", none(), 404, "consumer/x"),
        (&get, "/v1/dead-letters/absent/7", none(), 404, "absent"),
        (&post, "/v1/dead-letters/consumer/7/retry", none(), 404, "consumer/7"),
    ] {
        let reply = ask(&host, method.clone(), path, body).await;
        assert_eq!(reply.status.as_u16(), status, "{path}: {reply:?}");
        refused(&reply, status, says);
    }
}

#[tokio::test]
async fn metrics_tell_how_events_stand() {
    let host = consumer("").await;
    publish(&host, json!([event("k", json!([])), hopeless("k"), event("k", json!([]))])).await;
    until_done(&host, "k").await;
    let of = "service=\"consumer\",subscription=\"test.>\"";
    for (series, value) in [
        (format!("hotdock_deliveries_total{{{of},outcome=\"delivered\"}}"), 3),
        (format!("hotdock_deliveries_total{{{of},outcome=\"failed\"}}"), 1),
        (format!("hotdock_events_given_up_total{{{of}}}"), 1),
        (format!("hotdock_events_missed_total{{{of}}}"), 0),
        (format!("hotdock_subscription_lag{{{of}}}"), 0),
        (format!("hotdock_subscription_in_flight{{{of}}}"), 0),
        (format!("hotdock_subscription_held{{{of}}}"), 0),
        (format!("hotdock_subscription_state{{{of},state=\"running\"}}"), 1),
        (format!("hotdock_subscription_state{{{of},state=\"paused\"}}"), 0),
        (format!("hotdock_subscription_state{{{of},state=\"gone\"}}"), 0),
        ("hotdock_outbox_length{service=\"consumer\"}".to_owned(), 0),
        ("hotdock_bus_events".to_owned(), 4),
        ("hotdock_bus_first_position".to_owned(), 1),
        ("hotdock_bus_last_position".to_owned(), 4),
        ("hotdock_bus_full".to_owned(), 0),
    ] {
        host.until_metric(&series, value).await;
    }
    let metrics = host.metrics().await;
    let age = format!("hotdock_subscription_oldest_age_seconds{{{of}}} 0.0");
    assert!(metrics.contains(&age) && metrics.contains("hotdock_bus_bytes "), "{metrics}");
}

#[tokio::test]
async fn the_description_for_programs_has_every_endpoint() {
    let host = consumer("").await;
    let api = get(&host, "/v1/openapi.json").await.json();
    for (path, methods) in [
        ("/v1/events", vec!["get"]),
        ("/v1/subscriptions", vec!["get"]),
        ("/v1/subscriptions/{service}/{name}", vec!["get", "delete"]),
        ("/v1/subscriptions/{service}/{name}/held", vec!["get"]),
        ("/v1/subscriptions/{service}/{name}/skip", vec!["post"]),
        ("/v1/subscriptions/{service}/{name}/retry", vec!["post"]),
        ("/v1/subscriptions/{service}/{name}/resume", vec!["post"]),
        ("/v1/subscriptions/{service}/{name}/replay", vec!["post"]),
        ("/v1/dead-letters", vec!["get"]),
        ("/v1/dead-letters/{service}/{number}", vec!["get", "delete"]),
        ("/v1/dead-letters/{service}/{number}/retry", vec!["post"]),
        ("/v1/openapi.json", vec!["get"]),
    ] {
        for method in methods {
            assert!(api["paths"][path][method].is_object(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn lag_is_how_far_a_position_is_behind_the_newest_event() {
    let host = consumer("").await;
    let mut unwanted = event("k", json!([]));
    unwanted["type"] = json!("other.kind");
    publish(&host, json!([event("k", json!([])), unwanted])).await;
    // What nobody wants is passed at once, whenever the cursor on disk is moved.
    until(&host, SUBSCRIPTION, "position", json!(2)).await;
    let status = get(&host, SUBSCRIPTION).await.json();
    assert_eq!((&status["lag"], &status["oldest_age_ms"]), (&json!(0), &Value::Null), "{status}");
    let of = "service=\"consumer\",subscription=\"test.>\"";
    host.until_metric(&format!("hotdock_subscription_lag{{{of}}}"), 0).await;
}
