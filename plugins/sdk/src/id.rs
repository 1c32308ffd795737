//! Identifiers as JSON has them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::problem::Problem;
use crate::sql::Value;

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
    /// The identifier that a body has in `field`.
    ///
    /// # Errors
    /// 400, naming the field, if it is none.
    pub fn of_json(field: &str, value: &Json) -> Result<Self, Problem> {
        match value {
            Json::String(text) => Self::of_text(field, text),
            Json::Number(number) => number.as_i64().map(Self::Integer).ok_or_else(|| {
                Problem::bad_request(
                    field,
                    format!("`{field}` must be an integer of 64 bits or a string"),
                )
            }),
            _ => Err(Problem::bad_request(
                field,
                format!("`{field}` must be an integer or a string"),
            )),
        }
    }

    /// The identifier that a query has in `field`.
    ///
    /// # Errors
    /// 400, naming the field, if it is none.
    pub fn of_text(field: &str, text: &str) -> Result<Self, Problem> {
        let wrong = if text.is_empty() {
            "must not be empty"
        } else if text.len() > MAX_ID_BYTES {
            "must have at most 256 bytes"
        } else if text.chars().any(char::is_control) {
            "must have no control characters"
        } else {
            return Ok(Self::Text(text.to_owned()));
        };
        Err(Problem::bad_request(field, format!("`{field}` {wrong}")))
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
    use serde_json::json;

    use super::{Id, MAX_ID_BYTES};

    #[test]
    fn an_id_is_kept_as_it_came() {
        for value in [json!(7), json!(-7), json!(0), json!("7"), json!("a b/ü"), json!(i64::MAX)] {
            let id = Id::of_json("id", &value).expect("this is an id");
            assert_eq!(serde_json::to_value(id).ok(), Some(value));
        }
    }

    #[test]
    fn an_integer_and_its_text_look_the_same() {
        let ids =
            [json!(7), json!("7")].map(|value| Id::of_json("id", &value).expect("this is an id"));
        assert_eq!(ids[0].to_string(), ids[1].to_string());
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn what_is_no_id_is_refused_with_the_fields_name() {
        let long = "x".repeat(MAX_ID_BYTES + 1);
        let wrong = [
            json!(null),
            json!(true),
            json!(7.0),
            json!(u64::MAX),
            json!([7]),
            json!({}),
            json!(""),
            json!(long),
            json!("a\nb"),
            json!("\0"),
            json!("\u{85}"),
        ];
        for value in wrong {
            let problem = Id::of_json("user_id", &value).expect_err("this is no id");
            assert_eq!(
                (problem.status().as_u16(), problem.field()),
                (400, Some("user_id")),
                "{value}"
            );
        }
        assert!(Id::of_text("id", &"x".repeat(MAX_ID_BYTES)).is_ok());
    }
}
