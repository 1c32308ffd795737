//! Guests that want what they were not given, and guests that talk too much.

use super::Hostile;
use super::guest::{forever, handling};

#[tokio::test]
async fn a_guest_gets_nothing_of_the_hosts_surroundings() {
    // Each traps unless it gets nothing.
    let none = "(if (i32.load (i32.const 4)) (then unreachable)) (call $answer (local.get $out))";
    let environment = format!("(call $environment (i32.const 0)) {none}");
    let arguments = format!("(call $arguments (i32.const 0)) {none}");
    let stdin = "(call $read (call $stdin) (i64.const 100) (i32.const 0))
        (if (i32.eqz (i32.load8_u (i32.const 0))) (then unreachable))
        (call $answer (local.get $out))";
    let host = Hostile::start(&[
        ("environment", "", handling(&environment)),
        ("arguments", "", handling(&arguments)),
        ("stdin", "", handling(stdin)),
    ])
    .await;
    for name in ["environment", "arguments", "stdin"] {
        host.answers(name).await;
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn files_sockets_and_outgoing_requests_are_denied() {
    let (probe, manifest) = crate::harness::component("probe");
    let host = Hostile::start(&[("probe", &manifest.unwrap_or_default(), probe)]).await;
    for path in ["fs", "socket", "outbound?url=http://127.0.0.1:1/", "outbound?url=https://a/"] {
        let text = host.answers(&format!("probe/{path}")).await.text();
        assert!(text.lines().all(|line| line.contains(": denied: ")), "{path}: {text}");
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn what_a_guest_prints_and_logs_ends_at_its_limit() {
    let page = "(memory.fill (i32.const 0) (i32.const 97) (i32.const 65536))
        (local.set $x (call $stdout))";
    let print = |bytes: u32| {
        format!(
            "(call $write-and-flush (local.get $x) (i32.const 0) (i32.const {bytes})
                (i32.const 65536))"
        )
    };
    let log = "(call $log (i32.const 4) (i32.const 0) (i32.const 10) (i32.const 0)
        (i32.const 65536))";
    let lines = "(memory.fill (i32.const 0) (i32.const 10) (i32.const 65536))
        (local.set $x (call $stdout))";
    let times = |body: &str| {
        format!(
            "(loop $more {body}
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $i) (i32.const 1000))))
            (call $answer (local.get $out))"
        )
    };
    let quick = "[limits]\ncpu = \"20s\"\ndeadline = \"30s\"\n";
    let quiet = "[limits]\nlog = 0\n";
    let spin = super::SPINS;
    let host = Hostile::start(&[
        ("one-line", quick, handling(&format!("{page} {}", times(&print(4096))))),
        ("many-lines", quick, handling(&format!("{lines} {}", times(&print(4096))))),
        ("logs", quick, handling(&format!("{page} {}", times(log)))),
        (
            "quiet",
            quiet,
            handling(&format!("{page} {} (call $answer (local.get $out))", print(10))),
        ),
        ("for-ever", spin, handling(&format!("{page} {}", forever(&print(4096))))),
    ])
    .await;
    let reached = "the invocation logged more than 65536 bytes ([limits] log); the rest is dropped";
    for name in ["one-line", "many-lines", "logs"] {
        let before = host.host.log().len();
        host.answers(name).await;
        host.until_logged(name, reached).await;
        let logged = host.host.log().len() - before;
        assert!(logged < 1 << 20, "{name}: {logged} bytes of log");
    }
    host.answers("quiet").await;
    host.until_logged("quiet", "the invocation logged more than 0 bytes").await;
    let used_up = "the service used its CPU time of 200ms up";
    host.fails("for-ever", 504, "out-of-cpu", used_up, used_up).await;
    host.until_logged("for-ever", reached).await;
    host.ends_as_it_began().await;
}
