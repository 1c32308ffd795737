//! Files that come, change and go.

use std::fs::File;
use std::io::Write as _;

use crate::harness::{Host, component, eventually, hello, marked};

async fn says(host: &Host, version: &str) {
    eventually(&format!("{version} answers"), async || {
        (host.get("/hello").await.header("x-version") == version).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_newer_file_takes_over_however_it_is_put_there() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    says(&host, "VERSION-00000001").await;

    host.drop_file("hello.wasm", hello(2));
    says(&host, "VERSION-00000002").await;

    std::fs::write(host.plugins().join("hello.wasm"), hello(3)).expect("overwritten in place");
    says(&host, "VERSION-00000003").await;

    // Slowly, in place: nothing that is only half there becomes a version.
    let bytes = hello(4);
    let mut file = File::create(host.plugins().join("hello.wasm")).expect("a file");
    for part in bytes.chunks(bytes.len() / 8 + 1) {
        file.write_all(part).expect("a part");
        file.flush().expect("flushed");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000003");
    }
    drop(file);
    says(&host, "VERSION-00000004").await;
    host.until_version("hello", 4).await;
    assert!(host.service("hello").await["refusal"].is_null());
}

#[tokio::test]
async fn the_same_bytes_again_are_no_new_version() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    host.drop_file("hello.wasm", hello(1));
    host.drop_file("other.wasm", hello(2));
    eventually("the other is served", async || {
        (host.get("/other").await.status == 200).then_some(())
    })
    .await;
    host.until_version("hello", 1).await;
}

#[tokio::test]
async fn a_changed_manifest_alone_is_a_new_version() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    host.get("/elsewhere").await.problem(404, "no-route");
    host.drop_file("hello.toml", "[[route]]\npath = \"/elsewhere\"\n");
    host.until_version("hello", 2).await;
    assert_eq!(host.get("/elsewhere").await.status, 200);
    host.get("/hello").await.problem(404, "no-route");
    host.remove_file("hello.toml");
    host.until_version("hello", 3).await;
    assert_eq!(host.get("/hello").await.status, 200);
}

#[tokio::test]
async fn a_deleted_file_takes_its_service_away_and_its_state_stays() {
    let host = Host::builder().plugin("cart").start().await;
    let body = r#"{"user_id": 7, "product_id": 1, "quantity": 2}"#;
    assert_eq!(host.post("/cart", body).await.status, 200);
    let (wasm, _) = component("cart");
    host.remove_file("cart.wasm");
    eventually("cart is gone", async || (host.get("/cart").await.status == 404).then_some(()))
        .await;
    host.drop_file("cart.wasm", wasm);
    eventually("cart is back", async || (host.get("/cart").await.status == 200).then_some(()))
        .await;
    assert_eq!(host.get("/cart?user_id=7").await.json()["cart"]["1"], 2);
    // Numbers are never given twice.
    host.until_version("cart", 2).await;
}

#[tokio::test]
async fn a_component_of_wasi_http_0_3_is_swapped_for_one_of_0_2_and_back() {
    let host = Host::builder().file("hello.wasm", marked("hello3", 1)).start().await;
    for (version, component) in [(2, hello(2)), (3, marked("hello3", 3))] {
        host.drop_file("hello.wasm", component);
        host.until_version("hello", version).await;
        let reply = host.get("/hello").await;
        assert_eq!(reply.header("x-version"), format!("VERSION-{version:08}"));
    }
}
