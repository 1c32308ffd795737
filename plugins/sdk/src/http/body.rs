//! A body that is a JSON object.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::http::integer_in;
use crate::id::Id;
use crate::problem::Problem;

/// A JSON object's fields; those that nobody asks for are ignored. `null` is a
/// value like any other, not an absent field.
#[derive(Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body, whatever its `Content-Type` is.
    ///
    /// # Errors
    /// 400 if it is not JSON, or not an object.
    pub fn of(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Problem::malformed("the body must be a JSON object")),
            Err(error) => Err(Problem::malformed(format!("the body is not JSON: {error}"))),
        }
    }

    /// As [`Fields::of`], but an empty body has no fields.
    ///
    /// # Errors
    /// As [`Fields::of`].
    pub fn of_optional(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() { Ok(Self::default()) } else { Self::of(body) }
    }

    /// The identifier in `field`.
    ///
    /// # Errors
    /// 400, naming the field, if it is missing or no identifier.
    pub fn id(&self, field: &str) -> Result<Id, Problem> {
        self.optional_id(field)?.ok_or_else(|| missing(field))
    }

    /// The identifier in `field`, if the field is there.
    ///
    /// # Errors
    /// 400, naming the field, if it is no identifier.
    pub fn optional_id(&self, field: &str) -> Result<Option<Id>, Problem> {
        self.0.get(field).map(|value| Id::of_json(field, value)).transpose()
    }

    /// The integer in `field`.
    ///
    /// # Errors
    /// 400, naming the field, if it is missing, no integer or out of `range`.
    pub fn integer(&self, field: &str, range: &RangeInclusive<i64>) -> Result<i64, Problem> {
        let value = self.0.get(field).ok_or_else(|| missing(field))?;
        integer_in(field, value.as_i64(), range)
    }
}

fn missing(field: &str) -> Problem {
    Problem::bad_request(field, format!("the body's `{field}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn only_a_json_object_has_fields() {
        for body in ["", "{", "[]", "7", "null", "\"x\"", "{} {}", "user_id=7", "{\"a\":\u{1}}"] {
            let problem = Fields::of(body.as_bytes()).expect_err("this is no object");
            assert_eq!((problem.status().as_u16(), problem.field()), (400, None), "{body}");
        }
        assert!(Fields::of(b"\xff").is_err());
    }

    #[test]
    fn an_empty_body_may_be_allowed() {
        assert!(Fields::of_optional(b"").is_ok());
        assert!(Fields::of_optional(b"{").is_err());
    }

    #[test]
    fn an_integer_is_exact_and_in_range() {
        let read = |text: &str| Fields::of(text.as_bytes())?.integer("n", &(1..=10));
        assert_eq!(read(r#"{"n":1,"m":[]}"#), Ok(1));
        assert_eq!(read(r#"{"n":10}"#), Ok(10));
        for wrong in
            ["0", "11", "-1", "1.0", "1e0", "\"1\"", "null", "true", "99999999999999999999"]
        {
            let problem = read(&format!("{{\"n\":{wrong}}}")).expect_err("this is out of range");
            assert_eq!(problem.field(), Some("n"), "{wrong}");
        }
        assert_eq!(read("{}").expect_err("it is missing").field(), Some("n"));
    }
}
