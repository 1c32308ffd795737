//! An event in the making: attributes come one by one, in any order.

use bytes::Bytes;
use compact_str::CompactString;

use super::attribute::{SPEC_VERSION, check_rules, shown};
use super::{Event, Extensions, InvalidEvent, Value};

/// What was read of an event so far.
#[derive(Default)]
pub(super) struct Draft {
    specversion: Option<CompactString>,
    id: Option<CompactString>,
    source: Option<CompactString>,
    event_type: Option<CompactString>,
    subject: Option<CompactString>,
    time: Option<CompactString>,
    data_content_type: Option<CompactString>,
    data_schema: Option<CompactString>,
    extensions: Extensions,
}

impl Draft {
    /// Sets an attribute.
    pub(super) fn set(&mut self, name: &str, value: Value) -> Result<(), InvalidEvent> {
        let place = match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            "datacontenttype" => &mut self.data_content_type,
            "dataschema" => &mut self.data_schema,
            _ => {
                return match self.extensions.try_insert(name.into(), value) {
                    None => Ok(()),
                    Some(_) => Err(twice(name)),
                };
            }
        };
        let Value::Text(value) = value else {
            return Err(InvalidEvent::attribute(name, "must be a text"));
        };
        if place.is_some() {
            return Err(twice(name));
        }
        *place = Some(value);
        Ok(())
    }

    /// The media type of the data, if it was said.
    pub(super) fn data_content_type(&self) -> Option<&str> {
        self.data_content_type.as_deref()
    }

    /// The event, if it keeps the rules.
    pub(super) fn finish(self, data: Option<Bytes>) -> Result<Event, InvalidEvent> {
        let specversion = required("specversion", self.specversion)?;
        if specversion != SPEC_VERSION {
            let reason = format!("`{}` is not {SPEC_VERSION}", shown(&specversion));
            return Err(InvalidEvent::attribute("specversion", reason));
        }
        let event = Event {
            id: required("id", self.id)?,
            source: required("source", self.source)?,
            event_type: required("type", self.event_type)?,
            subject: self.subject,
            time: self.time,
            data_content_type: self.data_content_type,
            data_schema: self.data_schema,
            extensions: self.extensions,
            data,
        };
        check_rules(&event)?;
        Ok(event)
    }
}

fn required(name: &str, value: Option<CompactString>) -> Result<CompactString, InvalidEvent> {
    value.ok_or_else(|| InvalidEvent::attribute(name, "is missing"))
}

/// An attribute or `data` is there twice.
pub(super) fn twice(name: &str) -> InvalidEvent {
    InvalidEvent::attribute(shown(name), "is there twice")
}
