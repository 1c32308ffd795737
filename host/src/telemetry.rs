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

/// Targets of the host's own that need no level: everything of them.
const OWN: [&str; 2] = ["hotdock", "guest"];

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
            // Whoever reads it may go, and to say so to nobody would be a panic.
            let output = output.flatten_event(true).with_current_span(false);
            output.log_internal_errors(false).boxed()
        }
        LogFormat::Text => {
            let output = fmt::layer().with_writer(text::output).event_format(text::Lines);
            output.with_ansi(text::is_coloured()).log_internal_errors(false).boxed()
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

/// Whether a text says what to log.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(text: &str) -> anyhow::Result<()> {
    filter(text).map(drop)
}

fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    // A word alone would be a target of that name, of which everything is logged.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let is_target = |word: &str| word.contains(['=', '[', ':']) || OWN.contains(&word);
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    if let Some(word) = words.into_iter().find(|word| !is_level(word) && !is_target(word)) {
        anyhow::bail!(
            "`{word}` says nothing of what to log (--log): error, warn, info, debug, trace, off, or \
             TARGET=LEVEL are expected"
        );
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_says_nothing_is_refused() {
        for good in [
            "info",
            "WARN",
            "off",
            "warn,guest=info",
            "hotdock::deploy=debug",
            "guest",
            "info,guest",
        ] {
            check_filter(good).expect(good);
        }
        for wrong in ["verbose", "info,verbose", "guest=loud"] {
            let error = check_filter(wrong).expect_err(wrong).to_string();
            assert!(error.contains("--log"), "{error}");
        }
    }
}
