//! Stores whose services are not deployed: nobody has them open, and what is in them stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;

use super::dead::{DeadLetter, DeadLetters, dead_counts_in, dead_letter_in, dead_letters_in};
use super::error::Error;
use super::held::{HeldCount, HeldEntry, held_count_in, held_in};
use crate::failpoint;
use crate::keeper::Keeper;
use crate::name::ServiceName;
use crate::sqlite::{self, Access};

/// How long a look may take, with those that wait before it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The folder that all stores are in. Each file is opened for one look, with a connection of
/// its own: a service that is deployed meanwhile has its store all the same. One thread looks,
/// begun with the first look: a disk that stands still has no more of them than that.
#[derive(Clone, Debug)]
pub struct KeptStores {
    folder: Arc<Path>,
    looks: Arc<OnceLock<Option<Keeper<()>>>>,
}

impl KeptStores {
    /// Those in this folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), looks: Arc::default() }
    }

    /// The services that have one, deployed or not, in their order. Blocks.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceName> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".db")?.parse().ok()
        });
        let mut services: Vec<ServiceName> = names.collect();
        services.sort();
        services
    }

    /// Whether this service has one.
    #[must_use]
    pub fn has(&self, service: &ServiceName) -> bool {
        self.path(service).exists()
    }

    /// As [`Store::dead_letters`](super::Store::dead_letters).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn dead_letters(
        &self,
        service: &ServiceName,
        subscription: Option<String>,
        after: u64,
        limit: usize,
    ) -> Result<DeadLetters, Error> {
        let look = move |connection: &Connection| {
            dead_letters_in(connection, subscription.as_deref(), after, limit)
        };
        self.look(service, look).await
    }

    /// As [`Store::dead_letter`](super::Store::dead_letter).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn dead_letter(
        &self,
        service: &ServiceName,
        id: u64,
    ) -> Result<Option<DeadLetter>, Error> {
        self.look(service, move |connection| dead_letter_in(connection, id)).await
    }

    /// As [`Store::dead_counts`](super::Store::dead_counts).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn dead_counts(&self, service: &ServiceName) -> Result<Vec<(String, u64)>, Error> {
        self.look(service, dead_counts_in).await
    }

    /// As [`Store::held`](super::Store::held).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn held(
        &self,
        service: &ServiceName,
        subscription: &Arc<str>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HeldEntry>, Error> {
        let subscription = Arc::clone(subscription);
        let look = move |connection: &Connection| held_in(connection, &subscription, after, limit);
        self.look(service, look).await
    }

    /// As [`Store::held_count`](super::Store::held_count).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn held_count(
        &self,
        service: &ServiceName,
        subscription: &Arc<str>,
    ) -> Result<HeldCount, Error> {
        let subscription = Arc::clone(subscription);
        self.look(service, move |connection| held_count_in(connection, &subscription)).await
    }

    async fn look<T: Default + Send + 'static>(
        &self,
        service: &ServiceName,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (path, named) = (self.path(service), service.clone());
        let start = || {
            let started = Keeper::start("kept-stores", (), PATIENCE);
            started.inspect_err(|error| tracing::error!(%error, "no kept store is read")).ok()
        };
        let looks = self.looks.get_or_init(start).as_ref();
        let looks = looks.ok_or_else(|| {
            Error::Unavailable("there is no thread that looks into it".to_owned())
        })?;
        let looked = looks.read(move |()| {
            failpoint::stall(named.as_str());
            // To write: a log that a crash left is carried over at the first opening.
            let connection = sqlite::open(&path, Access::Write)?;
            // One that was made a moment before a crash has none.
            let has_tables = "SELECT count(*) FROM sqlite_schema WHERE name = '_dead'";
            let has_tables: bool = connection.query_row(has_tables, (), |row| row.get(0))?;
            if has_tables { look(&connection) } else { Ok(T::default()) }
        });
        let looked = looked.await.map_err(|unanswered| {
            Error::Unavailable(format!(
                "whoever looks into stores that are not open is busy: {unanswered}; check the disk \
                 that they are on"
            ))
        })?;
        looked.map_err(|error: rusqlite::Error| Error::Unavailable(error.to_string()))
    }

    fn path(&self, service: &ServiceName) -> PathBuf {
        self.folder.join(format!("{service}.db"))
    }
}
