//! Outgoing requests, to servers that the tests start themselves.

mod by_name;
mod denied;
mod floods;
mod limits;
mod roundtrip;
mod transaction;
pub mod upstream;

use crate::harness::host::Builder;
use crate::harness::{Host, component};

/// A host with the probe, whose manifest grants these origins.
fn probe(origins: &[&str]) -> Builder {
    probe_with(origins, "")
}

/// The same with more in its manifest, before everything else.
fn probe_with(origins: &[&str], manifest: &str) -> Builder {
    let (wasm, beside) = component("probe");
    let beside = beside.expect("the probe's manifest");
    let granted = format!("[capabilities]\noutbound = {origins:?}\n");
    assert!(beside.contains("[capabilities]\n"));
    let manifest = format!("{manifest}\n{}", beside.replace("[capabilities]\n", &granted));
    Host::builder().file("probe.wasm", wasm).file("probe.toml", manifest)
}

/// Services may reach this machine's own servers.
fn local(builder: Builder) -> Builder {
    builder.argument("--outbound-allow-private=127.0.0.0/8")
}

/// Lets the probe send a request; parameters are appended to its path.
async fn send(host: &Host, url: &str, parameters: &str) -> serde_json::Value {
    let reply = host.get(&format!("/probe/send?url={url}{parameters}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// The error that the probe got for a request.
async fn refusal(host: &Host, url: &str, parameters: &str) -> String {
    let answer = send(host, url, parameters).await;
    answer["error"].as_str().unwrap_or_else(|| panic!("{url}: {answer}")).to_owned()
}
