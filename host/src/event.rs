//! Events, as CloudEvents 1.0 defines them: the record and its rules, the JSON
//! event format, and the HTTP binding.

mod attribute;
pub mod binding;
mod draft;
mod invalid;
mod json;
mod media_type;
mod pattern;
mod written;

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use litemap::LiteMap;

pub use attribute::{MAX_ATTRIBUTE_BYTES, MAX_EVENT_BYTES, MAX_EXTENSIONS, MAX_NAME_BYTES};
pub use invalid::InvalidEvent;
pub use pattern::{PatternError, TypePattern};
pub use written::Written;

/// The extension that says which events are delivered in order.
pub const PARTITION_KEY: &str = "partitionkey";

/// An event. `specversion` is always 1.0.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `id`: with `source`, what makes it this event and no other.
    pub id: CompactString,
    /// `source`: where it happened, a URI reference.
    pub source: CompactString,
    /// `type`: what happened, `shop.order.placed`.
    pub event_type: CompactString,
    /// `subject`: what it happened to.
    pub subject: Option<CompactString>,
    /// `time`: when, as RFC 3339 says it.
    pub time: Option<CompactString>,
    /// `datacontenttype`: a media type; JSON where it is absent.
    pub data_content_type: Option<CompactString>,
    /// `dataschema`: a URI.
    pub data_schema: Option<CompactString>,
    /// Extension attributes by name: lower-case letters and digits.
    pub extensions: Extensions,
    /// What its consumers read.
    pub data: Option<Bytes>,
}

/// What the `source` begins with of all that the host and its services publish.
const OWN_SOURCES: &str = "/services/";

/// Where all others are from, see [`Event::origin`].
const OUTSIDE: &str = "outside";

/// Extension attributes by name, in the names' order. They are few, and memory is full of
/// events: a tree's node would take as much as all the rest of one.
pub type Extensions = LiteMap<CompactString, Value>;

/// An extension attribute's value. Binary data, URIs and timestamps have a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `Boolean`
    Boolean(bool),
    /// `Integer`
    Integer(i32),
    /// `String`, or the text of any other type.
    Text(CompactString),
}

/// An event in a store's outbox.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its number in its store, counted from 1. Never used twice, also not when
    /// the outbox was empty in between.
    pub sequence: u64,
    /// What was published.
    pub event: Arc<Event>,
}

impl Event {
    /// What it is ordered by: `partitionkey`, else `subject`, else `id`.
    #[must_use]
    pub fn key(&self) -> &str {
        match self.extensions.get(PARTITION_KEY) {
            Some(Value::Text(key)) => key,
            _ => self.subject.as_deref().unwrap_or(&self.id),
        }
    }

    /// Whose it is, where what one has must not be another's: a service's `source`, which the
    /// host gives, or `outside`, since from there a `source` is anybody's word.
    #[must_use]
    pub fn origin(&self) -> &str {
        if self.source.starts_with(OWN_SOURCES) { &self.source } else { OUTSIDE }
    }

    /// Checks the rules for attributes, and that it is not too large: what has
    /// to be done once with every event that comes to the host.
    ///
    /// # Errors
    /// With the attribute that is wrong.
    pub fn check(&self) -> Result<(), InvalidEvent> {
        attribute::check_rules(self)?;
        attribute::check_bounds(self)
    }

    /// Its size in bytes: the attributes' names and texts, and the data.
    #[must_use]
    pub fn size(&self) -> usize {
        let text = |text: &Option<CompactString>| text.as_ref().map_or(0, |text| text.len());
        let extensions: usize =
            self.extensions.iter().map(|(name, value)| name.len() + value.size()).sum();
        self.id.len()
            + self.source.len()
            + self.event_type.len()
            + text(&self.subject)
            + text(&self.time)
            + text(&self.data_content_type)
            + text(&self.data_schema)
            + extensions
            + self.data.as_ref().map_or(0, Bytes::len)
    }
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Self::Boolean(_) | Self::Integer(_) => size_of::<i32>(),
            Self::Text(text) => text.len(),
        }
    }
}

#[cfg(test)]
mod tests;
