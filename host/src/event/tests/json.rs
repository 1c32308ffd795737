use super::*;

fn read(text: &str) -> Event {
    Event::from_json(text.as_bytes()).expect(text)
}

fn refused(text: &str) -> InvalidEvent {
    Event::from_json(text.as_bytes()).expect_err(text)
}

/// An event with these members besides the least.
fn with(members: &str) -> String {
    let least = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;
    format!("{{{least},{members}}}")
}

#[test]
fn base64_data_is_bytes() {
    let event = read(
        r#"{
            "specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext",
            "id": "A234", "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value",
            "comexampleothervalue": 5, "flag": true,
            "datacontenttype": "application/vnd.apache.thrift.binary", "data_base64": "AP8B"
        }"#,
    );
    assert_eq!(event.data.as_deref(), Some(b"\x00\xff\x01" as &[u8]));
    assert_eq!(event.time.as_deref(), Some("2018-04-05T17:31:00Z"));
    assert_eq!(event.extensions.get("comexampleextension1"), Some(&text("value")));
    assert_eq!(event.extensions.get("comexampleothervalue"), Some(&Value::Integer(5)));
    assert_eq!(event.extensions.get("flag"), Some(&Value::Boolean(true)));
    assert_eq!(
        String::from_utf8(event.to_json()).as_deref(),
        Ok(
            r#"{"specversion":"1.0","id":"A234","source":"/mycontext","type":"com.example.someevent","time":"2018-04-05T17:31:00Z","datacontenttype":"application/vnd.apache.thrift.binary","comexampleextension1":"value","comexampleothervalue":5,"flag":true,"data_base64":"AP8B"}"#
        )
    );
}

#[test]
fn data_that_is_not_json_is_the_text_of_its_string() {
    let text =
        with(r#""unset":null,"datacontenttype":"application/xml","data":"<much wow=\"xml\"/>""#);
    let event = read(&text);
    assert_eq!(event.data.as_deref(), Some(b"<much wow=\"xml\"/>" as &[u8]));
    assert!(event.extensions.is_empty(), "null is unset");
    let written = String::from_utf8(event.to_json()).expect("JSON is UTF-8");
    assert!(written.ends_with(r#","data":"<much wow=\"xml\"/>"}"#), "{written}");
}

#[test]
fn json_data_keeps_its_bytes() {
    for (members, data) in [
        (
            r#""subject":null,"datacontenttype":"application/json","data": {"b" : 1.50, "a":[1e2]} "#,
            r#"{"b" : 1.50, "a":[1e2]}"#,
        ),
        (r#""data":"I'm just a string""#, r#""I'm just a string""#),
        (
            r#""data":"{\"a\":1}","datacontenttype":"application/vnd.a+json; charset=utf-8""#,
            r#""{\"a\":1}""#,
        ),
        (r#""data":null"#, "null"),
        (r#""data":12345678901234567890123"#, "12345678901234567890123"),
        (r#""data":false,"datacontenttype":"TEXT/JSON""#, "false"),
    ] {
        let event = read(&with(members));
        assert_eq!(event.data.as_deref(), Some(data.as_bytes()), "{members}");
        let written = String::from_utf8(event.to_json()).expect("JSON is UTF-8");
        assert!(written.ends_with(&format!(",\"data\":{data}}}")), "{written}");
        assert_eq!(read(&written), event);
    }
    assert_eq!(read(r#"{"type":"t","source":"/s","id":"1","specversion":"1.0"}"#).data, None);
}

#[test]
fn data_that_is_not_what_its_type_says_is_written_as_base64() {
    for (content_type, data, member) in [
        (Some("application/json"), b"{oops" as &[u8], r#""data_base64":"e29vcHM=""#),
        (None, b"\xff", r#""data_base64":"/w==""#),
        (None, b"", r#""data_base64":"""#),
        (Some("text/plain"), b"\xff", r#""data_base64":"/w==""#),
        (Some("text/plain; charset=iso-8859-1"), b"a", r#""data_base64":"YQ==""#),
        (Some("application/octet-stream"), b"a", r#""data_base64":"YQ==""#),
        (Some("text/plain"), b"", r#""data":"""#),
        (Some("image/svg+xml"), b"<svg/>", r#""data":"<svg/>""#),
    ] {
        let event = Event {
            data_content_type: content_type.map(Into::into),
            data: Some(Bytes::copy_from_slice(data)),
            ..least()
        };
        let written = String::from_utf8(event.to_json()).expect("JSON is UTF-8");
        assert!(written.ends_with(&format!(",{member}}}")), "{written}");
        assert_eq!(read(&written), event);
    }
}

#[test]
fn data_that_some_readers_give_up_is_written_as_base64() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (data, is_base64) in [
        (nested(100), false),
        (nested(101), true),
        (r#"["\ud83d\ude00"]"#.to_owned(), false),
        (r#"["\ud800"]"#.to_owned(), true),
        (r#"{"\udc00":1}"#.to_owned(), true),
        ("[1e308]".to_owned(), false),
        ("[1e999999]".to_owned(), true),
        ("1".repeat(6_000), true),
    ] {
        let text =
            format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data}}}"#);
        let written = Written::from(read(&text));
        assert_eq!(written.event.data.as_deref(), Some(data.as_bytes()));
        let own = String::from_utf8(written.text.to_vec()).expect("JSON is UTF-8");
        assert_eq!(own.contains("data_base64"), is_base64, "{own}");
        let batch = Bytes::from(format!("[{text}]"));
        let taken = Event::batch_from_json(&batch).expect("a batch");
        let own = String::from_utf8(taken[0].text.to_vec()).expect("JSON is UTF-8");
        assert_eq!(own.contains("data_base64"), is_base64, "{own}");
        assert_eq!(Event::from_json(own.as_bytes()).expect("an event"), read(&text));
    }
}

#[test]
fn data_that_is_no_json_keeps_its_senders_words() {
    let text = with(r#""datacontenttype":"text/plain","data":"\"\\ud800 1e999999""#);
    let batch = Bytes::from(format!("[{text}]"));
    let taken = Event::batch_from_json(&batch).expect("a batch");
    assert_eq!(taken[0].text, text.as_bytes());
}

#[test]
fn an_escaped_name_is_the_same_name() {
    let event =
        read(r#"{"specversion":"1.0","\u0069d":"1","source":"\/s","type":"t","ext":"\u00e9"}"#);
    assert_eq!((event.id.as_str(), event.source.as_str()), ("1", "/s"));
    assert_eq!(event.extensions.get("ext"), Some(&text("é")));
}

#[test]
fn a_wrong_member_is_refused_with_its_name() {
    for (members, attribute, reason) in [
        (r#""id":"2""#, "id", "is there twice"),
        (r#""ext":1,"ext":2"#, "ext", "is there twice"),
        (r#""data":1,"data":2"#, "data", "is there twice"),
        (r#""subject":5"#, "subject", "must be a text"),
        (r#""time":true"#, "time", "must be a text"),
        (
            r#""time":"today""#,
            "time",
            "`today` is not an RFC 3339 timestamp such as 2018-04-05T17:31:00Z",
        ),
        (r#""ext":1.5"#, "ext", "must not be a number with a fraction or an exponent"),
        (r#""ext":1e3"#, "ext", "must not be a number with a fraction or an exponent"),
        (r#""ext":2147483648"#, "ext", "must not be an integer of more than 32 bits"),
        (r#""ext":-2147483649"#, "ext", "must not be an integer of more than 32 bits"),
        (r#""ext":[1,[2]]"#, "ext", "must not be an array"),
        (r#""ext":{"a":{"b":1}}"#, "ext", "must not be an object"),
        (
            r#""Ext":1"#,
            "Ext",
            "an attribute's name has only the letters a to z and the digits 0 to 9",
        ),
        (r#""":1"#, "", "an attribute's name has 1 to 64 bytes"),
        (r#""data_base64":"?""#, "data_base64", "is not Base64: "),
        (r#""data_base64":5"#, "data_base64", "must be a text"),
        (r#""data":1,"data_base64":"AA==""#, "data", "there is data_base64 besides it"),
        (
            r#""datacontenttype":"text/plain","data":{}"#,
            "data",
            "must be a text, because datacontenttype is text/plain",
        ),
        (
            r#""datacontenttype":"plain","data":{}"#,
            "datacontenttype",
            "`plain` is not a media type",
        ),
        (r#""datacontenttype":7,"data":{}"#, "datacontenttype", "must be a text"),
        (r#""partitionkey":7"#, "partitionkey", "must be a text that is not empty"),
    ] {
        let invalid = refused(&with(members));
        assert_eq!(invalid.attribute.as_deref(), Some(attribute), "{members}: {invalid}");
        assert!(invalid.reason.starts_with(reason), "{members}: {invalid}");
    }
}

#[test]
fn what_every_event_has_is_asked_for() {
    for (text, attribute, reason) in [
        ("{}", "specversion", "is missing"),
        (
            r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#,
            "specversion",
            "`0.3` is not 1.0",
        ),
        (r#"{"specversion":1.0,"id":"1","source":"/s","type":"t"}"#, "specversion", "must not be"),
        (r#"{"specversion":"1.0","source":"/s","type":"t"}"#, "id", "is missing"),
        (r#"{"specversion":"1.0","id":null,"source":"/s","type":"t"}"#, "id", "is missing"),
        (r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#, "id", "must not be empty"),
        (r#"{"specversion":"1.0","id":"1","type":"t"}"#, "source", "is missing"),
        (r#"{"specversion":"1.0","id":"1","source":"/s"}"#, "type", "is missing"),
    ] {
        let invalid = refused(text);
        assert_eq!(invalid.attribute.as_deref(), Some(attribute), "{text}: {invalid}");
        assert!(invalid.reason.starts_with(reason), "{text}: {invalid}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for text in ["", "null", "[]", "5", "{", "{\"id\":}", "{} {}", "{\"a\":\"\\ud800\"}"] {
        let invalid = refused(text);
        assert_eq!(invalid.attribute, None, "{text}: {invalid}");
        assert!(invalid.reason.starts_with("not a JSON object: "), "{text}: {invalid}");
    }
    let invalid = Event::from_json(b"{\"id\":\"\xff\"}").expect_err("not UTF-8");
    assert!(invalid.reason.starts_with("not JSON: invalid utf-8"), "{invalid}");
}

fn read_batch(text: &str) -> Result<Vec<Event>, InvalidEvent> {
    let events = Event::batch_from_json(&Bytes::copy_from_slice(text.as_bytes()))?;
    Ok(events.into_iter().map(|written| Arc::unwrap_or_clone(written.event)).collect())
}

#[test]
fn a_batch_is_read_and_written_whole() {
    let text = format!("[{},\n {}]", with(r#""data":1"#), with(r#""data_base64":"AA==""#));
    let events = read_batch(&text).expect("a batch");
    assert_eq!(events.len(), 2);
    let written = String::from_utf8(Event::batch_to_json(&events)).expect("JSON is UTF-8");
    assert_eq!(read_batch(&written).as_ref(), Ok(&events));
    assert_eq!(read_batch(" [ ] "), Ok(Vec::new()));
    assert_eq!(Event::batch_to_json(&[]), b"[]");
}

#[test]
fn a_batch_is_refused_with_the_event_that_is_wrong() {
    let batch = |event: &str| {
        let text = format!("[{},{event},{}]", with(r#""a":1"#), with(r#""b":[]"#));
        read_batch(&text).expect_err("a wrong event")
    };
    let invalid = batch(&with(r#""time":"now""#));
    assert_eq!((invalid.index, invalid.attribute.as_deref()), (Some(1), Some("time")));
    assert!(invalid.to_string().starts_with("event 1: time: `now` is not"), "{invalid}");
    let invalid = batch("5");
    assert_eq!((invalid.index, invalid.attribute), (Some(1), None));
    for text in ["{}", "[{]", "", "[{},"] {
        let invalid = read_batch(text).expect_err("no batch");
        assert_eq!((invalid.index, invalid.attribute.as_deref()), (None, None), "{text}");
    }
}
