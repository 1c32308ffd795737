//! What a restart brings back.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::time::timeout;

use super::bench::{Bench, PATIENCE, component, digest};
use crate::deploy::{Condition, DeployConfig, Notice, Status};
use crate::manifest::Sticky;
use crate::service::TrafficPlan;

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

/// The code in the cache, without what is being written.
fn code(folders: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folders.join("data/compiled")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

#[tokio::test]
async fn kept_versions_without_traffic_are_compiled_anew_too() {
    let mut bench = Bench::start().await;
    for name in ["one", "two", "three"] {
        bench.drop_component("cart", name);
        bench.serving().await;
    }
    let meanwhile = |folders: &Path| {
        code(folders).iter().for_each(|path| fs::remove_file(path).expect("removed"));
    };
    let bench = bench.restart(meanwhile, |_| {}).await;
    bench.ready().await;
    bench.until_status(|_| code(bench.folders.path()).len() == 3).await;
    let bench = bench.restart(|_| {}, no_compiler).await;
    let operator = bench.deployer.operator();
    let rolled_back = operator.rollback("cart", Some(1), None, Condition::None);
    let rolled_back = rolled_back.await.expect("from the cache").service;
    assert_eq!(rolled_back.serving.expect("a version").version, 1);
}

#[tokio::test]
async fn a_rollback_that_compiles_holds_nobody_else_up() {
    let mut bench = Bench::start().await;
    for (service, name) in [("order", "three"), ("cart", "one"), ("cart", "two")] {
        bench.drop_component(service, name);
        bench.serving().await;
    }
    let folders = bench.folders.path();
    let of_one =
        code(folders).into_iter().find(|path| path.to_string_lossy().contains(&digest("one")));
    fs::remove_file(of_one.expect("its code")).expect("removed");
    bench.close_compiler(true);
    let operator = bench.deployer.operator();
    let rollback = operator.rollback("cart", None, None, Condition::None);
    let others = async {
        let being_written = |_: &Status| {
            fs::read_dir(folders.join("data/compiled")).expect("a folder").count()
                > code(folders).len()
        };
        bench.until_status(being_written).await;
        let plan = TrafficPlan { sticky: Some(Sticky::Cookie), ..TrafficPlan::all(1) };
        let shared = timeout(PATIENCE, operator.set_traffic("order", plan, Condition::None)).await;
        bench.close_compiler(false);
        shared.expect("while the rollback waits").expect("shared");
    };
    let (rolled_back, ()) = tokio::join!(rollback, others);
    let rolled_back = rolled_back.expect("done").service;
    assert_eq!(rolled_back.serving.expect("a version").version, 1);
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
