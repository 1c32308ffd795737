//! `hotdock:events/publisher`: events that leave with the transaction.

use compact_str::format_compact;
use uuid::Uuid;
use wasmtime::component::Linker;

use super::bindings::hotdock::events::publisher::{self, Error, NewEvent};
use super::bindings::hotdock::events::types::{Extension, ExtensionValue};
use super::{Abort, Host, Unwritable, hold_to_write};
use crate::bus::SEQUENCE;
use crate::event::{Event, Extensions, MAX_EVENT_BYTES, MAX_EXTENSIONS, PARTITION_KEY, Value};
use crate::runtime::account::TooMuchHeld;
use crate::runtime::exchange::Held;
use crate::runtime::instance::InstanceState;
use crate::runtime::pace::Pace;
use crate::runtime::trace::TRACEPARENT;
use crate::state;

/// What a call comes to: an error for the guest, or the end of the run.
#[derive(Debug)]
pub enum PublishError {
    Guest(Error),
    /// The run ends.
    Trap(wasmtime::Error),
}

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    publisher::add_to_linker::<_, Host>(linker, |state| state)
}

impl publisher::Host for InstanceState {
    async fn publish(&mut self, event: NewEvent) -> Result<String, PublishError> {
        let mut held = hold_to_write(self)?;
        let event = self.event_of(event).map_err(Refused::into_error)?;
        let id = event.id.to_string();
        publish(&mut held, event)?;
        Ok(id)
    }

    async fn publish_many(&mut self, events: Vec<NewEvent>) -> Result<Vec<String>, PublishError> {
        let mut held = hold_to_write(self)?;
        let mut pace = Pace::start();
        // All of them before the first is published.
        let mut checked = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            let event = self.event_of(event).map_err(|refused| refused.at(index).into_error())?;
            pace.step(&self.account, event.size()).await?;
            checked.push(event);
        }
        let mut ids = Vec::with_capacity(checked.len());
        for event in checked {
            pace.step(&self.account, event.size()).await?;
            ids.push(event.id.to_string());
            publish(&mut held, event)?;
        }
        Ok(ids)
    }

    fn convert_error(&mut self, error: PublishError) -> wasmtime::Result<Error> {
        match error {
            PublishError::Guest(error) => Ok(error),
            PublishError::Trap(error) => Err(error),
        }
    }
}

/// A guest is told that the bus is behind, but for a handler: it could only fail, which
/// would be an attempt. Its run ends, and its event is delivered when there is room.
fn publish(held: &mut Held, event: Event) -> Result<(), PublishError> {
    held.transaction().publish(event).map_err(|error| match error {
        state::Error::Limit(limit) => Error::Limit(limit).into(),
        state::Error::OutboxFull if !held.exchange().is_delivery() => {
            Error::Unavailable(error.to_string()).into()
        }
        error => PublishError::Trap(Abort(error).into()),
    })
}

/// Why a guest's event is none.
enum Refused {
    Invalid(String),
    TooLarge(String),
}

impl InstanceState {
    /// The event, with what the service leaves to the host.
    fn event_of(&self, new: NewEvent) -> Result<Event, Refused> {
        let mut extensions = extensions_of(new.extensions)?;
        if let Some(key) = new.partition_key {
            extensions.insert(PARTITION_KEY.into(), Value::Text(key.into()));
        }
        if let Some(trace) = self.trace.as_ref().filter(|_| extensions.len() < MAX_EXTENSIONS) {
            let place = extensions.entry(TRACEPARENT.into());
            place.or_insert_with(|| Value::Text(trace.into()));
        }
        let now = || format_compact!("{}", humantime::format_rfc3339_millis(crate::clock::now()));
        let event = Event {
            id: new.id.map_or_else(|| format_compact!("{}", Uuid::now_v7()), Into::into),
            source: format_compact!("/services/{}", self.version.service),
            event_type: new.type_.into(),
            subject: new.subject.map(Into::into),
            time: Some(new.time.map_or_else(now, Into::into)),
            data_content_type: new.data_content_type.map(Into::into),
            data_schema: new.data_schema.map(Into::into),
            extensions,
            data: new.data.map(Into::into),
        };
        let size = event.size();
        if size > MAX_EVENT_BYTES {
            return Err(Refused::TooLarge(format!(
                "the event has {size} bytes, and an event has at most {MAX_EVENT_BYTES}"
            )));
        }
        event.check().map_err(|invalid| Refused::Invalid(invalid.to_string()))?;
        Ok(event)
    }
}

/// The extensions by name, without those that are given elsewhere or by the host.
fn extensions_of(given: Vec<Extension>) -> Result<Extensions, Refused> {
    let mut extensions = Extensions::new();
    for Extension { name, value } in given {
        match name.as_str() {
            PARTITION_KEY => {
                return Err(Refused::Invalid(format!("{name}: is given as `partition-key`")));
            }
            SEQUENCE => return Err(Refused::Invalid(format!("{name}: is given by the host"))),
            _ => {}
        }
        let value = match value {
            ExtensionValue::Boolean(value) => Value::Boolean(value),
            ExtensionValue::Integer(value) => Value::Integer(value),
            ExtensionValue::Text(value) => Value::Text(value.into()),
        };
        if let Some((name, _)) = extensions.try_insert(name.into(), value) {
            return Err(Refused::Invalid(format!("{name}: is there twice")));
        }
    }
    Ok(extensions)
}

impl Refused {
    /// The same of one of several events.
    fn at(self, index: usize) -> Self {
        match self {
            Self::Invalid(reason) => Self::Invalid(format!("event {index}: {reason}")),
            Self::TooLarge(reason) => Self::TooLarge(format!("event {index}: {reason}")),
        }
    }

    fn into_error(self) -> Error {
        match self {
            Self::Invalid(reason) => Error::Invalid(reason),
            Self::TooLarge(reason) => Error::Limit(reason),
        }
    }
}

impl From<TooMuchHeld> for PublishError {
    fn from(error: TooMuchHeld) -> Self {
        Self::Trap(error.into())
    }
}

impl From<Unwritable> for PublishError {
    fn from(unwritable: Unwritable) -> Self {
        Self::Guest(match unwritable {
            Unwritable::Answered => Error::Answered,
            Unwritable::ReadOnly => Error::Unavailable(unwritable.to_string()),
        })
    }
}

impl From<Error> for PublishError {
    fn from(error: Error) -> Self {
        Self::Guest(error)
    }
}
