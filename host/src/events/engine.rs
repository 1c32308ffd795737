//! All relays and subscriptions of the host: which there are follows from what
//! is deployed.

mod left;
mod prepare;
mod tend;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::command::Command;
use super::relay::Relay;
use super::status::Status;
use super::subscriber::Webhooks;
use super::target::Target;
use crate::bus::Bus;
use crate::deadline;
use crate::manifest::Subscription;
use crate::name::ServiceName;
use crate::service::Registry;
use crate::state::{KeptStores, Store};
use crate::turns::Turns;

pub use self::prepare::PrepareError;
use self::tend::has_passed;

/// How often what failed is tried again, and the bus is looked after.
const TICK: Duration = Duration::from_secs(5);

/// Commands that wait for a dispatcher.
const MAX_COMMANDS: usize = 64;

/// How long whoever asks for the subscriptions to be looked through waits for the
/// services that take their time; they are looked through all the same.
const TEND_PATIENCE: Duration = Duration::from_secs(2);

/// Parts a replay's number from its subscription's name.
pub(super) const REPLAY: char = '@';

/// The events of the host. Clones are the same.
#[derive(Clone)]
pub struct Events {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) bus: Bus,
    pub(super) registry: Arc<Registry>,
    webhooks: ArcSwapOption<Webhooks>,
    /// Those of services that are not deployed, too.
    pub(super) kept: KeptStores,
    /// Never locked while anything is waited for: what takes its time of one service is
    /// done in that service's turn.
    table: Mutex<Table>,
    /// One at a time works on a service's subscriptions.
    pub(super) turns: Turns,
    /// What the table has, for those who only look.
    shown: ArcSwap<Vec<Shown>>,
    /// Subscriptions that only hold the bus, and their states, when they were looked
    /// for last.
    pub(super) idle: ArcSwap<Vec<(String, &'static str)>>,
    /// Asks for the table to be looked through.
    changed: Arc<Notify>,
}

#[derive(Default)]
pub(super) struct Table {
    relays: HashMap<ServiceName, Relay>,
    pub(super) active: BTreeMap<Name, Active>,
    /// Dead letters of subscriptions that are over, where there are some. Those that are
    /// active have theirs in their status, and none here.
    pub(super) dead_of_ended: BTreeMap<Name, u64>,
    /// Services whose cursors have to be looked through, whatever is active.
    unsettled: BTreeSet<ServiceName>,
    /// Services that are being looked through.
    tended: HashMap<ServiceName, tend::Tended>,
    /// Those whose relays bring the last to the bus, when the host stops.
    last_relays: BTreeSet<ServiceName>,
    stopping: bool,
}

/// A subscription at work, for those who look at it or tell it something.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) name: Name,
    pub(super) pattern: String,
    pub(super) store: Arc<Store>,
    pub(super) status: Arc<Status>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) until: Option<u64>,
}

impl Shown {
    /// Everything up to here is finished, held, dead or not wanted.
    pub(super) fn position(&self) -> u64 {
        match self.store.progress(&self.name.subscription) {
            // Its cursor on disk may be behind what nobody wanted.
            Some(progress) => match progress.first_outstanding {
                Some(first) => first.saturating_sub(1),
                None => progress.scanned.max(progress.cursor),
            },
            None => self.status.report().scanned,
        }
    }

    /// How many events follow its position on the bus, of which the last is `end`.
    pub(super) fn lag(&self, end: u64) -> u64 {
        self.until.unwrap_or(end).saturating_sub(self.position())
    }
}

impl Table {
    /// Whether the host stops: the stores and the bus are about to be closed.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }
}

/// `<service>/<subscription>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) service: ServiceName,
    pub(super) subscription: Arc<str>,
}

/// A subscription whose dispatcher runs, or ends.
pub(super) struct Active {
    pub(super) settings: Subscription,
    pub(super) store: Arc<Store>,
    pub(super) status: Arc<Status>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) until: Option<u64>,
    target: Target,
    /// Whether it is stopped to go on with another target.
    goes_on: bool,
    /// Since when its cursor is behind what was passed.
    pub(super) passed_since: Option<Instant>,
    /// The versions that had the traffic when it was last told of them.
    versions: Vec<u64>,
    stop: CancellationToken,
    /// Cancelled when its dispatcher has ended, also by a panic.
    ended: CancellationToken,
}

impl Events {
    /// The events of what `registry` has, whose stores are in `stores`, and of the
    /// operator's webhooks, over `bus`.
    #[must_use]
    pub fn new(
        bus: Bus,
        registry: Arc<Registry>,
        stores: &Path,
        webhooks: Option<Webhooks>,
    ) -> Self {
        let inner = Inner {
            bus,
            registry,
            webhooks: ArcSwapOption::from_pointee(webhooks),
            kept: KeptStores::new(stores),
            table: Mutex::default(),
            turns: Turns::default(),
            shown: ArcSwap::default(),
            idle: ArcSwap::default(),
            changed: Arc::new(Notify::new()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The durable log.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// The operator's webhooks, if there were some since the start.
    #[must_use]
    pub fn webhooks(&self) -> Option<Arc<Webhooks>> {
        self.inner.webhooks.load_full()
    }

    /// Goes on with other webhooks. What is under way to one that changed is at its end
    /// before the next goes out.
    pub fn set_webhooks(&self, webhooks: Webhooks) {
        self.inner.webhooks.store(Some(Arc::new(webhooks)));
        self.inner.changed.notify_one();
    }

    /// Brings what is committed in a service's store to the bus from here on.
    pub async fn attach(&self, service: &ServiceName, store: &Arc<Store>) {
        let before = {
            let mut table = self.table();
            if table.stopping {
                return;
            }
            let relay = Relay::start(&self.inner.bus, store);
            table.relays.insert(service.clone(), relay)
        };
        if let Some(before) = before {
            before.stop().await;
        }
    }

    /// Leaves a service's store alone from here on: what was under way is at its
    /// end, and what was published is on the bus. To be called when the service
    /// neither serves nor drains.
    pub async fn release(&self, service: &ServiceName) {
        let _turn = self.inner.turns.take(service).await;
        self.advance(service, has_passed).await;
        let (ending, relay) = {
            let mut table = self.table();
            let ending = table.active.extract_if(.., |name, _| name.service == *service);
            let ending: Vec<(Name, Active)> = ending.collect();
            self.show(&table);
            (ending, table.relays.remove(service))
        };
        ending.iter().for_each(|(_, active)| active.stop.cancel());
        for (name, active) in &ending {
            active.ended.cancelled().await;
            self.left_behind(name, active).await;
        }
        if let Some(relay) = relay {
            relay.stop().await;
        }
    }

    /// The subscriptions at work, by name.
    pub(super) fn shown(&self) -> Arc<Vec<Shown>> {
        self.inner.shown.load_full()
    }

    /// To be called whenever the table has changed.
    fn show(&self, table: &Table) {
        let shown = |(name, active): (&Name, &Active)| Shown {
            name: name.clone(),
            pattern: active.settings.types(),
            store: Arc::clone(&active.store),
            status: Arc::clone(&active.status),
            commands: active.commands.clone(),
            until: active.until,
        };
        self.inner.shown.store(Arc::new(table.active.iter().map(shown).collect()));
    }

    /// Follows what is deployed until the host stops.
    pub async fn run(&self, stop: CancellationToken) {
        let mut registry = self.inner.registry.changed();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // Nobody waits here for a service whose store takes its time.
                _ = registry.changed() => drop(self.look_through()),
                () = self.inner.changed.notified() => drop(self.look_through()),
                _ = tick.tick() => {
                    drop(self.look_through());
                    self.look_after_the_bus().await;
                    self.look_for_the_oldest().await;
                    self.look_for_idle().await;
                }
            }
        }
    }

    /// Starts and stops dispatchers so that there is one for each subscription
    /// of what is deployed, each service's beside the others'. Returns when that is
    /// done, but waits only 2 s for those whose stores take their time.
    pub async fn reconcile(&self) {
        let tended = self.look_through();
        let all = join_all(tended.iter().map(CancellationToken::cancelled));
        if deadline::within(TEND_PATIENCE, all).await.is_err() {
            let services: Vec<_> = self.table().tended.keys().map(ToString::to_string).collect();
            let services = services.join(", ");
            tracing::warn!(services, "their stores take their time: subscriptions start later");
        }
    }

    /// Has a service's cursors looked through: there is one more.
    pub(super) async fn note_cursor(&self, service: &ServiceName) {
        let tended = {
            let mut table = self.table();
            table.unsettled.insert(service.clone());
            self.tend_later(&mut table, service)
        };
        // It is looked through all the same.
        _ = deadline::within(TEND_PATIENCE, tended.cancelled()).await;
    }

    /// Stops a replay and forgets it. Returns whether there is one of this name.
    ///
    /// # Errors
    /// When the store or the bus cannot be written; it goes on then.
    pub(super) async fn end_replay(&self, name: &Name) -> Result<bool, PrepareError> {
        let mut stopped = None;
        let _turn = loop {
            let ended = self.table().active.get(name).filter(|replay| replay.until.is_some()).map(
                |replay| {
                    stopped = Some(Arc::clone(&replay.store));
                    replay.stop.cancel();
                    replay.ended.clone()
                },
            );
            if let Some(ended) = ended {
                ended.cancelled().await;
            }
            let turn = self.inner.turns.take(&name.service).await;
            // It may have been started anew before the turn was ours.
            if self.table().active.get(name).is_none_or(|again| again.ended.is_cancelled()) {
                break turn;
            }
            if stopped.is_none() {
                return Ok(false);
            }
        };
        let Some(store) = stopped else { return Ok(false) };
        let replay = self.table().active.remove(name);
        if let Some(replay) = replay {
            self.note_dead(name, &replay);
        }
        let ended = self.forget(name, &store).await;
        let mut table = self.table();
        if ended.is_err() {
            table.unsettled.insert(name.service.clone());
        }
        self.show(&table);
        ended.map(|()| true)
    }

    /// Forgets a subscription that has no dispatcher.
    pub(super) async fn forget(&self, name: &Name, store: &Arc<Store>) -> Result<(), PrepareError> {
        store.end_subscription(&name.subscription).await?;
        Ok(self.inner.bus.forget(&name.to_string()).await?)
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all deliveries, waits for those under way, and brings what was
    /// published to the bus. Closes the webhooks' store.
    pub async fn stop(&self) {
        self.stop_deliveries().await;
        self.stop_relays().await;
        self.close_webhooks().await;
    }

    /// Begins no delivery any more, and waits for those under way.
    pub async fn stop_deliveries(&self) {
        let ending: Vec<CancellationToken> = {
            let mut table = self.table();
            table.stopping = true;
            table.active.values().for_each(|active| active.stop.cancel());
            let active = table.active.values().map(|active| &active.ended);
            active.chain(table.tended.values().map(tend::Tended::done)).cloned().collect()
        };
        join_all(ending.iter().map(CancellationToken::cancelled)).await;
    }

    /// The subscriptions whose deliveries are not at their end.
    #[must_use]
    pub fn still_delivering(&self) -> Vec<String> {
        let table = self.table();
        let active = table.active.iter().filter(|(_, active)| !active.ended.is_cancelled());
        let active = active.map(|(name, _)| name.to_string());
        active.chain(table.tended.keys().map(ToString::to_string)).collect()
    }

    /// Brings what was published to the bus, and nothing that is published later.
    pub async fn stop_relays(&self) {
        let relays = {
            let mut table = self.table();
            table.stopping = true;
            let relays = std::mem::take(&mut table.relays);
            table.last_relays.extend(relays.keys().cloned());
            relays
        };
        let stop = async |(service, relay): (ServiceName, Relay)| {
            relay.stop().await;
            self.table().last_relays.remove(&service);
        };
        join_all(relays.into_iter().map(stop)).await;
    }

    /// The services of which something that was published may not be on the bus.
    #[must_use]
    pub fn still_relaying(&self) -> Vec<String> {
        self.table().last_relays.iter().map(ToString::to_string).collect()
    }

    /// Closes the webhooks' store: no deployment has it, so nobody else does. Returns
    /// its name where it could not be closed.
    pub async fn close_webhooks(&self) -> Option<String> {
        let webhooks = self.webhooks()?;
        webhooks.store().try_close().await.err().map(|error| error.to_string())
    }
}

/// The subscription that a replay is of; itself where it is none.
pub(super) fn base(subscription: &str) -> &str {
    subscription.split(REPLAY).next().unwrap_or_default()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.subscription)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::BusOptions;
    use crate::state::StoreOptions;

    #[tokio::test]
    async fn stopping_closes_the_webhooks_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let bus = Bus::open(&folder.path().join("bus.db"), BusOptions::default());
        let path = folder.path().join("_webhooks.db");
        let store = Store::new(path.clone(), "_webhooks", StoreOptions::default());
        let webhooks = Webhooks::new(Arc::clone(&store), Vec::new());
        let events =
            Events::new(bus.expect("a bus"), Arc::default(), folder.path(), Some(webhooks));
        store.cursors().await.expect("a store");
        let log = path.with_extension("db-wal");
        assert!(store.is_open() && log.exists());
        events.stop().await;
        assert!(!store.is_open() && !log.exists());
    }
}
