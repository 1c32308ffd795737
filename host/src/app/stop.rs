//! The end of a host: what is under way has `--drain`, and whatever is left then has
//! [`SHUTDOWN_GRACE`] in all, step by step. Requests, deliveries and connections that are left
//! when `--drain` is over are ended. Who does not come to an end then is named and left behind:
//! what it did was never acknowledged.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::deadline;
use crate::deploy::Deployer;
use crate::events::Events;
use crate::name::ServiceName;
use crate::service::{Registry, Version};

/// How long a host takes to end beyond `--drain`, whatever is in its way.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How much of it is over when what was ended has given back what it holds.
const ENDED_BY: Duration = Duration::from_secs(1);

/// The same of deployments that cannot be broken off.
const DEPLOYED_BY: Duration = Duration::from_millis(1_500);

/// The same of what was published, and is brought to the bus.
const RELAYED_BY: Duration = Duration::from_millis(2_500);

/// The same of the services' stores.
const STORES_BY: Duration = Duration::from_millis(3_500);

/// The same of the bus.
const BUS_BY: Duration = Duration::from_secs(4);

/// The same of who still asks the admin listener.
const ADMIN_BY: Duration = Duration::from_millis(4_500);

/// What a host ends.
pub(super) struct Stopping {
    pub(super) drain: Duration,
    pub(super) registry: Arc<Registry>,
    pub(super) deployer: Deployer,
    pub(super) events: Events,
    pub(super) serving: JoinHandle<bool>,
    pub(super) admin: JoinHandle<()>,
    /// Takes nothing new from here on.
    pub(super) stop: CancellationToken,
    /// The last request is done.
    pub(super) stopped: CancellationToken,
    /// Told what is waited for, where someone reads it.
    pub(super) tell: Option<Tell>,
}

/// Shows a line to people.
pub type Tell = Box<dyn FnOnce(&str) + Send>;

/// What is under way, by whom.
fn under_way(registry: &Registry, deployer: &Deployer, events: &Events) -> Vec<String> {
    let mut versions: Vec<Arc<Version>> = deployer.draining();
    let snapshot = registry.load().clone();
    let services = snapshot.services.values();
    versions.extend(services.flat_map(|service| service.traffic.versions().cloned()));
    let busy = versions.iter().filter(|version| version.lease_count() > 0);
    let busy = busy.map(|version| match version.lease_count() {
        1 => format!("a request or delivery of {}", version.id),
        leases => format!("{leases} requests or deliveries of {}", version.id),
    });
    let delivering = events.still_delivering().into_iter();
    let delivering = delivering
        .filter(|name| name.starts_with(ServiceName::webhooks().as_str()))
        .map(|name| format!("deliveries of {name}"));
    let deployed = deployer.under_way().into_iter();
    let deployed = deployed.map(|service| format!("a deployment of {service}"));
    busy.chain(delivering).chain(deployed).collect()
}

/// Those who did not come to an end in time.
#[derive(Debug, Default)]
struct InTheWay(Vec<String>);

impl InTheWay {
    /// Waits for a step until `end`, and names who is in its way then.
    async fn unless_done<T>(
        &mut self,
        end: Instant,
        step: impl Future<Output = T>,
        who: impl FnOnce() -> Vec<String>,
    ) -> Option<T> {
        let done = deadline::by(end, step).await.ok();
        if done.is_none() {
            who().into_iter().for_each(|one| self.note(one));
        }
        done
    }

    fn note(&mut self, who: impl Display) {
        let who = who.to_string();
        tracing::warn!(who, "it is in the way of the host's end, and is left behind");
        self.0.push(who);
    }
}

impl Stopping {
    /// Ends all of it. Returns who was in the way and is left behind; nobody as a rule.
    pub(super) async fn run(self) -> Vec<String> {
        let Self { drain, registry, deployer, events, serving, admin, stop, stopped, tell } = self;
        let mut left = InTheWay::default();
        let end = Instant::now() + drain;
        stop.cancel();
        let waits_for = under_way(&registry, &deployer, &events);
        if !waits_for.is_empty() {
            let waits_for = waits_for.join(", ");
            tracing::info!(waits_for, drain_ms = drain.as_millis(), "stopping");
            if let Some(tell) = tell {
                tell(&format!(
                    "Stopping. Waits up to {drain:?} for {waits_for}; Ctrl-C again ends it at once."
                ));
            }
        }
        let (served, delivered, deployed) = tokio::join!(
            // It sees to its end itself; its last moment is its own.
            deadline::by(end + ENDED_BY / 2, serving),
            deadline::by(end, events.stop_deliveries()),
            deadline::by(end, deployer.stop()),
        );
        let over = Instant::now();
        let is_over = matches!(served, Ok(Ok(true))) && delivered.is_ok();
        let versions = versions(&registry, &deployer);
        let ended = join_all(versions.iter().map(|version| version.drained()));
        // Those who have answered may be about to give back what they hold.
        if !is_over || deadline::by(over + ENDED_BY / 2, ended).await.is_err() {
            end_all(&mut left, over + ENDED_BY, drain, &versions, &events).await;
        }
        if deployed.is_err() {
            let who = || match deployer.under_way() {
                none if none.is_empty() => vec!["what ends a deployment".to_owned()],
                some => some.iter().map(|service| format!("a deployment of {service}")).collect(),
            };
            left.unless_done(over + DEPLOYED_BY, deployer.stop(), who).await;
        }
        let still = || {
            events.still_relaying().into_iter().map(|service| {
                format!(
                    "events of {service} that are not on the bus: they come there at the next start"
                )
            })
        };
        left.unless_done(over + RELAYED_BY, events.stop_relays(), || still().collect()).await;
        let closed = async {
            let (webhooks, ()) = tokio::join!(events.close_webhooks(), deployer.close_stores());
            webhooks
        };
        let open = || deployer.still_open();
        let webhooks = left.unless_done(over + STORES_BY, closed, open).await;
        webhooks.flatten().into_iter().for_each(|store| left.note(store));
        let bus = || vec!["the bus, which is being closed".to_owned()];
        left.unless_done(over + BUS_BY, events.bus().close(), bus).await;
        stopped.cancel();
        let asking = admin.abort_handle();
        let who = || vec!["whoever still asks the admin listener".to_owned()];
        left.unless_done(over + ADMIN_BY, admin, who).await;
        asking.abort();
        left.0
    }
}

/// All versions that may still run something; nothing new comes to them.
fn versions(registry: &Registry, deployer: &Deployer) -> Vec<Arc<Version>> {
    let mut versions: Vec<Arc<Version>> = deployer.draining();
    let snapshot = registry.load().clone();
    let services = snapshot.services.values();
    versions.extend(services.flat_map(|service| service.traffic.versions().cloned()));
    versions.iter().for_each(|version| version.retire());
    versions
}

/// `--drain` is over: what still runs is ended. Who does not end is in the way.
async fn end_all(
    left: &mut InTheWay,
    end: Instant,
    drain: Duration,
    versions: &[Arc<Version>],
    events: &Events,
) {
    let running = |version: &&Arc<Version>| version.lease_count() > 0;
    for version in versions.iter().filter(running) {
        let (leases, id) = (version.lease_count(), &version.id);
        tracing::warn!("{leases} requests or deliveries of {id} are ended: {drain:?} are over");
        version.end();
    }
    for subscription in events.still_delivering() {
        tracing::warn!(
            "deliveries of {subscription} are ended, and come again: {drain:?} are over"
        );
    }
    let ended = join_all(versions.iter().map(|version| version.drained()));
    if deadline::by(end, ended).await.is_err() {
        for version in versions.iter().filter(running) {
            let (leases, id) = (version.lease_count(), &version.id);
            left.note(format_args!("{leases} requests or deliveries of {id} that do not end"));
        }
    }
}
