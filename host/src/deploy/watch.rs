//! Watches the plugin folder: inotify's events where they come, and a look
//! around now and then for what they don't tell.
//!
//! Events tell of the folder's own entries. They don't tell what changes behind
//! a symbolic link, on some network file systems, or after the kernel's queue
//! overflowed. Kubernetes' way of swapping `..data`, which all links go through,
//! is an event of the folder and leads to a look around at once; for the rest
//! there is one every `rescan`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use notify::event::{
    AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode,
};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::parts::Parts;
use super::plugin_file::{self, Found, PairSignature, Part, Stem};
use super::settle::Change;
use crate::machine::with_descriptors;

/// Watches until it is dropped.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// The folder that is watched, should it be replaced.
    folder: Option<Identity>,
    /// What the last look around found changed.
    changed: HashMap<Stem, PairSignature>,
    /// Components that cannot be deployed for their names, which was said.
    unnamed: BTreeSet<PathBuf>,
    unreadable: bool,
}

/// What a look around found.
struct Seen {
    changed: HashMap<Stem, PairSignature>,
    unnamed: BTreeSet<PathBuf>,
}

/// How sure a look around must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Something told of a change: what is found changed settles from now on.
    Prompted,
    /// Routine: what is found changed might still be being written, so it must
    /// look the same twice.
    Routine,
}

type Identity = (u64, u64);

impl Watch {
    /// Begins to watch. Where the system gives no watch, looking around remains.
    pub(super) fn begin(parts: &Arc<Parts>) -> Self {
        let mut watch = Self {
            watcher: None,
            folder: None,
            changed: HashMap::new(),
            unnamed: BTreeSet::new(),
            unreadable: false,
        };
        watch.attach(parts);
        watch
    }

    /// Takes note of every pair that isn't as it was when it was last acted on.
    pub(super) async fn look_around(&mut self, parts: &Arc<Parts>, look: Look) {
        let Seen { changed, unnamed } = match parts.blocking(see).await {
            Ok(seen) => seen,
            Err(error) => {
                // The folder may be about to be mounted again: nothing is undeployed.
                if !self.unreadable {
                    tracing::error!(folder = %parts.config.folder.display(), %error, "the plugin folder cannot be read");
                }
                self.unreadable = true;
                return;
            }
        };
        self.unreadable = false;
        for path in unnamed.difference(&self.unnamed) {
            tracing::error!(file = %path.display(), "not deployed: the file's name is not UTF-8; rename it");
        }
        self.unnamed = unnamed;
        if self.folder != identity(parts) {
            self.attach(parts);
        }
        for (file, signature) in &changed {
            if look == Look::Prompted || self.changed.get(file) == Some(signature) {
                parts.note(file, Part::Component, Change::Other);
            }
        }
        self.changed = changed;
    }

    fn attach(&mut self, parts: &Arc<Parts>) {
        let folder = &parts.config.folder;
        // Looked at first: replaced in between, it is attached to again.
        self.folder = identity(parts);
        let noting = Arc::clone(parts);
        let watching = notify::recommended_watcher(move |event| note(&noting, event)).and_then(
            |mut watcher| {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
                Ok(watcher)
            },
        );
        let failed = |error: &notify::Error| {
            let every = parts.config.rescan;
            tracing::warn!(folder = %folder.display(), %error, ?every, "no file events here; looking around instead");
        };
        self.watcher = watching.inspect_err(failed).ok();
    }
}

/// Finds pairs that aren't as they were when they were last acted on, and about which
/// no event is being waited out.
fn see(parts: &Parts) -> io::Result<Seen> {
    let folder = &parts.config.folder;
    let Found { stems: mut files, unnamed } = with_descriptors(|| plugin_file::scan(folder))?;
    let acted_on = parts.acted_on.lock().unwrap_or_else(PoisonError::into_inner).clone();
    files.extend(acted_on.keys().cloned());
    let mut changed = HashMap::new();
    for file in files {
        // What cannot be looked at now is said when the file is read.
        let signature = file.signature(folder).unwrap_or_default();
        let settling =
            parts.settling.lock().unwrap_or_else(PoisonError::into_inner).is_pending(&file);
        if !settling && acted_on.get(&file).copied().unwrap_or_default() != signature {
            changed.insert(file, signature);
        }
    }
    Ok(Seen { changed, unnamed })
}

fn identity(parts: &Parts) -> Option<Identity> {
    let metadata = std::fs::metadata(&parts.config.folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn note(parts: &Parts, event: notify::Result<Event>) {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            tracing::warn!(%error, "file events were missed");
            return parts.rescan.notify_one();
        }
    };
    if event.need_rescan() {
        return parts.rescan.notify_one();
    }
    let Some(change) = change(&event.kind) else { return };
    for path in &event.paths {
        match plugin_file::named(path) {
            Some((file, part)) => parts.note(&file, part, change),
            // `..data` or whatever else the links in here may go through.
            None if change == Change::RenamedInto => parts.rescan.notify_one(),
            None => {}
        }
    }
}

fn change(kind: &EventKind) -> Option<Change> {
    Some(match kind {
        EventKind::Create(
            CreateKind::File | CreateKind::Folder | CreateKind::Any | CreateKind::Other,
        ) => Change::Created,
        EventKind::Access(AccessKind::Open(_)) => Change::Opened,
        EventKind::Access(AccessKind::Close(mode)) => {
            Change::Closed { after_writing: *mode == AccessMode::Write }
        }
        EventKind::Modify(ModifyKind::Data(_)) => Change::Written,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Change::RenamedInto,
        EventKind::Modify(ModifyKind::Name(RenameMode::From))
        | EventKind::Remove(
            RemoveKind::File | RemoveKind::Folder | RemoveKind::Any | RemoveKind::Other,
        ) => Change::Gone,
        EventKind::Modify(ModifyKind::Metadata(_)) => Change::Other,
        // A rename within the folder comes as `From` and `To`, too.
        _ => return None,
    })
}
