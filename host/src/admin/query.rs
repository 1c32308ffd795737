//! Query parameters, held against the document of the API (`openapi`): those that it doesn't have
//! are refused, and those that are of another type, each in words. Under `/v1` only: probes,
//! scrapers and senders of events have parameters of their own, which mean nothing here.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::form_urlencoded;
use utoipa::openapi::OpenApi;

use super::problem::Problem;

/// Where unknown parameters are refused.
const CHECKED: &str = "/v1/";

/// What is allowed, by path and method.
pub(super) type Known = Arc<BTreeMap<(String, String), Parameters>>;

/// What each of an operation's parameters may be, by name.
type Parameters = BTreeMap<String, Kind>;

/// What a value may be, as the document says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    is_integer: bool,
    is_boolean: bool,
    least: Option<u64>,
    most: Option<u64>,
    words: Vec<String>,
}

/// All query parameters that there are.
pub(super) fn known(api: &OpenApi) -> Known {
    let document = serde_json::to_value(api).expect("it is JSON");
    let mut known = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let of_query = parameters.filter(|parameter| parameter["in"] == "query");
            let named = of_query.filter_map(|parameter| {
                Some((parameter["name"].as_str()?.to_owned(), Kind::of(&parameter["schema"])))
            });
            known.insert((path.clone(), method.to_uppercase()), named.collect());
        }
    }
    Arc::new(known)
}

/// What is asked for, as it is known by: `HEAD` is `GET` without its content.
pub(super) fn operation(path: &MatchedPath, method: &Method) -> (String, String) {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    (path.as_str().to_owned(), method.to_owned())
}

/// Answers a request whose query is wrong; lets others through.
pub(super) async fn check(
    State(known): State<Known>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    if let Some(path) = path.filter(|path| path.as_str().starts_with(CHECKED))
        && !query.is_empty()
        // Where there is no such method, that is what is said.
        && let Some(known) = known.get(&operation(&path, request.method()))
    {
        let wrong = wrong(query, known);
        if !wrong.is_empty() {
            return Problem::bad_request(wrong.join("; ")).into_response();
        }
    }
    next.run(request).await
}

/// All that is wrong with a query.
fn wrong(query: &str, known: &Parameters) -> Vec<String> {
    let mut said = BTreeMap::<String, u32>::new();
    let mut wrong = Vec::new();
    if percent_decode_str(query).decode_utf8().is_err() {
        wrong.push("the query is not UTF-8 once its percent-encoding is undone".to_owned());
    }
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let times = said.entry(name.to_string()).or_default();
        *times += 1;
        match known.get(&*name) {
            _ if *times > 2 => {}
            Some(_) if *times == 2 => wrong.push(format!("{name}: it is said more than once")),
            None if *times == 1 => wrong.push(unknown(&name, known)),
            None => {}
            Some(kind) if kind.fits(&value) => {}
            Some(kind) => wrong.push(format!("{name}: must be {}; found: `{value}`", kind.words())),
        }
    }
    wrong
}

fn unknown(name: &str, known: &Parameters) -> String {
    let names: Vec<_> = known.keys().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => format!("`{name}` is no parameter of this: there are none"),
        Some((only, [])) => format!("`{name}` is no parameter of this: there is {only}"),
        Some((last, others)) => {
            let others = others.join(", ");
            format!("`{name}` is no parameter of this: there are {others} and {last}")
        }
    }
}

impl Kind {
    fn of(schema: &Value) -> Self {
        // One that may be left out is a type or null, or one of two schemas.
        let one_of = ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|of| schema[of].as_array());
        let schemas = || one_of.clone().flatten().chain([schema]);
        let is = |kind: &str| {
            let has = |types: &Vec<Value>| types.iter().any(|it| it == kind);
            schemas().any(|it| it["type"] == kind || it["type"].as_array().is_some_and(has))
        };
        let words = schemas().filter_map(|schema| schema["enum"].as_array()).flatten();
        Self {
            is_integer: is("integer"),
            is_boolean: is("boolean"),
            least: schemas().find_map(|schema| schema["minimum"].as_u64()),
            most: schemas().find_map(|schema| schema["maximum"].as_u64()),
            words: words.filter_map(|word| Some(word.as_str()?.to_owned())).collect(),
        }
    }

    fn fits(&self, value: &str) -> bool {
        if self.is_integer {
            let (least, most) = (self.least.unwrap_or(0), self.most.unwrap_or(u64::MAX));
            return value.parse().is_ok_and(|number: u64| (least..=most).contains(&number));
        }
        if self.is_boolean {
            return matches!(value, "true" | "false");
        }
        self.words.is_empty() || self.words.iter().any(|word| word == value)
    }

    fn words(&self) -> String {
        match (self.least.unwrap_or(0), self.most) {
            (least, Some(most)) if self.is_integer => {
                format!("a whole number from {least} to {most}")
            }
            (least, None) if self.is_integer => format!("a whole number from {least} on"),
            _ if self.is_boolean => "true or false".to_owned(),
            _ => format!("one of {}", self.words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_with_what_there_is() {
        let number = Kind { is_integer: true, least: Some(1), most: Some(10), ..Kind::default() };
        let level = Kind { words: vec!["info".into(), "warn".into()], ..Kind::default() };
        let known = BTreeMap::from([
            ("after".to_owned(), Kind { is_integer: true, ..Kind::default() }),
            ("level".to_owned(), level),
            ("limit".to_owned(), number),
            ("name".to_owned(), Kind::default()),
        ]);
        assert_eq!(wrong("after=7&limit=10&level=warn&name=a%20b", &known), [""; 0]);
        let found = wrong("after=x&limit=0&level=loud&nam=a&nam=b&name=a&name=a&name=a", &known);
        let expected = [
            "after: must be a whole number from 0 on; found: `x`",
            "limit: must be a whole number from 1 to 10; found: `0`",
            "level: must be one of info, warn; found: `loud`",
            "`nam` is no parameter of this: there are `after`, `level`, `limit` and `name`",
            "name: it is said more than once",
        ];
        assert_eq!(found, expected);
        assert_eq!(
            wrong("name=%ff", &known),
            ["the query is not UTF-8 once its percent-encoding is undone"]
        );
        assert_eq!(wrong("name=%c3%a9", &known), [""; 0]);
        assert_eq!(wrong("a", &BTreeMap::new()), ["`a` is no parameter of this: there are none"]);
    }
}
