//! A request's query parameters.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use http::Uri;
use serde::de::DeserializeOwned;

use super::field::{Field, integer_in, named};
use super::typed;
use crate::problem::Problem;

/// The query's parameters, decoded (`%20` and `+` are spaces); those that
/// nobody asks for are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Query<'r>(&'r str);

impl<'r> Query<'r> {
    /// The parameters of this URI.
    #[must_use]
    pub fn of(uri: &'r Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// All of them, as a type whose fields are named as they are:
    ///
    /// ```
    /// use hotdock_sdk::testing::request;
    /// use serde::Deserialize;
    ///
    /// #[derive(Debug, Deserialize, PartialEq)]
    /// struct Page {
    ///     user: String,
    ///     #[serde(default)]
    ///     skip: u32,
    ///     limit: Option<u32>,
    /// }
    ///
    /// let page: Page = request("GET", "/?user=ann&skip=20", "").query().parse()?;
    /// assert_eq!(page, Page { user: "ann".to_owned(), skip: 20, limit: None });
    /// let wrong = request("GET", "/?user=ann&limit=x", "").query().parse::<Page>().unwrap_err();
    /// assert_eq!(wrong.field(), Some("limit"));
    /// # Ok::<_, hotdock_sdk::problem::Problem>(())
    /// ```
    ///
    /// # Errors
    /// 400, naming the parameter, if one is missing, repeated or not what the type has there.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        typed::of_query(self.0)
    }

    /// The parameter's value, if it is given.
    ///
    /// # Errors
    /// 400, naming the parameter, if it is given more than once.
    pub fn get(&self, name: &str) -> Result<Option<Cow<'r, str>>, Problem> {
        let parameters = form_urlencoded::parse(self.0.as_bytes());
        let mut values = parameters.filter(|(known, _)| known == name).map(|(_, value)| value);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Problem::bad_request(name, format!("`{name}` is given more than once"))),
        }
    }

    /// What is in `name`.
    ///
    /// # Errors
    /// 400, naming the parameter, if it is missing, repeated or no `T`.
    pub fn required<T: Field>(&self, name: &str) -> Result<T, Problem> {
        self.optional(name)?
            .ok_or_else(|| Problem::bad_request(name, format!("the query's `{name}` is missing")))
    }

    /// What is in `name`, if the parameter is given.
    ///
    /// # Errors
    /// 400, naming the parameter, if it is repeated or no `T`.
    pub fn optional<T: Field>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.get(name)?.map(|text| named(name, T::of_text(&text))).transpose()
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
    use std::borrow::Cow;

    use http::Uri;

    use super::Query;
    use crate::problem::Problem;

    fn uri(text: &'static str) -> Uri {
        Uri::from_static(text)
    }

    #[test]
    fn parameters_are_decoded() {
        let uri = uri("/cart?user_id=a%20b+c%C3%BC&x=1%262&empty");
        let query = Query::of(&uri);
        let get = |name| query.get(name).map(|value| value.map(Cow::into_owned));
        assert_eq!(get("user_id"), Ok(Some("a b cü".to_owned())));
        assert_eq!(get("x"), Ok(Some("1&2".to_owned())));
        assert_eq!(get("empty"), Ok(Some(String::new())));
        assert_eq!(get("other"), Ok(None));
    }

    #[test]
    fn a_parameter_is_read_by_its_type() {
        let uri = uri("/?a=x&b=true&c=-7&d=");
        let query = Query::of(&uri);
        assert_eq!(query.required::<String>("a").as_deref(), Ok("x"));
        assert_eq!(query.required("b"), Ok(true));
        assert_eq!(query.required("c"), Ok(-7));
        assert_eq!(query.optional::<i64>("e"), Ok(None));
        let detail = |read: Result<i64, Problem>| {
            let problem = read.expect_err("it is wrong");
            (problem.field().map(str::to_owned), problem.detail().to_owned())
        };
        let named = |field: &str, detail: &str| (Some(field.to_owned()), detail.to_owned());
        assert_eq!(detail(query.required("e")), named("e", "the query's `e` is missing"));
        assert_eq!(detail(query.required("d")), named("d", "`d` must be an integer"));
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        let uri = uri("/cart?user_id=7&user_id=8");
        let problem = Query::of(&uri).get("user_id").expect_err("it is there twice");
        assert_eq!(problem.field(), Some("user_id"));
        assert_eq!(problem.detail(), "`user_id` is given more than once");
    }

    #[test]
    fn an_integer_is_in_its_range() {
        let range = 1..=500;
        let integer = |text| Query::of(&uri(text)).integer("limit", &range);
        assert_eq!(integer("/?limit=500"), Ok(Some(500)));
        assert_eq!(integer("/"), Ok(None));
        for text in
            ["/?limit=0", "/?limit=501", "/?limit=x", "/?limit=", "/?limit=1.5", "/?limit=-1"]
        {
            assert!(integer(text).is_err(), "{text}");
        }
    }
}
