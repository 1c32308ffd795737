//! What an earlier host left on disk: frozen data folders that this one opens.

use crate::harness::{Host, hello};

/// The state and the record of format 1, as the first host wrote them: cart and order at v1, with
/// two carts and two orders.
#[tokio::test]
async fn a_data_folder_of_format_1_is_served_on() {
    let frozen = |name: &str| {
        let file = format!("{}/../tests/fixtures/format-1/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(file).expect("a fixture")
    };
    let mut host = Host::builder().plugin("cart").plugin("order");
    for name in ["host.db", "stores/cart.db", "stores/order.db"] {
        host = host.file(&format!("../data/{name}"), frozen(name));
    }
    let host = host.start().await;
    for name in ["cart", "order"] {
        let version = &host.service(name).await["serving"]["version"];
        assert_eq!(*version, 2, "{name}: numbers go on");
    }
    let cart = host.get("/cart?user_id=ann").await.json();
    assert_eq!(cart["cart"]["pear"], 1, "{cart}");
    let orders = host.get("/order?user_id=7").await.json();
    assert_eq!(orders["orders"][0]["product_id"], "x", "{orders}");
    assert_eq!(orders["orders"][1]["created_at"], "2026-11-23T17:57:42Z", "{orders}");
    let order = r#"{"user_id": 7, "product_id": 1, "quantity": 1}"#;
    assert_eq!(host.post("/order", order).await.json()["order_id"], 3);
}

/// A record of format 2, as the host that knew no registries wrote it: hello, v1 from its file and
/// v2 uploaded.
#[tokio::test]
async fn a_record_of_format_2_is_read_on() {
    let file = format!("{}/../tests/fixtures/format-2/host.db", env!("CARGO_MANIFEST_DIR"));
    let frozen = std::fs::read(file).expect("a fixture");
    let host = Host::builder().file("../data/host.db", frozen).start().await;
    let path = host.admin_url("/v1/services/hello/versions");
    let versions = host.client.try_request(http::Method::GET, &path, "").await;
    let versions = versions.expect("an answer").json();
    let origins: Vec<_> =
        [0, 1].map(|at| (&versions[at]["version"], &versions[at]["origin"])).to_vec();
    assert_eq!(origins, [(&2.into(), &"upload".into()), (&1.into(), &"file".into())], "{versions}");
    assert!(versions[0]["reference"].is_null() && versions[0]["who"] == "ann", "{versions}");
}

/// A record of format 3, as the host that didn't remember what served before wrote it: hello, v1
/// uploaded and v2 from a registry, which share the traffic.
#[tokio::test]
async fn a_record_of_format_3_is_read_on() {
    let file = format!("{}/../tests/fixtures/format-3/host.db", env!("CARGO_MANIFEST_DIR"));
    let frozen = std::fs::read(file).expect("a fixture");
    let host = Host::builder().file("../data/host.db", frozen).start().await;
    let path = host.admin_url("/v1/services/hello/versions");
    let versions = host.client.try_request(http::Method::GET, &path, "").await;
    let versions = versions.expect("an answer").json();
    assert_eq!((&versions[0]["origin"], &versions[0]["who"]), (&"oci".into(), &"bob".into()));
    assert_eq!(versions[1]["origin"], "upload", "{versions}");
    // Numbers go on, as the record has them.
    host.drop_file("hello.wasm", hello(3));
    host.until_version("hello", 3).await;
}

/// A record of format 4, as the host that forgot a service's revision with the service wrote it.
#[tokio::test]
async fn a_record_of_format_4_is_read_on() {
    let file = format!("{}/../tests/fixtures/format-4/host.db", env!("CARGO_MANIFEST_DIR"));
    let frozen = std::fs::read(file).expect("a fixture");
    let host = Host::builder().file("../data/host.db", frozen).start().await;
    host.drop_file("hello.wasm", hello(3));
    host.until_version("hello", 3).await;
    let revision = &host.service("hello").await["revision"];
    assert_eq!(*revision, 8, "it goes on from 7");
}

#[test]
fn every_guest_is_used_by_a_test() {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");
    let sources = sources(tests.as_ref());
    for guest in std::fs::read_dir(format!("{tests}/guests")).expect("the guests") {
        let name = guest.expect("an entry").file_name().into_string().expect("a name");
        let used = [format!("(\"{name}\""), format!("\"{name}.wasm\"")];
        assert!(used.iter().any(|used| sources.contains(used)), "no test uses the guest {name}");
    }
}

/// All tests and their harness, without the guests.
fn sources(folder: &std::path::Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("guests") {
            all += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all += &std::fs::read_to_string(path).expect("a source");
        }
    }
    all
}
