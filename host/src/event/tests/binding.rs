use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};

use super::*;
use crate::event::binding::{self, BindingError};

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

const LEAST: [(&str, &str); 4] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1234"),
    ("ce-source", "/mycontext/subcontext"),
    ("ce-type", "com.example.someevent"),
];

fn one(fields: &[(&str, &str)], body: &'static str) -> Event {
    let received = receive(&headers(fields), &Bytes::from_static(body.as_bytes()));
    let [event] = received.expect("one event").try_into().expect("one event");
    event
}

fn refused(fields: &[(&str, &str)], body: &'static str) -> InvalidEvent {
    match receive(&headers(fields), &Bytes::from_static(body.as_bytes())) {
        Err(BindingError::Invalid(invalid)) => invalid,
        other => panic!("{fields:?}: {other:?}"),
    }
}

#[test]
fn binary_mode_has_the_attributes_in_headers() {
    let mut fields = LEAST.to_vec();
    fields.extend([
        ("CE-Time", "2018-04-05T03:56:24Z"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-dataschema", "https://a.example/s"),
        ("ce-other", "5"),
        ("ce-quoted", "\"a \\\"b\\\"\""),
        ("x-request-id", "1"),
        ("content-type", "application/json; charset=utf-8"),
    ]);
    let event = one(&fields, "\n{ \"a\" : 1 }\r\n");
    assert_eq!((event.id.as_str(), event.source.as_str()), ("1234", "/mycontext/subcontext"));
    assert_eq!(event.event_type, "com.example.someevent");
    assert_eq!(event.time.as_deref(), Some("2018-04-05T03:56:24Z"));
    assert_eq!(event.subject.as_deref(), Some("Euro €"));
    assert_eq!(event.data_schema.as_deref(), Some("https://a.example/s"));
    assert_eq!(event.data_content_type.as_deref(), Some("application/json; charset=utf-8"));
    assert_eq!(event.extensions.len(), 2, "a header has no type, so it is a text");
    assert_eq!(event.extensions.get("other"), Some(&text("5")));
    assert_eq!(event.extensions.get("quoted"), Some(&text("a \"b\"")));
    assert_eq!(event.data.as_deref(), Some(b"{ \"a\" : 1 }" as &[u8]));
}

#[test]
fn binary_mode_takes_any_data() {
    let typed = |content_type| {
        let mut fields = LEAST.to_vec();
        fields.push(("content-type", content_type));
        fields
    };
    assert_eq!(one(&LEAST, "").data, None);
    assert_eq!(one(&typed("text/plain"), " a\n").data.as_deref(), Some(b" a\n" as &[u8]));
    let invalid_json = one(&typed("application/json"), "{oops");
    assert_eq!(invalid_json.data.as_deref(), Some(b"{oops" as &[u8]));
    assert_eq!(one(&typed("application/json"), " ").data, None);
    let empty = one(&typed("application/json"), "");
    assert_eq!((empty.data_content_type.as_deref(), empty.data), (Some("application/json"), None));
}

#[test]
fn binary_mode_is_refused_with_the_attribute() {
    let changed = |name: &str, value: &'static str| {
        let mut fields = LEAST.to_vec();
        fields.retain(|field| field.0 != name);
        if !value.is_empty() {
            fields.push((LEAST.iter().find(|field| field.0 == name).expect("one").0, value));
        }
        fields
    };
    let with = |name, value| {
        let mut fields = LEAST.to_vec();
        fields.push((name, value));
        fields
    };
    for (fields, attribute) in [
        (vec![("content-type", "application/json")], "specversion"),
        (changed("ce-specversion", ""), "specversion"),
        (changed("ce-specversion", "0.3"), "specversion"),
        (changed("ce-id", ""), "id"),
        (changed("ce-source", ""), "source"),
        (changed("ce-source", "a%20b"), "source"),
        (changed("ce-type", ""), "type"),
        (changed("ce-type", "%C0%A0"), "type"),
        (changed("ce-type", "a%0Ab"), "type"),
        (with("ce-id", "2"), "id"),
        (with("ce-time", "now"), "time"),
        (with("ce-datacontenttype", "text/plain"), "datacontenttype"),
        (with("content-type", "text"), "datacontenttype"),
        (with("content-type", "a/\u{fc}"), "datacontenttype"),
        (with("ce-data", "a"), "data"),
        (with("ce-with-line", "a"), "with-line"),
        (with("ce-", "a"), ""),
        (with("ce-ext", "\"open"), "ext"),
        (with("ce-partitionkey", ""), "partitionkey"),
    ] {
        let invalid = refused(&fields, "{}");
        assert_eq!(invalid.attribute.as_deref(), Some(attribute), "{fields:?}: {invalid}");
    }
}

const JSON: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":[1]}"#;

#[test]
fn structured_mode_has_the_event_in_the_body() {
    for content_type in [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=UTF-8",
        "Application/CloudEvents+JSON;charset=\"utf-8\"",
    ] {
        // What headers say besides is a copy.
        let event = one(&[("content-type", content_type), ("ce-id", "2")], JSON);
        assert_eq!((event.id.as_str(), event.data.as_deref()), ("1", Some(b"[1]" as &[u8])));
    }
    let invalid = refused(&[("content-type", "application/cloudevents+json")], "{}");
    assert_eq!(invalid.attribute.as_deref(), Some("specversion"));
}

#[test]
fn batched_mode_has_events_in_the_body() {
    let batch = headers(&[("content-type", "application/cloudevents-batch+json; charset=utf-8")]);
    let events = receive(&batch, &Bytes::from(format!("[{JSON},{JSON}]"))).expect("two");
    assert_eq!(events.len(), 2);
    assert_eq!(receive(&batch, &Bytes::from_static(b"[]")), Ok(Vec::new()));
    let Err(BindingError::Invalid(invalid)) =
        receive(&batch, &Bytes::from(format!("[{JSON},{{}}]")))
    else {
        panic!("the second is wrong");
    };
    assert_eq!(invalid.to_string(), "event 1: specversion: is missing");
}

#[test]
fn an_event_keeps_its_senders_text_unless_that_is_padded() {
    let text_of = |json: &str| {
        let structured = headers(&[("content-type", "application/cloudevents+json")]);
        let events = binding::receive(&structured, &Bytes::from(format!(" {json}\n")));
        let [written] = events.expect("an event").try_into().expect("one");
        written.text
    };
    let sent = r#"{"data": [1, 2],"id":"1","type":"t", "source":"/s","specversion":"1.0"}"#;
    assert_eq!(text_of(sent), sent);
    let padded = sent.replace(' ', &" ".repeat(1_000));
    let own = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":[1,"#;
    assert!(text_of(&padded).starts_with(own.as_bytes()), "{:?}", text_of(&padded));
}

#[test]
fn another_event_format_is_unsupported() {
    for content_type in [
        "application/cloudevents",
        "application/cloudevents+xml",
        "application/cloudevents+avro",
        "application/cloudevents-batch",
        "application/cloudevents-batch+xml",
        "application/cloudevents+json; charset=utf-16",
        "application/cloudeventsjson",
    ] {
        let received = receive(&headers(&[("content-type", content_type)]), &Bytes::from(JSON));
        let unsupported = BindingError::UnsupportedMediaType(content_type.to_owned());
        assert_eq!(received, Err(unsupported));
    }
}

#[test]
fn a_compressed_body_is_unsupported() {
    let received = |encoding| {
        let structured = ("content-type", "application/cloudevents+json");
        receive(&headers(&[structured, ("content-encoding", encoding)]), &Bytes::from(JSON))
    };
    for encoding in ["gzip", "br", "identity, gzip"] {
        let unsupported = BindingError::UnsupportedEncoding(encoding.to_owned());
        assert_eq!(received(encoding), Err(unsupported));
    }
    assert_eq!(received("Identity").map(|events| events.len()), Ok(1));
}

#[test]
fn a_json_event_becomes_headers_and_a_body() {
    let json = r#"{"specversion":"1.0","id":"D 234","source":"/s","type":"t","subject":"é",
        "ext":5,"flag":false,"data":"I'm just a string"}"#;
    let event = Event::from_json(json.as_bytes()).expect("an event");
    let message = binding::binary(&event).expect("an event");
    assert_eq!(message.body, "\"I'm just a string\"");
    let expected = headers(&[
        ("ce-specversion", "1.0"),
        ("ce-id", "D%20234"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-subject", "%C3%A9"),
        ("ce-ext", "5"),
        ("ce-flag", "false"),
        ("content-type", "application/json"),
    ]);
    assert_eq!(message.headers, expected);
}

#[test]
fn nothing_is_said_of_data_that_says_nothing_itself() {
    let bytes = Event { data: Some(Bytes::from_static(b"\xff")), ..least() };
    assert_eq!(binding::binary(&bytes).expect("an event").headers.get(CONTENT_TYPE), None);
    let nothing = binding::binary(&least()).expect("an event");
    assert_eq!((nothing.headers.get(CONTENT_TYPE), nothing.body.len()), (None, 0));
    assert!(binding::binary(&Event { id: CompactString::default(), ..least() }).is_err());
}
