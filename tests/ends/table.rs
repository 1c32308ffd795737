//! Kinds of guest × where they are when they answer × how they end × whether the client is
//! still there: whatever comes together, everything is given back.

use std::net::SocketAddr;

use http::Method;
use serde_json::json;

use super::{LONG, metric, until_all_is_back};
use crate::harness::client::Client;
use crate::harness::raw::Raw;
use crate::harness::{Host, eventually, migrations};

/// By its CPU time, but by no deadline that this waits for.
const BY_CPU: &str = "[limits]\ncpu = \"500ms\"\ndeadline = \"1h\"\n";
const BY_DEADLINE: &str = "[limits]\ncpu = \"10m\"\ndeadline = \"3s\"\nbody-idle = \"3s\"\n";
const BY_DRAIN: &str = "[limits]\ncpu = \"10m\"\ndeadline = \"1h\"\n[deploy]\ndrain = \"200ms\"\n";

/// Those that take requests: `hotdock:http`, `wasi:http` 0.2 and 0.3.
const SERVICES: [&str; 3] = ["consumer", "probe", "probe3"];

/// One row: what a guest is asked for.
#[derive(Clone, Copy, Debug)]
struct Row {
    service: &'static str,
    /// How much it computes before its answer: nothing, or enough for the slow lane.
    rounds: u64,
    /// Whether it does what it does then before the end of its body.
    open: bool,
    then: &'static str,
}

/// What a client sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Whole,
    /// The host's own answer, or none that is whole.
    Failed,
}

impl Row {
    fn all(thens: &[&'static str]) -> Vec<Self> {
        let mut rows = Vec::new();
        for service in SERVICES {
            for rounds in [0, LONG] {
                for open in [false, true] {
                    for &then in thens {
                        // One that is taken whole has no body that is open.
                        if !(service == "consumer" && open) {
                            rows.push(Self { service, rounds, open, then });
                        }
                    }
                }
            }
        }
        rows
    }

    fn path(&self) -> String {
        let Self { service, rounds, open, then } = self;
        let body = if *open { "open" } else { "" };
        format!("/{service}/end?rounds={rounds}&then={then}&body={body}")
    }

    /// What its client may see.
    fn may_be(&self, seen: &Seen) -> bool {
        let ends_well = matches!(self.then, "" | "compute");
        match self.service {
            // It has ended when it answers.
            "consumer" => (*seen == Seen::Whole) == ends_well,
            // A body whose writer is dropped has no end by 0.2, and has one by 0.3.
            "probe" if self.open => *seen == Seen::Failed,
            _ if ends_well => *seen == Seen::Whole,
            _ if self.open => *seen == Seen::Failed,
            // It may be on its way already, or else be cut off.
            _ => true,
        }
    }

    /// Whether it is the service's error.
    fn is_error(&self) -> bool {
        !matches!(self.then, "" | "compute") || (self.service == "probe" && self.open)
    }
}

async fn host(limits: &str) -> Host {
    let builder = Host::builder().plugin_with("consumer", limits).plugin_with("probe", limits);
    builder.plugin_with("probe3", limits).plugin_with("consumer3", limits).start().await
}

async fn seen(client: &Client, host: &Host, row: &Row) -> Seen {
    match client.try_request(Method::GET, &host.url(&row.path()), "").await {
        Ok(reply) if reply.status == 200 => {
            assert_eq!(reply.text(), "ended\n", "{row:?}");
            Seen::Whole
        }
        Ok(_) | Err(_) => Seen::Failed,
    }
}

/// Asks for all rows by HTTP/1.1 and HTTP/2, and counts what is to be an error.
async fn ask_all(host: &Host, rows: &[Row]) {
    for client in [Client::new(), Client::h2c()] {
        for row in rows {
            let seen = seen(&client, host, row).await;
            assert!(row.may_be(&seen), "{row:?}: {seen:?}\n{}", host.log());
        }
    }
    for service in SERVICES {
        until_all_is_back(host, service).await;
        let errors = 2 * rows.iter().filter(|row| row.service == service && row.is_error()).count();
        let status = host.service(service).await;
        assert_eq!(status["serving"]["errors"], errors, "{status}\n{}", host.log());
    }
}

/// The writer is there for whoever comes.
async fn writers_are_free(host: &Host) {
    let reply = host.post("/probe/sql-slow?ms=0", "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = host.get("/consumer/end?key=last&commit=true").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_return_trap_or_use_their_cpu_time_up_give_everything_back() {
    let host = host(BY_CPU).await;
    ask_all(&host, &Row::all(&["", "compute", "trap", "spin"])).await;
    assert!(metric(&host, "hotdock_slow_lane_total{service=\"probe\"}").await > 0);
    host.until_metric("hotdock_instances_idle{service=\"probe\"}", 0).await;
    writers_are_free(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_wait_are_ended_by_their_deadline_and_give_everything_back() {
    let host = host(BY_DEADLINE).await;
    ask_all(&host, &Row::all(&["wait"])).await;
    writers_are_free(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_whose_version_is_drained_give_everything_back() {
    let host = host(BY_DRAIN).await;
    for (round, client) in [Client::new(), Client::h2c()].into_iter().enumerate() {
        let rows = Row::all(&["wait"]);
        let asked = rows.iter().map(|row| seen(&client, &host, row));
        let asked = futures_util::future::join_all(asked);
        let swap = async {
            eventually("all of them run", async || {
                let mut leases = 0;
                for service in SERVICES {
                    leases +=
                        metric(&host, &format!("hotdock_leases{{service=\"{service}\"}}")).await;
                }
                // Those with a whole body have no reason to stay.
                (leases == rows.len() as u64).then_some(())
            })
            .await;
            for service in SERVICES {
                let migrations = migrations(service);
                let config = format!(
                    "{BY_DRAIN}[capabilities]\nconfig = {{ round = \"{round}\" }}\n{migrations}"
                );
                host.drop_file(&format!("{service}.toml"), config);
                host.until_version(service, round as u64 + 2).await;
            }
        };
        let (seen, ()) = futures_util::future::join(asked, swap).await;
        for (row, seen) in rows.iter().zip(seen) {
            assert!(row.may_be(&seen), "{row:?}: {seen:?}");
        }
        for service in SERVICES {
            until_all_is_back(&host, service).await;
            assert_eq!(host.service(service).await["serving"]["errors"], 0);
        }
    }
}

/// Asks for it and leaves: at once, with the head of the answer, or with all of it.
async fn leave(address: SocketAddr, row: Row, moment: usize) {
    let mut raw = Raw::connect(address).await;
    raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", row.path())).await;
    // (One that traps may be cut off before its head is sent.)
    let comes = match row.then {
        "trap" => false,
        "wait" | "spin" => row.service != "consumer",
        _ => row.may_be(&Seen::Whole),
    };
    match moment {
        1 if comes => drop(raw.until("\r\n\r\n").await),
        2 if comes && row.may_be(&Seen::Whole) => drop(raw.until("\n").await),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_whose_client_leaves_give_everything_back() {
    // No deadline, no CPU time: they end for their client alone, or by themselves.
    let host = host("[limits]\ncpu = \"1h\"\ndeadline = \"1h\"\n").await;
    let rows = Row::all(&["", "compute", "trap", "wait", "spin"]);
    // Whoever has sent all of its answer, and goes on, is not left by anyone.
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|row| row.open || row.service == "consumer" || !matches!(row.then, "wait" | "spin"))
        .collect();
    for row in &rows {
        let leaving = (0..3).map(|moment| leave(host.address, *row, moment));
        futures_util::future::join_all(leaving).await;
        // By HTTP/2 it is the stream that is reset.
        let client = Client::h2c();
        let asked = tokio::spawn({
            let url = host.url(&row.path());
            async move { client.try_request(Method::GET, &url, "").await.map(drop) }
        });
        eventually("it runs, or has", async || {
            let leases =
                metric(&host, &format!("hotdock_leases{{service=\"{}\"}}", row.service)).await;
            (leases > 0 || asked.is_finished()).then_some(())
        })
        .await;
        asked.abort();
        until_all_is_back(&host, row.service).await;
    }
    writers_are_free(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_of_events_give_everything_back() {
    let host = host(BY_CPU).await;
    let mut number = 0;
    for rounds in [0, LONG] {
        for then in ["", "compute", "trap", "spin"] {
            number += 1;
            let steps =
                json!([{"do": "compute", "rounds": rounds}, {"do": "count", "key": "sync"}]);
            for (event_type, data) in
                [("test3.end", json!({"rounds": rounds, "then": then})), ("test.steps", steps)]
            {
                let event = json!({"specversion": "1.0", "id": format!("{event_type}-{number}"),
                    "source": "/table", "type": event_type, "data": data});
                let request = http::Request::post(host.admin_url("/events"))
                    .header("content-type", "application/cloudevents+json")
                    .body(http_body_util::Full::new(bytes::Bytes::from(event.to_string())));
                assert_eq!(host.send(request.expect("a request")).await.status, 202);
            }
            // Each has its effect, once, whatever comes after the answer.
            for key in ["sync", "test3.end"] {
                let path = format!("/consumer/value?bucket=counts&key={key}");
                eventually(&format!("{key} is {number}"), async || {
                    (host.get(&path).await.text() == number.to_string()).then_some(())
                })
                .await;
            }
        }
    }
    for service in ["consumer", "consumer3"] {
        until_all_is_back(&host, service).await;
    }
    let status = host.service("consumer3").await;
    assert_eq!(
        status["serving"]["delivery_errors"], 4,
        "those that failed after they had answered: {status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_call_of_the_guests_ends_that_invocation_and_nothing_else() {
    let failpoint = std::path::Path::new("in a call of the guest's=1");
    let host = Host::builder().plugin("probe").environment("HOTDOCK_FAILPOINT", failpoint).start();
    let host = host.await;
    let path = "/probe/rollback?key=k&value=v";
    host.get(path).await.problem(500, "host-failed");
    until_all_is_back(&host, "probe").await;
    assert_eq!(host.service("probe").await["serving"]["errors"], 1);
    assert_eq!(host.get(path).await.status, 200);
    writers_are_free_of_probe(&host).await;
}

async fn writers_are_free_of_probe(host: &Host) {
    let reply = host.post("/probe/sql-slow?ms=0", "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}
