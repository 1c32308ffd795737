//! Components that take long to compile: they hold nobody else's deployment.

use crate::harness::{Host, eventually, hello};
use crate::hostile::slow_to_compile;

/// What takes so long that a test is over before it is compiled.
const FOR_LONG: usize = 400_000;

async fn is_at(host: &Host, file: &str, step: &str) {
    eventually(&format!("{file} is at {step}"), async || {
        let status = host.status().await;
        let files = status["files"].as_array()?.iter();
        files
            .into_iter()
            .find(|each| each["file"] == file && each["candidate"]["step"] == step)
            .map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_one_passes_those_that_take_long() {
    let host = Host::builder().settings("compile-timeout = \"10m\"\n").start().await;
    for name in ["first", "second", "third"] {
        host.drop_file(&format!("{name}.wasm"), slow_to_compile(FOR_LONG));
    }
    is_at(&host, "first.wasm", "compiling").await;
    for version in 1..4 {
        host.drop_file("hello.wasm", hello(version));
        host.until_version("hello", version.into()).await;
    }
    let still = host.status().await;
    let files = still["files"].as_array().expect("files");
    assert_eq!(files.len(), 3, "{still}");
    assert!(files.iter().all(|file| file["refusal"].is_null()), "{still}");
    let children = children_of(host.pid());
    assert!((1..=2).contains(&children.len()), "two processes at the most: {children:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compilers_end_with_a_host_that_is_killed_also_those_that_stand_still() {
    let mut host = Host::builder().settings("compile-timeout = \"10m\"\n").start().await;
    host.drop_file("slow.wasm", slow_to_compile(FOR_LONG));
    is_at(&host, "slow.wasm", "compiling").await;
    host.drop_file("slower.wasm", slow_to_compile(FOR_LONG + 1));
    let children = eventually("one stands still beside another", async || {
        let children = children_of(host.pid());
        let stands = children.iter().any(|child| state_of(*child) == Some('T'));
        (children.len() == 2 && stands).then_some(children)
    })
    .await;
    host.kill();
    for child in children {
        eventually("the compiler is gone", async || {
            matches!(state_of(child), None | Some('Z')).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_no_longer_has_is_not_compiled_to_its_end() {
    let host = Host::builder().settings("compile-timeout = \"10m\"\n").start().await;
    host.drop_file("hello.wasm", slow_to_compile(FOR_LONG));
    is_at(&host, "hello.wasm", "compiling").await;
    host.drop_file("hello.wasm", hello(1));
    host.until_version("hello", 1).await;
    assert!(children_of(host.pid()).is_empty(), "nobody waits for the other");
    host.drop_file("gone.wasm", slow_to_compile(FOR_LONG));
    is_at(&host, "gone.wasm", "compiling").await;
    host.remove_file("gone.wasm");
    eventually("its compiler is gone", async || children_of(host.pid()).is_empty().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_took_too_long_is_not_tried_again_at_once() {
    let host = Host::builder().settings("compile-timeout = \"2s\"\n").start().await;
    let slow = slow_to_compile(FOR_LONG);
    host.drop_file("slow.wasm", &slow);
    let said = host.until_refused("slow.wasm").await;
    assert!(said.contains("it does not compile within 2s (compile-timeout"), "{said}");
    // Another file of the same bytes.
    host.drop_file("again.wasm", &slow);
    let said = host.until_refused("again.wasm").await;
    assert!(said.contains("the same component is not tried again before 2"), "{said}");
    // One that compiles at once, however busy the machine is.
    host.drop_file("quick.wasm", slow_to_compile(1));
    host.until_version("quick", 1).await;
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let children = tasks.flat_map(|task| {
        let path = task.expect("a thread").path().join("children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_ascii_whitespace().map(|id| id.parse().expect("a number")).collect::<Vec<u32>>()
    });
    children.collect()
}

/// `R`, `S`, `T`, `Z` … (proc(5)); none where it is gone.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
