//! A request's query parameters.

use std::ops::RangeInclusive;

use http::Uri;

use crate::http::integer_in;
use crate::id::Id;
use crate::problem::Problem;

/// The query's parameters, decoded (`%20` and `+` are spaces); those that
/// nobody asks for are ignored.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters of this URI.
    #[must_use]
    pub fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The parameter's value, if it is given.
    ///
    /// # Errors
    /// 400, naming the parameter, if it is given more than once.
    pub fn get(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values =
            self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Problem::bad_request(name, format!("`{name}` is given more than once"))),
        }
    }

    /// The identifier in `name`.
    ///
    /// # Errors
    /// 400, naming the parameter, if it is missing, repeated or no identifier.
    pub fn id(&self, name: &str) -> Result<Id, Problem> {
        self.optional_id(name)?
            .ok_or_else(|| Problem::bad_request(name, format!("the query's `{name}` is missing")))
    }

    /// The identifier in `name`, if the parameter is given.
    ///
    /// # Errors
    /// 400, naming the parameter, if it is repeated or no identifier.
    pub fn optional_id(&self, name: &str) -> Result<Option<Id>, Problem> {
        self.get(name)?.map(|text| Id::of_text(name, text)).transpose()
    }

    /// The integer in `name`, if the parameter is given.
    ///
    /// # Errors
    /// 400, naming the parameter, if it is repeated, no integer or out of `range`.
    pub fn integer(&self, name: &str, range: &RangeInclusive<i64>) -> Result<Option<i64>, Problem> {
        self.get(name)?.map(|text| integer_in(name, text.parse().ok(), range)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::Query;

    fn query(text: &'static str) -> Query {
        Query::of(&Uri::from_static(text))
    }

    #[test]
    fn parameters_are_decoded() {
        let query = query("/cart?user_id=a%20b+c%C3%BC&x=1%262&empty");
        assert_eq!(query.get("user_id"), Ok(Some("a b cü")));
        assert_eq!(query.get("x"), Ok(Some("1&2")));
        assert_eq!(query.get("empty"), Ok(Some("")));
        assert_eq!(query.get("other"), Ok(None));
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        let query = query("/cart?user_id=7&user_id=8");
        assert_eq!(query.id("user_id").expect_err("it is there twice").field(), Some("user_id"));
    }

    #[test]
    fn a_missing_or_empty_id_is_refused_with_its_name() {
        for text in ["/order", "/order?", "/order?user_id=", "/order?user_id=%00"] {
            let problem = query(text).id("user_id").expect_err("there is no id");
            assert_eq!(problem.field(), Some("user_id"), "{text}");
        }
    }

    #[test]
    fn an_integer_is_in_its_range() {
        let range = 1..=500;
        assert_eq!(query("/?limit=500").integer("limit", &range), Ok(Some(500)));
        assert_eq!(query("/").integer("limit", &range), Ok(None));
        for text in
            ["/?limit=0", "/?limit=501", "/?limit=x", "/?limit=", "/?limit=1.5", "/?limit=-1"]
        {
            assert!(query(text).integer("limit", &range).is_err(), "{text}");
        }
    }
}
