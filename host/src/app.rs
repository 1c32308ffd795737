//! The wiring: the only place that constructs the parts and ties them together.

mod endpoints;
mod problems;
mod reload;
mod stop;

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use prometheus_client::collector::Collector;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::endpoints::Endpoints;
use self::stop::Stopping;
use crate::admin::{self, access::Access};
use crate::alarm::Alarm;
use crate::bus::{Bus, BusOptions};
use crate::calls::Calls;
use crate::clock::Clock;
use crate::config::Config;
use crate::deploy::{DeployConfig, Deployer, Notice, Operator, StatusReader};
use crate::events::receive::{Intake, IntakeCollector, IntakeLimits};
use crate::events::{Events, EventsCollector, schedule};
use crate::http::ByName;
use crate::http::connection::Connections;
use crate::http::uploads::UploadsCollector;
use crate::listen::{ConnectionsCollector, Listener, Side};
use crate::outbound::Outbound;
use crate::room::Room;
use crate::runtime::{Runtime, RuntimeCollector, RuntimeOptions};
use crate::service::{Registry, ServiceCollector};
use crate::state::{self, StoreOptions};
use crate::telemetry::{Logs, LogsCollector};

pub use self::problems::{Problem, problems, problems_of_files};
pub use self::reload::{Reload, Reloaded};
pub use self::stop::{SHUTDOWN_GRACE, Tell};

/// How often idle instances and stores are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What `bus.db` is called where it is said why it is not used.
const OF_THE_BUS: &str = "the durable log of events";

/// How long the data folder may still be locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How long it waits between two looks at it.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A running host.
pub struct App {
    config: Config,
    address: SocketAddr,
    admin_address: SocketAddr,
    registry: Arc<Registry>,
    deployer: Deployer,
    events: Events,
    serving: JoinHandle<bool>,
    admin: JoinHandle<()>,
    stop: CancellationToken,
    /// Ends the admin listener and the sweeper, after the last request.
    stopped: CancellationToken,
    alarm: Alarm,
    reload: Arc<Reload>,
    tell: Option<Tell>,
    /// Held for as long as the host runs: the data folder is its alone.
    lock: File,
}

impl App {
    /// Starts everything: takes the data folder, brings back what was deployed,
    /// listens, and begins to look at the plugin folder. Operators are shown `logs`.
    ///
    /// # Errors
    /// When the data folder is another host's, an address is taken, or the
    /// plugin folder cannot be watched.
    pub async fn start(config: Config, logs: Logs) -> anyhow::Result<Self> {
        Self::start_with(config, logs, StoreOptions::default()).await
    }

    /// The same with stores that have these limits, besides those that `config` has.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_with(
        config: Config,
        logs: Logs,
        stores: StoreOptions,
    ) -> anyhow::Result<Self> {
        let found = problems(&config);
        let words: Vec<_> = found.into_iter().map(|problem| problem.words).collect();
        anyhow::ensure!(words.is_empty(), "{}", words.join("\n"));
        // Before the first file is opened.
        state::memory::install();
        let lock = lock_data_folder(&config.data).await?;
        let room = Room::of(&config.data);
        let made_way = room.make_way();
        let outbound = Outbound::new(config.outbound.clone());
        let options = RuntimeOptions {
            host_memory: config.host_memory.as_u64(),
            guest_memory: config.guest_memory.as_u64(),
            ..RuntimeOptions::default()
        };
        let runtime = Runtime::with(outbound.clone(), options)?;
        let registry = Arc::new(Registry::default());
        runtime.answers_by_name(Arc::new(ByName::new(&registry, &config.http)));
        runtime.connect(Arc::new(Calls::new(&registry)));
        let (alarm, clock) = (Alarm::default(), Clock::default());
        let stores = StoreOptions {
            idempotency_ttl: config.http.idempotency_ttl,
            max_idempotency_keys: config.http.max_idempotency_keys,
            alarm: alarm.clone(),
            clock: clock.clone(),
            room: room.clone(),
            ..stores
        };
        let bus = open_bus(&config, &alarm, clock, room.clone()).await?;
        let endpoints = Endpoints::new(&config.data, &outbound, &stores);
        let webhooks = endpoints.webhooks(&config.webhooks, None)?;
        let events = Events::new(bus, Arc::clone(&registry), &config.data.join("stores"), webhooks);
        let deployer = Deployer::start(
            deploy_config(&config),
            runtime.clone(),
            Arc::clone(&registry),
            stores,
            events.clone(),
        )
        .await?;
        // Before anything new can be published: what is left to be delivered is known.
        events.reconcile().await;
        events.count_dead_of_undeployed().await;
        if made_way {
            open_all(&registry).await;
        }
        room.reserve();
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());

        let limits =
            IntakeLimits { max_body: config.events.max_body, body_idle: config.http.body_idle };
        let intake = Intake::new(events.bus().clone(), limits);
        let opened = intake.only(&config.events.accept);
        let intakes = IntakeCollector::new(&intake, opened.as_ref());
        let listener = Listener::bind(config.listen, Side::Public, &config.http)
            .await
            .with_context(|| format!("{} cannot be listened on (--listen)", config.listen))?;
        let address = listener.local_addr();
        let of_listener = Arc::clone(&registry);
        let connections = Connections::new(listener.builder(), &config.http, of_listener, opened);
        let admin_listener = Listener::bind(config.admin, Side::Admin, &config.http)
            .await
            .with_context(|| format!("{} cannot be listened on (--admin)", config.admin))?;
        let admin_address = admin_listener.local_addr();
        let shown = vec![listener.shown(), admin_listener.shown()];
        let from_outside: [Box<dyn Collector>; 3] = [
            Box::new(intakes),
            Box::new(ConnectionsCollector::new(shown)),
            Box::new(UploadsCollector(Arc::clone(connections.uploads()))),
        ];
        let serving = tokio::spawn(connections.serve_all(listener, stop.clone(), config.drain));
        let access = Access::new(config.token.clone());
        let parts = admin::Parts {
            operator: deployer.operator(),
            status: deployer.status(),
            metrics: metrics(&registry, &runtime, &events, &logs, from_outside),
            logs,
            events: events.clone(),
            intake,
            access: access.clone(),
            body_idle: config.http.body_idle.max(config.upload_idle_timeout),
            stopping: stop.clone(),
        };
        let admin = tokio::spawn(admin::serve(admin_listener, parts, stopped.clone()));

        let (status, until_ready) = (deployer.status(), deployer.status());
        let ticking = schedule::run(
            Arc::clone(&registry),
            events.bus().clone(),
            async move { until_ready.ready().await },
            move |service| status.is_lost(service),
            stop.clone(),
        );
        tokio::spawn(ticking);
        let operator = deployer.operator();
        tokio::spawn(sweep(Arc::clone(&registry), room, operator, stopped.clone()));
        tokio::spawn({
            let (events, stopped) = (events.clone(), stopped.clone());
            async move { events.run(stopped).await }
        });
        tracing::info!(listen = %address, admin = %admin_address, "listening");
        let reload = Reload::new(access, outbound, events.clone(), endpoints, config.clone());
        let reload = Arc::new(reload);
        Ok(Self {
            config,
            address,
            admin_address,
            deployer,
            events,
            serving,
            admin,
            stop,
            stopped,
            alarm,
            reload,
            tell: None,
            lock,
            registry,
        })
    }

    /// The public listener's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin listener's address.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// What deployments report from here on.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.deployer.notices()
    }

    /// Takes settings over that are read anew.
    #[must_use]
    pub fn reload(&self) -> Arc<Reload> {
        Arc::clone(&self.reload)
    }

    /// Has people told what a stop waits for.
    pub fn tells(&mut self, tell: Tell) {
        self.tell = Some(tell);
    }

    /// Tells what is deployed.
    #[must_use]
    pub fn status(&self) -> StatusReader {
        self.deployer.status()
    }

    /// Serves until `signal`, then stops: takes nothing new, lets requests under
    /// way finish, and closes every store. Returns `--drain` and [`SHUTDOWN_GRACE`] after
    /// the signal at the latest.
    ///
    /// # Errors
    /// When a store can no longer promise that what it acknowledges is durable,
    /// or something was still running when its time was over.
    pub async fn run_until_stopped(self, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self {
            config, registry, deployer, events, serving, admin, stop, stopped, tell, ..
        } = self;
        let drain = config.drain;
        let stopping =
            Stopping { drain, registry, deployer, events, serving, admin, stop, stopped, tell };
        let until_stopped = async {
            signal.await;
            tracing::info!("stopping: no new connections, {drain:?} for requests");
            stopping.run().await
        };
        let left = tokio::select! {
            biased;
            // Nothing is drained, or drained any longer: an answer could acknowledge
            // what is not on disk, and what waits for the disk would wait for ever.
            reason = self.alarm.rung() => {
                // What still writes may do so until the process has ended.
                std::mem::forget(self.lock);
                anyhow::bail!("{reason}")
            }
            left = until_stopped => left,
        };
        if !left.is_empty() {
            std::mem::forget(self.lock);
            anyhow::bail!("it was stopped, but not all had ended: {}", left.join("; "));
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Makes the data folder the host's own: state and secrets of services are nobody else's, also
/// in one that is older than this rule. One that others have files in is not taken from them.
fn make_private(data: &Path) -> anyhow::Result<()> {
    if let Some(problem) = problems::of_data(data) {
        anyhow::bail!(problem);
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.with_context(|| format!("the data folder {} cannot be made", data.display()))?;
    let open = std::fs::metadata(data).map_or(0, |metadata| metadata.permissions().mode() & 0o077);
    let private = || std::fs::set_permissions(data, Permissions::from_mode(0o700));
    if open != 0
        && let Err(error) = private()
    {
        tracing::warn!(data = %data.display(), %error, "others can look into the data folder");
    }
    Ok(())
}

/// Takes the data folder for this process; the lock ends with it, however it ends.
async fn lock_data_folder(data: &Path) -> anyhow::Result<File> {
    make_private(data)?;
    let path = data.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A child that a host had begun to start when it was killed has its descriptors,
            // and so its lock, until it runs the compiler.
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "another host runs on the data folder {}: stop it, or name another folder with \
                 --data",
                data.display()
            ),
            Err(TryLockError::Error(error)) => {
                anyhow::bail!("{} cannot be locked: {error}", path.display())
            }
        }
    }
}

/// The durable log of events, in the data folder.
async fn open_bus(config: &Config, alarm: &Alarm, clock: Clock, room: Room) -> anyhow::Result<Bus> {
    let options = BusOptions { alarm: alarm.clone(), clock, room, ..config.events.bus() };
    let (path, stores) = (config.data.join("bus.db"), config.data.join("stores"));
    let opened = tokio::task::spawn_blocking(move || {
        Bus::open(&path, options).map(|bus| (bus, state::last_position(&stores)))
    });
    let (bus, known) = opened.await?.context(OF_THE_BUS)?;
    let last = bus.last();
    if bus.skip_to(known).await? {
        tracing::warn!(
            last,
            known,
            "bus.db was lost or is an older copy: the stores know later positions than it has, and \
             it goes on after them; of the events in between, those that were not finished are lost"
        );
    }
    Ok(bus)
}

fn deploy_config(config: &Config) -> DeployConfig {
    DeployConfig {
        folder: config.folder.clone(),
        data: config.data.clone(),
        compiler: config.compiler.clone(),
        secrets: config.secrets.clone(),
        keep_versions: config.keep_versions,
        compile_timeout: config.compile_timeout,
        upload_idle_timeout: config.upload_idle_timeout,
        takes_events: !config.events.accept.is_empty(),
        ..DeployConfig::default()
    }
}

/// What the operator's scrape shows.
fn metrics(
    registry: &Arc<Registry>,
    runtime: &Runtime,
    events: &Events,
    logs: &Logs,
    from_outside: impl IntoIterator<Item = Box<dyn Collector>>,
) -> prometheus_client::registry::Registry {
    let mut metrics = prometheus_client::registry::Registry::default();
    metrics.register_collector(Box::new(ServiceCollector::new(Arc::clone(registry))));
    metrics.register_collector(Box::new(RuntimeCollector::new(runtime)));
    metrics.register_collector(Box::new(EventsCollector::new(events.clone())));
    metrics.register_collector(Box::new(LogsCollector::new(logs.clone())));
    for collector in from_outside {
        metrics.register_collector(collector);
    }
    metrics
}

/// Opens every service's store while there is room for that.
async fn open_all(registry: &Registry) {
    for service in registry.load().services.values() {
        if let Err(error) = service.store.last_position().await {
            tracing::warn!(service = service.name.as_str(), %error, "its store cannot be opened");
        }
    }
}

/// Frees instances and closes stores that nobody used for a while, and takes out
/// what is kept under expired idempotency keys.
async fn sweep(
    registry: Arc<Registry>,
    room: Room,
    operator: Operator,
    stopped: CancellationToken,
) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            _ = interval.tick() => {}
        }
        if room.is_back() {
            room.reserve();
            operator.has_room();
        }
        let now = Instant::now();
        for service in registry.load().services.values() {
            for version in service.traffic.versions() {
                version.pool.free_idle(now);
            }
            service.store.expire_keys();
            service.store.trim_outbox();
            // On a full disk it might not be opened again.
            if !room.was_full() {
                service.store.close_if_idle(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_with_others_files_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        make_private(&data).expect("made where it is not there yet");
        make_private(&data).expect("taken where it is empty");
        let mode = |path: &Path| path.metadata().expect("it").permissions().mode() & 0o777;
        assert_eq!(mode(&data), 0o700);
        std::fs::set_permissions(&data, Permissions::from_mode(0o755)).expect("set");
        std::fs::write(data.join("letter.txt"), "dear").expect("a file");
        let refused = make_private(&data).expect_err("refused").to_string();
        assert!(refused.contains("none of them is a host's"), "{refused}");
        assert_eq!(mode(&data), 0o755);
        // With a host's file in it, it is a host's.
        std::fs::write(data.join("host.db"), "").expect("a file");
        make_private(&data).expect("taken");
        assert_eq!(mode(&data), 0o700);
    }
}
