//! How an event is kept: as its CloudEvents JSON text, so that an operator's
//! `sqlite3` can read it.

use std::sync::Arc;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::event::{Event, InvalidEvent};

/// An event and its text.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) event: Arc<Event>,
    pub(super) text: Vec<u8>,
}

impl Entry {
    pub(super) fn new(event: Arc<Event>) -> Self {
        Self { text: event.to_json(), event }
    }
}

impl ToSql for Entry {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // JSON is UTF-8; it need not be looked at again.
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.text)))
    }
}

pub(super) fn decode(text: &[u8]) -> Result<Event, InvalidEvent> {
    Event::from_json(text)
}
