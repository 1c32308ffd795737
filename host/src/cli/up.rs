//! `hotdock up`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::Mode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{console, exit, signals};
use crate::app::{self, App, Reload, Reloaded, SHUTDOWN_GRACE};
use crate::config::{
    Config, ConfigError, FileConfig, LogFormat, Network, Overrides, Token, check_log_filter,
    parse_duration, parse_time, socket_address,
};
use crate::deploy::{Notice, StatusReader};
use crate::processors;
use crate::telemetry::{self, Logs};

/// What is read where no settings file is named.
const SETTINGS_FILE: &str = "hotdock.toml";

/// How often a long compile is mentioned again.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// Serve the components in a folder; drop newer ones there to deploy them.
///
/// A flag wins over its environment variable, that over hotdock.toml, that over
/// the default. Ctrl-C or SIGTERM lets requests under way finish, for --drain at the
/// most, and ends within 5 s after that; a second one ends at once. SIGHUP has the token, the
/// certificates that are trusted and the webhooks read anew, and says what else waits for a
/// restart.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Up {
    /// Folder with NAME.wasm and NAME.toml [default: plugins]
    #[arg(env = "HOTDOCK_FOLDER")]
    folder: Option<PathBuf>,
    /// Address for requests, as 127.0.0.1:8080, localhost:8080, or :8080 for all [default:
    /// 127.0.0.1:8080]
    #[arg(long, env = "HOTDOCK_LISTEN", value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Address for operators: /healthz, /readyz, /metrics, /v1/… [default: 127.0.0.1:8081]
    #[arg(long, env = "HOTDOCK_ADMIN", value_name = "ADDRESS", value_parser = address)]
    admin: Option<SocketAddr>,
    /// File with the token that operators have to show; HOTDOCK_TOKEN may have the token itself.
    /// Without one the admin address has to be a loopback address
    #[arg(long, env = "HOTDOCK_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Folder for state, versions and compiled code; one host at a time [default: .hotdock]
    #[arg(long, env = "HOTDOCK_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Folder of secrets: FOLDER/<service>/<NAME> [default: none]
    #[arg(long, env = "HOTDOCK_SECRETS", value_name = "FOLDER")]
    secrets: Option<PathBuf>,
    /// How long requests under way may go on when the host stops [default: 30s]
    #[arg(long, env = "HOTDOCK_DRAIN", value_name = "DURATION", value_parser = parse_duration)]
    drain: Option<Duration>,
    /// How long an answer is kept under its Idempotency-Key [default: 24h]
    #[arg(long, env = "HOTDOCK_IDEMPOTENCY_TTL", value_name = "DURATION", value_parser = parse_time)]
    idempotency_ttl: Option<Duration>,
    /// How to write the log [default: text]
    #[arg(long, env = "HOTDOCK_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What to log: error, warn, info, debug, trace, or filters as TARGET=LEVEL [default: info]
    #[arg(long, env = "HOTDOCK_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Networks outside the public internet that services may send requests to, where their
    /// manifests name the origin, too; comma-separated, as 10.0.0.0/8 [default: none]
    #[arg(
        long,
        env = "HOTDOCK_OUTBOUND_ALLOW_PRIVATE",
        value_name = "NETWORKS",
        value_delimiter = ','
    )]
    outbound_allow_private: Option<Vec<Network>>,
    /// Settings file [default: hotdock.toml, if it exists]
    #[arg(long, env = "HOTDOCK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say whether the settings are good, and end
    #[arg(long)]
    check: bool,
}

/// The setting that a file is asked for the token by.
const TOKEN_FILE: &str = "token-file";

/// What is set.
struct Read {
    /// Unless the file cannot be read.
    config: Option<Config>,
    found: Vec<String>,
    /// The file's settings that are wrong, by their keys.
    wrong: Vec<String>,
    /// Whether what the environment has as a token is none.
    no_token: bool,
}

impl Up {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = match self.resolve() {
            Ok(config) => config,
            Err(error) if self.check => {
                console::error(&error);
                let denied = error.is::<exit::NoToken>();
                return Ok(ExitCode::from(if denied { exit::DENIED } else { exit::REFUSED }));
            }
            Err(error) => return Err(error),
        };
        if self.check {
            console::print("the settings are good")?;
            return Ok(ExitCode::SUCCESS);
        }
        // What the host writes is nobody else's: state, secrets in it, compiled code.
        _ = rustix::process::umask(Mode::from_raw_mode(0o077));
        // People see what happens in words; the log keeps to what went wrong.
        let for_people = config.log_format == LogFormat::Text && console::is_terminal();
        let default_log = config.log == Config::default().log;
        let log = if for_people && default_log { "warn,guest=info" } else { &config.log };
        let logs = Logs::new(usize::try_from(config.log_keep.as_u64()).unwrap_or(usize::MAX));
        let _started = telemetry::start(config.log_format, log, &config.log, logs.clone())?;
        // Before anything starts, so that a signal during the start is not lost.
        let stop = signals::listen(config.drain + SHUTDOWN_GRACE)?;
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(processors::serving_threads())
            .enable_all()
            .build()
            .context("the asynchronous runtime")?;
        let result = tokio.block_on(self.serve(config, logs, for_people, stop));
        // What still runs then is not waited for: its time is over.
        tokio.shutdown_background();
        if result.is_err() && !telemetry::flush() {
            // To say why would be to wait for whoever doesn't read it.
            std::process::exit(exit::FAILED.into());
        }
        result.map(|()| ExitCode::SUCCESS)
    }

    fn resolve(&self) -> anyhow::Result<Config> {
        let Read { config, mut found, wrong, no_token } = self.clone().read();
        if let Some(config) = &config {
            // What the file says was looked at with the file.
            let log = check_log_filter(&config.log).err();
            found.extend(log.map(|error| format!("--log (HOTDOCK_LOG): {error}")));
            // What is wrong in the file is not taken for what is there by default.
            let is_set = |problem: &app::Problem| {
                !problem.settings.iter().any(|key| wrong.iter().any(|wrong| wrong == key))
            };
            let problems = app::problems(config).into_iter().filter(is_set);
            found.extend(problems.map(|problem| problem.words));
            if self.check && found.is_empty() {
                found.extend(app::problems_of_files(config));
            }
        }
        match config {
            Some(config) if found.is_empty() => Ok(config),
            _ if no_token => Err(exit::NoToken(found.join("\n")).into()),
            _ => anyhow::bail!(found.join("\n")),
        }
    }

    /// What is set, and what is wrong with it.
    fn read(self) -> Read {
        let file = match &self.config {
            Some(path) => FileConfig::read(path, true),
            None => FileConfig::read(Path::new(SETTINGS_FILE), false),
        };
        let mut found = Vec::from_iter(file.as_ref().err().map(ToString::to_string));
        let (file, wrong) = match file {
            Ok(file) => (Some(file), Vec::new()),
            Err(ConfigError::Invalid { rest, wrong, .. }) => (rest.map(|rest| *rest), wrong),
            Err(ConfigError::Read { .. }) => (None, Vec::new()),
        };
        // The environment wins over the file, and the flag over both.
        let in_environment = self.token_file.is_none() && Token::is_in_environment();
        let in_file = file.as_ref().and_then(FileConfig::token_file).filter(|_| !in_environment);
        let token = Token::find_in_file(self.token_file.as_deref().or(in_file));
        found.extend(token.as_ref().err().map(ToString::to_string));
        let no_token = in_environment && token.is_err();
        let Some(file) = file else { return Read { config: None, found, wrong, no_token } };
        let overrides = Overrides {
            token: token.unwrap_or_default(),
            folder: self.folder,
            listen: self.listen,
            admin: self.admin,
            data: self.data,
            secrets: self.secrets,
            drain: self.drain,
            log_format: self.log_format,
            log: self.log,
            idempotency_ttl: self.idempotency_ttl,
            outbound_allow_private: self.outbound_allow_private,
        };
        Read { config: Some(Config::resolve(overrides, file)), found, wrong, no_token }
    }

    async fn serve(
        self,
        config: Config,
        logs: Logs,
        for_people: bool,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let hangups = signal(SignalKind::hangup()).context("signals")?;
        let folder = config.folder.clone();
        let token = config.token.clone();
        let mut app = App::start(config, logs).await?;
        tokio::spawn(self.reload_at(hangups, app.reload(), token));
        if for_people {
            // Whoever reads it may go; the host stays.
            app.tells(Box::new(|line| {
                let line = line.to_owned();
                // Nor does it wait for someone who doesn't.
                thread::spawn(move || _ = console::print(&line));
            }));
        }
        serve(app, &folder, for_people, stop).await
    }

    /// From here on the settings file is wanted, if there is one.
    fn keep_file(&mut self) {
        let file = Path::new(SETTINGS_FILE);
        if self.config.is_none() && file.exists() {
            self.config = Some(file.to_owned());
        }
    }

    /// Reads the settings anew, and takes over what can be. Returns the token that is in force.
    ///
    /// Where no token is named any more, the one `before` stays: a file that somebody emptied, or
    /// is about to write, would let everybody in.
    fn take(
        &self,
        reload: &Reload,
        before: Option<Token>,
    ) -> Result<(Option<Token>, Reloaded), String> {
        let mut config = self.resolve().map_err(|error| format!("{error:#}"))?;
        let stays = config.token.is_none() && before.is_some();
        if stays {
            config.token = before;
        }
        let mut reloaded = reload.take(&config)?;
        if stays {
            reloaded.waits.push(TOKEN_FILE);
            tracing::warn!(
                "the settings name no admin token any more (SIGHUP): the one before stays in \
                 force; name it again, or restart the host for there to be none"
            );
        }
        Ok((config.token, reloaded))
    }

    /// Reads the settings anew at each signal; `token` is the one in force.
    ///
    /// A settings file that was there once has to be there again: without it all that it says
    /// would be taken for what nobody says.
    async fn reload_at(
        mut self,
        mut hangups: Signal,
        reload: Arc<Reload>,
        mut token: Option<Token>,
    ) {
        self.keep_file();
        while hangups.recv().await.is_some() {
            let (this, takes, before) = (self.clone(), Arc::clone(&reload), token.clone());
            let taken = tokio::task::spawn_blocking(move || this.take(&takes, before)).await;
            reload.settle().await;
            let taken = taken.unwrap_or_else(|error| Err(error.to_string()));
            let taken = taken.map(|(in_force, reloaded)| {
                token = in_force;
                self.keep_file();
                reloaded
            });
            match taken {
                // They are read anew in any case.
                Ok(Reloaded { taken, waits }) if waits.is_empty() && taken == ["certificates"] => {
                    tracing::info!("read anew (SIGHUP); nothing changed");
                }
                Ok(Reloaded { taken, waits }) if waits.is_empty() => {
                    tracing::warn!(taken = taken.join(", "), "read anew (SIGHUP)");
                }
                Ok(Reloaded { taken, waits }) => tracing::warn!(
                    taken = taken.join(", "),
                    restart_for = waits.join(", "),
                    "read anew (SIGHUP); the rest that was changed holds after a restart"
                ),
                Err(reason) => {
                    tracing::error!(reason, "the settings stay as they were (SIGHUP)");
                }
            }
        }
    }
}

async fn serve(
    app: App,
    folder: &Path,
    for_people: bool,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if for_people {
        console::print(&format!(
            "hotdock serves {} on http://{}",
            folder.display(),
            app.address()
        ))?;
        console::print(&format!("        and operators on http://{}", app.admin_address()))?;
        // By itself: a terminal that stands still has nobody else wait.
        let telling = tell(app.notices(), app.status());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        thread::Builder::new()
            .name("notices".to_owned())
            .spawn(move || runtime.block_on(telling))
            .context("a thread for notices")?;
    }
    app.run_until_stopped(stop.cancelled_owned()).await
}

/// An address, also as the other commands take it: `http://127.0.0.1:8081`.
fn address(text: &str) -> Result<SocketAddr, String> {
    socket_address(text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/'))
}

/// Prints what deployments do, for as long as the host runs.
async fn tell(mut notices: Receiver<Notice>, status: StatusReader) {
    let ready = status.ready();
    tokio::pin!(ready);
    let mut was_ready = false;
    let mut compiling: Option<(Notice, Instant)> = None;
    loop {
        let next = compiling.as_ref().map(|(_, since)| *since + PROGRESS_INTERVAL);
        tokio::select! {
            biased;
            notice = notices.recv() => match notice {
                Ok(notice) => {
                    if let Some(text) = console::notice(&notice) {
                        // Whoever reads it may go; the host stays.
                        _ = console::lines(&text);
                    }
                    let compiles = matches!(notice, Notice::Compiling { .. });
                    compiling = compiles.then(|| (notice, Instant::now()));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            () = &mut ready, if !was_ready => {
                was_ready = true;
                _ = console::print(&console::summary(&status.read()));
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                if let Some((notice, since)) = &mut compiling {
                    if let Some(text) = console::notice(notice) {
                        _ = console::print(&format!("{}, still at it", text.concat()));
                    }
                    *since = Instant::now();
                }
            }
        }
    }
}
