//! Values cross unharmed, whatever kind they are of.

use http::Method;
use serde_json::json;

use super::{asked, both, both_with, clients, get};
use crate::harness::Host;

#[tokio::test(flavor = "multi_thread")]
async fn a_number_comes_back_from_another_service() {
    let host = both().start().await;
    for (version, client) in clients() {
        let sum = asked(&host, &client, Method::GET, "/relay/add?one=40&other=2").await;
        assert_eq!(sum, 42, "{version}");
    }
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_comes_back_as_it_was() {
    let host = both().start().await;
    for (version, client) in clients() {
        let differences = asked(&host, &client, Method::GET, "/relay/values").await;
        assert_eq!(differences, json!([]), "{version}");
    }
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mebibytes_come_back_as_they_were() {
    let host = both().start().await;
    for length in [0, 1, 65_536, 1 << 20, 4 << 20] {
        let back = get(&host, &format!("/relay/bytes?length={length}")).await;
        assert_eq!(back, json!({ "length": length, "same": true }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_the_host_may_not_hold_end_their_guest_and_nothing_else() {
    let host = both_with("[limits]\nhost-memory = \"2MiB\"").start().await;
    let path = "/relay/bytes?length=3000000";
    host.get(path).await.problem(502, "failed");
    let log = host.log();
    assert!(log.contains("test:calls/values@1.0.0"), "{log}");
    assert_eq!(get(&host, "/relay/add?one=1&other=2").await, 3);
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_functions_are_called_and_several_at_once() {
    let host = Host::builder().plugin("callee").plugin("callee3").plugin("relay3").start().await;
    for (round, (version, client)) in (0..).zip(clients()) {
        let sums = asked(&host, &client, Method::GET, "/relay3/sum").await;
        assert_eq!(sums, json!([3, 7]), "{version}");
        let counted = asked(&host, &client, Method::GET, "/relay3/together").await;
        let mut counted: Vec<u64> = serde_json::from_value(counted).expect("numbers");
        counted.sort_unstable();
        let expected: Vec<u64> = (1..=8).map(|number| round * 8 + number).collect();
        assert_eq!(counted, expected, "{version}: each counted once");
        // The callee ends with the call: nothing runs any more.
        let answer = asked(&host, &client, Method::GET, "/relay3/given-up").await;
        assert_eq!(answer, "given up", "{version}");
        host.until_idle().await;
    }
    host.until_logged("counted together").await;
}
