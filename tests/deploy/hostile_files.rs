//! Files in the plugin folder that are no components: many, large, or no files at all.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Host, eventually, hello};

/// The first bytes of a component, and what is no section behind them.
fn sparse(path: &Path, bytes: u64) {
    std::fs::write(path, b"\0asm\x0d\0\x01\0").expect("a file");
    std::fs::File::options()
        .write(true)
        .open(path)
        .expect("opened")
        .set_len(bytes)
        .expect("longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_that_are_none_hold_neither_a_new_service_nor_the_hosts_end() {
    let mut host = Host::builder().start().await;
    for number in 0..40 {
        sparse(&host.plugins().join(format!("sparse{number}.wasm")), 200 << 20);
    }
    // A component by all that its first bytes and sections say, and large.
    for number in 0..8 {
        let path = host.plugins().join(format!("large{number}.wasm"));
        let head =
            [b"\0asm\x0d\0\x01\0".as_slice(), &[0, 0xfb, 0xff, 0xff, 0x5f, 1, b'x']].concat();
        let part = host.plugins().join(".part");
        std::fs::write(&part, head).expect("a file");
        let file = std::fs::File::options().write(true).open(&part).expect("opened");
        file.set_len(8 + 5 + 0x0bff_fffb).expect("longer");
        std::fs::rename(part, path).expect("renamed");
    }
    host.drop_file("hello.wasm", hello(1));
    host.until_version("hello", 1).await;
    for number in 0..40 {
        let said = host.until_refused(&format!("sparse{number}.wasm")).await;
        assert!(said.contains("is broken: its section at byte 8 has no name"), "{said}");
    }
    let began = Instant::now();
    host.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_that_are_none_are_a_few_lines_and_no_delay() {
    let mut host = Host::builder().start().await;
    for number in 0..10_000 {
        let bytes = format!("\0asm\r\0\u{1}\0junk {number}");
        std::fs::write(host.plugins().join(format!("junk{number}.wasm")), bytes).expect("a file");
    }
    host.drop_file("hello.wasm", hello(1));
    host.until_version("hello", 1).await;
    host.until_logged("more files are refused").await;
    let refused = |host: &Host| host.log().matches("\"refused\"").count();
    assert!(refused(&host) < 1_000, "{} lines", refused(&host));
    eventually("all are known to be none", async || {
        (host.status().await["files"].as_array()?.len() == 10_000).then_some(())
    })
    .await;
    // What was refused before goes last, and is not said again.
    host.stop().await;
    host.start().await;
    assert_eq!(host.get("/hello").await.status, 200);
    assert_eq!(refused(&host), 0, "{}", host.log());
    for number in 0..10_000 {
        std::fs::remove_file(host.plugins().join(format!("junk{number}.wasm"))).expect("removed");
    }
    host.drop_file("hello.wasm", hello(2));
    host.until_version("hello", 2).await;
    eventually("they are forgotten", async || {
        host.status().await["files"].as_array()?.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_not_waited_for() {
    let mut host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let at = |name: &str| host.plugins().join(name);
    assert!(Command::new("mkfifo").arg(at("pipe.wasm")).status().expect("it runs").success());
    symlink("/dev/zero", at("zero.wasm")).expect("a link");
    symlink("/dev/tty", at("terminal.wasm")).expect("a link");
    symlink("loop.wasm", at("loop.wasm")).expect("a link");
    std::fs::create_dir(at("folder.wasm")).expect("a folder");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket.wasm")).expect("a socket");
    // One that is larger than manifests are is not read.
    assert!(Command::new("mkfifo").arg(at("hello.toml")).status().expect("it runs").success());
    std::fs::write(at("vast.wasm"), hello(1)).expect("a file");
    std::fs::File::create(at("vast.toml")).expect("a file").set_len(1 << 30).expect("longer");
    let said = host.until_refused("vast.wasm").await;
    assert!(said.contains("vast.toml has 1073741824 bytes; a manifest has at most"), "{said}");
    for (name, why) in [("pipe", "a pipe"), ("folder", "a folder"), ("socket", "no file")] {
        let said = host.until_refused(&format!("{name}.wasm")).await;
        assert!(said.contains(&format!("{name}.wasm")) && said.contains(why), "{said}");
    }
    // Nor is a manifest that is a pipe taken for one that isn't there.
    host.drop_file("hello.wasm", hello(2));
    let said = host.until_refused("hello.wasm").await;
    assert!(said.contains("hello.toml") && said.contains("a pipe"), "{said}");
    std::fs::remove_file(at("hello.toml")).expect("removed");
    host.until_version("hello", 2).await;
    host.stop().await;
    host.start().await;
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000002");
}
