//! Bodies that their clients break off: their doing, whatever a guest's language makes of it.

use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, fields, frame,
};
use crate::harness::host::Builder;
use crate::harness::raw::Raw;
use crate::harness::wire::read;
use crate::harness::{Host, built};

/// Their answers have begun when it breaks off.
const BEGUN: [(&str, &str); 2] = [("probe", "/probe/echo"), ("probe3", "/probe3/echo")];

/// How a client breaks a body off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    HalfClose,
    BadChunk,
    Reset,
    Idle,
    StreamReset,
    StreamEnd,
}

fn settings() -> Builder {
    Host::builder().settings("[http]\nbody-idle = \"1s\"\n")
}

/// A component of another language, where it is built.
async fn foreign(name: &str) -> Option<Host> {
    let Some(path) = built("test-guests", &format!("{name}.wasm")) else {
        eprintln!("skipped: target/test-guests/{name}.wasm was not built");
        return None;
    };
    let limits = "[limits]\nmemory = \"256MiB\"\ndeadline = \"20s\"\ncpu = \"10s\"\n";
    let wasm = std::fs::read(path).expect("the component");
    let host = settings().file(&format!("{name}.wasm"), wasm);
    Some(host.file(&format!("{name}.toml"), limits).start().await)
}

/// Sends two of five bytes, and breaks off, at once or when the guest waits for the rest. The
/// answer's status, where one is to come.
async fn broken(
    host: &Host,
    (service, path): (&str, &str),
    how: Break,
    waits: bool,
) -> Option<u16> {
    let guest_waits = async || {
        if waits {
            // Not a permit: one whose answer has begun has none any more.
            host.until_metric(&format!("hotdock_leases{{service=\"{service}\"}}"), 1).await;
        }
    };
    let status = match how {
        Break::StreamReset | Break::StreamEnd => {
            let mut frames = Frames::connect(host.address, &[]).await;
            let head = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "x"),
                (":path", path),
                ("content-length", "5"),
            ];
            frames.send(frame(HEADERS, END_HEADERS, 1, &fields(&head))).await;
            frames.send(frame(DATA, 0, 1, b"ab")).await;
            guest_waits().await;
            match how {
                Break::StreamReset => frames.send(frame(RST_STREAM, 0, 1, &8u32.to_be_bytes())),
                _ => frames.send(frame(DATA, END_STREAM, 1, b"c")),
            }
            .await;
            None
        }
        how => {
            let framing = match how {
                Break::BadChunk => "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
                _ => "Content-Length: 5\r\n\r\nab",
            };
            let mut raw = Raw::connect(host.address).await;
            raw.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{framing}")).await;
            guest_waits().await;
            match how {
                Break::HalfClose => raw.half_close().await,
                Break::BadChunk => raw.send("zz\r\n").await,
                _ => {}
            }
            match how {
                Break::Reset => None,
                _ if BEGUN.contains(&(service, path)) => {
                    raw.read_to_reset().await;
                    None
                }
                _ => Some(read(&mut raw, "POST").await.status),
            }
        }
    };
    host.until_idle().await;
    status
}

/// The outcomes of what was asked that no client brings about.
async fn ended_ill(host: &Host) -> Vec<String> {
    let metrics = host.metrics().await;
    let ended = metrics.lines().filter(|line| {
        line.starts_with("hotdock_requests_total")
            || line.starts_with("hotdock_ended_after_answer_total")
    });
    let ill = ended.filter(|line| {
        !line.contains("outcome=\"answered\"")
            && !line.contains("outcome=\"client-left\"")
            && !line.ends_with(" 0")
    });
    ill.map(str::to_owned).collect()
}

/// Breaks bodies off in every way, and asserts that no service failed.
async fn no_failures(host: &Host, asks: &[(&str, &str)]) {
    let breaks = [
        Break::HalfClose,
        Break::BadChunk,
        Break::Reset,
        Break::Idle,
        Break::StreamReset,
        Break::StreamEnd,
    ];
    for how in breaks {
        for &asked in asks {
            // An idle one is waited for by its guest, too.
            let whiles = if how == Break::Idle { &[false][..] } else { &[false, true] };
            for &waits in whiles {
                let status = broken(host, asked, how, waits).await;
                let expected = if how == Break::Idle { 408 } else { 400 };
                let what = format!("{asked:?} {how:?}, the guest waits: {waits}");
                assert!(status.is_none_or(|status| status == expected), "{what}: {status:?}");
                assert_eq!(ended_ill(host).await, [""; 0], "{what}");
            }
        }
    }
    for (name, _) in asks {
        assert_eq!(host.service(name).await["serving"]["errors"], 0, "{name}");
    }
    let log = host.log();
    // Of the library's a line comes where a guest is told of the end.
    let is_ours = |line: &&str| line.contains("\"WARN\"") && !line.contains("wasmtime_wasi_http");
    let warned: Vec<&str> = log.lines().filter(is_ours).collect();
    assert_eq!(warned, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_its_client_breaks_off_is_no_failure_of_a_service() {
    let host = settings().plugin("mirror").plugin("probe").plugin("probe3").start().await;
    no_failures(&host, &[("mirror", "/mirror"), ("probe", "/probe/upload?key=k")]).await;
    no_failures(&host, &BEGUN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_its_client_breaks_off_is_no_failure_where_javascript_traps() {
    let Some(host) = foreign("js").await else { return };
    no_failures(&host, &[("js", "/js")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_its_client_breaks_off_is_no_failure_where_python_traps() {
    let Some(host) = foreign("py").await else { return };
    no_failures(&host, &[("py", "/py")]).await;
}
