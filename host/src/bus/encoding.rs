//! How an event is kept: as its CloudEvents JSON text, so that an operator's
//! `sqlite3` can read it.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::event::{Event, InvalidEvent};

/// A text to be bound. JSON is UTF-8; it need not be looked at again.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

pub(super) fn decode(text: &[u8]) -> Result<Event, InvalidEvent> {
    Event::from_json(text)
}
