//! The rules, the formats, and that nothing is lost between them.

mod binding;
mod json;
mod round_trip;

use compact_str::format_compact;
use http::HeaderMap;

use super::binding::BindingError;
use super::*;

/// The least that an event has to have.
fn least() -> Event {
    Event {
        id: "A234-1234".into(),
        source: "/mycontext".into(),
        event_type: "com.example.someevent".into(),
        subject: None,
        time: None,
        data_content_type: None,
        data_schema: None,
        extensions: Extensions::new(),
        data: None,
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

/// The events of a message, whose texts say the same.
fn receive(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, BindingError> {
    let events = super::binding::receive(headers, body)?;
    for Written { event, text } in &events {
        assert_eq!(Event::from_json(text).as_ref(), Ok(&**event));
    }
    Ok(events.into_iter().map(|written| Arc::unwrap_or_clone(written.event)).collect())
}

#[test]
fn the_key_is_the_partition_key_or_the_subject_or_the_id() {
    let mut event = least();
    assert_eq!(event.key(), "A234-1234");
    event.subject = Some("user-1".into());
    assert_eq!(event.key(), "user-1");
    event.extensions.insert(PARTITION_KEY.into(), text("shard"));
    assert_eq!(event.key(), "shard");
}

#[test]
fn what_the_specification_allows_is_taken() {
    let mut event = least();
    event.check().expect("the least");
    for source in
        ["/a", "urn:uuid:6e8bc430", "https://a.example/b?c#d", "mailto:a@b.example", "a%20b"]
    {
        event.source = source.into();
        event.check().expect(source);
    }
    for time in [
        "2018-04-05T17:31:00Z",
        "2018-04-05T03:56:24.123456789+02:00",
        "2018-04-05t17:31:00z",
        "2016-12-31T23:59:60Z",
        "2018-04-05T17:31:00-00:00",
    ] {
        event.time = Some(time.into());
        event.check().expect(time);
    }
    for content_type in ["text/plain", "application/vnd.a+json; charset=\"utf-8\"", "a/b;c=d"] {
        event.data_content_type = Some(content_type.into());
        event.check().expect(content_type);
    }
    event.data_schema = Some("https://a.example/schema.json#/definitions/a".into());
    event.subject = Some("a b/ü😀\u{FFFD}".into());
    event.extensions.insert("e".repeat(MAX_NAME_BYTES).into(), text(""));
    event.check().expect("all of them");
}

#[test]
fn what_breaks_a_rule_is_refused_with_its_attribute() {
    type Break = (&'static str, fn(&mut Event));
    let breaks: &[Break] = &[
        ("id", |event| event.id.clear()),
        ("id", |event| event.id = "a\nb".into()),
        ("id", |event| event.id = "a\u{7f}".into()),
        ("id", |event| event.id = "a\u{85}".into()),
        ("id", |event| event.id = "a\u{FDD0}".into()),
        ("id", |event| event.id = "a\u{1FFFE}".into()),
        ("id", |event| event.id = "a".repeat(MAX_ATTRIBUTE_BYTES + 1).into()),
        ("source", |event| event.source.clear()),
        ("source", |event| event.source = "a b".into()),
        ("source", |event| event.source = "/ü".into()),
        ("source", |event| event.source = "a%2".into()),
        ("source", |event| event.source = "1:a".into()),
        ("type", |event| event.event_type.clear()),
        ("subject", |event| event.subject = Some(CompactString::default())),
        ("time", |event| event.time = Some(CompactString::default())),
        ("time", |event| event.time = Some("yesterday".into())),
        ("time", |event| event.time = Some("2018-04-05".into())),
        ("time", |event| event.time = Some("2018-04-05T17:31:00".into())),
        ("time", |event| event.time = Some("2018-04-05 17:31:00Z".into())),
        ("time", |event| event.time = Some("2018-02-30T17:31:00Z".into())),
        ("time", |event| event.time = Some("2018-04-05T17:31:00\u{2212}02:00".into())),
        ("datacontenttype", |event| event.data_content_type = Some("json".into())),
        ("datacontenttype", |event| event.data_content_type = Some("a/b c".into())),
        ("datacontenttype", |event| event.data_content_type = Some("a/b;c=\"ü\"".into())),
        ("dataschema", |event| event.data_schema = Some("/relative".into())),
        ("dataschema", |event| event.data_schema = Some(CompactString::default())),
        ("Upper", |event| drop(event.extensions.insert("Upper".into(), text("a")))),
        ("with_line", |event| drop(event.extensions.insert("with_line".into(), text("a")))),
        ("", |event| drop(event.extensions.insert(CompactString::default(), text("a")))),
        ("id", |event| drop(event.extensions.insert("id".into(), text("a")))),
        ("data", |event| drop(event.extensions.insert("data".into(), text("a")))),
        ("ext", |event| drop(event.extensions.insert("ext".into(), text("a\0")))),
        (PARTITION_KEY, |event| {
            drop(event.extensions.insert(PARTITION_KEY.into(), text("")));
        }),
        (PARTITION_KEY, |event| {
            drop(event.extensions.insert(PARTITION_KEY.into(), Value::Integer(1)));
        }),
    ];
    for (number, (attribute, change)) in breaks.iter().enumerate() {
        let mut event = least();
        change(&mut event);
        let invalid = event.check().expect_err(&format!("break {number} of {attribute}"));
        assert_eq!(invalid.attribute.as_deref(), Some(*attribute), "{number}: {invalid}");
        assert!(invalid.to_string().starts_with(&format!("{attribute}: ")), "{invalid}");
    }
}

#[test]
fn an_event_has_bounds() {
    let mut event = least();
    for number in 0..=MAX_EXTENSIONS {
        event.extensions.insert(format_compact!("e{number}"), Value::Boolean(true));
    }
    let invalid = event.check().expect_err("too many extensions");
    assert_eq!(invalid.to_string(), "the event has 65 extensions, at most 64 are taken");
    let mut event = least();
    event.data = Some(Bytes::from(vec![b'1'; MAX_EVENT_BYTES - event.size()]));
    event.check().expect("just as large as may be");
    event.subject = Some("a".into());
    let invalid = event.check().expect_err("too large");
    assert_eq!(invalid.to_string(), "the event has 1048577 bytes, at most 1048576 are taken");
    let message = crate::event::binding::structured(&event);
    assert!(receive(&message.headers, &message.body).is_err());
    Event::from_json(&event.to_json()).expect("what the host has is not measured again");
}

#[test]
fn an_error_repeats_only_the_beginning_of_a_long_text() {
    let event = Event { time: Some("é".repeat(1000).into()), ..least() };
    let reason = event.check().expect_err("no time").reason;
    assert_eq!(reason.matches('é').count(), 64, "{reason}");
}
