//! Events of every kind, the same in every run.

use super::*;
use crate::event::binding;

const EVENTS: usize = 3_000;

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(2) == 0 { None } else { Some(make(self)) }
    }

    fn text(&mut self) -> CompactString {
        const PIECES: &[&str] =
            &["a", "Z", "0", "/", " ", "\"", "\\", "%", "%41", "é", "€", "😀", "\u{A0}", "'", "+"];
        let length = 1 + self.below(8);
        (0..length).map(|_| self.one_of(PIECES)).collect()
    }

    fn event(&mut self) -> Event {
        let mut extensions = Extensions::new();
        for _ in 0..self.below(4) {
            let name: CompactString =
                (0..=self.below(20)).map(|_| self.one_of(&["x", "y", "0"])).collect();
            let value = match self.below(3) {
                0 => Value::Boolean(self.below(2) == 0),
                1 => Value::Integer((self.next() >> 32) as u32 as i32),
                _ => Value::Text(self.maybe(Self::text).unwrap_or_default()),
            };
            extensions.insert(name, value);
        }
        let data_content_type = self.maybe(|numbers| {
            const TYPES: &[&str] = &[
                "application/json",
                "application/vnd.x+json",
                "text/plain",
                "text/plain; charset=latin1",
                "application/xml",
                "application/octet-stream",
            ];
            numbers.one_of(TYPES).into()
        });
        Event {
            id: self.text(),
            source: self.one_of(&["/s", "urn:a:b", "https://a.example/?q#f", "a%20b"]).into(),
            event_type: self.text(),
            subject: self.maybe(Self::text),
            time: self.maybe(|_| "2018-04-05T17:31:00.5+01:00".into()),
            data_schema: self.maybe(|_| "urn:schema".into()),
            extensions,
            data: self.data(),
            data_content_type,
        }
    }

    /// Never only white space, nor with any around it: JSON doesn't keep that.
    fn data(&mut self) -> Option<Bytes> {
        self.maybe(|numbers| match numbers.below(4) {
            0 => Bytes::from_static(br#"{"a" : [1.0, "\u00e9", null ]}"#),
            1 => Bytes::from(format!("\"{}\"", numbers.below(1000))),
            2 => Bytes::from(format!("<{}>", numbers.text())),
            _ => {
                let length = 1 + numbers.below(50);
                let bytes = (0..length).map(|_| (numbers.next() % 256) as u8).chain([b'.']);
                std::iter::once(b'.').chain(bytes).collect()
            }
        })
    }
}

#[test]
fn an_event_is_the_same_after_the_json_format() {
    let mut numbers = Numbers(1);
    let events: Vec<Event> = (0..EVENTS).map(|_| numbers.event()).collect();
    for event in &events {
        let text = event.to_json();
        assert_eq!(
            Event::from_json(&text).as_ref(),
            Ok(event),
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
    let batch = binding::batch(&events);
    assert_eq!(receive(&batch.headers, &batch.body), Ok(events));
}

#[test]
fn an_event_is_the_same_after_http() {
    let mut numbers = Numbers(2);
    for _ in 0..EVENTS {
        let mut event = numbers.event();
        let message = binding::structured(&event);
        assert_eq!(receive(&message.headers, &message.body), Ok(vec![event.clone()]));
        let message = binding::binary(&event).expect("an event");
        // A header says no type, and what is implied elsewhere is said.
        for (_, value) in event.extensions.iter_mut() {
            *value = match value {
                Value::Boolean(boolean) => Value::Text(boolean.to_string().into()),
                Value::Integer(integer) => Value::Text(integer.to_string().into()),
                Value::Text(text) => Value::Text(std::mem::take(text)),
            };
        }
        if let Some(said) = message.headers.get(http::header::CONTENT_TYPE) {
            event.data_content_type = said.to_str().ok().map(Into::into);
        }
        assert_eq!(receive(&message.headers, &message.body), Ok(vec![event]));
    }
}

#[test]
fn a_text_that_broke_is_read_without_a_panic() {
    let mut numbers = Numbers(3);
    for _ in 0..EVENTS {
        let mut text = numbers.event().to_json();
        for _ in 0..=numbers.below(3) {
            let place = numbers.below(text.len());
            text[place] = (numbers.next() % 256) as u8;
        }
        text.truncate(1 + numbers.below(2 * text.len()));
        if let Ok(event) = Event::from_json(&text) {
            event.check().expect("what was read keeps the rules");
            assert_eq!(Event::from_json(&event.to_json()), Ok(event));
        }
    }
}
