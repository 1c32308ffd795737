use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::process::MAX_OUTPUT_BYTES;
use super::*;

/// A compiler that does what `script` says; `$2` is its input, `$3` its output.
fn compiler(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("compiler");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

async fn run(script: &str, limit: Duration) -> Result<String, CompileFailure> {
    let folder = tempfile::tempdir().expect("a folder");
    let compiler = compiler(folder.path(), script);
    let (input, output) = (folder.path().join("input"), folder.path().join("output"));
    std::fs::write(&input, "component").expect("an input");
    let result = run_child((&compiler, limit), &input, &output).await;
    if result.is_ok() {
        assert_eq!(std::fs::read_to_string(&output).expect("an output"), "component");
    }
    result
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_childs_key_and_code_come_back() {
    let key = run("cp \"$2\" \"$3\"; echo \"$1-key\"", LONG).await;
    assert_eq!(key.expect("a key"), "compile-key");
}

#[tokio::test]
async fn the_childs_last_words_are_the_reason() {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do printf '%01000d' 0 >&2; done; echo 'type mismatch at 0x7' >&2; exit 1";
    let error = run(script, LONG).await.expect_err("a failure").to_string();
    assert!(
        error.starts_with("it does not compile: ") && error.ends_with("type mismatch at 0x7"),
        "{error}"
    );
    assert!(error.len() < MAX_OUTPUT_BYTES + 100, "{}", error.len());
}

#[tokio::test]
async fn a_child_that_is_killed_or_too_slow_is_a_refusal() {
    let error = run("kill -9 $$", LONG).await.expect_err("a failure");
    assert!(error.to_string().contains("signal: 9"), "{error}");
    let script = "echo 'memory allocation of 144 bytes failed' >&2; kill -6 $$";
    let error = run(script, LONG).await.expect_err("a failure");
    assert!(matches!(error, CompileFailure::MemoryLimit(_)), "{error}");
    let error = run("exec sleep 600", Duration::from_millis(20)).await.expect_err("a failure");
    assert!(matches!(error, CompileFailure::TimeLimit(_)), "{error}");
    let nowhere =
        run_child((Path::new("/nowhere/hotdock"), LONG), Path::new("a"), Path::new("b")).await;
    assert!(matches!(nowhere, Err(CompileFailure::NotRun { .. })));
}
