//! Whose a line of the log is: none has all the room there is for lines.

use std::fmt::Debug;
use std::sync::Arc;

use tracing::Event;
use tracing::field::{Field, Visit};

use super::line::LogLine;

/// What a guest's own lines have as their target.
pub(super) const GUEST: &str = "guest";

/// Whose a line is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    /// What the host says of itself.
    Host,
    /// What it says of this service.
    About(Arc<str>),
    /// What this service prints and logs.
    Prints(Arc<str>),
}

/// Looks for the service.
#[derive(Default)]
struct Service(Option<String>);

impl Source {
    pub(super) fn of_event(event: &Event<'_>) -> Self {
        let mut service = Service::default();
        event.record(&mut service);
        Self::new(event.metadata().target(), service.0.as_deref())
    }

    pub(super) fn of_line(line: &LogLine) -> Self {
        Self::new(&line.target, line.service.as_deref())
    }

    /// The service that it is about, or that prints it.
    pub(super) fn service(&self) -> Option<&str> {
        match self {
            Self::Host => None,
            Self::About(service) | Self::Prints(service) => Some(service),
        }
    }

    fn new(target: &str, service: Option<&str>) -> Self {
        match service {
            _ if target == GUEST => Self::Prints(service.unwrap_or_default().into()),
            Some(service) => Self::About(service.into()),
            None => Self::Host,
        }
    }
}

impl Visit for Service {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "service" => self.0 = Some(format!("{value:?}")),
            // A text such as `cart v3`.
            "version" => {
                let text = format!("{value:?}");
                if let Some((service, _)) = text.rsplit_once(" v") {
                    self.0.get_or_insert_with(|| service.to_owned());
                }
            }
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
