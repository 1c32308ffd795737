//! What a restart brings back.

use std::fs;
use std::path::{Path, PathBuf};

use super::bench::{Bench, component, digest};
use crate::deploy::{DeployConfig, Notice};

fn no_compiler(config: &mut DeployConfig) {
    config.compiler = PathBuf::from("/nowhere/compiler");
}

#[tokio::test]
async fn what_served_serves_again_from_the_cache() {
    let mut bench = Bench::start().await;
    bench.drop_bytes("cart.toml", b"[[route]]\npath = \"/kept\"\n");
    bench.drop_component("cart", "one");
    bench.serving().await;
    bench.drop_component("cart", "two");
    bench.serving().await;
    bench.until(|notice| matches!(notice, Notice::Drained { .. })).await;
    let mut before = bench.status();
    // Told of since the host's start only.
    before.services[0].deployment = None;
    let mut bench = bench.restart(|_| {}, no_compiler).await;
    // At once, before the folder was looked at.
    assert_eq!(bench.status(), before);
    bench.ready().await;
    assert_eq!(bench.status(), before);
    let restored = bench.announced();
    assert!(matches!(&restored[..], [Notice::Serving { restored: true, .. }]), "{restored:?}");
}

#[tokio::test]
async fn what_was_refused_stays_refused_without_another_try() {
    let mut bench = Bench::start().await;
    bench.drop_bytes("cart.wasm", b"garbage");
    bench.refused().await;
    let before = bench.status();
    // Older than a file that someone may still be writing.
    let mut bench = bench.restart(|_| {}, |config| config.quiet = std::time::Duration::ZERO).await;
    bench.ready().await;
    assert_eq!(bench.status(), before);
    assert_eq!(bench.announced(), []);
}

#[tokio::test]
async fn files_that_changed_or_went_while_the_host_was_down_are_acted_on() {
    let mut bench = Bench::start().await;
    for service in ["changed", "gone"] {
        bench.drop_component(service, "one");
        bench.serving().await;
    }
    let meanwhile = |folders: &Path| {
        let plugins = folders.join("plugins");
        fs::remove_file(plugins.join("gone.wasm")).expect("removed");
        fs::write(plugins.join("changed.wasm"), component("two")).expect("written");
        fs::copy(plugins.join("changed.wasm"), plugins.join("new.wasm")).expect("copied");
    };
    let bench = bench.restart(meanwhile, |_| {}).await;
    bench.ready().await;
    assert!(bench.version("gone").is_none());
    assert_eq!(bench.version("changed").expect("a version").id.number, 2);
    assert_eq!(bench.version("new").expect("a version").id.number, 1);
}

#[tokio::test]
async fn code_that_is_missing_or_of_no_use_is_compiled_anew_from_the_kept_component() {
    let mut bench = Bench::start().await;
    for (service, name) in [("missing", "one"), ("useless", "two")] {
        bench.drop_component(service, name);
        bench.serving().await;
    }
    let meanwhile = |folders: &Path| {
        for entry in fs::read_dir(folders.join("data/compiled")).expect("a folder") {
            let path = entry.expect("an entry").path();
            let useless = path.to_string_lossy().contains(&digest("two"));
            fs::remove_file(&path).expect("removed");
            if useless {
                fs::write(&path, "not code").expect("written");
            }
        }
    };
    let bench = bench.restart(meanwhile, |_| {}).await;
    bench.ready().await;
    for service in ["missing", "useless"] {
        assert_eq!(bench.version(service).expect("a version").id.number, 1);
    }
}
