//! Clients that leave, at any moment.

use std::time::Duration;

use crate::harness::raw::Raw;
use crate::harness::{Host, eventually};

const DISCONNECTS: u64 = 1_000;

/// What the clients ask for: each is cut somewhere, or left before its answer.
const REQUESTS: [&str; 12] = [
    "GET /probe/sleep?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /probe/spin HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /probe/sse?n=100000&ms=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /probe/big?bytes=50000000 HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /probe/sql-slow?before=2&ms=2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "POST /probe/kv?op=set&bucket=b&key=k&value=v HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "POST /probe/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\npart of a body",
    "POST /probe/upload?key=k HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\npart of a body",
    "GET /probe3/sleep?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /probe3/spin HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /probe3/sse?n=100000&ms=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /probe3/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\npart of a body",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_that_leave_leave_nothing_behind() {
    let limits = "[limits]\ndeadline = \"1m\"\ncpu = \"1m\"\nconcurrency = 8\n";
    let host =
        Host::builder().plugin_with("probe", limits).plugin_with("probe3", limits).start().await;
    let descriptors = host.descriptors();
    let mut random = Random(1);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..DISCONNECTS {
        let request = REQUESTS[random.below(REQUESTS.len() as u64) as usize];
        // Most send all of it; some are cut in their head.
        let length = match random.below(8) {
            0 => random.below(request.len() as u64) as usize,
            _ => request.len(),
        };
        let stay = Duration::from_micros(random.below(20_000));
        let address = host.address;
        if clients.len() >= 32 {
            clients.join_next().await.expect("one of them").expect("it left");
        }
        clients.spawn(async move {
            let mut raw = Raw::connect(address).await;
            raw.send(&request[..length]).await;
            // The moment to leave at, not something to wait for.
            tokio::time::sleep(stay).await;
        });
    }
    while let Some(left) = clients.join_next().await {
        left.expect("it left");
    }
    host.until_idle().await;
    for service in ["probe", "probe3"] {
        let labels = format!("{{service=\"{service}\"}}");
        host.until_metric(&format!("hotdock_permits_free{labels}"), 8).await;
        host.until_metric(&format!("hotdock_queue_length{labels}"), 0).await;
        host.until_metric(&format!("hotdock_instances_idle{labels}"), 0).await;
    }
    host.until_metric("hotdock_instance_slots_free", 1_000).await;
    let next = host.post("/probe/sql-slow?ms=0", "").await;
    assert_eq!(next.status, 200, "the writer is free: {next:?}");
    host.until_metric("hotdock_store_open{service=\"probe\"}", 1).await;
    eventually("the descriptors are closed", async || {
        // Besides those of the store, which is open now.
        (host.descriptors() <= descriptors + 8).then_some(())
    })
    .await;
}

/// Xorshift (Marsaglia 2003): the same disconnects each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
