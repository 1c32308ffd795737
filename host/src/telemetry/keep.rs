//! Makes lines of what is logged, and has them kept.

use std::error::Error;
use std::fmt::Debug;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::{LogLevel, LogLine};
use super::logs::Logs;
use crate::clock::now_ms;

/// What a subscriber hands everything to that is to be kept.
pub(super) struct Keep {
    logs: Logs,
}

impl Keep {
    pub(super) fn new(logs: Logs) -> Self {
        Self { logs }
    }
}

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = LogLine {
            position: 0,
            logged_at: now_ms(),
            level: level(*metadata.level()),
            target: metadata.target().to_owned(),
            service: None,
            version: None,
            message: String::new(),
            fields: Map::new(),
        };
        event.record(&mut line);
        self.logs.keep(line);
    }
}

/// Field by field.
impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            "service" => self.service = Some(text),
            "version" => self.set_version(&text),
            name => _ = self.fields.insert(name.to_owned(), Value::String(text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "version" => self.version = Some(value),
            name => _ = self.fields.insert(name.to_owned(), value.into()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl LogLine {
    /// Of a text such as `cart v3`.
    fn set_version(&mut self, text: &str) {
        match text.rsplit_once(" v").map(|(service, number)| (service, number.parse())) {
            Some((service, Ok(number))) => {
                self.service.get_or_insert_with(|| service.to_owned());
                self.version = Some(number);
            }
            _ => _ = self.fields.insert("version".to_owned(), text.into()),
        }
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::TRACE => LogLevel::Trace,
        Level::DEBUG => LogLevel::Debug,
        Level::INFO => LogLevel::Info,
        Level::WARN => LogLevel::Warn,
        Level::ERROR => LogLevel::Error,
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::WantedLines;

    #[test]
    fn a_line_has_what_was_said_and_about_which_version() {
        let logs = Logs::new(1 << 20);
        let subscriber = tracing_subscriber::registry().with(Keep::new(logs.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "guest", service = %"cart", version = 3u64, stream = "stdout", "hello");
            tracing::warn!(version = %"order v2", error = %"disk full", left = 7u64, "it ends");
        });
        let lines = logs.newest(10, &WantedLines::default()).lines;
        let [guest, host] = lines.as_slice() else { panic!("two lines: {lines:?}") };
        assert_eq!((guest.target.as_str(), guest.message.as_str()), ("guest", "hello"));
        assert_eq!((guest.service.as_deref(), guest.version), (Some("cart"), Some(3)));
        assert_eq!(guest.fields["stream"], "stdout");
        assert_eq!((host.service.as_deref(), host.version), (Some("order"), Some(2)));
        assert_eq!(host.level, LogLevel::Warn);
        assert_eq!((&host.fields["error"], &host.fields["left"]), (&"disk full".into(), &7.into()));
    }
}
