//! `hotdock events`, against a host that runs.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::{SUBSCRIPTION, consumer_as, hopeless, until};
use crate::deploy::operator::hotdock;
use crate::events::{event, publish, until_value, value};
use crate::harness::{Host, eventually};

/// What fails waits for an hour.
const MANIFEST: &str = "[[subscribe]]\ntype = \"test.>\"\nfrom = \"beginning\"\nattempts = 2\n\
    when-failed = \"park\"\nbackoff = { first = \"1h\", max = \"1h\" }\n";

/// What it prints, and its exit code.
fn events(host: &Host, arguments: &[&str]) -> (String, Option<i32>) {
    let output = hotdock(host, &[&["events"], arguments].concat());
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).expect("text"), output.status.code())
}

fn done(host: &Host, arguments: &[&str]) -> String {
    let (said, code) = events(host, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON on each line")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_shown_however_deep_it_is() {
    let host = consumer_as(MANIFEST).await;
    let deep = format!("{}0{}", "[".repeat(100), "]".repeat(100));
    let request = Request::post(host.admin_url("/events"))
        .header("ce-specversion", "1.0")
        .header("ce-id", "1")
        .header("ce-source", "/tests")
        .header("ce-type", "test.steps")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(deep.clone())));
    let taken = host.send(request.expect("a request")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
    for json in [&[][..], &["--json"][..]] {
        let shown = done(&host, &[&["dead", "show", "consumer/1"], json].concat());
        assert!(shown.replace(char::is_whitespace, "").contains(&deep), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_and_decides_by_command_line() {
    let host = consumer_as(MANIFEST).await;
    let fails = json!([{"do": "fail", "times": 1}, {"do": "count", "key": "n"}]);
    publish(&host, json!([hopeless("a"), event("b", fails), event("b", json!([]))])).await;
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
    until(&host, SUBSCRIPTION, "held", json!(2)).await;
    until(&host, SUBSCRIPTION, "in_flight", json!(0)).await;

    let table = done(&host, &["subscriptions"]);
    let row: Vec<&str> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..7], ["consumer/test.>", "running", "3", "0", "2", "1", "2"], "{table}");
    let status = json_lines(&done(&host, &["subscriptions", "--json"]));
    assert_eq!((status.len(), &status[0]["held"]), (1, &json!(2)));

    let of = ["-s", "consumer/test.>"];
    let held = done(&host, &[&["held"][..], &of].concat());
    assert!(held.contains("attempt 1 fails") && held.contains("in its turn"), "{held}");
    let held = json_lines(&done(&host, &[&["held", "--json"][..], &of].concat()));
    assert_eq!((held.len(), &held[0]["position"]), (2, &json!(2)));

    let list = done(&host, &["dead", "list"]);
    assert!(list.contains("consumer/1 ") && list.contains("rejected: hopeless"), "{list}");
    let shown = done(&host, &["dead", "show", "consumer/1"]);
    assert!(shown.contains("rejected: hopeless") && shown.contains("\"test.steps\""), "{shown}");
    let shown = json_lines(&done(&host, &["dead", "show", "consumer/1", "--json"]));
    assert_eq!(shown[0]["event"]["type"], "test.steps");
    let retried = json_lines(&done(&host, &["dead", "retry", "consumer/1", "--json"]));
    assert_eq!(retried, [json!({"id": "consumer/1", "subscription": "consumer/test.>"})]);
    until(&host, SUBSCRIPTION, "given_up", json!(2)).await;
    let dropped = json_lines(&done(&host, &["dead", "drop", "consumer/2", "--json"]));
    assert_eq!(dropped, [json!({"id": "consumer/2"})]);
    assert_eq!(done(&host, &["dead", "list"]), "there are no dead letters\n");
    assert_eq!(done(&host, &["dead", "list", "--json"]), "");

    for (what, position) in [("skip", "3"), ("retry", "2")] {
        let told = done(&host, &[&[what, position, "--json"][..], &of].concat());
        let position: u64 = position.parse().expect("a number");
        let expected = json!({"subscription": "consumer/test.>", "position": position});
        assert_eq!(json_lines(&told), [expected], "{what}");
    }
    until(&host, SUBSCRIPTION, "parked", json!(0)).await;
    assert_eq!(value(&host, "counts", "n").await, None, "it fails at each first attempt");
    let resumed = json_lines(&done(&host, &[&["resume", "--json"][..], &of].concat()));
    assert_eq!(resumed[0]["subscription"], "consumer/test.>", "{resumed:?}");
    assert!(resumed[0]["was_paused"].is_boolean(), "{resumed:?}");
    eventually("it is delivered at once", async || {
        (value(&host, "counts", "n").await.as_deref() == Some("1")).then_some(())
    })
    .await;

    let said = done(&host, &[&["replay", "--from", "3"][..], &of].concat());
    assert!(said.starts_with("consumer/test.>@") && said.ends_with(": from 3 to 3\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_a_trap_is_all_that_a_table_has_of_it() {
    let host = consumer_as(&MANIFEST.replace("attempts = 2", "attempts = 1")).await;
    publish(&host, json!([event("a", json!([{"do": "trap"}]))])).await;
    until(&host, SUBSCRIPTION, "held", json!(1)).await;
    let of = ["-s", "consumer/test.>"];
    for table in [vec!["held", of[0], of[1]], vec!["subscriptions"]] {
        let shown = done(&host, &table);
        assert!(shown.contains("wasm trap: ") && !shown.contains("backtrace"), "{shown}");
    }
    let held = json_lines(&done(&host, &["held", "--json", of[0], of[1]]));
    let reason = held[0]["reason"].as_str().expect("a reason");
    let (first, place) = reason.split_once('\n').expect("where it was, behind the cause");
    assert!(first.contains("wasm trap: ") && place.contains("wasm backtrace:"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_did_is_in_the_log() {
    let host = consumer_as(MANIFEST).await;
    publish(&host, json!([hopeless("a"), hopeless("b")])).await;
    until(&host, SUBSCRIPTION, "dead", json!(2)).await;
    done(&host, &["dead", "retry", "consumer/1"]);
    done(&host, &["dead", "drop", "consumer/2"]);
    let said = done(&host, &["resume", "-s", "consumer/test.>"]);
    assert!(said.contains("it was not paused"), "{said}");
    done(&host, &["replay", "--from", "1", "-s", "consumer/test.>"]);
    for line in [
        "dead letter consumer/1 is delivered again",
        "dead letter consumer/2 is dropped",
        "resumed, though it was not paused",
        "replays up to position 2",
    ] {
        host.until_logged(line).await;
        let log = host.log();
        let logged = log.lines().find(|logged| logged.contains(line)).expect("it is there");
        assert!(logged.contains("\"service\":\"consumer\""), "{logged}");
        assert!(logged.contains("\"who\":"), "{logged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_scripts_what_was_wrong() {
    let host = consumer_as(MANIFEST).await;
    for (arguments, code, says) in [
        (vec!["dead", "show", "consumer/9"], 6, "no dead letter consumer/9"),
        (vec!["resume", "-s", "consumer/absent"], 6, "no subscription consumer/absent"),
        (vec!["drop", "--json", "-s", "consumer/absent"], 6, "no subscription consumer/absent"),
        (vec!["skip", "1", "-s", "consumer/test.>"], 5, "no event waits"),
        (vec!["tail", "--type", "a..b"], 3, "type"),
        (vec!["replay", "--from", "noon", "-s", "consumer/test.>"], 2, "--from"),
        (vec!["held"], 2, "--subscription"),
        (vec!["subscriptions", "--admin", "127.0.0.1:1"], 1, "127.0.0.1:1"),
    ] {
        let (said, found) = events(&host, &arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let (help, _) = events(&host, &["--help"]);
    assert!(help.contains("Exit codes:") && help.contains("6  there is no such"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_the_newest_and_follows() {
    let host = consumer_as(MANIFEST).await;
    let step = |key: &str| json!([{"do": "count", "key": key}]);
    // A control sequence that JSON lets through as it is.
    let steps = json!([{"do": "log", "key": "l", "text": "\u{9b}2J"}]);
    let other = json!({"type": "test.other", "key": "k", "data": steps});
    publish(&host, json!([event("k", step("n")), other, event("k", step("n"))])).await;
    until_value(&host, "counts", "n", "2").await;
    let shown = done(&host, &["tail"]);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(shown.contains("test.other") && !shown.contains('\u{9b}'), "{shown}");
    assert_eq!(done(&host, &["tail", "-n", "1"]).trim_start().chars().next(), Some('3'));
    assert_eq!(done(&host, &["tail", "-n", "0"]), "");
    assert_eq!(done(&host, &["tail", "--after", "0", "-n", "2"]).lines().count(), 2);
    let found = json_lines(&done(&host, &["tail", "--type", "*.other", "--json"]));
    assert_eq!((found.len(), &found[0]["position"]), (1, &json!(2)));

    let mut tail = Command::new(env!("CARGO_BIN_EXE_hotdock"))
        .args(["events", "tail", "--follow", "--json", "-n", "1"])
        .env("HOTDOCK_ADMIN", host.admin_url(""))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("its output")).lines();
    let mut position = || {
        let line = lines.next().expect("a line").expect("a line");
        serde_json::from_str::<Value>(&line).expect("JSON")["position"].clone()
    };
    assert_eq!(position(), 3);
    publish(&host, json!([event("k", step("n"))])).await;
    assert_eq!(position(), 4);
    publish(&host, json!([event("k", step("n"))])).await;
    assert_eq!(position(), 5);
    tail.kill().expect("killed");
    tail.wait().expect("its end");
}
