//! What happens, as it happens.

use super::operator::upload;
use crate::harness::raw::Raw;
use crate::harness::{Host, hello};

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_is_told_of_each_step_until_the_host_stops() {
    let mut host = Host::builder().start().await;
    let mut watching = Raw::connect(host.admin).await;
    let head = format!("GET /v1/notices HTTP/1.1\r\nHost: {}\r\n\r\n", host.admin);
    watching.send(head).await;
    watching.until("text/event-stream").await;
    assert_eq!(upload(&host, "hello", &hello(1), "").await.status, 202);
    let told = watching.until("event: serving").await;
    let kinds: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert!(kinds.contains(&"deployment") && kinds.contains(&"compiling"), "{kinds:?}");
    assert!(host.stop().await.success());
    watching.read_to_end().await;
}
