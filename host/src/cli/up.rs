//! `hotdock up`

mod given;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueHint;
use rustix::fs::Mode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::given::{FOLDER, Folders, Formats, Given, Paths, Text, WrongFlags};
use super::{console, exit, signals};
use crate::app::{self, App, Reload, Reloaded, SHUTDOWN_GRACE};
use crate::config::{
    Config, ConfigError, FileConfig, LogFormat, Network, Overrides, ParseNetworkError, Token,
    TokenError, check_log_filter, parse_duration, parse_time, socket_address,
};
use crate::deploy::{Notice, StatusReader};
use crate::telemetry::{self, Logs};
use crate::{escape, processors};

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
    #[arg(env = "HOTDOCK_FOLDER", value_parser = Folders, value_hint = ValueHint::DirPath)]
    folder: Option<Given<PathBuf>>,
    /// Address for requests, as 127.0.0.1:8080, localhost:8080, or :8080 for all [default:
    /// 127.0.0.1:8080]
    #[arg(
        long,
        env = "HOTDOCK_LISTEN",
        value_name = "ADDRESS",
        allow_hyphen_values = true,
        value_parser = Text(address)
    )]
    listen: Option<Given<SocketAddr>>,
    /// Address for operators: /healthz, /readyz, /metrics, /v1/… [default: 127.0.0.1:8081]
    #[arg(
        long,
        env = "HOTDOCK_ADMIN",
        value_name = "ADDRESS",
        allow_hyphen_values = true,
        value_parser = Text(address)
    )]
    admin: Option<Given<SocketAddr>>,
    /// File with the token that operators have to show; HOTDOCK_TOKEN may have the token itself.
    /// Without one the admin address has to be a loopback address
    #[arg(
        long,
        env = "HOTDOCK_TOKEN_FILE",
        value_name = "FILE",
        allow_hyphen_values = true,
        value_parser = Paths,
        value_hint = ValueHint::FilePath
    )]
    token_file: Option<Given<PathBuf>>,
    /// Folder for state, versions and compiled code; one host at a time [default: .hotdock]
    #[arg(
        long,
        env = "HOTDOCK_DATA",
        value_name = "FOLDER",
        allow_hyphen_values = true,
        value_parser = Paths,
        value_hint = ValueHint::DirPath
    )]
    data: Option<Given<PathBuf>>,
    /// Folder of secrets: FOLDER/<service>/<NAME> [default: none]
    #[arg(
        long,
        env = "HOTDOCK_SECRETS",
        value_name = "FOLDER",
        allow_hyphen_values = true,
        value_parser = Paths,
        value_hint = ValueHint::DirPath
    )]
    secrets: Option<Given<PathBuf>>,
    /// How long requests under way may go on when the host stops [default: 30s]
    #[arg(
        long,
        env = "HOTDOCK_DRAIN",
        value_name = "DURATION",
        allow_hyphen_values = true,
        value_parser = Text(parse_duration)
    )]
    drain: Option<Given<Duration>>,
    /// How long an answer is kept under its Idempotency-Key [default: 24h]
    #[arg(
        long,
        env = "HOTDOCK_IDEMPOTENCY_TTL",
        value_name = "DURATION",
        allow_hyphen_values = true,
        value_parser = Text(parse_time)
    )]
    idempotency_ttl: Option<Given<Duration>>,
    /// How to write the log [default: text]
    #[arg(
        long,
        env = "HOTDOCK_LOG_FORMAT",
        value_name = "FORMAT",
        allow_hyphen_values = true,
        value_parser = Formats
    )]
    log_format: Option<Given<LogFormat>>,
    /// What to log: error, warn, info, debug, trace, or filters as TARGET=LEVEL [default: info]
    #[arg(
        long,
        env = "HOTDOCK_LOG",
        value_name = "FILTER",
        allow_hyphen_values = true,
        value_parser = Text(log)
    )]
    log: Option<Given<String>>,
    /// Networks outside the public internet that services may send requests to, where their
    /// manifests name the origin, too; comma-separated, as 10.0.0.0/8 [default: none]
    #[arg(
        long,
        env = "HOTDOCK_OUTBOUND_ALLOW_PRIVATE",
        value_name = "NETWORKS",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_parser = Text(network)
    )]
    outbound_allow_private: Option<Vec<Given<Network>>>,
    /// Settings file [default: hotdock.toml, if it exists]
    #[arg(
        long,
        env = "HOTDOCK_CONFIG",
        value_name = "FILE",
        allow_hyphen_values = true,
        value_parser = Paths,
        value_hint = ValueHint::FilePath
    )]
    config: Option<Given<PathBuf>>,
    /// Say whether the settings are good, and end
    #[arg(long)]
    check: bool,
}

/// The setting that a file is asked for the token by.
const TOKEN_FILE: &str = "token-file";

/// What names the file with it.
const TOKEN_NAMED_BY: &str = "--token-file, HOTDOCK_TOKEN_FILE or `token-file` of the settings";

/// The flag that names networks.
const NETWORKS: &str = "outbound-allow-private";

/// What is set.
struct Read {
    /// Unless the file cannot be read.
    config: Option<Config>,
    found: Vec<String>,
    /// The settings that are wrong, by their keys, in the file or as flags.
    wrong: Vec<String>,
    /// What scripts are told of them.
    kind: Kind,
}

/// What of the settings is wrong, as far as scripts tell it apart; the first of these that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A flag's value.
    Usage,
    /// What is meant as the admin token is none.
    NoToken,
    /// Something else, or nothing.
    Settings,
}

impl Up {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.resolve()?;
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
        if let Err(error) = &result
            && !telemetry::flush()
        {
            // To say why would be to wait for whoever doesn't read it.
            std::process::exit(exit::of(error).unwrap_or(exit::FAILED).into());
        }
        result.map(|()| ExitCode::SUCCESS)
    }

    fn resolve(&self) -> anyhow::Result<Config> {
        let Read { config, mut found, wrong, kind } = self.clone().read();
        if let Some(config) = &config {
            // What is wrong is not taken for what is there by default.
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
            _ => {
                // A line is one of them: what they name may have line ends of its own.
                let lines: Vec<_> = found.iter().map(|words| escape::line(words)).collect();
                Err(kind.error(lines.join("\n")))
            }
        }
    }

    /// What is set, and what is wrong with it.
    fn read(self) -> Read {
        let mut flags = WrongFlags::default();
        let (file, mut found, mut wrong) = self.read_file(&mut flags);
        let token = self.token(file.as_ref(), &mut flags);
        if let Err(error) = &token {
            found.push(error.to_string());
            wrong.push(TOKEN_FILE.to_owned());
        }
        let no_token = matches!(token, Err(TokenError::Invalid { .. }));
        let overrides = self.overrides(token.unwrap_or_default(), &mut flags);
        let kind = match (flags.keys.is_empty(), no_token) {
            (false, _) => Kind::Usage,
            (true, true) => Kind::NoToken,
            (true, false) => Kind::Settings,
        };
        wrong.extend(flags.keys.iter().map(|key| (*key).to_owned()));
        found.extend(flags.words);
        let config = file.map(|file| Config::resolve(overrides, file));
        Read { config, found, wrong, kind }
    }

    /// What the settings file says, unless it cannot be read; what is wrong with it, and the
    /// settings that are.
    fn read_file(&self, flags: &mut WrongFlags) -> (Option<FileConfig>, Vec<String>, Vec<String>) {
        let read = match self.config.clone() {
            None => FileConfig::read(Path::new(SETTINGS_FILE), false),
            Some(given) => match flags.unless("config", Some(given)) {
                Some(path) => FileConfig::read(&path, true),
                // As if it said nothing: all else is told with it.
                None => Ok(FileConfig::default()),
            },
        };
        let words = read.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let found = words.lines().map(str::to_owned).collect();
        match read {
            Ok(file) => (Some(file), found, Vec::new()),
            Err(ConfigError::Invalid { rest, wrong, .. }) => (rest.map(|rest| *rest), found, wrong),
            Err(ConfigError::Read { .. }) => (None, found, Vec::new()),
        }
    }

    /// The token: the environment wins over the file, and the flag over both.
    fn token(
        &self,
        file: Option<&FileConfig>,
        flags: &mut WrongFlags,
    ) -> Result<Option<Token>, TokenError> {
        let given = match self.token_file.clone() {
            Some(given) => match flags.unless(TOKEN_FILE, Some(given)) {
                Some(path) => Some(path),
                // Nor is another's taken for it.
                None => return Ok(None),
            },
            None => None,
        };
        let in_environment = given.is_none() && Token::is_in_environment();
        let in_file = file.and_then(FileConfig::token_file).filter(|_| !in_environment);
        Token::find(given.as_deref().or(in_file), TOKEN_NAMED_BY)
    }

    /// What the flags and the environment say; of those that are wrong, `wrong` takes note.
    fn overrides(self, token: Option<Token>, wrong: &mut WrongFlags) -> Overrides {
        let networks = self.outbound_allow_private.map(|networks| {
            let each = |network| wrong.unless(NETWORKS, Some(network));
            networks.into_iter().filter_map(each).collect()
        });
        Overrides {
            token,
            folder: wrong.unless(FOLDER, self.folder),
            listen: wrong.unless("listen", self.listen),
            admin: wrong.unless("admin", self.admin),
            data: wrong.unless("data", self.data),
            secrets: wrong.unless("secrets", self.secrets),
            drain: wrong.unless("drain", self.drain),
            log_format: wrong.unless("log-format", self.log_format),
            log: wrong.unless("log", self.log),
            idempotency_ttl: wrong.unless("idempotency-ttl", self.idempotency_ttl),
            outbound_allow_private: networks,
        }
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
        let started = App::start(config.clone(), logs).await;
        let mut app = started.map_err(|error| of_start(error, &config))?;
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
            self.config = Some(Ok(file.to_owned()));
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
                Ok(reloaded) => log_reload(&reloaded),
                Err(reason) => {
                    tracing::error!(reason, "the settings stay as they were (SIGHUP)");
                }
            }
        }
    }
}

/// Says what came of settings that were read anew; a warning where it isn't all that was wanted.
fn log_reload(Reloaded { taken, removed, waits }: &Reloaded) {
    let list = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
    let (taken, removed) = (list(taken), list(removed));
    if !waits.is_empty() {
        tracing::warn!(
            taken,
            removed,
            restart_for = waits.join(", "),
            "read anew (SIGHUP); the rest that was changed holds after a restart"
        );
    } else if taken.is_none() && removed.is_none() {
        tracing::info!("read anew (SIGHUP); nothing changed");
    } else {
        tracing::info!(taken, removed, "read anew (SIGHUP)");
    }
}

/// Why a host does not start. What `--check` says of its files, too, scripts are told the same of.
fn of_start(error: anyhow::Error, config: &Config) -> anyhow::Error {
    match app::problems_of_files(config).is_empty() {
        true => error,
        false => exit::Unusable(format!("{error:#}")).into(),
    }
}

impl Kind {
    fn error(self, words: String) -> anyhow::Error {
        match self {
            Self::Usage => exit::WrongUsage(words).into(),
            Self::NoToken => exit::NoToken(words).into(),
            Self::Settings => exit::Unusable(words).into(),
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
            escape::path(folder),
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

fn network(text: &str) -> Given<Network> {
    text.parse().map_err(|error: ParseNetworkError| error.to_string())
}

fn log(text: &str) -> Given<String> {
    check_log_filter(text).map(|()| text.to_owned())
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        up: Up,
    }

    fn read(arguments: &[&str], last: &[u8]) -> Read {
        let arguments = [&["up", "--config", "/dev/null"][..], arguments].concat();
        let arguments = arguments.into_iter().map(OsString::from);
        let arguments = arguments.chain([OsString::from_vec(last.to_vec())]);
        Line::try_parse_from(arguments).expect("what is wrong is told with all else").up.read()
    }

    #[test]
    fn values_that_no_flag_can_have_are_told_with_all_else() {
        let wrong = ["--drain", "-1s", "--data", "", "--secrets", "--check", "--listen", "--admin"];
        let read = read(&[&wrong[..], &["", "--log"]].concat(), b"\xe9");
        assert_eq!(read.kind, Kind::Usage);
        let expected = [
            "FOLDER (HOTDOCK_FOLDER): it is empty",
            "--listen (HOTDOCK_LISTEN): a value is missing: `--admin` is another flag",
            "--data (HOTDOCK_DATA): it is empty",
            "--secrets (HOTDOCK_SECRETS): a path is missing: `--check` begins as a flag does",
            "--drain (HOTDOCK_DRAIN): `-1s` is no duration such as",
            "--log (HOTDOCK_LOG): `\\xe9` is no UTF-8 text",
        ];
        assert_eq!(read.found.len(), expected.len(), "{:?}", read.found);
        for expected in expected {
            let told = read.found.iter().any(|words| words.starts_with(expected));
            assert!(told, "{expected} in {:?}", read.found);
        }
    }

    #[test]
    fn a_path_that_is_no_text_is_one() {
        let read = read(&["--data"], b"caf\xe9");
        assert_eq!(read.found, [""; 0]);
        let data = read.config.expect("settings").data;
        assert_eq!(data.into_os_string().into_vec(), b"caf\xe9");
    }
}
