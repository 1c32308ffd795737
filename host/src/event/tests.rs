//! The rules, the formats, and that nothing is lost between them.

mod binding;
mod json;
mod round_trip;

use http::HeaderMap;

use super::binding::BindingError;
use super::*;

/// The least that an event has to have.
fn least() -> Event {
    Event {
        id: "A234-1234".to_owned(),
        source: "/mycontext".to_owned(),
        event_type: "com.example.someevent".to_owned(),
        subject: None,
        time: None,
        data_content_type: None,
        data_schema: None,
        extensions: Extensions::new(),
        data: None,
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
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
    event.subject = Some("user-1".to_owned());
    assert_eq!(event.key(), "user-1");
    event.extensions.insert(PARTITION_KEY.to_owned(), text("shard"));
    assert_eq!(event.key(), "shard");
}

#[test]
fn what_the_specification_allows_is_taken() {
    let mut event = least();
    event.check().expect("the least");
    for source in
        ["/a", "urn:uuid:6e8bc430", "https://a.example/b?c#d", "mailto:a@b.example", "a%20b"]
    {
        event.source = source.to_owned();
        event.check().expect(source);
    }
    for time in [
        "2018-04-05T17:31:00Z",
        "2018-04-05T03:56:24.123456789+02:00",
        "2018-04-05t17:31:00z",
        "2016-12-31T23:59:60Z",
        "2018-04-05T17:31:00-00:00",
    ] {
        event.time = Some(time.to_owned());
        event.check().expect(time);
    }
    for content_type in ["text/plain", "application/vnd.a+json; charset=\"utf-8\"", "a/b;c=d"] {
        event.data_content_type = Some(content_type.to_owned());
        event.check().expect(content_type);
    }
    event.data_schema = Some("https://a.example/schema.json#/definitions/a".to_owned());
    event.subject = Some("a b/ü😀\u{FFFD}".to_owned());
    event.extensions.insert("e".repeat(MAX_NAME_BYTES), text(""));
    event.check().expect("all of them");
}

#[test]
fn what_breaks_a_rule_is_refused_with_its_attribute() {
    type Break = (&'static str, fn(&mut Event));
    let breaks: &[Break] = &[
        ("id", |event| event.id.clear()),
        ("id", |event| event.id = "a\nb".to_owned()),
        ("id", |event| event.id = "a\u{7f}".to_owned()),
        ("id", |event| event.id = "a\u{85}".to_owned()),
        ("id", |event| event.id = "a\u{FDD0}".to_owned()),
        ("id", |event| event.id = "a\u{1FFFE}".to_owned()),
        ("id", |event| event.id = "a".repeat(MAX_ATTRIBUTE_BYTES + 1)),
        ("source", |event| event.source.clear()),
        ("source", |event| event.source = "a b".to_owned()),
        ("source", |event| event.source = "/ü".to_owned()),
        ("source", |event| event.source = "a%2".to_owned()),
        ("source", |event| event.source = "1:a".to_owned()),
        ("type", |event| event.event_type.clear()),
        ("subject", |event| event.subject = Some(String::new())),
        ("time", |event| event.time = Some(String::new())),
        ("time", |event| event.time = Some("yesterday".to_owned())),
        ("time", |event| event.time = Some("2018-04-05".to_owned())),
        ("time", |event| event.time = Some("2018-04-05T17:31:00".to_owned())),
        ("time", |event| event.time = Some("2018-04-05 17:31:00Z".to_owned())),
        ("time", |event| event.time = Some("2018-02-30T17:31:00Z".to_owned())),
        ("time", |event| event.time = Some("2018-04-05T17:31:00\u{2212}02:00".to_owned())),
        ("datacontenttype", |event| event.data_content_type = Some("json".to_owned())),
        ("datacontenttype", |event| event.data_content_type = Some("a/b c".to_owned())),
        ("datacontenttype", |event| event.data_content_type = Some("a/b;c=\"ü\"".to_owned())),
        ("dataschema", |event| event.data_schema = Some("/relative".to_owned())),
        ("dataschema", |event| event.data_schema = Some(String::new())),
        ("Upper", |event| drop(event.extensions.insert("Upper".to_owned(), text("a")))),
        ("with_line", |event| drop(event.extensions.insert("with_line".to_owned(), text("a")))),
        ("", |event| drop(event.extensions.insert(String::new(), text("a")))),
        ("id", |event| drop(event.extensions.insert("id".to_owned(), text("a")))),
        ("data", |event| drop(event.extensions.insert("data".to_owned(), text("a")))),
        ("ext", |event| drop(event.extensions.insert("ext".to_owned(), text("a\0")))),
        (PARTITION_KEY, |event| {
            drop(event.extensions.insert(PARTITION_KEY.to_owned(), text("")));
        }),
        (PARTITION_KEY, |event| {
            drop(event.extensions.insert(PARTITION_KEY.to_owned(), Value::Integer(1)));
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
        event.extensions.insert(format!("e{number}"), Value::Boolean(true));
    }
    let invalid = event.check().expect_err("too many extensions");
    assert_eq!(invalid.to_string(), "the event has 65 extensions, at most 64 are taken");
    let mut event = least();
    event.data = Some(Bytes::from(vec![b'1'; MAX_EVENT_BYTES - event.size()]));
    event.check().expect("just as large as may be");
    event.subject = Some("a".to_owned());
    let invalid = event.check().expect_err("too large");
    assert_eq!(invalid.to_string(), "the event has 1048577 bytes, at most 1048576 are taken");
    let message = crate::event::binding::structured(&event);
    assert!(receive(&message.headers, &message.body).is_err());
    Event::from_json(&event.to_json()).expect("what the host has is not measured again");
}

#[test]
fn an_error_repeats_only_the_beginning_of_a_long_text() {
    let event = Event { time: Some("é".repeat(1000)), ..least() };
    let reason = event.check().expect_err("no time").reason;
    assert_eq!(reason.matches('é').count(), 64, "{reason}");
}
