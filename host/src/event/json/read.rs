//! From the JSON event format to an event, in one pass.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::attribute::shown;
use crate::event::draft::{Draft, twice};
use crate::event::media_type::{Content, content};
use crate::event::{Event, InvalidEvent, Value};

/// Reads one event.
pub(super) fn event(text: &str) -> Result<Event, InvalidEvent> {
    let members: Members<'_> = serde_json::from_str(text)
        .map_err(|error| InvalidEvent::whole(format!("not a JSON object: {error}")))?;
    members.finish()
}

/// An event's members. What is wrong with one of them is no error of the JSON,
/// so it is kept apart: the parser's errors could not name the attribute.
#[derive(Default)]
struct Members<'a> {
    draft: Draft,
    data: Option<&'a RawValue>,
    data_base64: Option<Cow<'a, str>>,
    wrong: Option<InvalidEvent>,
}

/// A member's name.
struct Name<'a>(Cow<'a, str>);

/// A member's value.
enum Member<'a> {
    /// `null`: as if it were not there.
    Unset,
    Text(Cow<'a, str>),
    Boolean(bool),
    Integer(i32),
    /// What no attribute can be.
    Other(&'static str),
}

impl<'a> Members<'a> {
    fn set_data(&mut self, value: &'a RawValue) -> Result<(), InvalidEvent> {
        self.data.replace(value).map_or(Ok(()), |_| Err(twice("data")))
    }

    fn set_base64(&mut self, value: Member<'a>) -> Result<(), InvalidEvent> {
        match value {
            Member::Unset => Ok(()),
            Member::Text(text) => {
                self.data_base64.replace(text).map_or(Ok(()), |_| Err(twice("data_base64")))
            }
            _ => Err(InvalidEvent::attribute("data_base64", "must be a text")),
        }
    }

    fn set(&mut self, name: &str, value: Member<'a>) -> Result<(), InvalidEvent> {
        let value = match value {
            Member::Unset => return Ok(()),
            Member::Text(text) => Value::Text(text.into()),
            Member::Boolean(boolean) => Value::Boolean(boolean),
            Member::Integer(integer) => Value::Integer(integer),
            Member::Other(what) => {
                let reason = format!("must not be {what}");
                return Err(InvalidEvent::attribute(shown(name), reason));
            }
        };
        self.draft.set(name, value)
    }

    fn finish(self) -> Result<Event, InvalidEvent> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let data = match (self.data, self.data_base64) {
            (None, None) => None,
            (Some(data), None) => Some(bytes_of(data, self.draft.data_content_type())?),
            (None, Some(text)) => {
                Some(STANDARD.decode(&*text).map(Bytes::from).map_err(|error| {
                    InvalidEvent::attribute("data_base64", format!("is not Base64: {error}"))
                })?)
            }
            (Some(_), Some(_)) => {
                return Err(InvalidEvent::attribute("data", "there is data_base64 besides it"));
            }
        };
        self.draft.finish(data)
    }
}

/// JSON stays the text that it is; anything else is the text in the JSON string.
fn bytes_of(data: &RawValue, content_type: Option<&str>) -> Result<Bytes, InvalidEvent> {
    if content(content_type) == Content::Json {
        return Ok(Bytes::copy_from_slice(data.get().as_bytes()));
    }
    serde_json::from_str::<String>(data.get()).map(Bytes::from).map_err(|_| {
        let content_type = content_type.unwrap_or_default();
        InvalidEvent::attribute(
            "data",
            format!("must be a text, because datacontenttype is {}", shown(content_type)),
        )
    })
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event as a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(Name(name)) = map.next_key()? {
                    let set = match &*name {
                        "data" => members.set_data(map.next_value()?),
                        "data_base64" => members.set_base64(map.next_value()?),
                        name => members.set(name, map.next_value()?),
                    };
                    if let Err(wrong) = set {
                        members.wrong.get_or_insert(wrong);
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

impl<'de> Deserialize<'de> for Member<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberReader)
    }
}

struct MemberReader;

impl<'de> Visitor<'de> for MemberReader {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute's value")
    }

    fn visit_unit<E: Error>(self) -> Result<Member<'de>, E> {
        Ok(Member::Unset)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Member<'de>, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Member<'de>, E> {
        Ok(Member::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E: Error>(self, boolean: bool) -> Result<Member<'de>, E> {
        Ok(Member::Boolean(boolean))
    }

    fn visit_i64<E: Error>(self, integer: i64) -> Result<Member<'de>, E> {
        Ok(i32::try_from(integer).map_or(OUT_OF_RANGE, Member::Integer))
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<Member<'de>, E> {
        Ok(i32::try_from(integer).map_or(OUT_OF_RANGE, Member::Integer))
    }

    fn visit_f64<E: Error>(self, _number: f64) -> Result<Member<'de>, E> {
        Ok(Member::Other("a number with a fraction or an exponent"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Member<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other("an object"))
    }
}

/// The type `Integer` has 32 bits.
const OUT_OF_RANGE: Member<'_> = Member::Other("an integer of more than 32 bits");
