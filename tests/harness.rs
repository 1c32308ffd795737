//! A host in a process and a folder of its own, and clients for it.

pub mod client;
mod compiled;
pub mod disk;
pub mod frames;
pub mod host;
pub mod in_process;
pub mod keyed;
pub mod raw;
pub mod registry;
pub mod typed;
pub mod valve;
pub mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use client::{Client, Reply};
pub use host::Host;

/// How long a condition may take to be met; far more than any should.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Waits until `condition` gives a value.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let met = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, met).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Waits until the condition holds, and ends with what it said last if it never does.
pub async fn until_right<T>(mut condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = std::time::Instant::now();
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(wrong) if begun.elapsed() > PATIENCE => panic!("not within {PATIENCE:?}: {wrong}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// A file that `make` built before the tests.
pub fn built(folder: &str, file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(folder).join(file);
    path.exists().then_some(path)
}

/// The migrations of its manifest, which every later version has, too.
pub fn migrations(name: &str) -> String {
    let manifest = component(name).1.unwrap_or_default();
    manifest.find("[[migration]]").map_or_else(String::new, |start| manifest[start..].to_owned())
}

/// A component's bytes and its manifest: a service or a test guest.
pub fn component(name: &str) -> (Vec<u8>, Option<String>) {
    let folder = if matches!(name, "cart" | "order") { "plugins" } else { "test-guests" };
    let wasm = built(folder, &format!("{name}.wasm")).unwrap_or_else(|| {
        panic!("target/{folder}/{name}.wasm is missing: run `make plugins guests`")
    });
    let manifest = built(folder, &format!("{name}.toml"));
    (
        std::fs::read(wasm).expect("the component"),
        manifest.map(|path| std::fs::read_to_string(path).expect("the manifest")),
    )
}

/// The `hello` guest as another version: its marker says `number`.
pub fn hello(number: u32) -> Vec<u8> {
    marked("hello", number)
}

/// A hello guest whose 16-byte marker is `VERSION-<number>`.
pub fn marked(guest: &str, number: u32) -> Vec<u8> {
    const MARKER: &[u8] = b"VERSION-00000001";
    let (mut bytes, _) = component(guest);
    let places: Vec<usize> =
        (0..bytes.len() - MARKER.len()).filter(|&at| bytes[at..].starts_with(MARKER)).collect();
    assert_eq!(places.len(), 1, "the marker is there once");
    bytes[places[0]..places[0] + MARKER.len()]
        .copy_from_slice(format!("VERSION-{number:08}").as_bytes());
    bytes
}
