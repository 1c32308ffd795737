//! Events as a request or another event has them.

use hotdock_sdk::events::{self, Error, Extension, ExtensionValue, NewEvent};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
pub struct Told {
    r#type: String,
    id: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    key: Option<String>,
    schema: Option<String>,
    #[serde(default)]
    extensions: BTreeMap<String, Value>,
    data: Option<Value>,
    /// Instead of `data`: so many bytes.
    bytes: Option<usize>,
}

/// Publishes them, one by one or at once. Returns their ids.
pub fn publish(told: Vec<Told>, at_once: bool) -> Result<Vec<String>, Error> {
    let events: Vec<NewEvent> = told.into_iter().map(event).collect();
    if at_once {
        events::publish_all(&events)
    } else {
        events.iter().map(events::publish).collect()
    }
}

fn event(told: Told) -> NewEvent {
    let extension = |(name, value): (String, Value)| {
        let value = match value {
            Value::Bool(value) => ExtensionValue::Boolean(value),
            Value::Number(value) => {
                let value = value.as_i64().and_then(|value| i32::try_from(value).ok());
                ExtensionValue::Integer(value.expect("a small integer"))
            }
            other => ExtensionValue::Text(other.as_str().expect("a text").to_owned()),
        };
        Extension { name, value }
    };
    let (data, content_type) = match (told.bytes, told.data) {
        (Some(bytes), _) => (Some(vec![b'x'; bytes]), Some("application/octet-stream".to_owned())),
        (None, Some(data)) => (Some(data.to_string().into_bytes()), None),
        (None, None) => (None, None),
    };
    NewEvent {
        id: told.id,
        type_: told.r#type,
        subject: told.subject,
        time: told.time,
        data_content_type: content_type,
        data_schema: told.schema,
        partition_key: told.key,
        extensions: told.extensions.into_iter().map(extension).collect(),
        data,
    }
}
