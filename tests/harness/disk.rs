//! A disk of the tests' own, in memory: it keeps what was synced through a power
//! cut, and fails when it is told to.
//!
//! It is strict: what a file has is on the disk when the file was synced, that
//! there is a file is when its folder was. Real ones are often kinder.

mod contents;
mod mount;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use fuser::{BackgroundSession, Errno};
use tempfile::TempDir;

use contents::Contents;

/// A mounted disk. Gone, with all it has, when dropped.
pub struct Disk {
    state: Arc<Mutex<State>>,
    point: TempDir,
    mounted: Option<BackgroundSession>,
}

/// What the mount and the test share.
#[derive(Default)]
struct State {
    contents: Contents,
    fault: Option<Fault>,
    ignores_syncs: bool,
}

/// What may fail; of a database's shared memory, which is no data, nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Write,
    Sync,
}

/// A failure to be.
#[derive(Clone, Copy)]
pub struct Fault {
    pub operation: Operation,
    /// Operations until then; 1: the next one.
    pub after: u64,
    pub error: Errno,
    /// Whether all the later ones fail, too.
    pub stays: bool,
}

/// What stays of what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// Some pages, by chance, as if the disk had been about to write them.
    Torn,
}

impl Disk {
    /// `None`, with a word about it, where there can be none.
    pub fn mount() -> Option<Self> {
        let point = tempfile::tempdir().expect("a folder");
        let mut disk = Self { state: Arc::default(), point, mounted: None };
        match disk.attach() {
            Ok(()) => Some(disk),
            Err(error) => {
                eprintln!("SKIPPED: no FUSE filesystem can be mounted here: {error}");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.point.path()
    }

    /// Takes the power away and gives it back. Nothing may have a file open.
    pub fn cut_power(&mut self, unsynced: Unsynced) {
        // What the kernel has in its caches is no longer there either.
        let mounted = self.mounted.take().expect("it is mounted between cuts");
        match mounted.umount_and_join() {
            Ok(()) => {}
            // How its thread sees the end where a last request was under way.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => panic!("nobody uses it: {error}"),
        }
        {
            let mut state = self.lock();
            state.contents.cut_power(unsynced);
            state.fault = None;
        }
        self.attach().expect("it was mounted before");
    }

    /// A copy of its databases as they are at this moment, all at once.
    ///
    /// This process must not open them where they are: SQLite maps their shared
    /// memory, and while a thread waits for a page of it, the one that would bring it
    /// may wait for that thread's hold on the process's memory.
    pub fn copied(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        self.lock().contents.copy_databases(contents::ROOT, copy.path());
        copy
    }

    /// Has syncs do nothing from here on, though they say that they did.
    pub fn ignore_syncs(&self) {
        self.lock().ignores_syncs = true;
    }

    /// Has an operation fail.
    pub fn fail(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// Whether an operation failed since.
    pub fn has_failed(&self) -> bool {
        self.lock().fault.is_some_and(|fault| fault.after == 0)
    }

    /// Has nothing fail any more.
    pub fn mend(&self) {
        self.lock().fault = None;
    }

    fn attach(&mut self) -> std::io::Result<()> {
        let options = mount::options();
        let mounted = fuser::spawn_mount(mount::Mount::of(&self.state), self.path(), &options)?;
        self.mounted = Some(mounted);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic before")
    }
}

impl State {
    /// Counts an operation. The error with which it fails, if it does.
    fn fault(&mut self, operation: Operation) -> Option<Errno> {
        let fault = self.fault.as_mut().filter(|fault| fault.operation == operation)?;
        let hits = fault.after == 1 || (fault.after == 0 && fault.stays);
        fault.after = fault.after.saturating_sub(1);
        hits.then_some(fault.error)
    }
}
