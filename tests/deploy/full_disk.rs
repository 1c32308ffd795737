//! A disk without room: said as what it is, once, and what can be read is served.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use super::operator::{ask, upload};
use crate::harness::{Host, eventually, hello};

/// A file system of its own, where the tests may mount one.
struct Small {
    point: tempfile::TempDir,
}

impl Small {
    fn mount() -> Option<Self> {
        let point = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"]).arg(point.path());
        let mounted = command.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("no file system can be mounted here: nothing is tested");
        }
        mounted.then_some(Self { point })
    }

    fn data(&self) -> PathBuf {
        self.point.path().join("data")
    }

    /// Leaves no byte of room.
    fn fill(&self) {
        fill(&self.point.path().join("fill"));
    }

    fn make_room(&self) {
        std::fs::remove_file(self.point.path().join("fill")).expect("it was filled");
    }
}

fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::options().create(true).append(true).open(path).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
}

impl Drop for Small {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(self.point.path()).output();
    }
}

const ITEM: &str = r#"{"product_id": 1, "quantity": 1, "user_id": 1}"#;

async fn put(host: &Host) -> (u16, String) {
    let request = Request::post(host.url("/cart")).header("content-type", "application/json");
    let body = Full::new(Bytes::from_static(ITEM.as_bytes()));
    let reply = host.send(request.body(body).expect("a request")).await;
    (reply.status.as_u16(), reply.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_said_once_and_is_read_from_also_after_a_restart() {
    let Some(disk) = Small::mount() else { return };
    let mut host = Host::builder().data(&disk.data()).plugin("cart").start().await;
    assert_eq!(put(&host).await.0, 200);
    for restart in [false, true, true] {
        disk.fill();
        if restart {
            host.kill();
            host.start().await;
            disk.fill();
        }
        // Pages of the log that are there already are written to as long as there are some.
        let refused = eventually("what is written is refused", async || {
            let (status, text) = put(&host).await;
            (status == 503).then_some(text)
        })
        .await;
        assert!(refused.contains("the host's disk is full"), "{refused}");
        for _ in 0..20 {
            put(&host).await;
        }
        let read = host.get("/cart?user_id=1").await;
        assert_eq!(read.status, 200, "{read:?}");
        assert!(read.json()["cart"]["1"].as_u64() >= Some(1), "{read:?}");
        let told = host.log().matches("the disk is full").count();
        assert!(told <= 1, "once in a host's life, as it stays so: {told}");
    }
    let errors = host.service("cart").await["serving"]["errors"].as_u64();
    assert!(errors >= Some(20), "the host's own refusals are errors: {errors:?}");
    disk.make_room();
    eventually("there is room again", async || (put(&host).await.0 == 200).then_some(())).await;
    host.until_logged("the disk has room again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_failed_for_want_of_room_is_tried_again_when_there_is_some() {
    let Some(disk) = Small::mount() else { return };
    let host = Host::builder().data(&disk.data()).plugin("cart").start().await;
    disk.fill();
    host.drop_file("hello.wasm", hello(1));
    host.until_refused("hello.wasm").await;
    disk.make_room();
    host.until_version("hello", 1).await;
    let asked = host.request(Method::GET, "/hello", json!(null).to_string()).await;
    assert_eq!(asked.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_to_whoever_deploys_or_steers_and_is_one_line_of_the_log() {
    let Some(disk) = Small::mount() else { return };
    let host = Host::builder().data(&disk.data()).file("hello.wasm", hello(1)).start().await;
    disk.fill();
    for number in 2..6 {
        host.drop_file(&format!("hello{number}.wasm"), hello(number));
    }
    for number in 2..6 {
        let reason = host.until_refused(&format!("hello{number}.wasm")).await;
        assert!(reason.starts_with("the host's disk is full: make room on the disk"), "{reason}");
    }
    let uploaded = upload(&host, "other", &hello(7), "").await;
    assert_eq!(uploaded.status, 503, "{uploaded:?}");
    assert!(uploaded.text().contains("the host's disk is full: make room"), "{uploaded:?}");
    let plan = json!({"versions": [{"version": 1, "weight": 100}], "rules": [], "sticky": null});
    for (method, path, body) in [
        (Method::PUT, "/v1/services/hello/traffic", plan),
        (Method::DELETE, "/v1/services/hello", json!(null)),
    ] {
        // Pages of the log that are there already are written to as long as there are some.
        let refused = eventually("it cannot be recorded", async || {
            // It may have been undeployed by the last of those pages.
            let reply = ask(&host, method.clone(), path, body.clone()).await;
            (reply.status != 200).then_some(reply)
        });
        let refused = refused.await;
        assert_eq!(refused.status, 503, "{refused:?}");
        assert_eq!(refused.header("retry-after"), "10");
        let text = refused.text();
        assert!(text.contains("the host's disk is full, and nothing was changed: make"), "{text}");
    }
    // The log is written after the answers.
    host.until_logged("the disk is full").await;
    let log = host.log();
    let is_loud =
        |line: &&str| ["WARN", "ERROR"].iter().any(|level| line.contains(&format!("\"{level}\"")));
    let warned: Vec<_> = log.lines().filter(is_loud).collect();
    assert!(matches!(*warned, [only] if only.contains("the disk is full")), "{warned:#?}");
    disk.make_room();
    for number in 2..6 {
        host.until_version(&format!("hello{number}"), 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_a_full_disk_has_no_room_for_are_refused_for_that_and_it_is_said_once() {
    let Some(disk) = Small::mount() else { return };
    let settings = "[events]\naccept = [\"shop.>\"]\n";
    let host = Host::builder().data(&disk.data()).settings(settings).start().await;
    let ids = AtomicUsize::new(0);
    let post = async |url: &str| {
        let event = json!({
            "specversion": "1.0", "id": ids.fetch_add(1, Ordering::Relaxed).to_string(),
            "source": "/test", "type": "shop.a", "data": "x".repeat(64 << 10),
        });
        let request = Request::post(url).header("content-type", "application/cloudevents+json");
        let body = Full::new(Bytes::from(event.to_string()));
        host.send(request.body(body).expect("a request")).await
    };
    disk.fill();
    for (listener, url) in [("admin", host.admin_url("/events")), ("public", host.url("/events"))] {
        // Pages of the log that are there already are written to as long as there are some.
        let first = eventually("events are refused", async || {
            Some(post(&url).await).filter(|reply| reply.status == 503)
        });
        assert_eq!(first.await.problem(503, "disk-full"), "the host's disk is full");
        for _ in 0..19 {
            post(&url).await.problem(503, "disk-full");
        }
        let labels = format!("listener=\"{listener}\",reason=\"disk\"");
        host.until_metric(&format!("hotdock_intake_refused_total{{{labels}}}"), 20).await;
    }
    disk.make_room();
    host.until_logged("the disk has room again").await;
    assert_eq!(post(&host.url("/events")).await.status, 202);
    let log = host.log();
    let is_loud =
        |line: &&str| ["WARN", "ERROR"].iter().any(|level| line.contains(&format!("\"{level}\"")));
    let warned: Vec<_> = log.lines().filter(is_loud).collect();
    assert!(matches!(*warned, [only] if only.contains("the disk is full")), "{warned:#?}");
}
