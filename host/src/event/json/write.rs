//! From an event to the JSON event format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::is_for_all;
use crate::event::media_type::{Content, content};
use crate::event::{Event, Value};

/// What the members' names and punctuation take, roughly: nothing depends on it.
pub(in crate::event) const ENVELOPE_BYTES: usize = 192;

/// Appends the event.
pub(super) fn event(event: &Event, text: &mut Vec<u8>) {
    text.extend_from_slice(br#"{"specversion":"1.0","id":"#);
    string(&event.id, text);
    text.extend_from_slice(br#","source":"#);
    string(&event.source, text);
    text.extend_from_slice(br#","type":"#);
    string(&event.event_type, text);
    optional(br#","subject":"#, event.subject.as_deref(), text);
    optional(br#","time":"#, event.time.as_deref(), text);
    optional(br#","datacontenttype":"#, event.data_content_type.as_deref(), text);
    optional(br#","dataschema":"#, event.data_schema.as_deref(), text);
    for (name, value) in &event.extensions {
        text.push(b',');
        string(name, text);
        text.push(b':');
        match value {
            Value::Boolean(true) => text.extend_from_slice(b"true"),
            Value::Boolean(false) => text.extend_from_slice(b"false"),
            Value::Integer(integer) => text.extend_from_slice(integer.to_string().as_bytes()),
            Value::Text(value) => string(value, text),
        }
    }
    if let Some(data) = &event.data {
        member_of(data, event.data_content_type.as_deref(), text);
    }
    text.push(b'}');
}

/// `data` where the data is what its media type says, and JSON that every reader takes, else
/// `data_base64`.
fn member_of(data: &[u8], content_type: Option<&str>, text: &mut Vec<u8>) {
    match content(content_type) {
        Content::Json => {
            if let Ok(json) = serde_json::from_slice::<&RawValue>(data)
                && is_for_all(data)
            {
                text.extend_from_slice(br#","data":"#);
                text.extend_from_slice(json.get().as_bytes());
                return;
            }
        }
        Content::Text => {
            if let Ok(data) = std::str::from_utf8(data) {
                text.extend_from_slice(br#","data":"#);
                string(data, text);
                return;
            }
        }
        Content::Binary => {}
    }
    text.extend_from_slice(br#","data_base64":""#);
    text.extend_from_slice(STANDARD.encode(data).as_bytes());
    text.push(b'"');
}

fn optional(name: &[u8], value: Option<&str>, text: &mut Vec<u8>) {
    if let Some(value) = value {
        text.extend_from_slice(name);
        string(value, text);
    }
}

fn string(value: &str, text: &mut Vec<u8>) {
    serde_json::to_writer(text, value).expect("a text has a JSON form and a vector takes it");
}
