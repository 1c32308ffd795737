//! All relays and subscriptions of the host: which there are follows from what
//! is deployed.

mod prepare;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::command::Command;
use super::relay::Relay;
use super::status::Status;
use super::subscriber::{Subscriber, Webhooks};
use super::subscription::{Dispatcher, Parts};
use crate::bus::Bus;
use crate::manifest::Subscription;
use crate::service::{Registry, ServiceName};
use crate::state::{self, Store};

pub use self::prepare::PrepareError;

/// How often what failed is tried again, and the bus is looked after.
const TICK: Duration = Duration::from_secs(5);

/// Commands that wait for a dispatcher.
const MAX_COMMANDS: usize = 64;

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
    pub(super) webhooks: Option<Webhooks>,
    table: Mutex<Table>,
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
    /// Services whose cursors have to be looked through, whatever is active.
    unsettled: BTreeSet<ServiceName>,
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
    /// Since when its cursor is behind what was passed.
    pub(super) passed_since: Option<Instant>,
    /// The versions that had the traffic when it was last told of them.
    versions: Vec<u64>,
    stop: CancellationToken,
    /// Cancelled when its dispatcher has ended, also by a panic.
    ended: CancellationToken,
}

impl Events {
    /// The events of what `registry` has, and of the operator's webhooks, over
    /// `bus`.
    #[must_use]
    pub fn new(bus: Bus, registry: Arc<Registry>, webhooks: Option<Webhooks>) -> Self {
        let inner = Inner {
            bus,
            registry,
            webhooks,
            table: Mutex::default(),
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

    /// Brings what is committed in a service's store to the bus from here on.
    pub async fn attach(&self, service: &ServiceName, store: &Arc<Store>) {
        let mut table = self.table().await;
        if !table.stopping {
            let relay = Relay::start(&self.inner.bus, store);
            if let Some(before) = table.relays.insert(service.clone(), relay) {
                before.stop().await;
            }
        }
    }

    /// Leaves a service's store alone from here on: what was under way is at its
    /// end, and what was published is on the bus. To be called when the service
    /// neither serves nor drains.
    pub async fn release(&self, service: &ServiceName) {
        let (ending, relay) = {
            let mut table = self.table().await;
            let ending = table.active.extract_if(.., |name, _| name.service == *service);
            let ending: Vec<Active> = ending.map(|(_, active)| active).collect();
            self.show(&table);
            (ending, table.relays.remove(service))
        };
        // With the table free for others: what is under way may take its time.
        stop_all(ending).await;
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
                _ = registry.changed() => self.reconcile().await,
                () = self.inner.changed.notified() => self.reconcile().await,
                _ = tick.tick() => {
                    self.reconcile().await;
                    self.look_after_the_bus().await;
                    self.look_for_the_oldest().await;
                    self.look_for_idle().await;
                }
            }
        }
    }

    /// Starts and stops dispatchers so that there is one for each subscription
    /// of what is deployed.
    pub async fn reconcile(&self) {
        let mut table = self.table().await;
        if table.stopping {
            return;
        }
        let snapshot = self.inner.registry.load().clone();
        let services = snapshot.services.values().map(Subscriber::Service);
        let subscribers: BTreeMap<&ServiceName, Subscriber<'_>> = services
            .chain(self.inner.webhooks.as_ref().map(Subscriber::Webhooks))
            .map(|subscriber| (subscriber.name(), subscriber))
            .collect();
        self.remove_ended(&mut table).await;
        for (name, active) in &table.active {
            let subscriber = subscribers.get(&name.service);
            if subscriber.and_then(|subscriber| subscriber.settings(&name.subscription)).is_none() {
                active.stop.cancel();
            }
        }
        for subscriber in subscribers.into_values() {
            update(&mut table, subscriber).await;
            if let Err(error) = self.start_missing(&mut table, subscriber).await {
                table.unsettled.insert(subscriber.name().clone());
                let service = subscriber.name().as_str();
                tracing::error!(service, %error, "its subscriptions could not be started");
            }
        }
        self.show(&table);
    }

    /// Has a service's cursors looked through: there is one more.
    pub(super) async fn note_cursor(&self, service: &ServiceName) {
        self.table().await.unsettled.insert(service.clone());
        self.reconcile().await;
    }

    /// Stops a replay and forgets it. Returns whether there is one of this name.
    ///
    /// # Errors
    /// When the store or the bus cannot be written; it goes on then.
    pub(super) async fn end_replay(&self, name: &Name) -> Result<bool, PrepareError> {
        let mut stopped = None;
        let mut table = loop {
            let table = self.table().await;
            let Some(replay) = table.active.get(name).filter(|active| active.until.is_some())
            else {
                break table;
            };
            stopped = Some(Arc::clone(&replay.store));
            if replay.ended.is_cancelled() {
                break table;
            }
            // It stays in the table, so that no other is started beside it, and the table
            // is free for others.
            replay.stop.cancel();
            let ended = replay.ended.clone();
            drop(table);
            ended.cancelled().await;
        };
        let Some(store) = stopped else { return Ok(false) };
        table.active.remove(name);
        let ended = self.forget(name, &store).await;
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

    pub(super) async fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().await
    }

    /// Stops all deliveries, waits for those under way, and brings what was
    /// published to the bus. Closes the webhooks' store.
    pub async fn stop(&self) {
        let (active, relays) = {
            let mut table = self.table().await;
            table.stopping = true;
            let active = std::mem::take(&mut table.active);
            self.show(&table);
            (active, std::mem::take(&mut table.relays))
        };
        stop_all(active.into_values().collect()).await;
        join_all(relays.into_values().map(Relay::stop)).await;
        // No deployment has it, so nobody else closes it.
        if let Some(webhooks) = &self.inner.webhooks {
            webhooks.store().close().await;
        }
    }

    async fn remove_ended(&self, table: &mut Table) {
        let ended = |active: &Active| active.ended.is_cancelled();
        let names: Vec<Name> = table
            .active
            .iter()
            .filter(|(_, active)| ended(active))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let Some(active) = table.active.remove(&name) else { continue };
            let was_stopped = active.stop.is_cancelled();
            if active.until.is_some() && !was_stopped {
                // A replay that is over.
                if let Err(error) = self.forget(&name, &active.store).await {
                    tracing::warn!(subscription = %name, %error, "the replay is not forgotten");
                    table.unsettled.insert(name.service);
                }
            }
        }
    }

    async fn start_missing(
        &self,
        table: &mut Table,
        subscriber: Subscriber<'_>,
    ) -> Result<(), PrepareError> {
        let name = |subscription: &str| Name {
            service: subscriber.name().clone(),
            subscription: Arc::from(subscription),
        };
        let subscriptions = subscriber.subscriptions();
        let is_active =
            |subscription: &&Subscription| table.active.contains_key(&name(&subscription.name));
        let all_active = subscriptions.iter().all(is_active);
        if !table.unsettled.remove(subscriber.name()) && all_active {
            return Ok(());
        }
        // No position that the store knows stands for another event; at the host's
        // start this store could not be read.
        let known = subscriber.store().last_position().await?;
        self.inner.bus.skip_to(known).await?;
        // Where a store is new to its host, or was deleted, all are new.
        self.begin(subscriber.name(), subscriber.store(), &subscriptions).await?;
        for cursor in subscriber.store().cursors().await? {
            let name = name(&cursor.subscription);
            if !table.active.contains_key(&name) {
                let active = self.start(subscriber, &name, cursor.until).await?;
                table.active.extend(active.map(|active| (name, active)));
            }
        }
        Ok(())
    }

    /// Starts a subscription's dispatcher; `None` where it is no longer wanted.
    async fn start(
        &self,
        subscriber: Subscriber<'_>,
        name: &Name,
        until: Option<u64>,
    ) -> Result<Option<Active>, state::Error> {
        let settings = subscriber.settings(&name.subscription).cloned();
        let target = subscriber.target(&self.inner.registry, &name.subscription);
        let (Some(settings), Some(target)) = (settings, target) else { return Ok(None) };
        let store = subscriber.store();
        let dead = store.dead_count(&name.subscription).await?;
        let status = Arc::new(Status::new(dead));
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let parts = Parts {
            bus: self.inner.bus.clone(),
            store: Arc::clone(store),
            target,
            name: Arc::clone(&name.subscription),
            until,
            status: Arc::clone(&status),
            stop: stop.clone(),
        };
        let Some(dispatcher) = Dispatcher::load(parts, settings.clone()).await? else {
            return Ok(None);
        };
        let (commands, received) = mpsc::channel(MAX_COMMANDS);
        let (ends, changed) = (ended.clone().drop_guard(), Arc::clone(&self.inner.changed));
        tokio::spawn(async move {
            dispatcher.run(received).await;
            drop(ends);
            changed.notify_one();
        });
        let store = Arc::clone(store);
        let versions = subscriber.versions();
        Ok(Some(Active {
            settings,
            store,
            status,
            commands,
            until,
            passed_since: None,
            versions,
            stop,
            ended,
        }))
    }
}

/// Tells a subscriber's dispatchers of new versions.
async fn update(table: &mut Table, subscriber: Subscriber<'_>) {
    let versions = subscriber.versions();
    let actives = table.active.iter_mut().filter(|(name, _)| name.service == *subscriber.name());
    for (name, active) in actives {
        let Some(settings) = subscriber.settings(&name.subscription) else { continue };
        if active.versions != versions && !active.stop.is_cancelled() {
            active.versions.clone_from(&versions);
            active.settings = settings.clone();
            let update = Command::Update(Box::new(settings.clone()));
            // A dispatcher that doesn't listen any more has ended.
            _ = active.commands.send(update).await;
        }
    }
}

/// The subscription that a replay is of; itself where it is none.
pub(super) fn base(subscription: &str) -> &str {
    subscription.split(REPLAY).next().unwrap_or_default()
}

/// Stops dispatchers and waits for what is under way.
async fn stop_all(active: Vec<Active>) {
    active.iter().for_each(|active| active.stop.cancel());
    for active in active {
        active.ended.cancelled().await;
    }
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
        let events = Events::new(bus.expect("a bus"), Arc::default(), Some(webhooks));
        store.cursors().await.expect("a store");
        let log = path.with_extension("db-wal");
        assert!(store.is_open() && log.exists());
        events.stop().await;
        assert!(!store.is_open() && !log.exists());
    }
}
