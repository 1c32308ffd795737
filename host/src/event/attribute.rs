//! What attributes may be: CloudEvents 1.0.2, §"Context Attributes".

use chrono::DateTime;
use fluent_uri::{Uri, UriRef};

use super::{Event, InvalidEvent, PARTITION_KEY, Value, media_type};

/// How long an attribute's name may be, in bytes. The specification advises 20
/// at the most; what others have named is taken all the same.
pub const MAX_NAME_BYTES: usize = 64;

/// How long an attribute's text may be, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 4 << 10;

/// How many extension attributes an event may have.
pub const MAX_EXTENSIONS: usize = 64;

/// How large an event may be: its attributes' names and texts, and its data.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// The only version there is.
pub(super) const SPEC_VERSION: &str = "1.0";

/// Names that no extension may have, because something else has them.
const TAKEN: [&str; 9] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
];

/// How much of a wrong text an error repeats, in characters.
const MAX_SHOWN: usize = 64;

/// Checks every rule that an event has to keep, wherever it is from.
pub(super) fn check_rules(event: &Event) -> Result<(), InvalidEvent> {
    text("id", &event.id)?;
    text("source", &event.source)?;
    if UriRef::parse(event.source.as_str()).is_err() {
        return Err(wrong("source", &event.source, "is not a URI reference (RFC 3986)"));
    }
    text("type", &event.event_type)?;
    optional("subject", event.subject.as_deref(), |_| None)?;
    optional("time", event.time.as_deref(), |time| {
        (!is_timestamp(time)).then_some("is not an RFC 3339 timestamp such as 2018-04-05T17:31:00Z")
    })?;
    optional("datacontenttype", event.data_content_type.as_deref(), |content_type| {
        (!media_type::is_one(content_type)).then_some("is not a media type (RFC 2046)")
    })?;
    optional("dataschema", event.data_schema.as_deref(), |schema| {
        Uri::parse(schema).is_err().then_some("is not a URI with a scheme (RFC 3986)")
    })?;
    extensions(event)
}

/// Checks how large an event is, when it comes to the host. Later it may be
/// larger, by what the host adds.
pub(super) fn check_bounds(event: &Event) -> Result<(), InvalidEvent> {
    let extensions = event.extensions.len();
    if extensions > MAX_EXTENSIONS {
        let reason =
            format!("the event has {extensions} extensions, at most {MAX_EXTENSIONS} are taken");
        return Err(InvalidEvent::whole(reason));
    }
    let size = event.size();
    if size > MAX_EVENT_BYTES {
        let reason = format!("the event has {size} bytes, at most {MAX_EVENT_BYTES} are taken");
        return Err(InvalidEvent::whole(reason));
    }
    Ok(())
}

fn extensions(event: &Event) -> Result<(), InvalidEvent> {
    for (name, value) in &event.extensions {
        check_name(name)?;
        if let Value::Text(value) = value {
            allowed(name, value)?;
        }
    }
    // It says what is delivered in order: nothing may be guessed of it.
    match event.extensions.get(PARTITION_KEY) {
        None => Ok(()),
        Some(Value::Text(key)) if !key.is_empty() => Ok(()),
        Some(_) => Err(InvalidEvent::attribute(PARTITION_KEY, "must be a text that is not empty")),
    }
}

/// An attribute's name: lower-case letters and digits.
fn check_name(name: &str) -> Result<(), InvalidEvent> {
    let reason = if name.is_empty() || name.len() > MAX_NAME_BYTES {
        format!("an attribute's name has 1 to {MAX_NAME_BYTES} bytes")
    } else if !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')) {
        "an attribute's name has only the letters a to z and the digits 0 to 9".to_owned()
    } else if TAKEN.contains(&name) {
        "no extension may have this name".to_owned()
    } else {
        return Ok(());
    };
    Err(InvalidEvent::attribute(shown(name), reason))
}

fn optional(
    name: &str,
    value: Option<&str>,
    reason: impl FnOnce(&str) -> Option<&'static str>,
) -> Result<(), InvalidEvent> {
    let Some(value) = value else { return Ok(()) };
    text(name, value)?;
    reason(value).map_or(Ok(()), |reason| Err(wrong(name, value, reason)))
}

fn text(name: &str, value: &str) -> Result<(), InvalidEvent> {
    if value.is_empty() {
        return Err(InvalidEvent::attribute(name, "must not be empty"));
    }
    allowed(name, value)
}

/// The type `String`: no control characters and no noncharacters. Unpaired
/// surrogates have no place in a `str`.
fn allowed(name: &str, value: &str) -> Result<(), InvalidEvent> {
    if value.len() > MAX_ATTRIBUTE_BYTES {
        let reason = format!("has {} bytes, at most {MAX_ATTRIBUTE_BYTES} are taken", value.len());
        return Err(InvalidEvent::attribute(name, reason));
    }
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    match value.chars().find(|&character| character.is_control() || is_noncharacter(character)) {
        None => Ok(()),
        Some(character) => {
            let reason = format!("must not have the character U+{:04X}", u32::from(character));
            Err(InvalidEvent::attribute(name, reason))
        }
    }
}

/// Unicode §23.7: 32 in a row, and the last two of each plane.
fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    matches!(code, 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
}

/// RFC 3339 §5.6. The parser also takes a space for `T` and the minus sign of
/// typographers.
fn is_timestamp(text: &str) -> bool {
    text.is_ascii()
        && matches!(text.as_bytes().get(10), Some(b'T' | b't'))
        && DateTime::parse_from_rfc3339(text).is_ok()
}

fn wrong(name: &str, value: &str, reason: &str) -> InvalidEvent {
    InvalidEvent::attribute(name, format!("`{}` {reason}", shown(value)))
}

/// The beginning of a text that may be of any length.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
