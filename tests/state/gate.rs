//! The output gate: byte by byte, nothing leaves before the commit.

use std::time::Duration;

use hotdock::config::Config;

use crate::harness::eventually;
use crate::harness::in_process::Folders;
use crate::harness::raw::Raw;
use crate::harness::valve::Valve;

#[tokio::test(flavor = "multi_thread")]
async fn not_one_byte_of_an_answer_leaves_before_its_commit() {
    let folders = Folders::new();
    ["cart", "probe"].iter().for_each(|name| folders.deploy(name));
    let valve = Valve::default();
    let host = folders.host(Config::default(), valve.options()).await;
    let address = host.address;

    let body = r#"{"user_id": 7, "product_id": 1, "quantity": 2}"#;
    let post =
        format!("POST /cart HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for (request, answer) in [
        (post.as_str(), "{\"message\":\"success\"}"),
        // By SQL, on the writer's thread; and with a body that streams.
        ("POST /probe/sql-slow?ms=0 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "200 OK"),
    ] {
        let before = valve.held();
        valve.set(true);
        let mut writer = Raw::connect(address).await;
        writer.send(request).await;
        eventually("the commit is held", async || (valve.held() > before).then_some(())).await;
        // Meanwhile a reader is answered, with what is durable.
        let mut reader = Raw::connect(address).await;
        reader.send("GET /cart?user_id=8 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        reader.until("{\"cart\":{}}").await;
        assert!(!writer.has_more(), "not one byte");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!writer.has_more(), "not one byte");
        valve.set(false);
        writer.until(answer).await;
    }
    host.stop().await;
}
