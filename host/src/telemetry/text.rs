//! The log as it is on standard error. Here, and nowhere else, what is logged is escaped: whatever
//! a service, a registry or a client has in its texts, an event is one line.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write};

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use super::output;
use super::source::Source;
use crate::config::LogFormat;
use crate::escape;

/// ECMA-48 `SGR`: as things were, faint, italic.
const PLAIN: &str = "\x1b[0m";
const FAINT: &str = "\x1b[2m";
const ITALIC: &str = "\x1b[3m";

/// A line for people: when, how much it matters, what, and what else is known.
#[derive(Debug)]
pub(super) struct Lines;

/// Lines of which it is known whose they are.
#[derive(Debug)]
pub(super) struct Sourced<F>(pub(super) F);

/// Field by field.
struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

/// Where lines go that are escaped already.
#[derive(Debug)]
pub(super) struct TextOutput;

/// Where JSON goes: what its encoder leaves as it is, and a terminal would obey, is escaped.
#[derive(Debug)]
pub(super) struct JsonOutput;

/// Has panics told on one line, too: their texts may be anybody's.
pub(super) fn tell_of_panics(format: LogFormat) {
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or("for a reason that is no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        // Not by way of the log, which may be what panicked.
        let line = match format {
            LogFormat::Text => {
                escape::line(&format!("thread '{name}' panicked at {place}: {text}")).into_owned()
            }
            LogFormat::Json => {
                let line = json!({
                    "level": "ERROR", "message": "a thread panicked",
                    "thread": name, "place": place, "reason": text,
                });
                escape::json(&line.to_string()).into_owned()
            }
        };
        output::is_of(Source::Host);
        output::write(format!("{line}\n").into_bytes());
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            output::write(format!("{backtrace}\n").into_bytes());
        }
    }));
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let styled = writer.has_ansi_escapes();
        let style = |code| if styled { code } else { "" };
        writer.write_str(style(FAINT))?;
        SystemTime.format_time(&mut writer)?;
        let (color, level) = level(*event.metadata().level());
        let (color, plain) = (style(color), style(PLAIN));
        write!(writer, "{plain} {color}{level:>5}{plain}")?;
        let mut fields = Fields { writer: &mut writer, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writeln!(writer)
    }
}

impl<S, N, F> FormatEvent<S, N> for Sourced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // It is written by this thread, at once.
        output::is_of(Source::of_event(event));
        self.0.format_event(context, writer, event)
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = self.write(field.name(), value);
        self.result = self.result.and(written);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl Fields<'_, '_> {
    fn write(&mut self, name: &str, value: &dyn Debug) -> fmt::Result {
        let styled = self.writer.has_ansi_escapes();
        match name {
            "message" => self.writer.write_char(' ')?,
            name if styled => {
                write!(self.writer, " {ITALIC}{name}{PLAIN}{FAINT}={PLAIN}")?;
            }
            name => write!(self.writer, " {name}=")?,
        }
        write!(escape::Line(&mut *self.writer), "{value:?}")
    }
}

impl Write for TextOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    /// A whole line.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        output::write(bytes.to_vec());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for JsonOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    /// A whole line, as the encoder hands it over.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(bytes);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        output::write(format!("{}{end}", escape::json(line)).into_bytes());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn level(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::TRACE => ("\x1b[35m", "TRACE"),
        Level::DEBUG => ("\x1b[34m", "DEBUG"),
        Level::INFO => ("\x1b[32m", "INFO"),
        Level::WARN => ("\x1b[33m", "WARN"),
        Level::ERROR => ("\x1b[31m", "ERROR"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Layer as _;
    use tracing_subscriber::fmt::layer;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let output = kept.clone();
        let lines = layer().with_writer(move || output.clone()).event_format(Lines);
        let lines = lines.with_ansi(ansi).boxed();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        String::from_utf8(kept.0.lock().expect("not poisoned").clone()).expect("text")
    }

    #[test]
    fn an_event_is_one_line_whatever_its_texts_have() {
        let forged = "ok\n2026-01-01T00:00:00Z ERROR all is lost\x1b[2J\u{202e}\u{9b}";
        let line = logged(false, || {
            tracing::info!(error = %forged, name = forged, list = ?[forged], "{forged}");
        });
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(line.ends_with('\n') && !line.contains(['\x1b', '\u{202e}', '\u{9b}']), "{line:?}");
        assert!(
            line.contains("  INFO ok\\n2026-01-01T00:00:00Z ERROR all is lost\\u{1b}[2J"),
            "{line}"
        );
        assert!(line.contains(" error=ok\\n2026"), "{line}");
    }

    #[test]
    fn colours_are_the_hosts_own() {
        let line = logged(true, || tracing::warn!(left = 7u64, "\x1b[32mfine"));
        assert!(line.contains("\x1b[33m WARN\x1b[0m \\u{1b}[32mfine"), "{line:?}");
        assert!(line.contains("\x1b[3mleft\x1b[0m\x1b[2m=\x1b[0m7\n"), "{line:?}");
    }
}
