//! Registries that answer without end, too slowly, elsewhere, or with what they like.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::thread;

use crate::harness::registry::digest;

/// Answers each request, whose head it is given, as a test wants it to.
fn registry(
    answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, mut stream) =
                (std::sync::Arc::clone(&answer), stream.expect("a connection"));
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n")
                    && stream.read(&mut byte).is_ok_and(|read| read > 0)
                {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                // Whoever has had enough closes the connection.
                _ = answer(&head, &mut stream);
            });
        }
    });
    address
}

fn whole(stream: &mut TcpStream, head: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")?;
    stream.write_all(body)
}

/// Says no length and goes on for as long as somebody reads.
fn endless(stream: &mut TcpStream, head: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n")?;
    loop {
        stream.write_all(&[b' '; 1 << 16])?;
    }
}

/// Pulls with little memory; how the command ended.
fn pull(address: SocketAddr, tag: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("pulled.wasm");
    let mut command = Command::new("prlimit");
    // What it writes to; an endless answer would not fit.
    command.args(["--data=536870912", env!("CARGO_BIN_EXE_hotdock"), "pack", "--pull"]);
    command.arg(format!("oci://{address}/shop/cart:{tag}")).arg("-o").arg(&output);
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    command.env("DOCKER_CONFIG", Path::new("/nonexistent")).env_remove("HOTDOCK_REGISTRY_TOKEN");
    let ended = command.output().expect("it ends");
    assert!(!output.exists(), "nothing is written");
    ended
}

/// Why it failed, on one line.
fn failed(address: SocketAddr, tag: &str) -> String {
    let ended = pull(address, tag);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn manifest(kind: &str, digest: &str, size: u64) -> Vec<u8> {
    serde_json::json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": digest, "size": 2},
        "layers": [{"mediaType": kind, "digest": digest, "size": size}],
    })
    .to_string()
    .into_bytes()
}

#[test]
fn nothing_is_read_without_end() {
    let component = digest(b"component");
    let address = registry(move |request, stream| {
        let (ok, json) = ("200 OK", "200 OK\r\ncontent-type: application/json");
        match request.split(' ').nth(1).expect("a path") {
            "/v2/" => whole(stream, ok, b""),
            "/v2/shop/cart/manifests/manifest" => endless(stream, json),
            "/v2/shop/cart/manifests/error" => endless(stream, "500 Oh"),
            "/v2/shop/cart/manifests/declared" => {
                write!(stream, "HTTP/1.1 {json}\r\ncontent-length: 4000000000\r\n\r\n")?;
                endless(stream, "")
            }
            "/v2/shop/cart/manifests/blob" => {
                whole(stream, json, &manifest("application/wasm", &component, 9))
            }
            path if path.contains("/blobs/") => endless(stream, ok),
            path => panic!("{path}"),
        }
    });
    assert!(failed(address, "manifest").contains("its manifest has more than 4194304 bytes"));
    assert!(failed(address, "declared").contains("its manifest has more than 4194304 bytes"));
    assert!(failed(address, "error").contains("it answers 500"));
    assert!(failed(address, "blob").contains("the component has more than 9 bytes"));
}

#[test]
fn a_token_without_end_is_not_read_and_one_that_forges_headers_is_not_sent() {
    for (path, said) in
        [("endless", "its token has more than"), ("forged", "its token cannot be sent")]
    {
        let address = registry(move |request, stream| {
            let host = stream.local_addr()?;
            match request.split(' ').nth(1).expect("a path") {
                "/v2/" => {
                    let realm = format!("Bearer realm=\"http://{host}/token\",service=\"x\"");
                    whole(stream, &format!("401 No\r\nwww-authenticate: {realm}"), b"")
                }
                _ if path == "endless" => endless(stream, "200 OK"),
                _ => whole(stream, "200 OK", b"{\"token\": \"a\\r\\nx-forged: 1\"}"),
            }
        });
        let failed = failed(address, "1");
        assert!(failed.contains(said), "{failed}");
    }
}

/// Asks a registry with what lets one in; what it said.
fn pull_as(who: &str, address: SocketAddr) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    command.args(["pack", "--pull", &format!("oci://{address}/shop/cart:1"), "-o"]);
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    command.arg(folder.path().join("pulled.wasm")).env("HOTDOCK_REGISTRY_TOKEN", who);
    let ended = command.output().expect("it ends");
    String::from_utf8(ended.stderr).expect("text")
}

fn has_secret(head: &str) -> bool {
    head.to_lowercase().contains("authorization:")
}

#[test]
fn what_lets_one_in_goes_to_the_registry_and_nowhere_else() {
    for who in ["user:password", "token"] {
        let (told, elsewhere) = channel();
        // It redirects once more, within itself.
        let other = registry(move |head, stream| {
            told.send(has_secret(head)).expect("the test waits");
            match head.split(' ').nth(1).expect("a path") {
                "/again" => whole(stream, "404 No", b""),
                _ => whole(stream, "307 There\r\nlocation: /again", b""),
            }
        });
        let (told, here) = channel();
        let address = registry(move |head, stream| {
            let basic = "401 No\r\nwww-authenticate: Basic realm=\"x\"";
            match head.split(' ').nth(1).expect("a path") {
                "/v2/" => whole(stream, if has_secret(head) { "200 OK" } else { basic }, b""),
                _ => {
                    told.send(has_secret(head)).expect("the test waits");
                    whole(stream, &format!("307 There\r\nlocation: http://{other}/x"), b"")
                }
            }
        });
        pull_as(who, address);
        assert_eq!(here.try_iter().collect::<Vec<_>>(), [true], "{who}");
        assert_eq!(elsewhere.try_iter().collect::<Vec<_>>(), [false, false], "{who}");
    }
}

#[test]
fn a_registry_that_asks_who_one_is_at_the_repository_is_told() {
    let address = registry(|head, stream| {
        let basic = "401 No\r\nwww-authenticate: Basic realm=\"x\"";
        match head.split(' ').nth(1).expect("a path") {
            "/v2/" => whole(stream, "200 OK", b""),
            _ if has_secret(head) => whole(stream, "418 Teapot", b""),
            _ => whole(stream, basic, b""),
        }
    });
    let said = pull_as("user:password", address);
    assert!(said.contains("it answers 418"), "{said}");
}

#[test]
fn redirects_end() {
    let address = registry(|request, stream| {
        let path = request.split(' ').nth(1).expect("a path").to_owned();
        match path.as_str() {
            "/v2/" => whole(stream, "200 OK", b""),
            path => whole(stream, &format!("307 There\r\nlocation: {path}x"), b""),
        }
    });
    let said = failed(address, "1");
    assert!(said.contains("it redirects more than 5 times"), "{said}");
}

#[test]
fn a_page_is_no_manifest_and_a_manifest_of_others_steers_no_terminal() {
    let component = digest(b"component");
    let address =
        registry(move |request, stream| match request.split(' ').nth(1).expect("a path") {
            "/v2/" => whole(stream, "200 OK", b""),
            "/v2/shop/cart/manifests/page" => {
                whole(stream, "200 OK\r\ncontent-type: text/html", b"<html>Log in</html>")
            }
            "/v2/shop/cart/manifests/kind" => {
                let kind = "x\u{1b}]0;owned\u{7}\nhotdock: all is well\u{9b}\u{202e}";
                whole(stream, "200 OK", &manifest(kind, &component, 9))
            }
            "/v2/shop/cart/manifests/path" => {
                whole(stream, "200 OK", &manifest("application/wasm", "../../../x:1?y", 9))
            }
            "/v2/shop/cart/manifests/error" => whole(
                stream,
                "400 Bad",
                br#"{"errors": [{"code": "X\u001b[2J", "message": "a\nb\u009b"}]}"#,
            ),
            path => panic!("{path}"),
        });
    let said = failed(address, "page");
    assert!(said.contains("no manifest of an artifact (text/html)"), "{said}");
    let said = String::from_utf8(pull(address, "kind").stderr).expect("text");
    assert!(said.contains("x\\u{1b}]0;owned\\u{7}"), "{said}");
    let said =
        said + &failed(address, "path") + &String::from_utf8_lossy(&pull(address, "error").stderr);
    assert!(said.contains("no digest") && said.contains("X\\u{1b}[2J a"), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{said:?}");
    for line in said.lines() {
        assert!(line.starts_with("hotdock: oci://") || line.starts_with("  "), "{line}");
    }
}
