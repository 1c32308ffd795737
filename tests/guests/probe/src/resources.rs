//! What an instance uses, and what it may not reach.
//!
//! ```text
//! /memory?mib=            allocates and touches so much, answers the number
//! /count                  how many times this instance was asked, from 1
//! /print?lines=&text=     prints so many lines of the text to stdout and to stderr
//! /log?level=&message=    logs with the context `probe`; the default level is info
//! /config?key=            `{"value": …}`
//! /fs                     tries to use files; a line for each attempt
//! /socket                 tries to use sockets; a line for each attempt
//! /outbound?url=          tries to send a request; `/send` does more
//! ```
//!
//! The last three answer 200 with lines `what: denied: error` or `what: allowed`.

use crate::answer;
use crate::bindings::{config as configuration, logging};
use crate::call::Call;
use serde_json::json;
use std::fmt::Debug;
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, OutgoingRequest, ResponseOutparam, Scheme};

pub fn memory(call: &Call, outparam: ResponseOutparam) {
    let mib = call.number("mib", 0usize);
    let mut memory: Vec<u8> = Vec::with_capacity(mib << 20);
    memory.resize(mib << 20, 1);
    let memory = std::hint::black_box(memory);
    answer::text(outparam, 200, &format!("{}\n", memory.len() >> 20));
}

pub fn count(outparam: ResponseOutparam) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    answer::text(outparam, 200, &format!("{count}\n"));
}

pub fn print(call: &Call, outparam: ResponseOutparam) {
    let text = call.text("text");
    for _ in 0..call.number("lines", 1u64) {
        println!("{text}");
        eprintln!("{text}");
    }
    answer::text(outparam, 200, "ok\n");
}

pub fn log(call: &Call, outparam: ResponseOutparam) {
    let level = match call.text("level") {
        "trace" => logging::Level::Trace,
        "debug" => logging::Level::Debug,
        "warn" => logging::Level::Warn,
        "error" => logging::Level::Error,
        "critical" => logging::Level::Critical,
        _ => logging::Level::Info,
    };
    logging::log(level, "probe", call.text("message"));
    answer::text(outparam, 200, "ok\n");
}

pub fn config(call: &Call, outparam: ResponseOutparam) {
    let value = configuration::get(call.text("key"));
    answer::json(outparam, value.map(|value| json!({ "value": value })));
}

pub fn fs(outparam: ResponseOutparam) {
    let folders = wasip2::filesystem::preopens::get_directories();
    let lines = [
        line("folders", if folders.is_empty() { Err("none") } else { Ok(()) }),
        line("read", std::fs::read("/etc/hostname")),
        line("write", std::fs::write("probe.txt", "probe")),
    ];
    answer::text(outparam, 200, &lines.concat());
}

pub fn socket(outparam: ResponseOutparam) {
    let lines = [
        line("tcp", TcpStream::connect("127.0.0.1:80")),
        line("udp", UdpSocket::bind("127.0.0.1:0")),
        line("lookup", "localhost:80".to_socket_addrs()),
    ];
    answer::text(outparam, 200, &lines.concat());
}

pub fn outbound(call: &Call, outparam: ResponseOutparam) {
    let answered = get(call.text("url"));
    answer::text(outparam, 200, &line("outbound", answered));
}

fn line<T>(what: &str, result: Result<T, impl Debug>) -> String {
    match result {
        Ok(_) => format!("{what}: allowed\n"),
        Err(error) => format!("{what}: denied: {error:?}\n"),
    }
}

fn get(url: &str) -> Result<(), ErrorCode> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some((_, rest)) => (Scheme::Http, rest),
        None => (Scheme::Http, url),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(if path.is_empty() { "/" } else { path })))
        .map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let answer = outgoing_handler::handle(request, None)?;
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(_))) => Ok(()),
        Some(Ok(Err(error))) => Err(error),
        _ => Err(ErrorCode::InternalError(None)),
    }
}
