//! Identifiers as JSON has them.

use std::fmt;

use hotdock_sdk::http::{Field, Wrong};
use hotdock_sdk::sql::Value;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Bytes that a string identifier may have.
pub const MAX_ID_BYTES: usize = 256;

/// An identifier: an integer of 64 bits, or a string that is not empty, has at
/// most [`MAX_ID_BYTES`] bytes and no control characters. It is kept as it came.
///
/// A query string cannot tell 7 from "7", so identifiers that are to be found
/// by a query are compared by their text: see [`Id::to_string`](ToString).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A JSON integer.
    Integer(i64),
    /// A JSON string.
    Text(String),
}

impl Id {
    /// This identifier, where it did not come as JSON or in a query and nobody has looked at
    /// it yet: as an argument of a call.
    ///
    /// # Errors
    /// It is none. The text says so with the argument's name.
    pub fn checked(self, argument: &str) -> Result<Self, String> {
        match self {
            Self::Integer(_) => Ok(self),
            Self::Text(text) => {
                Self::of_text(&text).map_err(|wrong| format!("`{argument}` {wrong}"))
            }
        }
    }
}

impl Field for Id {
    fn of_text(text: &str) -> Result<Self, Wrong> {
        let wrong = if text.is_empty() {
            "must not be empty"
        } else if text.len() > MAX_ID_BYTES {
            "must have at most 256 bytes"
        } else if text.chars().any(char::is_control) {
            "must have no control characters"
        } else {
            return Ok(Self::Text(text.to_owned()));
        };
        Err(wrong.into())
    }

    fn of_json(value: &Json) -> Result<Self, Wrong> {
        match value {
            Json::String(text) => Self::of_text(text),
            Json::Number(number) => number
                .as_i64()
                .map(Self::Integer)
                .ok_or_else(|| "must be an integer of 64 bits or a string".into()),
            _ => Err("must be an integer or a string".into()),
        }
    }
}

/// As a client sends a text, without a look at it: for what the service itself names, and tests.
impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<Id> for Value {
    fn from(id: Id) -> Self {
        match id {
            Id::Integer(number) => Self::Integer(number),
            Id::Text(text) => Self::Text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use hotdock_sdk::http::{Field, Fields, Query, Uri};
    use serde_json::json;

    use super::{Id, MAX_ID_BYTES};

    #[test]
    fn an_id_is_kept_as_it_came() {
        for value in [json!(7), json!(-7), json!(0), json!("7"), json!("a b/ü"), json!(i64::MAX)] {
            let id = Id::of_json(&value).expect("this is an id");
            assert_eq!(serde_json::to_value(id).ok(), Some(value));
        }
    }

    #[test]
    fn an_integer_and_its_text_look_the_same() {
        let ids = [json!(7), json!("7")].map(|value| Id::of_json(&value).expect("this is an id"));
        assert_eq!(ids[0].to_string(), ids[1].to_string());
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn what_is_no_id_in_a_body_is_refused_with_its_name_and_why() {
        let long = "x".repeat(MAX_ID_BYTES + 1);
        let neither = "must be an integer or a string";
        let number = "must be an integer of 64 bits or a string";
        let control = "must have no control characters";
        let wrong = [
            (json!(null), neither),
            (json!(true), neither),
            (json!(7.0), number),
            (json!(u64::MAX), number),
            (json!([7]), neither),
            (json!({}), neither),
            (json!(""), "must not be empty"),
            (json!(long), "must have at most 256 bytes"),
            (json!("a\nb"), control),
            (json!("\0"), control),
            (json!("\u{85}"), control),
        ];
        for (value, why) in wrong {
            let body = json!({ "user_id": value }).to_string();
            let fields = Fields::of(body.as_bytes()).expect("an object");
            let problem = fields.required::<Id>("user_id").expect_err("this is no id");
            assert_eq!(
                (problem.status().as_u16(), problem.field(), problem.detail()),
                (400, Some("user_id"), format!("`user_id` {why}").as_str()),
                "{value}"
            );
        }
        assert!(Id::of_text(&"x".repeat(MAX_ID_BYTES)).is_ok());
    }

    #[test]
    fn what_is_no_id_in_a_call_is_refused_with_its_name_and_why() {
        assert_eq!(Id::Integer(-7).checked("user"), Ok(Id::Integer(-7)));
        assert_eq!(Id::from("7").checked("user"), Ok(Id::from("7")));
        let refused = |text: &str| Id::from(text).checked("user");
        assert_eq!(refused(""), Err("`user` must not be empty".to_owned()));
        assert_eq!(refused("\n"), Err("`user` must have no control characters".to_owned()));
    }

    #[test]
    fn what_is_no_id_in_a_query_is_refused_with_its_name_and_why() {
        let cases = [
            ("/order", "the query's `user_id` is missing"),
            ("/order?", "the query's `user_id` is missing"),
            ("/order?user_id=", "`user_id` must not be empty"),
            ("/order?user_id=%00", "`user_id` must have no control characters"),
            ("/order?user_id=7&user_id=8", "`user_id` is given more than once"),
        ];
        for (uri, detail) in cases {
            let uri = Uri::from_static(uri);
            let problem = Query::of(&uri).required::<Id>("user_id").expect_err("there is no id");
            assert_eq!((problem.field(), problem.detail()), (Some("user_id"), detail), "{uri}");
        }
    }
}
