//! What the fields of a query or a body are read into, one by one.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::problem::Problem;

/// What is wrong with a field, said after its name: `must not be empty`.
pub type Wrong = Cow<'static, str>;

/// What a field of a query or a body can be read into. A service has its own where the words
/// of a refusal are part of its contract.
pub trait Field: Sized {
    /// Reads a parameter of a query, decoded.
    ///
    /// # Errors
    /// It is none.
    fn of_text(text: &str) -> Result<Self, Wrong>;

    /// Reads a field of a body.
    ///
    /// # Errors
    /// It is none.
    fn of_json(value: &Value) -> Result<Self, Wrong>;
}

impl Field for String {
    fn of_text(text: &str) -> Result<Self, Wrong> {
        Ok(text.to_owned())
    }

    fn of_json(value: &Value) -> Result<Self, Wrong> {
        value.as_str().map(str::to_owned).ok_or_else(|| "must be a string".into())
    }
}

impl Field for bool {
    fn of_text(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| "must be true or false".into())
    }

    fn of_json(value: &Value) -> Result<Self, Wrong> {
        value.as_bool().ok_or_else(|| "must be true or false".into())
    }
}

impl Field for i64 {
    fn of_text(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| "must be an integer".into())
    }

    fn of_json(value: &Value) -> Result<Self, Wrong> {
        value.as_i64().ok_or_else(|| "must be an integer".into())
    }
}

/// Names the field that is wrong.
pub(super) fn named<T>(field: &str, read: Result<T, Wrong>) -> Result<T, Problem> {
    read.map_err(|wrong| Problem::bad_request(field, format!("`{field}` {wrong}")))
}

pub(super) fn integer_in(
    field: &str,
    number: Option<i64>,
    range: &RangeInclusive<i64>,
) -> Result<i64, Problem> {
    named(
        field,
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            format!("must be an integer from {} to {}", range.start(), range.end()).into()
        }),
    )
}
