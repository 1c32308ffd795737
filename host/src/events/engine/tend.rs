//! One service's subscriptions, looked through in its turn: so that a store that takes
//! its time delays its own service only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Active, Events, MAX_COMMANDS, Name, PrepareError, TEND_PATIENCE, Table};
use crate::deadline;
use crate::events::command::{COMMAND_PATIENCE, Command};
use crate::events::status::Status;
use crate::events::subscriber::{Subscriber, Webhooks};
use crate::events::subscription::{Dispatcher, Parts};
use crate::manifest::Subscription;
use crate::name::ServiceName;
use crate::service::Snapshot;
use crate::state::{self, Settlement};

/// Unwanted events that a subscription passes before its cursor is written.
const MAX_PASSED: u64 = 1_000;

/// How long a cursor may be behind what was passed.
const MAX_PASSED_TIME: Duration = Duration::from_secs(60);

/// A service that is being looked through.
pub(super) struct Tended {
    /// Whether it is to be looked through once more.
    again: bool,
    done: CancellationToken,
}

impl Tended {
    /// Cancelled when it is done.
    pub(super) fn done(&self) -> &CancellationToken {
        &self.done
    }
}

/// Ends a service's being looked through, also by a panic.
struct Tending {
    events: Events,
    service: ServiceName,
    done: CancellationToken,
    /// Whether it is in the table.
    noted: bool,
}

impl Tending {
    /// Whether it is to be looked through once more.
    fn goes_on(&mut self) -> bool {
        let mut table = self.events.table();
        let again = table.tended.get_mut(&self.service).map(|tended| &mut tended.again);
        if again.is_some_and(std::mem::take) {
            return true;
        }
        // Under the same lock: whoever comes later begins anew.
        table.tended.remove(&self.service);
        self.noted = false;
        false
    }
}

impl Drop for Tending {
    fn drop(&mut self) {
        if self.noted {
            self.events.table().tended.remove(&self.service);
        }
        self.done.cancel();
    }
}

impl Table {
    /// A service's subscriptions that are at work, or end.
    fn of<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = (&'a Name, &'a Active)> {
        let first = Name { service: service.clone(), subscription: Arc::from("") };
        self.active.range(first..).take_while(move |(name, _)| name.service == *service)
    }

    /// Whether there is anything to do for a service. `subscriber` is none where it is gone.
    fn needs(&self, service: &ServiceName, subscriber: Option<Subscriber<'_>>) -> bool {
        let settings = |name: &Name| subscriber?.settings(&name.subscription);
        let versions = subscriber.map(Subscriber::versions).unwrap_or_default();
        let is_stale = |(name, active): (&Name, &Active)| {
            active.ended.is_cancelled()
                || settings(name).is_none()
                || is_replaced(subscriber, name, active)
                || (active.versions != versions && !active.stop.is_cancelled())
                || is_behind(name, active)
        };
        let is_missing = |subscription: &&Subscription| {
            let name =
                Name { service: service.clone(), subscription: Arc::from(&*subscription.name) };
            !self.active.contains_key(&name)
        };
        self.unsettled.contains(service)
            || self.of(service).any(is_stale)
            || subscriber.is_some_and(|found| found.subscriptions().iter().any(is_missing))
    }
}

impl Events {
    /// Has every service looked through that there is something to do for. Returns what
    /// is cancelled when that is done, one for each.
    pub(super) fn look_through(&self) -> Vec<CancellationToken> {
        let snapshot = self.inner.registry.load().clone();
        let webhooks = self.webhooks();
        let webhooks = webhooks.as_deref();
        let mut table = self.table();
        if table.stopping {
            return Vec::new();
        }
        let mut services: Vec<ServiceName> = snapshot.services.keys().cloned().collect();
        services.extend(webhooks.map(|_| ServiceName::webhooks()));
        services.extend(table.active.keys().map(|name| name.service.clone()));
        services.sort_unstable();
        services.dedup();
        services.retain(|service| table.needs(service, subscriber(&snapshot, webhooks, service)));
        services.iter().map(|service| self.tend_later(&mut table, service)).collect()
    }

    /// Has a service looked through in the background; once more where it is already.
    pub(super) fn tend_later(&self, table: &mut Table, service: &ServiceName) -> CancellationToken {
        if let Some(tended) = table.tended.get_mut(service) {
            tended.again = true;
            return tended.done.clone();
        }
        let done = CancellationToken::new();
        table.tended.insert(service.clone(), Tended { again: false, done: done.clone() });
        let (events, service) = (self.clone(), service.clone());
        let mut tending = Tending { events, service, done: done.clone(), noted: true };
        tokio::spawn(async move {
            loop {
                tending.events.tend(&tending.service).await;
                if !tending.goes_on() {
                    return;
                }
            }
        });
        done
    }

    /// Looks a service through, in its turn.
    async fn tend(&self, service: &ServiceName) {
        let _turn = self.inner.turns.take(service).await;
        self.remove_ended(service).await;
        // Only now: whoever had the turn before may have given its store up.
        let snapshot = self.inner.registry.load().clone();
        let webhooks = self.webhooks();
        let subscriber = subscriber(&snapshot, webhooks.as_deref(), service);
        let is_unwanted =
            |name: &Name| subscriber.and_then(|found| found.settings(&name.subscription)).is_none();
        // What it leaves behind is where it is: it lags behind nothing that it never wanted.
        let is_left = |name: &Name, active: &Active| is_unwanted(name) && has_passed(name, active);
        self.advance(service, is_left).await;
        let ending = self.stop_unwanted(service, subscriber);
        if !ending.is_empty() {
            join_all(ending.iter().map(CancellationToken::cancelled)).await;
            self.remove_ended(service).await;
        }
        let Some(subscriber) = subscriber else { return };
        self.update(subscriber).await;
        if let Err(error) = self.start_missing(subscriber).await {
            self.table().unsettled.insert(service.clone());
            let service = service.as_str();
            tracing::error!(service, %error, "its subscriptions could not be started");
        }
        self.advance(service, is_behind).await;
        self.show(&self.table());
    }

    async fn remove_ended(&self, service: &ServiceName) {
        let ended: Vec<(Name, Active)> = {
            let mut table = self.table();
            let is_ended = |name: &Name, active: &mut Active| {
                name.service == *service && active.ended.is_cancelled()
            };
            table.active.extract_if(.., is_ended).collect()
        };
        for (name, active) in ended {
            self.left_behind(&name, &active).await;
            if active.goes_on {
                self.table().unsettled.insert(name.service.clone());
            }
            let is_over = active.until.is_some() && !active.stop.is_cancelled();
            if is_over && let Err(error) = self.forget(&name, &active.store).await {
                tracing::warn!(service = %name.service, subscription = %name, %error, "the replay is not forgotten");
                self.table().unsettled.insert(name.service);
            }
        }
    }

    /// Returns what is cancelled when those have ended that go on with another target.
    fn stop_unwanted(
        &self,
        service: &ServiceName,
        subscriber: Option<Subscriber<'_>>,
    ) -> Vec<CancellationToken> {
        let mut ending = Vec::new();
        let mut table = self.table();
        for (name, active) in &mut table.active {
            let is_stopped = active.stop.is_cancelled();
            if name.service != *service || is_stopped {
                continue;
            }
            let is_wanted =
                subscriber.and_then(|found| found.settings(&name.subscription)).is_some();
            active.goes_on = is_wanted && is_replaced(subscriber, name, active);
            if !is_wanted || active.goes_on {
                active.stop.cancel();
            }
            if active.goes_on {
                ending.push(active.ended.clone());
            }
        }
        self.show(&table);
        ending
    }

    /// Tells a subscriber's dispatchers of new versions.
    async fn update(&self, subscriber: Subscriber<'_>) {
        let versions = subscriber.versions();
        let stale: Vec<_> = {
            let table = self.table();
            let stale = table
                .of(subscriber.name())
                .filter(|(_, active)| active.versions != versions && !active.stop.is_cancelled());
            stale.map(|(name, active)| (name.clone(), active.commands.clone())).collect()
        };
        for (name, commands) in stale {
            let Some(settings) = subscriber.settings(&name.subscription) else { continue };
            let update = Command::Update(Box::new(settings.clone()));
            // A dispatcher that doesn't listen any more has ended; one that is busy is told
            // the next time.
            if deadline::within(COMMAND_PATIENCE, commands.send(update)).await.is_ok()
                && let Some(active) = self.table().active.get_mut(&name)
            {
                active.versions.clone_from(&versions);
                active.settings = settings.clone();
            }
        }
    }

    async fn start_missing(&self, subscriber: Subscriber<'_>) -> Result<(), PrepareError> {
        let name = |subscription: &str| Name {
            service: subscriber.name().clone(),
            subscription: Arc::from(subscription),
        };
        let subscriptions = subscriber.subscriptions();
        {
            let mut table = self.table();
            let is_active =
                |subscription: &&Subscription| table.active.contains_key(&name(&subscription.name));
            let all_active = subscriptions.iter().all(is_active);
            if !table.unsettled.remove(subscriber.name()) && all_active {
                return Ok(());
            }
        }
        // No position that the store knows stands for another event; at the host's
        // start this store could not be read.
        let known = subscriber.store().last_position().await?;
        self.inner.bus.skip_to(known).await?;
        // Where a store is new to its host, or was deleted, all are new.
        self.begin(subscriber.name(), subscriber.store(), &subscriptions).await?;
        let dead = subscriber.store().dead_counts().await?.into_iter();
        let dead = dead.map(|(subscription, count)| (name(&subscription), count));
        {
            let mut table = self.table();
            // Those that were counted before it came: its store may be another one.
            table.dead_of_ended.retain(|name, _| name.service != *subscriber.name());
            let dead: Vec<_> = dead.filter(|(name, _)| !table.active.contains_key(name)).collect();
            table.dead_of_ended.extend(dead);
        }
        for cursor in subscriber.store().cursors().await? {
            let name = name(&cursor.subscription);
            if !self.table().active.contains_key(&name) {
                self.start(subscriber, &name, cursor.until).await?;
            }
        }
        Ok(())
    }

    /// Starts a subscription's dispatcher, where it is still wanted.
    async fn start(
        &self,
        subscriber: Subscriber<'_>,
        name: &Name,
        until: Option<u64>,
    ) -> Result<(), state::Error> {
        let settings = subscriber.settings(&name.subscription).cloned();
        let target = subscriber.target(&self.inner.registry, &name.subscription);
        let (Some(settings), Some(target)) = (settings, target) else { return Ok(()) };
        let store = Arc::clone(subscriber.store());
        let dead = store.dead_count(&name.subscription).await?;
        let status = Arc::new(Status::new(dead));
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let parts = Parts {
            bus: self.inner.bus.clone(),
            store: Arc::clone(&store),
            target: target.clone(),
            service: name.service.clone(),
            name: Arc::clone(&name.subscription),
            until,
            status: Arc::clone(&status),
            stop: stop.clone(),
        };
        let loaded = Dispatcher::load(parts, settings.clone()).await?;
        let Some(dispatcher) = loaded else { return Ok(()) };
        let (commands, received) = mpsc::channel(MAX_COMMANDS);
        let versions = subscriber.versions();
        let (ends, changed) = (ended.clone().drop_guard(), Arc::clone(&self.inner.changed));
        let active = Active {
            settings,
            store,
            status,
            commands,
            until,
            target,
            goes_on: false,
            passed_since: None,
            versions,
            stop,
            ended,
        };
        let mut table = self.table();
        if table.stopping {
            active.store.unload_subscription(&name.subscription);
            return Ok(());
        }
        table.dead_of_ended.remove(name);
        table.active.insert(name.clone(), active);
        drop(table);
        tokio::spawn(async move {
            dispatcher.run(received).await;
            drop(ends);
            changed.notify_one();
        });
        Ok(())
    }

    /// Writes the cursors that are so far behind what was passed as `is_due` says. Where a store
    /// takes its time, that is not waited for.
    pub(super) async fn advance(
        &self,
        service: &ServiceName,
        is_due: impl Fn(&Name, &Active) -> bool,
    ) {
        let behind: Vec<_> = {
            let table = self.table();
            let behind = table.of(service).filter(|(name, active)| is_due(name, active));
            behind.map(|(name, active)| (name.clone(), Arc::clone(&active.store))).collect()
        };
        for (name, store) in behind {
            let subscription = Arc::clone(&name.subscription);
            let advance = vec![Settlement::Advance { subscription }];
            let advanced = deadline::within(TEND_PATIENCE, store.settle_durably(advance)).await;
            if let Ok(Err(error)) = advanced {
                tracing::warn!(service = %name.service, subscription = %name, %error, "its cursor could not be moved");
            }
            if let Some(active) = self.table().active.get_mut(&name) {
                active.passed_since = None;
            }
        }
    }
}

impl Active {
    /// Notes since when its cursor is behind what was passed. Returns where the cursor is.
    pub(in crate::events) fn note_passed(&mut self, name: &Name) -> Option<u64> {
        let progress = self.store.progress(&name.subscription)?;
        if progress.outstanding > 0 || progress.scanned <= progress.cursor {
            self.passed_since = None;
        } else {
            self.passed_since.get_or_insert_with(Instant::now);
        }
        Some(progress.cursor)
    }
}

/// Whoever of this name has subscriptions.
fn subscriber<'a>(
    snapshot: &'a Snapshot,
    webhooks: Option<&'a Webhooks>,
    name: &ServiceName,
) -> Option<Subscriber<'a>> {
    let webhooks = webhooks.filter(|_| *name == ServiceName::webhooks());
    let service = snapshot.services.get(name).map(Subscriber::Service);
    service.or_else(|| webhooks.map(Subscriber::Webhooks))
}

/// Whether its events go elsewhere now.
fn is_replaced(subscriber: Option<Subscriber<'_>>, name: &Name, active: &Active) -> bool {
    subscriber.is_some_and(|found| found.has_another(&name.subscription, &active.target))
}

/// Whether the cursor is so far behind what was passed that it is written.
fn is_behind(name: &Name, active: &Active) -> bool {
    let long = active.passed_since.is_some_and(|since| since.elapsed() >= MAX_PASSED_TIME);
    passed(name, active).is_some_and(|passed| passed >= MAX_PASSED || long)
}

/// Whether the cursor is behind what was passed at all.
pub(super) fn has_passed(name: &Name, active: &Active) -> bool {
    passed(name, active).is_some()
}

/// How many events the cursor is behind, where they were all passed.
fn passed(name: &Name, active: &Active) -> Option<u64> {
    let progress = active.store.progress(&name.subscription)?;
    let passed = progress.scanned.saturating_sub(progress.cursor);
    (progress.outstanding == 0 && passed > 0).then_some(passed)
}
