//! The log: lines for people, or JSON for machines, on standard error; and the
//! newest of it in memory, for operators who ask over the admin listener.

mod keep;
mod line;
mod logs;
mod metrics;
mod text;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use self::keep::Keep;
use crate::config::LogFormat;

pub use self::line::{LogLevel, LogLine};
pub use self::logs::{LogPage, Logs, WantedLines};
pub use self::metrics::LogsCollector;

/// Starts logging. To be called once. What goes to standard error is what `shown`
/// lets through, what is kept in `logs` what `kept` does.
///
/// # Errors
/// When one of them is no filter, or logging was started before.
pub fn start(format: LogFormat, shown: &str, kept: &str, logs: Logs) -> anyhow::Result<()> {
    text::tell_of_panics(format);
    let output = match format {
        LogFormat::Json => {
            let output = fmt::layer().with_writer(|| text::JsonOutput).json();
            output.flatten_event(true).with_current_span(false).boxed()
        }
        LogFormat::Text => {
            let output = fmt::layer().with_writer(text::output).event_format(text::Lines);
            output.with_ansi(text::is_terminal()).boxed()
        }
    };
    // Both sides have to say how far they go: otherwise nobody does, and every trace
    // line of every library is formed before it is thrown away.
    let of_use = filter_fn(is_of_use).with_max_level_hint(LevelFilter::TRACE);
    let kept = filter(kept)?.and(of_use);
    tracing_subscriber::registry()
        .with(output.with_filter(filter(shown)?))
        .with(Keep::new(logs).with_filter(kept))
        .try_init()
        .map_err(|error| anyhow::anyhow!("the log could not be started: {error}"))
}

fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    // What it warns of is a client's doing, who would fill the log with it.
    EnvFilter::try_new(format!("h2=error,{text}"))
        .map_err(|error| anyhow::anyhow!("`{text}` is no log filter (--log): {error}"))
}

/// Libraries that tell in detail what they do would push everything else out,
/// and some do so while the log itself is being read.
fn is_of_use(metadata: &Metadata<'_>) -> bool {
    let of_the_host = metadata.target().starts_with("hotdock") || metadata.target() == "guest";
    of_the_host || *metadata.level() <= Level::INFO
}
