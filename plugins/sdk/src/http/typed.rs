//! A body or a query that is read into a type as a whole.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use crate::problem::Problem;

pub(super) fn of_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        if !error.is_data() {
            return Problem::malformed(format!("the body is not JSON: {error}"));
        }
        // Where it is wrong costs something to know, so it is only found out now.
        let mut json = serde_json::Deserializer::from_slice(body);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Err(error) => wrong("body", error.path(), &error.inner().to_string()),
            Ok(_) => Problem::malformed(format!("the body: {error}")),
        }
    })
}

pub(super) fn of_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let parameters = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(parameters))
        .map_err(|error| wrong("query", error.path(), &error.inner().to_string()))
}

/// 400 that names the field, where it is known.
fn wrong(place: &str, path: &Path, error: &str) -> Problem {
    let is_known = path.iter().any(|segment| !matches!(segment, Segment::Unknown));
    let within = is_known.then(|| path.to_string());
    // The path of a field that isn't there, or is too much, is that of what should have it.
    let field = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|what| error.strip_prefix(what)?.split('`').next());
    let field = match (within, field) {
        (Some(within), Some(field)) if !is_field(&within, field) => format!("{within}.{field}"),
        (Some(within), _) => within,
        (None, Some(field)) => field.to_owned(),
        (None, None) => return Problem::malformed(format!("the {place}: {error}")),
    };
    Problem::bad_request(&field, format!("the {place}'s `{field}`: {error}"))
}

/// Whether the path leads to the field already.
fn is_field(path: &str, field: &str) -> bool {
    path.rsplit('.').next() == Some(field)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{of_json, of_query};
    use crate::problem::Problem;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Order {
        user: String,
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Item {
        quantity: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Page {
        user: String,
        #[serde(default)]
        limit: u32,
        before: Option<u64>,
    }

    fn refused<T: std::fmt::Debug>(read: Result<T, Problem>) -> (Option<String>, String) {
        let problem = read.expect_err("it is wrong");
        assert_eq!(problem.status(), 400);
        (problem.field().map(str::to_owned), problem.detail().to_owned())
    }

    #[test]
    fn a_body_is_read_into_a_type() {
        let body = br#"{"user":"7","items":[{"quantity":2}],"more":null}"#;
        let order = Order { user: "7".to_owned(), items: vec![Item { quantity: 2 }] };
        assert_eq!(of_json(body), Ok(order));
        assert_eq!(of_json(b"[1,2]"), Ok((1, 2)));
    }

    #[test]
    fn the_field_of_a_body_that_is_wrong_is_named() {
        let cases = [
            ("{}", "user"),
            (r#"{"user":7}"#, "user"),
            (r#"{"user":"7"}"#, "items"),
            (r#"{"user":"7","user":"8"}"#, "user"),
            (r#"{"user":"7","items":[{}]}"#, "items[0].quantity"),
            (r#"{"user":"7","items":[{"quantity":1},{"quantity":-1}]}"#, "items[1].quantity"),
            (r#"{"user":"7","items":[{"quantity":1,"x":1}]}"#, "items[0].x"),
        ];
        for (body, field) in cases {
            let (named, detail) = refused(of_json::<Order>(body.as_bytes()));
            assert_eq!(named.as_deref(), Some(field), "{body}: {detail}");
            assert!(detail.starts_with(&format!("the body's `{field}`: ")), "{body}: {detail}");
        }
    }

    #[test]
    fn a_body_that_is_no_such_json_is_refused_as_a_whole() {
        for body in ["", "{", "user=7"] {
            let (field, detail) = refused(of_json::<Order>(body.as_bytes()));
            assert_eq!(field, None, "{body}");
            assert!(detail.starts_with("the body"), "{body}: {detail}");
        }
        assert_eq!(refused(of_json::<Order>(b"7")).0, None);
    }

    #[test]
    fn a_query_is_read_into_a_type() {
        let page = |limit, before| Ok(Page { user: "a b".to_owned(), limit, before });
        assert_eq!(of_query("user=a%20b&limit=5&more"), page(5, None));
        assert_eq!(of_query("user=a+b&before=9"), page(0, Some(9)));
        assert_eq!(of_query(""), Ok(()));
    }

    #[test]
    fn the_parameter_of_a_query_that_is_wrong_is_named() {
        let cases = [
            ("", "user"),
            ("user=7&user=8", "user"),
            ("user=7&limit=-1", "limit"),
            ("user=7&limit=", "limit"),
            ("user=7&before=x", "before"),
        ];
        for (query, field) in cases {
            let (named, detail) = refused(of_query::<Page>(query));
            assert_eq!(named.as_deref(), Some(field), "{query}: {detail}");
        }
    }
}
