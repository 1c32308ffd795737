//! Components that no one here wrote bindings for, from their public toolchains.

use crate::harness::{Host, built};

async fn serves(file: &str, name: &str) {
    let Some(path) = built("test-guests", file) else {
        eprintln!("skipped: target/test-guests/{file} was not built (its toolchain is not here)");
        return;
    };
    let host = Host::builder()
        .file(&format!("{name}.wasm"), std::fs::read(path).expect("the component"))
        .file(&format!("{name}.toml"), "[limits]\nmemory = \"256MiB\"\ndeadline = \"20s\"\ncpu = \"10s\"\n[instances]\nreuse = 100\n")
        .start()
        .await;
    for path in [format!("/{name}"), format!("/{name}/a/b?c=d")] {
        let reply = host.get(&path).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.text().contains("GET") && reply.text().contains(&path), "{reply:?}");
    }
    let posted = host.post(&format!("/{name}/x"), "hello").await;
    assert!(posted.text().contains("POST"), "{posted:?}");
}

#[tokio::test]
async fn a_javascript_component_runs_unmodified() {
    serves("js.wasm", "js").await;
}

#[tokio::test]
async fn a_python_component_runs_unmodified() {
    serves("py.wasm", "py").await;
}
