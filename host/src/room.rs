//! Room on the disk of the data folder: whether there is some, and a reserve, so that a host
//! that is started on a full disk opens its files and serves what can be read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Below so many bytes a write that fails for want of room fails by the disk's doing.
const LOW: u64 = 8 << 20;

/// Bytes of the reserve, at most: the files' indices and logs, of some hundred stores.
const RESERVE: u64 = 8 << 20;

/// Of what is free, so much may be reserved.
const PART: u64 = 8;

/// Less is of no use: a file's index alone takes 32 KiB.
const LEAST_RESERVE: u64 = 256 << 10;

/// The file that takes the reserve's room.
const FILE: &str = "reserve";

/// The room that a data folder has. Clones are the same one; the default has always some.
#[derive(Clone, Debug, Default)]
pub struct Room {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    full: AtomicBool,
}

impl Room {
    /// Of this data folder.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let shared = Shared { folder: folder.to_owned(), full: AtomicBool::new(false) };
        Self { shared: Some(Arc::new(shared)) }
    }

    /// Before the first file is opened: where the disk is full, the reserve is given up for
    /// what opening them takes. Whether it was.
    #[must_use]
    pub fn make_way(&self) -> bool {
        let Some(shared) = &self.shared else { return false };
        let is_full = available(&shared.folder).is_some_and(|bytes| bytes < LEAST_RESERVE);
        let given_up = is_full && fs::remove_file(shared.folder.join(FILE)).is_ok();
        if is_full {
            shared.notes_full();
        }
        given_up
    }

    /// Once they are open: takes the reserve, again where it was given up. Without one the
    /// host does all the same, but for that start.
    pub fn reserve(&self) {
        let Some(shared) = &self.shared else { return };
        let path = shared.folder.join(FILE);
        let free = available(&shared.folder).unwrap_or(0);
        // What is left of one that was given up: it is all there is.
        let part = if shared.full.load(Ordering::Relaxed) { 1 } else { PART };
        let bytes = RESERVE.min(free / part);
        let has = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if bytes < LEAST_RESERVE || has >= bytes {
            return;
        }
        if let Err(error) = allocate(&path, bytes) {
            tracing::debug!(%error, "no room is reserved for a start on a full disk");
        }
    }

    /// Whether the disk is full, of which a write that failed for want of room is the sign: it is,
    /// or it was a moment ago, when the write failed, and somebody made room since.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Some(shared) = &self.shared else { return false };
        let is_full = available(&shared.folder).is_some_and(|bytes| bytes < LOW);
        if is_full {
            shared.notes_full();
        }
        is_full || self.was_full()
    }

    /// Whether a write failed for that, and there is no room since.
    #[must_use]
    pub fn was_full(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.full.load(Ordering::Relaxed))
    }

    /// Looks whether there is room again, where there was none; true once when there is.
    #[must_use]
    pub fn is_back(&self) -> bool {
        let Some(shared) = self.shared.as_ref().filter(|_| self.was_full()) else { return false };
        if available(&shared.folder).is_none_or(|bytes| bytes < LOW) {
            return false;
        }
        shared.full.store(false, Ordering::Relaxed);
        tracing::info!(data = %shared.folder.display(), "the disk has room again");
        true
    }
}

impl Shared {
    /// One line for all that fails until there is room again.
    fn notes_full(&self) {
        if !self.full.swap(true, Ordering::Relaxed) {
            let data = self.folder.display();
            tracing::error!(
                %data,
                "the disk is full: what can be read is served, and what services write is refused \
                 until there is room again"
            );
        }
    }
}

/// Bytes that this process may still write there; none where that cannot be said.
fn available(folder: &Path) -> Option<u64> {
    let found = statvfs(folder).ok()?;
    let blocks = if rustix::process::geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    Some(blocks.saturating_mul(found.f_frsize))
}

/// Has the file take so much room, really.
fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let done = fallocate(&file, FallocateFlags::empty(), 0, bytes);
    done.map_err(|error| {
        // What it got is nobody's otherwise.
        _ = fs::remove_file(path);
        error.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_was_full_a_moment_ago_is_why_a_write_failed() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = Room::of(folder.path());
        assert!(!room.is_full(), "a disk with room");
        room.shared.as_ref().expect("a folder").notes_full();
        assert!(room.is_full(), "somebody made room since");
        assert!(room.is_back());
        assert!(!room.is_full());
    }

    #[test]
    fn the_reserve_takes_room_and_is_taken_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = Room::of(folder.path());
        room.reserve();
        let taken = || fs::metadata(folder.path().join(FILE)).map(|metadata| metadata.len()).ok();
        let first = taken();
        room.reserve();
        assert_eq!(taken(), first);
        assert!(first.is_none_or(|bytes| (LEAST_RESERVE..=RESERVE).contains(&bytes)), "{first:?}");
        assert!(!room.was_full() && !room.is_back() && !Room::default().is_full());
    }
}
