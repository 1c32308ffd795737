//! `hotdock bench-invoke`: every stage is there, for people and for programs.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::built;

/// Every stage, in the order in which it is printed.
const STAGES: [&str; 12] = [
    "route",
    "lease",
    "call-reused",
    "commit",
    "response",
    "instantiate",
    "call-fresh",
    "transaction-begin",
    "transaction-commit-read",
    "transaction-commit-write",
    "whole-reused",
    "whole-fresh",
];

fn bench(folder: &str, component: &str, arguments: &[&str]) -> Output {
    let file = built(folder, component).expect("a component: run `make plugins guests`");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    command.arg("bench-invoke").arg(file).args(["--requests", "20"]).args(arguments);
    command.output().expect("it runs")
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.is_empty(), "nothing is warned of: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it says for programs; each stage is in it.
fn measured(output: &Output) -> Value {
    let report: Value = serde_json::from_str(&text(output)).expect("JSON");
    let stages: Vec<_> = rows(&report).iter().map(|row| row["stage"].as_str()).collect();
    assert_eq!(stages, STAGES.map(Some));
    report
}

fn rows(report: &Value) -> &[Value] {
    report["rows"].as_array().expect("rows")
}

fn of(report: &Value, stage: &str, figure: &str) -> u64 {
    let row = rows(report).iter().find(|row| row["stage"] == stage).expect("the stage");
    row.pointer(figure).and_then(Value::as_u64).expect("the figure")
}

#[test]
fn people_read_what_each_stage_costs() {
    let text = text(&bench("test-guests", "hello.wasm", &[]));
    assert!(text.contains("GET /hello is answered 200"), "{text}");
    for stage in STAGES {
        assert!(text.lines().any(|line| line.starts_with(stage)), "{stage}: {text}");
    }
}

#[test]
fn programs_read_times_and_allocations_of_each_stage() {
    for guest in ["hello.wasm", "hello3.wasm"] {
        let report = measured(&bench("test-guests", guest, &["--json"]));
        assert_eq!((&report["status"], &report["requests"]), (&200.into(), &20.into()));
        for stage in STAGES {
            let spread = ["p10", "median", "p90"];
            let [p10, median, p90] =
                spread.map(|part| of(&report, stage, &format!("/nanoseconds/{part}")));
            assert!(p10 <= median && median <= p90 && median > 0, "{stage} of {guest}: {report}");
        }
        // What is known to ask for memory is counted, and what it asks for.
        for stage in ["call-reused", "instantiate", "whole-reused"] {
            assert!(of(&report, stage, "/allocations") > 0, "{stage} of {guest}: {report}");
            assert!(of(&report, stage, "/bytes") > 0, "{stage} of {guest}: {report}");
        }
    }
}

#[test]
fn a_body_is_posted_and_what_it_does_is_on_the_disk_before_its_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let body = folder.path().join("body");
    std::fs::write(&body, r#"{"user_id": 7, "product_id": 42, "quantity": 1}"#).expect("a body");
    let body = body.to_str().expect("text");
    let posted = measured(&bench("plugins", "cart.wasm", &["--json", "--body", body]));
    assert_eq!((&posted["request"], &posted["status"]), (&"POST /cart".into(), &200.into()));
    let shown = ["--json", "--path", "/cart?user_id=7"];
    let shown = measured(&bench("plugins", "cart.wasm", &shown));
    assert_eq!(shown["request"], "GET /cart?user_id=7");
    let commit = |report| of(report, "commit", "/allocations");
    assert!(commit(&posted) > commit(&shown), "a commit writes: {posted} {shown}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_reason() {
    let refused = |output: &Output| {
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let elsewhere = bench("test-guests", "hello.wasm", &["--path", "/elsewhere"]);
    assert!(refused(&elsewhere).contains("GET /elsewhere is answered 404"));
    let relative = bench("test-guests", "hello.wasm", &["--path", "elsewhere"]);
    assert!(refused(&relative).contains("a path begins with `/`"));
}

/// What `make instructions` has valgrind count.
#[test]
fn requests_are_asked_between_two_marks_without_a_word() {
    assert_eq!(text(&bench("test-guests", "hello.wasm", &["--count", "5"])), "");
    assert_eq!(text(&bench("test-guests", "hello3.wasm", &["--count", "5", "--fresh"])), "");
}
