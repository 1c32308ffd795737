//! An event together with its text.

use std::sync::Arc;

use bytes::Bytes;

use super::Event;
use super::json::{ENVELOPE_BYTES, is_for_all};
use super::media_type::{Content, content};

/// An event and its text in the JSON event format, as the log keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// What the text says.
    pub event: Arc<Event>,
    /// Its sender's own words where it came in this format, else the host's.
    pub text: Bytes,
}

impl Written {
    /// An event and what it was read from, which stays its text unless it is mostly
    /// white space, escapes or members that are null, or its data is JSON that not every
    /// reader takes.
    pub(super) fn read(event: Event, text: Bytes) -> Self {
        let is_json = content(event.data_content_type.as_deref()) == Content::Json;
        let is_for_some = is_json && event.data.as_ref().is_some_and(|data| !is_for_all(data));
        if is_for_some || text.len() > event.size() + ENVELOPE_BYTES {
            return event.into();
        }
        Self { event: Arc::new(event), text }
    }
}

impl From<Event> for Written {
    fn from(event: Event) -> Self {
        Arc::new(event).into()
    }
}

impl From<Arc<Event>> for Written {
    fn from(event: Arc<Event>) -> Self {
        Self { text: event.to_json().into(), event }
    }
}
