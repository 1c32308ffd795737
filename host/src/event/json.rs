//! The JSON event format and its batch format (CloudEvents JSON format 1.0.2).
//!
//! JSON data keeps its bytes: numbers, the order of members and white space
//! inside are as they came. White space around it is not part of it.

mod read;
mod readable;
mod write;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Event, InvalidEvent, Written};

pub(super) use readable::is_for_all;
pub(super) use write::ENVELOPE_BYTES;

impl Event {
    /// Reads an event in the JSON event format and checks the rules for
    /// attributes, not its size: the host reads what it has added to, too.
    ///
    /// # Errors
    /// With the attribute that is wrong.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidEvent> {
        read::event(utf8(text)?)
    }

    /// Reads a batch in the same way; it may be empty.
    ///
    /// # Errors
    /// With the first event that is wrong, its index, and the attribute.
    pub fn batch_from_json(text: &Bytes) -> Result<Vec<Written>, InvalidEvent> {
        let events: Vec<&RawValue> = serde_json::from_str(utf8(text)?)
            .map_err(|error| InvalidEvent::whole(format!("not a JSON array of events: {error}")))?;
        let read = |(index, raw): (usize, &RawValue)| {
            let event = read::event(raw.get()).map_err(|invalid| invalid.at(index))?;
            Ok(Written::read(event, text.slice_ref(raw.get().as_bytes())))
        };
        events.into_iter().enumerate().map(read).collect()
    }

    /// Its text in the JSON event format, on one line if its data is.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.size() + ENVELOPE_BYTES);
        write::event(self, &mut text);
        text
    }

    /// Several events in the batch format.
    #[must_use]
    pub fn batch_to_json<'a>(events: impl IntoIterator<Item = &'a Self>) -> Vec<u8> {
        let mut text = vec![b'['];
        for event in events {
            if text.len() > 1 {
                text.push(b',');
            }
            write::event(event, &mut text);
        }
        text.push(b']');
        text
    }
}

fn utf8(text: &[u8]) -> Result<&str, InvalidEvent> {
    std::str::from_utf8(text).map_err(|error| InvalidEvent::whole(format!("not JSON: {error}")))
}
