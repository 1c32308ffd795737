//! The documentation's commands run as they are written.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Host, PATIENCE};

/// A command of a page, and what it says comes out.
struct Step {
    command: String,
    output: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walkthroughs_of_requests_and_events_run_as_written() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no curl");
        return;
    }
    let host = Host::builder().plugin("cart").plugin("order").start().await;
    let mut steps = steps("requests.md", "# Requests", None);
    steps.extend(self::steps("events.md", "## An event", Some("## Operating events")));
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

/// A page's commands after a heading and before another one, each with the lines that follow it.
fn steps(page: &str, from: &str, to: Option<&str>) -> Vec<Step> {
    let page = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/{}"), page);
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, section) = page.split_once(from).expect("the first heading");
    let section = to.map_or(section, |to| section.split_once(to).expect("the second heading").0);
    let blocks = section.split("```console\n").skip(1);
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines()) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { command: command.to_owned(), output: String::new() });
            }
            // A command that goes on.
            (None, Some(step)) if step.command.ends_with('\\') => {
                step.command.push('\n');
                step.command.push_str(line);
            }
            (None, Some(step)) => step.output.push_str(line),
            (None, None) => panic!("no command before {line}"),
        }
    }
    steps
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
