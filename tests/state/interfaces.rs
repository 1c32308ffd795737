//! The interfaces that state and the host's other services are reached by.

use crate::harness::{Host, component, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn keyvalue_does_what_wasi_says() {
    let host = Host::builder().plugin("probe").start().await;
    let kv = async |query: &str| {
        let reply = host.post(&format!("/probe/kv?bucket=b&{query}"), "").await;
        assert_eq!(reply.status, 200, "{query}: {reply:?}");
        reply.text()
    };
    kv("op=set&key=a&value=1").await;
    assert!(kv("op=get&key=a").await.contains('1'));
    assert!(kv("op=exists&key=a").await.contains("true"));
    assert!(kv("op=exists&key=absent").await.contains("false"));
    assert!(kv("op=increment&key=a&value=4").await.contains('5'));
    kv("op=set-many&key=x,y&value=7,8").await;
    let many = kv("op=get-many&key=x,y,absent").await;
    assert!(many.contains('7') && many.contains('8'), "{many}");
    kv("op=delete-many&key=x,y").await;
    kv("op=delete&key=absent").await;
    let keys = kv("op=list").await;
    assert!(keys.contains("\"a\"") && !keys.contains("\"x\""), "{keys}");
    kv("op=cas&key=a&value=9").await;
    assert!(kv("op=get&key=a").await.contains('9'));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_explicitly_stays_and_the_rest_goes_with_the_trap() {
    let host = Host::builder().plugin("probe").start().await;
    host.post("/probe/commit?key=c&then=trap", "").await.problem(502, "may-have-taken-effect");
    let log = host.log();
    let stored = async |key: &str| {
        // Whatever bucket the guest chose, its answer says whether the key is there.
        host.post(&format!("/probe/kv?op=exists&bucket=commit&key={key}"), "").await.text()
    };
    assert!(stored("c").await.contains("true"), "{log}");
    assert!(stored("c2").await.contains("false"), "{log}");
    assert_eq!(host.post("/probe/rollback?key=r", "").await.status, 200);
    assert!(
        host.post("/probe/kv?op=exists&bucket=rollback&key=r", "").await.text().contains("false")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_after_the_answer_is_refused() {
    let host = Host::builder().plugin("probe").plugin("probe3").start().await;
    assert_eq!(host.post("/probe/late?ms=20&key=late", "").await.status, 200);
    host.until_logged("answered").await;
    let exists = host.post("/probe/kv?op=exists&bucket=late&key=late", "").await;
    assert!(exists.text().contains("false"), "{exists:?}");
    assert_eq!(host.post("/probe3/late?ms=20&key=late", "").await.status, 200);
    eventually("0.3, too", async || (host.log().matches("answered").count() >= 2).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_and_log_messages_reach_the_log_with_their_service() {
    let host = Host::builder().plugin("probe").start().await;
    host.get("/probe/print?lines=2&text=from-the-guest").await;
    host.get("/probe/log?level=warn&message=take-care").await;
    host.until_logged("take-care").await;
    let log = host.log();
    let lines: Vec<serde_json::Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let printed: Vec<_> = lines
        .iter()
        .filter(|line| {
            line["message"].as_str().is_some_and(|message| message.contains("from-the-guest"))
        })
        .collect();
    assert!(printed.iter().any(|line| line["stream"] == "stdout"), "{log}");
    assert!(printed.iter().any(|line| line["stream"] == "stderr"), "{log}");
    assert!(printed.iter().all(|line| line["service"] == "probe" && line["version"] == 1));
    let warned = lines.iter().find(|line| line["message"] == "take-care").expect("the message");
    assert_eq!(warned["level"], "WARN");
    host.get("/probe/print?lines=100000&text=flood").await;
    host.until_logged("the rest is dropped").await;
    assert!(host.log().len() < 1 << 20, "the log is bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn config_comes_from_the_manifest_and_nothing_else_is_granted() {
    let host = Host::builder().plugin("probe").start().await;
    assert!(host.get("/probe/config?key=colour").await.text().contains("blue"));
    assert!(!host.get("/probe/config?key=absent").await.text().contains("blue"));
    for denied in ["/probe/fs", "/probe/socket", "/probe/outbound?url=http%3A%2F%2F127.0.0.1%2F"] {
        let reply = host.get(denied).await;
        assert_eq!(reply.status, 200, "{denied}: the guest reads the error: {reply:?}");
        assert!(reply.text().lines().count() > 0, "{denied}: {reply:?}");
        for line in reply.text().lines() {
            assert!(line.contains(": denied: "), "{denied}: {line}");
        }
    }
}

#[tokio::test]
async fn a_secret_reaches_only_the_service_that_names_it_and_no_disk_or_log() {
    let host = Host::builder()
        .settings("secrets = \"secrets\"\n")
        .file("../secrets/probe/PAYMENT_KEY", "s3cret-value\n")
        .file("../secrets/other/PAYMENT_KEY", "s3cret-of-other\n")
        .file("probe.wasm", component("probe").0)
        .file("probe.toml", "[capabilities]\nsecrets = [\"PAYMENT_KEY\"]\n")
        .file("other.wasm", component("probe").0)
        .file("other.toml", "[[route]]\npath = \"/other\"\n")
        .file("greedy.wasm", component("probe").0)
        .file("greedy.toml", "[capabilities]\nsecrets = [\"PAYMENT_KEY\"]\n")
        .start()
        .await;
    let reply = host.get("/probe/config?key=PAYMENT_KEY").await;
    assert_eq!(reply.json()["value"], "s3cret-value", "{reply:?}");
    let refused = host.until_refused("greedy.wasm").await;
    assert!(refused.contains("secret PAYMENT_KEY is not supplied"), "{refused}");
    for name in ["host.db", "host.db-wal"] {
        let bytes = std::fs::read(host.data().join(name)).unwrap_or_default();
        assert!(!bytes.windows(6).any(|window| window == b"s3cret"), "{name}");
    }
    assert!(!host.log().contains("s3cret"), "{}", host.log());
    let status = host.status().await.to_string();
    assert!(!status.contains("s3cret"), "{status}");
}
