//! From events to a head and a body.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use super::header_value::encode;
use super::{Message, PREFIX};
use crate::event::attribute::{SPEC_VERSION, check_rules};
use crate::event::media_type::JSON_DATA;
use crate::event::{Event, InvalidEvent, Value};

/// The event in binary mode. JSON data is said to be JSON even where the event
/// leaves it unsaid, for outside of the JSON format nothing is implied.
///
/// # Errors
/// When it breaks a rule, and so may have no place in headers.
pub fn binary(event: &Event) -> Result<Message, InvalidEvent> {
    check_rules(event)?;
    let mut headers = HeaderMap::with_capacity(8 + event.extensions.len());
    headers.insert("ce-specversion", HeaderValue::from_static(SPEC_VERSION));
    headers.insert("ce-id", encode(&event.id));
    headers.insert("ce-source", encode(&event.source));
    headers.insert("ce-type", encode(&event.event_type));
    for (name, value) in [
        ("ce-subject", &event.subject),
        ("ce-time", &event.time),
        ("ce-dataschema", &event.data_schema),
    ] {
        if let Some(value) = value {
            headers.insert(name, encode(value));
        }
    }
    for (name, value) in &event.extensions {
        let value = match value {
            Value::Boolean(boolean) => {
                HeaderValue::from_static(if *boolean { "true" } else { "false" })
            }
            Value::Integer(integer) => HeaderValue::from(*integer),
            Value::Text(text) => encode(text),
        };
        let name = HeaderName::from_bytes(format!("{PREFIX}{name}").as_bytes());
        headers.insert(name.expect("letters and digits are a header's name"), value);
    }
    if let Some(content_type) = content_type(event) {
        let value = HeaderValue::from_str(content_type);
        headers.insert(CONTENT_TYPE, value.expect("a media type has no control characters"));
    }
    Ok(Message { headers, body: event.data.clone().unwrap_or_default() })
}

/// The event in structured mode.
#[must_use]
pub fn structured(event: &Event) -> Message {
    json("application/cloudevents+json; charset=utf-8", event.to_json())
}

/// The events in batched mode.
#[must_use]
pub fn batch<'a>(events: impl IntoIterator<Item = &'a Event>) -> Message {
    let body = Event::batch_to_json(events);
    json("application/cloudevents-batch+json; charset=utf-8", body)
}

fn json(content_type: &'static str, body: Vec<u8>) -> Message {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Message { headers, body: Bytes::from(body) }
}

fn content_type(event: &Event) -> Option<&str> {
    let said = event.data_content_type.as_deref();
    said.or_else(|| {
        let data = event.data.as_ref()?;
        serde_json::from_slice::<&RawValue>(data).ok().map(|_| JSON_DATA)
    })
}
