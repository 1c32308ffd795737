//! Events to be.

use serde::Serialize;

use super::{Extension, ExtensionValue, HostError, NewEvent};
use crate::bindings::hotdock::events::publisher as host;

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host refused or failed.
    #[error("{}", said(.0))]
    Host(HostError),
    /// The data has no JSON form.
    #[error("the event's data: {0}")]
    Json(#[source] serde_json::Error),
}

/// Publishes an event with the invocation's transaction. Returns its id.
///
/// # Errors
/// The event is not one, a limit was met, or the host failed.
pub fn publish(event: &NewEvent) -> Result<String, Error> {
    host::publish(event).map_err(Error::Host)
}

/// Publishes events, in this order. Returns their ids.
///
/// # Errors
/// As [`publish`]. Where one of them is invalid none is published; where a limit
/// is met those before it are.
pub fn publish_all(events: &[NewEvent]) -> Result<Vec<String>, Error> {
    host::publish_many(events).map_err(Error::Host)
}

impl NewEvent {
    /// An event of this type, `shop.order.placed`.
    #[must_use]
    pub fn of(event_type: impl Into<String>) -> Self {
        Self {
            id: None,
            type_: event_type.into(),
            subject: None,
            time: None,
            data_content_type: None,
            data_schema: None,
            partition_key: None,
            extensions: Vec::new(),
            data: None,
        }
    }

    /// With this id instead of one that the host makes. Events with the same id
    /// are the same event.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// What it happened to.
    #[must_use]
    pub fn subject(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// When it happened, as RFC 3339 writes it; by default now.
    #[must_use]
    pub fn time(self, time: impl Into<String>) -> Self {
        Self { time: Some(time.into()), ..self }
    }

    /// What it is ordered by: events with the same key are handled one after the
    /// other.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a number or a text, as it is at hand")]
    pub fn key(self, key: impl ToString) -> Self {
        Self { partition_key: Some(key.to_string()), ..self }
    }

    /// The URI of a schema for its data.
    #[must_use]
    pub fn schema(self, uri: impl Into<String>) -> Self {
        Self { data_schema: Some(uri.into()), ..self }
    }

    /// With another attribute; its name has lower-case letters and digits.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.extensions.push(Extension { name: name.into(), value: value.into() });
        self
    }

    /// With this value as JSON for its data.
    ///
    /// # Errors
    /// [`Error::Json`] if the value has no JSON form.
    pub fn json(self, value: &impl Serialize) -> Result<Self, Error> {
        let data = serde_json::to_vec(value).map_err(Error::Json)?;
        Ok(self.data("application/json", data))
    }

    /// With these bytes, which are of this media type, for its data.
    #[must_use]
    pub fn data(self, content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self { data_content_type: Some(content_type.into()), data: Some(data.into()), ..self }
    }
}

impl From<bool> for ExtensionValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for ExtensionValue {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for ExtensionValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for ExtensionValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

fn said(error: &HostError) -> String {
    match error {
        HostError::Answered => "an event cannot be published after the answer".to_owned(),
        HostError::Invalid(reason) => format!("the event is invalid: {reason}"),
        HostError::Limit(reason) => format!("the event is too large: {reason}"),
        HostError::Unavailable(reason) => format!("events cannot be published now: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Extension, ExtensionValue, HostError};
    use super::{Error, NewEvent};

    #[test]
    fn an_event_has_what_it_was_given_and_leaves_the_rest_to_the_host() {
        let event = NewEvent::of("shop.order.placed")
            .key(7)
            .subject("orders/1")
            .extension("tenant", "a")
            .extension("retries", 3)
            .json(&[1, 2])
            .expect("numbers have a JSON form");
        assert_eq!((event.id, event.time), (None, None));
        assert_eq!(event.type_, "shop.order.placed");
        assert_eq!(event.partition_key.as_deref(), Some("7"));
        assert_eq!(event.data.as_deref(), Some(&b"[1,2]"[..]));
        assert_eq!(event.data_content_type.as_deref(), Some("application/json"));
        let extension = |name: &str, value| Extension { name: name.to_owned(), value };
        let extensions = vec![
            extension("tenant", ExtensionValue::Text("a".to_owned())),
            extension("retries", ExtensionValue::Integer(3)),
        ];
        assert_eq!(event.extensions, extensions);
    }

    #[test]
    fn an_error_says_what_the_host_said() {
        let error = Error::Host(HostError::Invalid("type: is empty".to_owned()));
        assert_eq!(error.to_string(), "the event is invalid: type: is empty");
    }
}
