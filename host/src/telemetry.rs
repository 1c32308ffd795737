//! The log: lines for people, or JSON for machines, on standard error; and the
//! newest of it in memory, for operators who ask over the admin listener.

mod keep;
mod line;
mod logs;
mod metrics;
mod output;
mod source;
mod text;

use std::time::Duration;

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

/// How long a host that ends waits for whoever reads its log.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// What was logged before it is dropped is written, if somebody reads it.
#[derive(Debug)]
#[must_use]
pub struct Started;

impl Drop for Started {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits a moment until what was logged is written. Says whether it is: where nobody reads
/// standard error, whatever else is written there waits for ever.
pub fn flush() -> bool {
    output::flush(FLUSH_LIMIT)
}

/// Starts logging. To be called once. What goes to standard error is what `shown`
/// lets through, what is kept in `logs` what `kept` does.
///
/// # Errors
/// When one of them is no filter, or logging was started before.
pub fn start(format: LogFormat, shown: &str, kept: &str, logs: Logs) -> anyhow::Result<Started> {
    output::start()?;
    text::tell_of_panics(format);
    let output = match format {
        LogFormat::Json => {
            let output = fmt::layer().with_writer(|| text::JsonOutput).json();
            // Whoever reads it may go, and to say so to nobody would be a panic.
            let output = output.flatten_event(true).with_current_span(false);
            output.map_event_format(text::Sourced).log_internal_errors(false).boxed()
        }
        LogFormat::Text => {
            let output = fmt::layer().with_writer(|| text::TextOutput);
            let output = output.event_format(text::Sourced(text::Lines));
            output.with_ansi(output::is_coloured()).log_internal_errors(false).boxed()
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
        .map_err(|error| anyhow::anyhow!("the log could not be started: {error}"))?;
    Ok(Started)
}

/// Libraries that warn of what any client may send, and know neither service nor client.
const OTHERS: &str = "h2=error,wasmtime_wasi_http=error";

fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    // What they warn of is a client's doing, who would fill the log with it.
    EnvFilter::try_new(format!("{OTHERS},{text}"))
        .map_err(|error| anyhow::anyhow!("`{text}` is no log filter (--log): {error}"))
}

/// Libraries that tell in detail what they do would push everything else out,
/// and some do so while the log itself is being read.
fn is_of_use(metadata: &Metadata<'_>) -> bool {
    let of_the_host =
        metadata.target().starts_with("hotdock") || metadata.target() == source::GUEST;
    of_the_host || *metadata.level() <= Level::INFO
}
