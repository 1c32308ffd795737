//! Services that hurt those who call them, and services that hurt those whom they call: what each
//! side gets, what the operator reads, and that everything is given back.
//!
//! All of them are a few lines of WebAssembly text, see [`guest`].

mod callees;
mod callers;
mod guest;

use http::Method;

use self::callees::{Callee, Told, callees, flooding};
use self::callers::{asking, callers, pinging};
use self::guest::{does, made_of};
use super::clients;
use crate::harness::host::Builder;
use crate::harness::{Client, Host, eventually, until_right};

/// What the first callee returns: 42.
const CALM: &[u8] = &[42, 0, 0, 0];

/// A guest and its manifest.
fn with(builder: Builder, name: &str, manifest: &str, component: Vec<u8>) -> Builder {
    let builder = builder.file(&format!("{name}.toml"), manifest);
    builder.file(&format!("{name}.wasm"), component)
}

/// A host with `friend`, with these, and with who asks them: `caller`, and `hurried`, who has
/// little time.
fn with_all(callees: &[Callee]) -> Builder {
    let friend = made_of(r#"(func (export "ping") (result i32) (i32.const 7))"#).pinged();
    let mut builder = with(Host::builder(), "friend", "", friend);
    for callee in callees {
        let component = callee.guest.named(callee.name);
        builder = with(builder, callee.name, &callee.manifest, component);
    }
    let names: Vec<&str> = callees.iter().map(|callee| callee.name).collect();
    let (calls, asking) = (format!("[capabilities]\ncalls = {names:?}\n"), asking(callees));
    for (name, deadline) in [("caller", "1m"), ("hurried", "300ms")] {
        let manifest = format!("[limits]\ndeadline = \"{deadline}\"\n{calls}");
        builder = with(builder, name, &manifest, asking.serving());
    }
    builder
}

/// Who waits for others is not waited for when a host starts.
async fn until_all_serve(host: &Host, names: &[&str]) {
    for name in names {
        eventually(&format!("{name} serves"), async || {
            host.service(name).await["serving"].is_object().then_some(())
        })
        .await;
    }
}

/// Waits until the log has a line of this service's with all of these in it.
async fn until_logged(host: &Host, service: &str, texts: &[&str]) {
    let service = format!("\"service\":\"{service}\"");
    until_right(async || {
        let log = host.log();
        let mut lines = log.lines().filter(|line| line.contains(&service));
        match lines.any(|line| texts.iter().all(|text| line.contains(text))) {
            true => Ok(()),
            false => Err(format!("a line of {service} has {texts:?}: {log}")),
        }
    })
    .await;
}

/// The same for a call that failed: the line names both sides, the interface and the function.
async fn until_failure_logged(host: &Host, caller: &str, callee: &str, why: &str) {
    let interface = format!("\"interface\":\"test:hostile/{callee}@1.0.0\",\"function\":\"go\"");
    let callee = format!("\"callee\":\"{callee}\"");
    until_logged(host, caller, &["a call failed: ", &callee, &interface, why]).await;
}

/// Asks for the callee with this number, and looks at what comes.
async fn ask(host: &Host, client: &Client, index: usize, callee: &Callee) {
    let Callee { name, told, .. } = callee;
    let caller = if matches!(told, Told::Late) { "hurried" } else { "caller" };
    let url = host.url(&format!("/{caller}/{index:02}"));
    let reply = client.try_request(Method::GET, &url, "").await;
    let reply = reply.unwrap_or_else(|error| panic!("{name}: {error}\n{}", host.log()));
    let (status, text) = (reply.status.as_u16(), reply.text());
    let begins = format!("test:hostile/{name}@1.0.0 go of service {name}: ");
    match told {
        Told::Value(bytes) => assert_eq!((status, &reply.body[..]), (200, &bytes[..]), "{name}"),
        Told::Failed(why) => {
            let told = format!("{begins}it failed; the host's log says why");
            assert_eq!((status, text), (503, told), "{name}");
            until_failure_logged(host, caller, name, why).await;
        }
        Told::Words(words) => {
            assert_eq!((status, text), (503, format!("{begins}{words}")), "{name}");
            until_failure_logged(host, caller, name, words).await;
        }
        Told::TooDeep => {
            assert!(status == 503 && text.contains("calls are 16 deep already"), "{name}: {text}");
        }
        // It may hear of the callee's end just before its own.
        Told::Late => assert!(status == 503 || status == 504, "{name}: {status} {text}"),
    }
}

/// Asks for the callee that does no harm.
async fn calm_answers(host: &Host, client: &Client, after: &str) {
    let reply = client.try_request(Method::GET, &host.url("/caller/00"), "").await;
    let reply = reply.unwrap_or_else(|error| panic!("after {after}: {error}\n{}", host.log()));
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, CALM), "after {after}");
}

/// Waits until no service holds anything: no lease, and no permit.
async fn until_all_is_back(host: &Host) {
    host.until_idle().await;
    until_right(async || {
        let metrics = host.metrics().await;
        let is_held = |line: &&str| {
            let alone = ["circle", "ring-one", "ring-other"];
            let alone = alone.iter().any(|name| line.contains(&format!("\"{name}\"")));
            let all = if alone { " 1" } else { " 64" };
            (line.starts_with("hotdock_leases{") && !line.ends_with(" 0"))
                || (line.starts_with("hotdock_permits_free{") && !line.ends_with(all))
        };
        let held: Vec<&str> = metrics.lines().filter(is_held).collect();
        if held.is_empty() { Ok(()) } else { Err(format!("held: {held:?}")) }
    })
    .await;
    let metrics = host.metrics().await;
    assert!(metrics.contains("hotdock_permits_free{service=\"caller\"} 64"), "{metrics}");
    assert!(metrics.contains("hotdock_leases{service=\"caller\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_callee_does_its_caller_is_told_and_everything_is_given_back() {
    let callees = callees();
    let host = with_all(&callees).start().await;
    until_all_serve(&host, &["caller", "hurried"]).await;
    for (version, client) in clients() {
        for (index, callee) in callees.iter().enumerate() {
            ask(&host, &client, index, callee).await;
            calm_answers(&host, &client, &format!("{} by {version}", callee.name)).await;
        }
        until_all_is_back(&host).await;
    }
    // Its caller had its result, so that nobody else says so.
    until_logged(&host, "goes-on-for-ever", &["it used its CPU time up"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail_are_logged_as_far_as_an_invocation_may_log() {
    let mut callees = callees();
    callees.retain(|callee| callee.name == "traps");
    callees.push(flooding());
    let host = with_all(&callees).start().await;
    until_all_serve(&host, &["caller"]).await;
    ask(&host, &Client::new(), 1, &callees[1]).await;
    until_logged(&host, "floods", &["logged more than 1024 bytes ([limits] log)"]).await;
    let log = host.log();
    let of_floods = |line: &&str| line.contains("\"service\":\"floods\"");
    let lines = log.lines().filter(of_floods).filter(|line| line.contains("a call failed"));
    let count = lines.count();
    assert!((1..16).contains(&count), "{count} lines: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_caller_does_its_callees_go_on_and_everything_is_given_back() {
    let called = callees().into_iter().filter(|each| matches!(each.name, "calm" | "traps"));
    let called: Vec<Callee> = called.collect();
    let callers = callers();
    let mut builder = with_all(&called);
    for caller in &callers {
        let calls = "[capabilities]\ncalls = [\"calm\", \"traps\", \"friend\"]\n";
        let manifest = format!("[limits]\n{}{calls}", caller.limits);
        builder = with(builder, caller.name, &manifest, caller.guest.serving());
    }
    let host = builder.start().await;
    let names: Vec<&str> = callers.iter().map(|caller| caller.name).collect();
    until_all_serve(&host, &names).await;
    until_all_serve(&host, &["caller"]).await;
    for (version, client) in clients() {
        for caller in &callers {
            let url = host.url(&format!("/{}", caller.name));
            let reply = client.try_request(Method::GET, &url, "").await;
            let reply = reply.unwrap_or_else(|error| panic!("{}: {error}", caller.name));
            let (status, kind) = caller.problem;
            reply.problem(status, kind);
            until_logged(&host, caller.name, &[caller.log]).await;
            calm_answers(&host, &client, &format!("{} by {version}", caller.name)).await;
        }
        until_all_is_back(&host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_called_without_leave_from_outside_an_invocation_or_when_gone() {
    let gone = || does("(i32.const 64)");
    let told = Told::Value([0; 4]);
    let callees = [Callee { name: "gone", manifest: String::new(), guest: gone(), told }];
    let starting = |body: &str| {
        let go = r#"(func (export "go") (param i32 i32) (result i32) unreachable)"#;
        made_of(&format!("{go} (func $begin {body}) (start $begin)"))
    };
    let grant = |name: &str| format!("[capabilities]\ncalls = [\"{name}\"]\n");
    let calls = starting("(drop (call $ping))").pinging().named("starts-calling");
    let traps = starting("unreachable").named("starts-trapping");
    let waits = guest::answers("unreachable").calling("starts-trapping").serving();
    let builder = with_all(&callees).file("ungranted.wasm", pinging().serving());
    let builder = with(builder, "grants-another", &grant("gone"), pinging().serving());
    let builder = with(builder, "starts-calling", &grant("friend"), calls);
    let builder = with(builder, "starts-trapping", "", traps);
    let builder = with(builder, "left-waiting", &grant("starts-trapping"), waits);
    let host = builder.start().await;
    for (name, why) in [
        ("ungranted", "is exported by friend, which may not be called"),
        ("grants-another", "is exported by friend, which may not be called"),
        ("starts-calling", "no other service is called outside an invocation"),
        ("starts-trapping", "`unreachable`"),
    ] {
        let reasons = host.until_refused(&format!("{name}.wasm")).await;
        assert!(reasons.contains(why), "{name}: {reasons}");
    }
    let lacks = host.until_pending("left-waiting.wasm").await;
    assert!(lacks.contains("starts-trapping is not deployed"), "{lacks}");
    until_all_serve(&host, &["caller"]).await;
    assert_eq!(host.get("/caller/00").await.status, 200);

    host.remove_file("gone.wasm");
    let why = "test:hostile/gone@1.0.0 go of another service: service gone is not deployed";
    eventually("it is gone", async || {
        let reply = host.get("/caller/00").await;
        (reply.status == 503 && reply.text() == why).then_some(())
    })
    .await;
    until_logged(&host, "caller", &["a call failed", why]).await;
    host.drop_file("gone.wasm", gone().named("gone"));
    eventually("it is back", async || (host.get("/caller/00").await.status == 200).then_some(()))
        .await;
    until_all_is_back(&host).await;
}
