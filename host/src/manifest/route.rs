//! `[[route]]`: paths, hosts and methods.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Range;

use http::Method;
use toml::de::DeTable;

use super::Route;
use super::fields::{Field, Fields};
use super::problem::Problems;

/// How many routes a manifest may have.
const MAX_ROUTES: usize = 1000;
/// How long a route's path may be, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// `[METHODS ][host]path`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(methods) = &self.methods {
            let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
            write!(f, "{} ", methods.join(","))?;
        }
        write!(f, "{}{}", self.host.as_deref().unwrap_or_default(), self.path)
    }
}

/// Every route that is as it should be; the others are reported.
pub(super) fn routes(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Vec<Route> {
    let tables = field.tables(problems);
    if tables.len() > MAX_ROUTES {
        field.report(
            problems,
            format_args!("may appear {MAX_ROUTES} times; found: {}", tables.len()),
        );
        return Vec::new();
    }
    let mut routes: Vec<Route> = Vec::with_capacity(tables.len());
    let mut spans = Vec::with_capacity(tables.len());
    for (table, span) in tables {
        let Some(route) = route(table, &span, problems) else { continue };
        match routes.iter().find(|earlier| same_requests(earlier, &route)) {
            Some(earlier) => {
                problems.report(&span, format!("route `{}` is there twice", earlier.path));
            }
            None => {
                routes.push(route);
                spans.push(span);
            }
        }
    }
    for (route, span) in routes.iter().zip(&spans) {
        if let Some(other) = other_reading(&route.path)
            && !routes.iter().any(|covering| covers(covering, route, &other))
        {
            problems.report(
                span,
                format!(
                    "route `{}` is never taken: some read it as `{other}`, and requests that may \
                     be read in two ways are refused where these lead to different services; write \
                     `{other}`, or add a route for that",
                    route.path
                ),
            );
        }
    }
    routes
}

fn route(table: &DeTable<'_>, span: &Range<usize>, problems: &mut Problems<'_>) -> Option<Route> {
    let mut fields = Fields::of("[[route]] ", table);
    let path = fields.take("path");
    let host = fields.take("host");
    let methods = fields.take("methods");
    fields.finish(problems);
    if path.is_none() {
        problems.report(span, "`[[route]]` has no `path`");
    }
    // All three are read before any of them can end it, so that each is reported.
    let path = path.and_then(|field| path_of(&field, problems));
    let host = host.map(|field| host_of(&field, problems));
    let methods = methods.map(|field| methods_of(&field, problems));
    Some(Route { path: path?, host: transposed(host)?, methods: transposed(methods)? })
}

/// An absent key is fine; one that was refused ends the route.
fn transposed<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    value.map_or(Some(None), |refused| refused.map(Some))
}

/// A route's path: `/` and RFC 3986 path characters, without a trailing slash.
fn path_of(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Option<String> {
    let text = field.text(problems)?;
    match path_problem(text) {
        Some(problem) => {
            field.report(problems, format_args!("{problem}; found: `{text}`"));
            None
        }
        None => {
            Some(text.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(text).to_owned())
        }
    }
}

fn path_problem(text: &str) -> Option<String> {
    let problem = if !text.starts_with('/') {
        "must start with `/`"
    } else if text.len() > MAX_PATH_BYTES {
        return Some(format!("must be at most {MAX_PATH_BYTES} bytes long"));
    } else if text.contains(['?', '#']) {
        "must be a path, without query or fragment"
    } else if text.contains("//") {
        "must have no empty segment"
    } else if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        "must have no `.` or `..` segment"
    } else if let Some(decoded) = needless_encoding(text) {
        // Nobody is told to write what is refused, too.
        return Some(path_problem(&decoded).unwrap_or_else(|| {
            format!(
                "is never asked for so: requests are matched without needless percent-encoding; \
                 write `{decoded}`"
            )
        }));
    } else if let Some(problem) = foreign_pattern(text) {
        return Some(problem);
    } else if let Some(other) = text.chars().find(|&each| !is_path_character(each)) {
        return Some(format!("has {other:?}, which must be percent-encoded"));
    } else if !percent_encoding_is_whole(text) {
        "has a `%` without two hexadecimal digits"
    } else {
        return None;
    };
    Some(problem.to_owned())
}

/// What a route is written as elsewhere: it would be taken by the letter here, and no request
/// has such a path.
fn foreign_pattern(text: &str) -> Option<String> {
    let is_pattern = |segment: &str| {
        matches!(segment, "..." | "*" | "**")
            || segment.starts_with(':')
            || segment.starts_with('{')
            || segment.starts_with('*')
            || segment.starts_with('<') && segment.ends_with('>')
    };
    let (at, segment) = text.split('/').enumerate().find(|(_, segment)| is_pattern(segment))?;
    let before = text.split('/').take(at).collect::<Vec<_>>().join("/");
    let before = if before.is_empty() { "/" } else { &before };
    Some(path_problem(before).unwrap_or_else(|| {
        format!(
            "has `{segment}`, and a route has no patterns: it takes its path and all below it; \
             write `{before}`"
        )
    }))
}

/// The path without percent-encoding of characters that need none (RFC 3986 §2.3), where it
/// has some.
fn needless_encoding(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(|&byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            Some(byte) => {
                decoded.push(char::from(byte));
                rest = &after[2..];
            }
            None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    (decoded != text).then_some(decoded)
}

/// RFC 3986 §3.3 `pchar`, the slash and the percent sign.
fn is_path_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(character)
}

fn percent_encoding_is_whole(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

/// A host name or address, in lower case, without port.
fn host_of(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Option<String> {
    let text = field.text(problems)?;
    let host = text.to_ascii_lowercase();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.split('.').all(is_host_label),
    };
    if !valid {
        field.report(
            problems,
            format_args!("must be a host name or address without port; found: `{text}`"),
        );
    }
    valid.then_some(host)
}

fn is_host_label(label: &str) -> bool {
    matches!(label.len(), 1..=63)
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn methods_of(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Option<Vec<Method>> {
    let elements = field.elements(problems)?;
    if elements.is_empty() {
        field.report(problems, "must name a method; leave it out to take all");
        return None;
    }
    let mut methods = Vec::with_capacity(elements.len());
    for element in elements {
        let text = element.text(problems)?;
        // Methods are told apart by case, and nobody sends them in lower case (RFC 9110 §9.1).
        match Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
            Ok(method) if methods.contains(&method) => {
                element.report(problems, format_args!("has `{text}` twice"));
            }
            Ok(Method::CONNECT) => element.report(
                problems,
                "has `CONNECT`, which asks a proxy for a tunnel and never reaches a service",
            ),
            // Begins every connection of HTTP/2 (RFC 9113 §3.4), and is reserved for that.
            Ok(method) if method.as_str() == "PRI" => {
                element.report(problems, "has `PRI`, which begins HTTP/2 and is no request's");
            }
            Ok(method) => methods.push(method),
            Err(_) => {
                element.report(problems, format_args!("has `{text}`, which is no HTTP method"))
            }
        }
    }
    Some(methods)
}

fn same_requests(a: &Route, b: &Route) -> bool {
    a.path == b.path && a.host == b.host && share_methods(a, b)
}

fn share_methods(a: &Route, b: &Route) -> bool {
    match (&a.methods, &b.methods) {
        (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
        _ => true,
    }
}

/// What those take a path for who decode its slashes; `None` where it has none that are encoded.
fn other_reading(path: &str) -> Option<String> {
    let encoded = ["%2F", "%2f", "%5C", "%5c"];
    if !encoded.iter().any(|slash| path.contains(slash)) {
        return None;
    }
    let plain = encoded.iter().fold(path.to_owned(), |path, slash| path.replace(slash, "/"));
    let mut segments = Vec::new();
    for segment in plain.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

/// Whether `covering` takes requests for `path` that are otherwise as those for `route`.
fn covers(covering: &Route, route: &Route, path: &str) -> bool {
    let below = path.strip_prefix(covering.path.trim_end_matches('/'));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        && (covering.host.is_none() || covering.host == route.host)
        && share_methods(covering, route)
}
