//! Guests of `wasi:http` 0.3: streams, futures, and tasks that outlive their
//! answer. See `tests/guests/hostile3`.

use super::Hostile;
use crate::harness::component;

#[tokio::test]
async fn streams_futures_and_tasks_have_their_limits() {
    let (guest, _) = component("hostile3");
    // Some of them compute, some wait: long enough for those, short enough for these.
    let limits = "[limits]\ncpu = \"200ms\"\ndeadline = \"6s\"\n";
    let manifest =
        format!("{limits}response-body = \"2MiB\"\nbody-idle = \"6s\"\nhandles = 1000\n");
    let host = Hostile::start(&[("hostile3", &manifest, guest)]).await;
    let over = "the service used more handles than it may";
    let reached = "it reached its limit of 1000 handles ([limits] handles)";
    for path in ["streams", "futures"] {
        host.fails_at("hostile3", path, 502, "over-limit", over, reached).await;
    }
    let reply = host.host.get("/hostile3/tasks").await;
    assert!(matches!(reply.status.as_u16(), 502 | 504), "{reply:?}");
    host.neighbour_answers().await;
    host.fails_at("hostile3", "headers", 502, "failed", "the service failed", "`unreachable`")
        .await;
    for (path, reason) in [
        ("spin-task", "it used its CPU time up"),
        ("wait-task", "its deadline passed"),
        ("yield-task", "the invocation was ended after its answer had begun"),
    ] {
        let reply = host.host.get(&format!("/hostile3/{path}")).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "ok\n"), "{path}");
        host.until_logged("hostile3", reason).await;
        host.neighbour_answers().await;
    }
    for (path, reason) in [
        ("trap-task", "the service failed after its answer"),
        ("endless", "the answer's body is larger than 2097152 bytes ([limits] response-body)"),
        ("open", "nothing came of its body"),
        ("no-trailers", "nothing came of its body"),
    ] {
        host.is_cut_off_at("hostile3", path, reason).await;
    }
    host.ends_as_it_began().await;
}
