//! What a store's connections share.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rusqlite::Connection;

use crate::machine::with_descriptors;
use crate::state::dead::Cut;
use crate::state::error::{Error, is_io_failure};
use crate::state::history::{Fingerprint, Sequence};
use crate::state::idempotency::Keys;
use crate::state::inbox::Inbox;
use crate::state::log::Log;
use crate::state::options::StoreOptions;
use crate::state::outbox::Outbox;
use crate::state::sandbox::Common;
use crate::state::schema;

/// What a store's connections share with it. (They are kept inside the store,
/// so they cannot keep the store itself.)
pub(in crate::state) struct Core {
    pub(in crate::state) path: PathBuf,
    pub(in crate::state) service: String,
    pub(in crate::state) options: StoreOptions,
    pub(in crate::state) fingerprint: Fingerprint,
    pub(in crate::state) keys: Keys,
    pub(in crate::state) outbox: Outbox,
    pub(in crate::state) inbox: Inbox,
    pub(in crate::state) dead_cut: Cut,
    pub(in crate::state) sandboxing: Common,
    pub(in crate::state) log: Log,
    committed: AtomicU64,
    /// When it was said last that it is full.
    pub(super) told_full: Mutex<Option<Instant>>,
    /// Making the file and switching it to a log waits for nobody (SQLite does
    /// not call the busy handler there), so one at a time does it.
    opening: Mutex<()>,
    /// Why it could not be opened, when that was tried last.
    unopened: Mutex<Option<String>>,
}

impl Core {
    /// Of the store at `path`.
    pub(in crate::state) fn new(path: PathBuf, service: &str, options: StoreOptions) -> Self {
        Self {
            sandboxing: Common::new(&path),
            path,
            service: service.to_owned(),
            options,
            fingerprint: Fingerprint::default(),
            keys: Keys::default(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            dead_cut: Cut::default(),
            log: Log::default(),
            committed: AtomicU64::new(0),
            told_full: Mutex::new(None),
            opening: Mutex::new(()),
            unopened: Mutex::default(),
        }
    }

    /// Opens the file for writing; makes it where it does not exist.
    pub(in crate::state) fn open_writer(&self) -> Result<Connection, Error> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = with_descriptors(|| schema::open_writer(self)).and_then(|connection| {
            self.outbox.open(&connection).map_err(|error| Error::of_host(&error))?;
            Ok(connection)
        });
        let why_not = opened.as_ref().err().map(Error::to_string);
        *self.unopened.lock().unwrap_or_else(PoisonError::into_inner) = why_not;
        opened
    }

    /// Why it could not be opened, when that was tried last.
    pub(in crate::state) fn unopened(&self) -> Option<String> {
        self.unopened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of the last commit.
    pub(in crate::state) fn committed(&self) -> Sequence {
        self.committed.load(Ordering::Acquire)
    }

    pub(in crate::state) fn note_commit(&self, commit: Sequence) {
        self.sandboxing.schema_committed();
        self.committed.store(commit, Ordering::Release);
    }

    /// Nothing more is promised: the file failed.
    pub(in crate::state) fn poison(&self, error: &dyn fmt::Display) {
        self.options.alarm.ring(format!(
            "the store of {} at {} failed: {error}; nothing more is acknowledged. \
             Check the disk and start the host again",
            self.service,
            self.path.display()
        ));
    }

    /// Whether this and all other files are still to be trusted.
    pub(in crate::state) fn check(&self) -> Result<(), Error> {
        match self.options.alarm.reason() {
            Some(reason) => Err(Error::Unavailable(reason.to_owned())),
            None => Ok(()),
        }
    }

    /// What a failure of the host's own statement is; ends the store where the
    /// file itself failed.
    pub(in crate::state) fn failed(&self, error: &rusqlite::Error) -> Error {
        if is_io_failure(error) {
            self.poison(error);
        }
        Error::of_host(error)
    }
}
