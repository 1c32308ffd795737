//! A body that is a JSON object.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::field::{Field, integer_in, named};
use crate::problem::Problem;

/// A JSON object's fields, for services that read them one by one, because which is refused
/// first and in what words is their contract; others take [`Request::json`](super::Request::json).
/// Fields that nobody asks for are ignored. `null` is a value like any other, not an absent field.
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

    /// Whether `field` is there, whatever is in it.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// What is in `field`.
    ///
    /// # Errors
    /// 400, naming the field, if it is missing or no `T`.
    pub fn required<T: Field>(&self, field: &str) -> Result<T, Problem> {
        self.optional(field)?.ok_or_else(|| missing(field))
    }

    /// What is in `field`, if the field is there.
    ///
    /// # Errors
    /// 400, naming the field, if it is no `T`.
    pub fn optional<T: Field>(&self, field: &str) -> Result<Option<T>, Problem> {
        self.0.get(field).map(|value| named(field, T::of_json(value))).transpose()
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
    use crate::problem::Problem;

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
    fn a_field_is_read_by_its_type() {
        let fields = Fields::of(br#"{"a":"x","b":true,"c":-7,"d":null}"#).expect("an object");
        assert_eq!(fields.required::<String>("a").as_deref(), Ok("x"));
        assert_eq!(fields.required("b"), Ok(true));
        assert_eq!(fields.required("c"), Ok(-7));
        assert_eq!(fields.optional::<bool>("e"), Ok(None));
        assert_eq!(["d", "e"].map(|field| fields.has(field)), [true, false]);
        let detail = |read: Result<String, Problem>| {
            let problem = read.expect_err("it is wrong");
            (problem.field().map(str::to_owned), problem.detail().to_owned())
        };
        let named = |field: &str, detail: &str| (Some(field.to_owned()), detail.to_owned());
        assert_eq!(detail(fields.required("e")), named("e", "the body's `e` is missing"));
        assert_eq!(detail(fields.required("d")), named("d", "`d` must be a string"));
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
