//! The documentation's commands run as they are written, and what it says of the code is so.

pub(crate) mod pages;
mod promises;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::pages::{Step, steps};
use crate::harness::{Host, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn the_walkthroughs_of_requests_and_events_run_as_written() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no curl");
        return;
    }
    let host = Host::builder().plugin("cart").plugin("order").start().await;
    let mut steps = steps(&pages::read("docs/requests.md"));
    let events = pages::read("docs/events.md");
    let (first, _) = events.split_once("## Operating events").expect("the heading");
    steps.extend(self::steps(first));
    assert!(steps.len() >= 9, "the pages have {} commands there", steps.len());
    for Step { command, output } in steps {
        let command = command
            .replace("localhost:8080", &host.address.to_string())
            .replace("localhost:8081", &host.admin.to_string());
        // What an event brings about is there a moment later.
        let reads = !command.contains("-X ");
        let end = Instant::now() + PATIENCE;
        loop {
            let got = run(&command);
            if matches(&got, &output) {
                break;
            }
            let over = !reads || Instant::now() >= end;
            assert!(!over, "{command}\ngives: {got}\nthe page says: {output}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn run(command: &str) -> String {
    let run = Command::new("bash").args(["-c", command]).stderr(Stdio::null()).output();
    String::from_utf8(run.expect("bash").stdout).expect("text")
}

/// Whether it came out, where `…` stands for anything.
fn matches(got: &str, said: &str) -> bool {
    let mut rest = got.trim_end();
    for (index, part) in said.trim_end().split('…').enumerate() {
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(at) if index > 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || said.trim_end().ends_with('…')
}
