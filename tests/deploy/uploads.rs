//! Uploads that are wrong, and who may upload.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hotdock::component::MAX_COMPONENT_BYTES;
use hotdock::digest::Digest;
use hotdock::manifest::MAX_TEXT_BYTES;
use http::Request;
use http_body_util::Full;

use super::operator::{deploy, hotdock, upload};
use crate::harness::raw::Raw;
use crate::harness::{Client, Host, Reply, eventually, hello};

async fn put(host: &Host, kind: &str, digest: Option<&str>, body: Vec<u8>) -> Reply {
    let request = Request::put(host.admin_url("/v1/services/hello")).header("content-type", kind);
    let request = match digest {
        Some(digest) => request.header("content-digest", digest),
        None => request,
    };
    host.send(request.body(Full::new(Bytes::from(body))).expect("a request")).await
}

#[tokio::test]
async fn what_is_wrong_with_an_upload_is_said_and_changes_nothing() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let sha_256 =
        |bytes: &[u8]| format!("sha-256=:{}:", STANDARD.encode(Digest::of(bytes).as_bytes()));
    let wasm = "application/wasm";
    let broken = put(&host, wasm, Some(&sha_256(b"other")), hello(2)).await;
    assert_eq!(broken.status, 400, "{broken:?}");
    assert_eq!(put(&host, wasm, Some("sha-256=:x:"), hello(2)).await.status, 400);
    assert_eq!(put(&host, "text/plain", None, hello(2)).await.status, 415);
    for (header, value, status) in [
        ("content-range", "bytes 0-9/100", 400),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "identity, br", 415),
    ] {
        let request = Request::put(host.admin_url("/v1/services/hello"))
            .header("content-type", wasm)
            .header(header, value)
            .body(Full::new(Bytes::from(hello(2))));
        let refused = host.send(request.expect("a request")).await;
        assert_eq!(refused.status, status, "{refused:?}");
        let detail = refused.json()["detail"].as_str().expect("a detail").to_lowercase();
        assert!(detail.starts_with(header), "{detail}");
    }
    let garbage = put(&host, wasm, None, b"garbage".to_vec()).await;
    assert_eq!(garbage.status, 422, "{garbage:?}");
    assert!(garbage.json()["reasons"][0].as_str().expect("text").contains("WebAssembly"));
    let other = upload(&host, "hello", &hello(2), "[service]\nname = \"other\"\n").await;
    assert_eq!(other.status, 400, "{other:?}");
    let bad = upload(&host, "hello", &hello(2), "[limits]\nmemroy = 1\n").await;
    assert!(bad.status == 422 && bad.text().contains("memory"), "{bad:?}");
    let long = upload(&host, "hello", &hello(2), &"#".repeat(MAX_TEXT_BYTES + 1)).await;
    assert_eq!(long.status, 413, "{long:?}");
    assert_eq!(upload(&host, "No_Name", &hello(2), "").await.status, 400);
    assert_eq!(upload(&host, "hello?canary=soon", &hello(2), "").await.status, 400);
    assert_eq!(host.service("hello").await["serving"]["version"], 1);

    let good = put(&host, wasm, Some(&sha_256(&hello(2))), hello(2)).await;
    assert_eq!(good.status, 202, "{good:?}");
    assert!(good.header("location").starts_with("/v1/deployments/"));
    host.until_version("hello", 2).await;
}

#[tokio::test]
async fn who_is_refused_in_the_middle_of_sending_learns_why() {
    let host = Host::builder().start().await;
    let mut stream = Raw::connect(host.admin).await;
    let part = vec![b'x'; 1 << 20];
    for _ in 0..2 {
        let head =
            "PUT /v1/services/hello HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n";
        stream.send(format!("{head}Content-Length: {}\r\n\r\n", 8 * part.len())).await;
        let answer = stream.until("\r\n\r\n").await;
        assert!(answer.contains("HTTP/1.1 415 "), "{answer}");
        // The connection takes the rest, and the next request.
        for _ in 0..8 {
            stream.send(&part).await;
        }
    }
}

#[tokio::test]
async fn a_component_that_is_too_large_is_not_kept() {
    let host = Host::builder().start().await;
    let mut stream = Raw::connect(host.admin).await;
    let head = format!(
        "PUT /v1/services/hello HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/wasm\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        MAX_COMPONENT_BYTES + 1
    );
    stream.send(head).await;
    // It begins as a component does.
    stream.send(b"\0asm\x0d\0\x01\0").await;
    let part = vec![0; 1 << 20];
    for _ in 1..MAX_COMPONENT_BYTES >> 20 {
        stream.send(&part).await;
    }
    stream.send(&part[..(1 << 20) - 7]).await;
    let answer = stream.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("the component has more than 268435456 bytes"), "{answer}");
    let kept = std::fs::read_dir(host.data().join("components")).expect("a folder").count();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn uploads_that_stall_are_given_up_and_hold_nobody_up() {
    let host = Host::builder()
        .settings("[deploy]\nupload-idle-timeout = \"300ms\"\n")
        .file("hello.wasm", hello(1))
        .start()
        .await;
    let stalled = async |kind: &str, beginning: &str| {
        let mut stream = Raw::connect(host.admin).await;
        let head = format!(
            "PUT /v1/services/hello HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Content-Length: 100000\r\n\r\n{beginning}"
        );
        stream.send(head).await;
        stream
    };
    let form = "--b\r\nContent-Disposition: form-data; name=\"component\"\r\n\r\nabc";
    // As many as there are places.
    let stalled = [
        stalled("application/wasm", "abc").await,
        stalled("multipart/form-data; boundary=b", form).await,
    ];
    for mut stream in stalled {
        let answer = stream.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("nothing came of the body for 300ms"), "{answer}");
    }
    deploy(&host, "hello", &hello(2), "", "serving").await;
}

#[tokio::test]
async fn the_last_versions_are_kept() {
    let host =
        Host::builder().file("hello.wasm", hello(1)).settings("[deploy]\nkeep-versions = 2\n");
    let host = host.start().await;
    for number in 2..=4 {
        deploy(&host, "hello", &hello(number), "", "serving").await;
    }
    let kept = hotdock(&host, &["versions", "hello", "--json"]);
    let kept: serde_json::Value = serde_json::from_slice(&kept.stdout).expect("JSON");
    let numbers: Vec<_> =
        kept.as_array().expect("a list").iter().map(|each| &each["version"]).collect();
    assert_eq!(numbers, [4, 3], "{kept}");
    assert_eq!(hotdock(&host, &["rollback", "hello", "1"]).status.code(), Some(6));
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one_and_never_logged() {
    const TOKEN: &str = "correct-horse-battery-staple";
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{TOKEN}\n")).expect("written");
    let host = Host::builder()
        .file("hello.wasm", hello(1))
        .argument("--log=trace")
        .environment("HOTDOCK_TOKEN_FILE", file.path())
        .start()
        .await;
    let get = async |token: &str| {
        let request = Request::get(host.admin_url("/v1/services"));
        let request = request.header("authorization", format!("Bearer {token}"));
        host.send(request.body(Full::default()).expect("a request")).await
    };
    assert_eq!(get(TOKEN).await.status, 200);
    let denied = get("wrong").await;
    assert_eq!(denied.status, 401);
    assert_eq!(denied.header("www-authenticate"), "Bearer realm=\"hotdock\"");
    assert_eq!(hotdock(&host, &["status"]).status.code(), Some(7));
    let path = file.path().to_str().expect("text");
    assert!(hotdock(&host, &["status", "--token-file", path]).status.success());
    assert!(!host.log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_may_have_the_token_itself() {
    const TOKEN: &str = "correct-horse-battery-staple";
    let host = Host::builder().environment("HOTDOCK_TOKEN", Path::new(TOKEN)).start().await;
    let status = |token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
        command.arg("status").env("HOTDOCK_ADMIN", host.admin_url("")).env("HOTDOCK_TOKEN", token);
        command.output().expect("it ends").status.code()
    };
    assert_eq!(status(TOKEN), Some(0));
    assert_eq!(status("wrong-horse-battery-staple"), Some(7));
    assert_eq!(hotdock(&host, &["status"]).status.code(), Some(7), "it shows none");
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_hotdock"))
        .args(["up", ".", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"])
        .current_dir(folder.path())
        .output()
        .expect("it ends");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("can be reached from elsewhere: set a token"), "{said}");
}

/// RFC 9110 §13.1.2.
#[tokio::test]
async fn what_is_there_is_not_replaced_by_who_wants_it_to_be_new() {
    let host = Host::builder().start().await;
    let put = async |tag: &str| {
        let request = Request::put(host.admin_url("/v1/services/hello"))
            .header("content-type", "application/wasm")
            .header("if-none-match", tag)
            .body(Full::new(Bytes::from(hello(1))));
        host.send(request.expect("a request")).await
    };
    assert_eq!(put("*").await.status, 202);
    host.until_version("hello", 1).await;
    let revision = host.service("hello").await["revision"].clone();
    let at = format!("hello is at revision {revision}, which If-None-Match names");
    for (tag, says) in [
        ("*".to_owned(), format!("hello is deployed already: it is at revision {revision}")),
        (format!("\"{revision}\""), at.clone()),
        (format!("W/\"{revision}\""), at),
    ] {
        let undeploy =
            Request::delete(host.admin_url("/v1/services/hello")).header("if-none-match", &tag);
        let undeploy = undeploy.body(Full::default()).expect("a request");
        for refused in [put(&tag).await, host.send(undeploy).await] {
            assert_eq!(refused.status, 412, "{tag}: {refused:?}");
            assert_eq!(refused.json()["detail"], says, "{tag}");
        }
    }
    assert_eq!(put("\"1000\"").await.status, 202);
}

/// RFC 9110 §8.8.1: what a strong validator is of does not change under it.
#[tokio::test]
async fn a_service_is_unchanged_only_where_nothing_that_is_said_of_it_is_another() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let get = async |tag: &str| {
        let get = Request::get(host.admin_url("/v1/services/hello")).header("if-none-match", tag);
        host.send(get.body(Full::default()).expect("a request")).await
    };
    assert_eq!(host.get("/hello").await.status, 200);
    let tag = eventually("what is said of it stays", async || {
        let tag = get("\"0\"").await.header("etag").to_owned();
        (get(&tag).await.status == 304).then_some(tag)
    })
    .await;
    for tag in [tag.clone(), format!("W/{tag}"), format!("\"1\", {tag}"), "*".to_owned()] {
        let known = get(&tag).await;
        assert_eq!((known.status.as_u16(), known.body.len()), (304, 0), "{tag}: {known:?}");
        let get = Request::get(host.admin_url("/v1/services/hello")).header("if-none-match", &tag);
        let get = get.body(Full::default()).expect("a request");
        let known = Client::h2c().send(get).await.expect("an answer");
        // What has no content has not the length of none (RFC 9110 §8.6).
        assert_eq!((known.status.as_u16(), known.headers.get("content-length")), (304, None));
    }
    // Its revision is the same, and its figures are not.
    assert_eq!(host.get("/hello").await.status, 200);
    let counted = get(&tag).await;
    assert_eq!(counted.status, 200, "{counted:?}");
    let revision = counted.json()["revision"].to_string();
    for other in [format!("\"{revision}\""), "\"0\"".to_owned()] {
        assert_eq!(get(&other).await.status, 200, "{other}");
    }
    // A change looks at the revision.
    let undeploy = Request::delete(host.admin_url("/v1/services/hello")).header("if-match", &tag);
    let done = host.send(undeploy.body(Full::default()).expect("a request")).await;
    assert_eq!(done.status, 204, "{done:?}");
}
