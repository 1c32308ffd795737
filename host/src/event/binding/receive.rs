//! From a head and a body to events.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use mediatype::names::{APPLICATION, JSON};
use mediatype::{MediaType, Name};

use super::header_value::decode;
use super::{BindingError, PREFIX};
use crate::event::attribute::{check_bounds, shown};
use crate::event::draft::Draft;
use crate::event::media_type::{Content, content, is_utf8};
use crate::event::{Event, InvalidEvent, Value, Written};

/// What the media types of all event formats begin with.
const CLOUDEVENTS: &str = "application/cloudevents";

const STRUCTURED: MediaType<'_> =
    MediaType::from_parts(APPLICATION, Name::new_unchecked("cloudevents"), Some(JSON), &[]);

const BATCH: MediaType<'_> =
    MediaType::from_parts(APPLICATION, Name::new_unchecked("cloudevents-batch"), Some(JSON), &[]);

/// How a message has its events.
enum Mode<'a> {
    /// With this content type.
    Binary(Option<&'a str>),
    Structured,
    Batch,
}

/// Whether a message with this head may have events that are taken, as far as that is known
/// before its body.
///
/// # Errors
/// As [`receive`] has them.
pub fn check_head(headers: &HeaderMap) -> Result<(), BindingError> {
    let has_attributes = || headers.keys().any(|name| name.as_str().starts_with(PREFIX));
    match mode(headers)? {
        Mode::Binary(_) if !has_attributes() => Err(no_event().into()),
        Mode::Binary(_) | Mode::Structured | Mode::Batch => Ok(()),
    }
}

/// Reads the events of a message in any of the three modes, and checks them and
/// their size.
///
/// # Errors
/// With the attribute that is wrong, and in a batch which event; and where the
/// events are in a format other than JSON.
pub fn receive(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Written>, BindingError> {
    let events = read(headers, body)?;
    for (index, written) in events.iter().enumerate() {
        let checked = check_bounds(&written.event);
        checked.map_err(|invalid| if events.len() > 1 { invalid.at(index) } else { invalid })?;
    }
    Ok(events)
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Written>, BindingError> {
    Ok(match mode(headers)? {
        Mode::Binary(content_type) => vec![binary(headers, content_type, body)?.into()],
        Mode::Structured => {
            vec![Written::read(Event::from_json(body)?, body.slice_ref(body.trim_ascii()))]
        }
        Mode::Batch => Event::batch_from_json(body)?,
    })
}

fn mode(headers: &HeaderMap) -> Result<Mode<'_>, BindingError> {
    // RFC 9110 §8.4: `identity` says that there is none.
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    if let Some(encoding) = encodings
        .map(HeaderValue::as_bytes)
        .find(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity"))
    {
        return Err(BindingError::UnsupportedEncoding(shown(&String::from_utf8_lossy(encoding))));
    }
    let content_type = content_type(headers)?;
    let Some(format) = content_type.filter(|text| is_event_format(text)) else {
        return Ok(Mode::Binary(content_type));
    };
    match MediaType::parse(format) {
        Ok(media_type) if !is_utf8(&media_type) => {}
        Ok(media_type) if media_type.essence() == STRUCTURED => return Ok(Mode::Structured),
        Ok(media_type) if media_type.essence() == BATCH => return Ok(Mode::Batch),
        _ => {}
    }
    Err(BindingError::UnsupportedMediaType(shown(format)))
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, InvalidEvent> {
    let value = headers.get(CONTENT_TYPE).map(|value| value.to_str());
    value.transpose().map_err(|_| {
        InvalidEvent::attribute("datacontenttype", "the header Content-Type is not ASCII")
    })
}

fn is_event_format(content_type: &str) -> bool {
    let start = content_type.as_bytes().get(..CLOUDEVENTS.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(CLOUDEVENTS.as_bytes()))
}

fn binary(
    headers: &HeaderMap,
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<Event, InvalidEvent> {
    let mut draft = Draft::default();
    let mut attributes = 0;
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        if name == "datacontenttype" {
            return Err(InvalidEvent::attribute(name, "belongs into the header Content-Type"));
        }
        let text = decode(value).map_err(|reason| InvalidEvent::attribute(shown(name), reason))?;
        draft.set(name, Value::Text(text.into()))?;
        attributes += 1;
    }
    if attributes == 0 {
        return Err(no_event());
    }
    if let Some(content_type) = content_type {
        draft.set("datacontenttype", Value::Text(content_type.into()))?;
    }
    let data = match content(content_type) {
        Content::Json => body.slice_ref(body.trim_ascii()),
        Content::Text | Content::Binary => body.clone(),
    };
    draft.finish((!data.is_empty()).then_some(data))
}

fn no_event() -> InvalidEvent {
    InvalidEvent::attribute(
        "specversion",
        "is missing: there are no ce- headers, and the content type is neither \
         application/cloudevents+json nor application/cloudevents-batch+json",
    )
}
