//! The data folder's components and compiled code, named by content.
//!
//! Every file is written under a temporary name, synced, renamed, and its folder
//! synced: a name that exists has its whole content, also after a power cut.
//! No file is ever changed, so compiled code can be mapped.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::opened::Unread;
use crate::digest::Digest;
use crate::failpoint;
use crate::machine::with_descriptors;

const TEMPORARY: &str = ".new-";

/// How much is written before it is looked whether the host stops.
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// `components/<digest>.wasm` and `compiled/<digest>-<key>.cwasm`.
#[derive(Debug)]
pub(super) struct Blobs {
    components: PathBuf,
    compiled: PathBuf,
    key: String,
    held: Mutex<Held>,
    /// One sweep at a time.
    sweeping: Mutex<()>,
}

/// What candidates need.
#[derive(Debug, Default)]
struct Held {
    by: HashMap<Digest, usize>,
    /// What they needed last since a sweep began, where one is under way: whether it is kept may
    /// have been asked before.
    lately: Option<HashSet<Digest>>,
}

/// Keeps a component and its code from being swept while a candidate needs them.
#[derive(Debug)]
pub(super) struct Hold {
    blobs: Arc<Blobs>,
    digest: Digest,
}

impl Blobs {
    /// Opens the folders in `data`. `key` names what compiled code must match.
    pub(super) fn open(data: &Path, key: String) -> io::Result<Self> {
        let (components, compiled) = (data.join("components"), data.join("compiled"));
        for folder in [&components, &compiled] {
            std::fs::create_dir_all(folder)?;
            remove_temporary(folder)?;
        }
        Ok(Self { components, compiled, key, held: Mutex::default(), sweeping: Mutex::default() })
    }

    /// What compiled code must match.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn component(&self, digest: &Digest) -> PathBuf {
        self.components.join(format!("{digest}.wasm"))
    }

    pub(super) fn compiled(&self, digest: &Digest) -> PathBuf {
        self.compiled.join(format!("{digest}-{}.cwasm", self.key))
    }

    /// Keeps the component, and a hold on it, unless the host stops before it is written.
    pub(super) fn put(
        self: &Arc<Self>,
        digest: Digest,
        bytes: &[u8],
        stopping: &CancellationToken,
    ) -> Result<Hold, Unread> {
        // Held before it is looked for, so that no sweep comes in between.
        let hold = self.hold(digest);
        let path = self.component(&digest);
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64) {
            return Ok(hold);
        }
        let mut file = temporary(&self.components)?;
        for chunk in bytes.chunks(WRITTEN_AT_ONCE) {
            if stopping.is_cancelled() {
                return Err(Unread::Stopping);
            }
            file.write_all(chunk)?;
        }
        failpoint::pass("before a component is kept");
        keep(file, &path)?;
        failpoint::pass("after a component is kept");
        Ok(hold)
    }

    /// An empty file for a component that is uploaded.
    pub(super) fn upload(&self) -> io::Result<NamedTempFile> {
        temporary(&self.components)
    }

    /// Keeps an uploaded component, and a hold on it.
    pub(super) fn put_upload(
        self: &Arc<Self>,
        digest: Digest,
        file: NamedTempFile,
    ) -> io::Result<Hold> {
        // Held before it is kept, so that no sweep comes in between.
        let hold = self.hold(digest);
        failpoint::pass("before a component is kept");
        keep(file, &self.component(&digest))?;
        failpoint::pass("after a component is kept");
        Ok(hold)
    }

    pub(super) fn hold(self: &Arc<Self>, digest: Digest) -> Hold {
        *self.held().by.entry(digest).or_default() += 1;
        Hold { blobs: Arc::clone(self), digest }
    }

    /// An empty file for the compiler to write to.
    pub(super) fn compiler_output(&self) -> io::Result<NamedTempFile> {
        temporary(&self.compiled)
    }

    /// Keeps what the compiler wrote.
    pub(super) fn put_compiled(
        &self,
        digest: &Digest,
        output: NamedTempFile,
    ) -> io::Result<PathBuf> {
        let path = self.compiled(digest);
        // Opened anew: the compiler may have replaced the file.
        File::open(output.path())?.sync_all()?;
        failpoint::pass("before code is kept");
        keep(output, &path)?;
        Ok(path)
    }

    /// Removes what is neither kept nor held, and the code of other hosts.
    pub(super) fn sweep(
        &self,
        kept: impl FnOnce() -> io::Result<HashSet<Digest>>,
    ) -> io::Result<()> {
        let _sweeping = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        // Noted before it is asked what is kept: a candidate is recorded while it is held, so it
        // is found there, or among those that are held or were lately. Not locked meanwhile:
        // threads that serve take holds and give them back.
        self.held().lately = Some(HashSet::new());
        let swept = kept().and_then(|kept| self.sweep_all_but(&kept));
        self.held().lately = None;
        swept
    }

    fn sweep_all_but(&self, kept: &HashSet<Digest>) -> io::Result<()> {
        for (folder, of) in [
            (&self.components, Self::component as fn(&Self, &Digest) -> PathBuf),
            (&self.compiled, Self::compiled),
        ] {
            let kept: HashSet<PathBuf> = kept.iter().map(|digest| of(self, digest)).collect();
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if kept.contains(&path) || is_temporary(&path) {
                    continue;
                }
                // Looked at and removed under one lock: whoever holds it later makes it anew.
                let held = self.held();
                if !held.digests().any(|digest| of(self, digest) == path) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.blobs.held();
        if let Some(count) = held.by.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                held.by.remove(&self.digest);
                if let Some(lately) = &mut held.lately {
                    lately.insert(self.digest);
                }
            }
        }
    }
}

impl Held {
    fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.by.keys().chain(self.lately.iter().flatten())
    }
}

fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut name = tempfile::Builder::new();
    name.prefix(TEMPORARY);
    // Opened here: the crate's own way adds a path, and hides the code of what the system said.
    let open = |path: &Path| {
        File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
    };
    with_descriptors(|| name.make_in(folder, open))
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY))
}

/// What a host that was killed left behind.
fn remove_temporary(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if is_temporary(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path)?;
    let folder = path.parent().expect("a blob is in a folder");
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Its candidate was recorded, and gave it back, just after it was asked what is recorded.
    #[test]
    fn what_was_held_when_a_sweep_began_survives_it() {
        let data = tempfile::tempdir().expect("a folder");
        let blobs = Arc::new(Blobs::open(data.path(), "key".to_owned()).expect("blobs"));
        let digest = Digest::of(b"held");
        let hold = blobs.put(digest, b"held", &CancellationToken::new()).expect("put");
        let asked = || {
            drop(hold);
            Ok(HashSet::new())
        };
        blobs.sweep(asked).expect("swept");
        assert_eq!(names(&data.path().join("components")), [format!("{digest}.wasm")]);
        blobs.sweep(|| Ok(HashSet::new())).expect("swept");
        assert!(names(&data.path().join("components")).is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_made_says_what_the_system_said() {
        let missing = temporary(Path::new("/is/not/there")).expect_err("there is no such folder");
        assert_eq!(missing.raw_os_error(), Some(rustix::io::Errno::NOENT.raw_os_error()));
    }

    #[test]
    fn what_is_kept_or_held_survives_a_sweep() {
        let data = tempfile::tempdir().expect("a folder");
        let blobs = Arc::new(Blobs::open(data.path(), "key".to_owned()).expect("blobs"));
        let (kept, held, gone) = (Digest::of(b"kept"), Digest::of(b"held"), Digest::of(b"gone"));
        let never = CancellationToken::new();
        drop(blobs.put(kept, b"kept", &never).expect("put"));
        drop(blobs.put(gone, b"gone", &never).expect("put"));
        let hold = blobs.put(held, b"held", &never).expect("put");
        let output = blobs.compiler_output().expect("a file");
        std::fs::write(output.path(), b"code").expect("written");
        blobs.put_compiled(&kept, output).expect("put");
        std::fs::write(data.path().join(format!("compiled/{kept}-other.cwasm")), b"old")
            .expect("written");
        blobs.sweep(|| Ok(HashSet::from([kept]))).expect("a sweep");
        let mut expected = vec![format!("{kept}.wasm"), format!("{held}.wasm")];
        expected.sort();
        assert_eq!(names(&data.path().join("components")), expected);
        assert_eq!(names(&data.path().join("compiled")), [format!("{kept}-key.cwasm")]);
        drop(hold);
        blobs.sweep(|| Ok(HashSet::from([kept]))).expect("a sweep");
        assert_eq!(names(&data.path().join("components")), [format!("{kept}.wasm")]);
        assert_eq!(std::fs::read(blobs.component(&kept)).expect("a file"), b"kept");
    }

    #[test]
    fn what_a_killed_host_left_half_written_is_removed_at_the_next_start() {
        let data = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(data.path(), "key".to_owned()).expect("blobs");
        let (_, path) = blobs.compiler_output().expect("a file").keep().expect("left behind");
        Blobs::open(data.path(), "key".to_owned()).expect("blobs");
        assert!(!path.exists());
    }
}
