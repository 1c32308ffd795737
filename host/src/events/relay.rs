//! The relay: from a store's outbox to the bus.
//!
//! Each store has one, which sleeps until something is committed there. The bus
//! notes which sequence it has of each store in the commit that appends, so a
//! relay that is interrupted anywhere begins again and nothing is there twice. A sequence
//! that the bus has already is no repetition then, but another event under a used number (a
//! file that was copied or edited): the relay stops, and says so.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backoff;
use crate::bus::{Bus, BusError};
use crate::failpoint;
use crate::manifest::Backoff;
use crate::state::{Error, OutgoingLimit, Store, StoreIdentity};

/// What is handed to the bus at once.
const BATCH: OutgoingLimit = OutgoingLimit { max_events: 512, max_bytes: 4 << 20 };

/// What an operator is to do about an outbox that gives out a sequence again.
const WHAT_TO_DO: &str = "its file was copied to another service's or changed by hand; nothing \
                          more of it is relayed and nothing is lost: once that is ended, start \
                          the host again, and it publishes under a new identity";

/// How long the bus or a store that refuses is left alone.
const PAUSE: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(2) };

/// A store's relay; it ends, after what is committed by then, when it is stopped.
pub(super) struct Relay {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Why a store's events are not on the bus yet.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Relay {
    pub(super) fn start(bus: &Bus, store: &Arc<Store>) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(bus.clone(), Arc::clone(store), stop.clone()));
        Self { stop, task }
    }

    /// Returns when what was committed is on the bus, or cannot be brought there.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // It only ends early by a panic, which has been logged.
        _ = self.task.await;
    }
}

async fn run(bus: Bus, store: Arc<Store>, stop: CancellationToken) {
    let mut source = None;
    // What an earlier process left is looked for at once.
    let mut look = store.has_file();
    loop {
        if look {
            if !until_relayed(&bus, &store, &mut source, &stop).await {
                return;
            }
        } else if stop.is_cancelled() {
            // Also where nothing more is committed: should the bus be lost while the
            // host is down, nothing is published again.
            store.trim_outbox();
            return;
        }
        look = tokio::select! {
            biased;
            () = store.outbox_grown() => true,
            () = stop.cancelled() => false,
        };
    }
}

/// What the bus knows a store as, and the last sequence that it has of it.
struct Source {
    store_id: String,
    relayed: u64,
    /// Whether the bus may have taken more than it said.
    is_unsure: bool,
    /// Events that are handed over at once: few while there is hardly any room.
    most: usize,
}

/// Tries until all that is committed is on the bus. False where it cannot be brought
/// there and the host stops.
async fn until_relayed(
    bus: &Bus,
    store: &Arc<Store>,
    source: &mut Option<Source>,
    stop: &CancellationToken,
) -> bool {
    let (mut tries, mut warned) = (0, None);
    let far = |source: &Option<Source>| source.as_ref().map(|source| source.relayed);
    let mut before = far(source);
    while let Err(error) = relay(bus, store, source).await {
        // Each kind once, however often it is tried.
        if warned.replace(error.kind()) != Some(error.kind()) {
            warn(store.service(), &error);
        }
        if let RelayError::Bus(BusError::NotAbove { sequence, last }) = error {
            stop_for_good(store, source.as_ref(), sequence, last).await;
            stop.cancelled().await;
            return false;
        }
        if stop.is_cancelled() {
            return false;
        }
        tries = if std::mem::replace(&mut before, far(source)) == before { tries + 1 } else { 1 };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(backoff::wait(PAUSE, tries, fastrand::f64())) => {}
        }
    }
    if warned.is_some() {
        tracing::info!(service = store.service(), "all published events are on the bus");
    }
    true
}

/// Says why nothing is relayed. Of a store that cannot be read it is not known whether anything
/// was published.
fn warn(service: &str, error: &RelayError) {
    match error {
        RelayError::Bus(error) => {
            tracing::warn!(service, %error, "published events wait for the bus");
        }
        RelayError::Store(error) => tracing::warn!(
            service,
            %error,
            "its store cannot be used: its requests that need it fail, and what it may have \
             published waits; it is tried again, and if the file is damaged, stop the host and \
             bring it back from a copy"
        ),
    }
}

/// Brings all that is committed to the bus.
async fn relay(
    bus: &Bus,
    store: &Arc<Store>,
    source: &mut Option<Source>,
) -> Result<(), RelayError> {
    let source = match source {
        Some(source) => source,
        None => source.insert(identify(bus, store).await?),
    };
    if source.is_unsure {
        source.relayed = bus.relayed(&source.store_id).await?.max(source.relayed);
        source.is_unsure = false;
    }
    loop {
        let published = store.published();
        let limit = OutgoingLimit { max_events: source.most, ..BATCH };
        let batch = store.outgoing(source.relayed, limit).await?;
        if batch.is_empty() {
            // Also where the bus is a new one and never had what was trimmed.
            store.note_relayed(published);
            return Ok(());
        }
        failpoint::pass("before relay append");
        let events = batch.len();
        match bus.relay(store.service(), &source.store_id, batch).await {
            Ok(relayed) => source.relayed = relayed,
            // There may be room for some of them.
            Err(BusError::Full(_) | BusError::DiskFull | BusError::ShareFull(_)) if events > 1 => {
                source.most = events / 2;
                continue;
            }
            Err(error) => {
                source.is_unsure = !matches!(error, BusError::NotAbove { .. });
                return Err(error.into());
            }
        }
        failpoint::pass("after relay append");
        source.most = (source.most * 2).min(BATCH.max_events);
        store.note_relayed(source.relayed);
    }
}

/// Notes that the outbox is not relayed any further, and tells the operator.
async fn stop_for_good(store: &Arc<Store>, source: Option<&Source>, sequence: u64, last: u64) {
    tracing::error!(
        service = store.service(),
        sequence,
        last,
        "an event was published under a sequence that the bus has already: {WHAT_TO_DO}"
    );
    let relayed = source.map_or(0, |source| source.relayed);
    if let Err(error) = store.stop_relaying(relayed).await {
        let service = store.service();
        tracing::error!(service, %error, "that its outbox is not relayed is not written down");
    }
}

impl RelayError {
    /// What it is, whatever it says.
    fn kind(&self) -> (Option<Discriminant<Error>>, Option<Discriminant<BusError>>) {
        match self {
            Self::Store(error) => (Some(discriminant(error)), None),
            Self::Bus(error) => (None, Some(discriminant(error))),
        }
    }
}

/// Finds out how far the bus is with this store. A store that has given out fewer
/// sequences than the bus has of it was restored from a copy, and would give them
/// out again: it gets another identity.
async fn identify(bus: &Bus, store: &Arc<Store>) -> Result<Source, RelayError> {
    let StoreIdentity { store_id, opened_at, stopped_at } = store.identity().await?;
    if let Some(relayed) = stopped_at {
        let service = store.service();
        tracing::warn!(service, "its outbox was not relayed: it is now, under a new identity");
        let StoreIdentity { store_id, .. } = store.renew_identity(relayed).await?;
        return Ok(Source::new(store_id, relayed));
    }
    let relayed = bus.relayed(&store_id).await?;
    if relayed <= opened_at {
        store.note_relayed(relayed);
        return Ok(Source::new(store_id, relayed));
    }
    tracing::warn!(
        ?store,
        "it was restored from a copy: it publishes under a new identity from here on"
    );
    let StoreIdentity { store_id, .. } = store.renew_identity(opened_at).await?;
    Ok(Source::new(store_id, opened_at))
}

impl Source {
    fn new(store_id: String, relayed: u64) -> Self {
        Self { store_id, relayed, is_unsure: false, most: BATCH.max_events }
    }
}

#[cfg(test)]
mod tests;
