//! The code of built components, which the tests' hosts share: to compile one takes a debug host
//! longer than most tests take for all else.

use std::fs::{DirBuilder, hard_link, read_dir};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hotdock::digest::Digest;

/// The code that this very build of the host made; that of others is of no use, and goes.
static SHARED: LazyLock<PathBuf> = LazyLock::new(|| {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let host = std::fs::metadata(env!("CARGO_BIN_EXE_hotdock")).expect("the host");
    let ours = all.join(format!("{}.{}", host.mtime(), host.mtime_nsec()));
    if !ours.exists() {
        let others = read_dir(&all).into_iter().flatten().flatten();
        others.for_each(|other| drop(std::fs::remove_dir_all(other.path())));
    }
    std::fs::create_dir_all(&ours).expect("a folder");
    ours
});

/// Gives a new data folder the code of these components, where it is there and they are built
/// ones: what a test makes itself is often there to be compiled.
pub fn give<'a>(data: &Path, components: impl Iterator<Item = &'a [u8]>) {
    let digests = of_built(components);
    if digests.is_empty() {
        return;
    }
    let folder = data.join("compiled");
    // As the host makes its own.
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).expect("a folder");
    for (name, path) in code(&SHARED) {
        if digests.iter().any(|digest| name.starts_with(digest)) {
            share(&path, &folder.join(name));
        }
    }
}

/// Keeps for the others what a host with this data folder compiled of such components.
pub fn keep<'a>(data: &Path, components: impl Iterator<Item = &'a [u8]>) {
    let digests = of_built(components);
    for (name, path) in code(&data.join("compiled")) {
        if digests.iter().any(|digest| name.starts_with(digest)) {
            share(&path, &SHARED.join(name));
        }
    }
}

/// A file has its name when it is whole, and is never changed. Where it cannot be had, its
/// component is compiled once more.
fn share(path: &Path, other: &Path) {
    let linked = hard_link(path, other);
    if linked.is_err_and(|error| error.kind() == ErrorKind::CrossesDevices) {
        let part = other.with_extension(format!("{}.part", std::process::id()));
        drop(std::fs::copy(path, &part).and_then(|_| std::fs::rename(&part, other)));
    }
}

fn code(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = read_dir(folder).into_iter().flatten().flatten();
    let named =
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    named.filter(|(name, _)| name.ends_with(".cwasm"))
}

fn of_built<'a>(components: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let built = components.filter(|bytes| is_built(bytes));
    built.map(|bytes| Digest::of(bytes).to_string()).collect()
}

fn is_built(bytes: &[u8]) -> bool {
    ["plugins", "test-guests"].into_iter().any(|folder| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(folder);
        let files = read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        files
            .filter(|file| {
                std::fs::metadata(file).is_ok_and(|found| found.len() == bytes.len() as u64)
            })
            .any(|file| std::fs::read(file).is_ok_and(|found| found == bytes))
    })
}
