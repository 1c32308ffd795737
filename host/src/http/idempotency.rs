//! `Idempotency-Key`: which requests have one, and what keeps one key apart from
//! another (IETF draft-ietf-httpapi-idempotency-key-header).

use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::by_name::CALLER;
use super::problem::Problem;
use crate::digest::Digest;
use crate::service::{path, routes};

/// The header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Bytes of a key.
const MAX_KEY_BYTES: usize = 255;

/// Methods that a key makes a difference to.
const UNSAFE: [Method; 4] = [Method::POST, Method::PATCH, Method::PUT, Method::DELETE];

/// The scope of the request's key: a digest of method, host, target, caller and key. The host is
/// without its port, as it is for routes: a service may serve many hosts, each with data of its
/// own, and what one of them answered is nobody's at another (RFC 9110 §7.1).
/// `None` where the request has no key or its method needs none.
///
/// # Errors
/// 400 where there are several keys, or one that is malformed or too long.
pub fn scope(head: &Parts) -> Result<Option<Digest>, Problem> {
    if !UNSAFE.contains(&head.method) {
        return Ok(None);
    }
    let mut values = head.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request("the request has more than one Idempotency-Key"));
    }
    let key = parse(value.as_bytes()).ok_or_else(|| {
        Problem::bad_request(format!(
            "the Idempotency-Key is neither a quoted string nor a token of 1 to {MAX_KEY_BYTES} \
             characters"
        ))
    })?;
    let host = routes::canonical(head.uri.host().unwrap_or_default()).to_ascii_lowercase();
    Ok(Some(Digest::of_parts(&[
        head.method.as_str().as_bytes(),
        host.as_bytes(),
        path::target(&head.uri).as_bytes(),
        caller(&head.headers).as_bytes(),
        &key,
    ])))
}

/// Who asks, as far as the request says: by `Authorization`, else by `Cookie`. Of a service that
/// asks by name, whichever it is besides: its keys are no client's, and no other service's.
fn caller(headers: &HeaderMap) -> Digest {
    let client = client(headers);
    match headers.get(CALLER) {
        Some(name) => Digest::of_parts(&[b"hotdock-caller", name.as_bytes(), client.as_bytes()]),
        None => client,
    }
}

fn client(headers: &HeaderMap) -> Digest {
    let by = |name: HeaderName| {
        let mut parts: Vec<&[u8]> = vec![name.as_str().as_bytes()];
        parts.extend(headers.get_all(&name).iter().map(|value| value.as_bytes()));
        (parts.len() > 1).then(|| Digest::of_parts(&parts))
    };
    by(AUTHORIZATION).or_else(|| by(COOKIE)).unwrap_or_else(|| Digest::of_parts(&[]))
}

/// The key's text: that of a string (RFC 9651 §3.3.3), or a bare token.
fn parse(value: &[u8]) -> Option<Vec<u8>> {
    let value = value.trim_ascii();
    let key = match value.strip_prefix(b"\"") {
        Some(rest) => string(rest)?,
        None => value.iter().all(|&byte| is_token(byte)).then(|| value.to_vec())?,
    };
    (1..=MAX_KEY_BYTES).contains(&key.len()).then_some(key)
}

/// What is between the quotes, without the escapes; nothing follows the second.
fn string(rest: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter();
    loop {
        match bytes.next()? {
            b'"' => return bytes.next().is_none().then_some(text),
            b'\\' => text.push(*bytes.next().filter(|byte| matches!(byte, b'"' | b'\\'))?),
            byte @ b' '..=b'~' => text.push(*byte),
            _ => return None,
        }
    }
}

/// RFC 9651 §3.3.4, and digits may come first.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::HeaderValue;

    use super::*;

    fn scope_of(request: http::request::Builder) -> Result<Option<Digest>, Problem> {
        scope(&request.body(()).expect("a request").into_parts().0)
    }

    fn post() -> http::request::Builder {
        Request::post("http://a/x?y=z").header(IDEMPOTENCY_KEY, "\"k\"")
    }

    #[test]
    fn a_key_is_a_string_or_a_token() {
        for (text, key) in [
            ("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (" \"a b\" ", "a b"),
            (r#""a\"\\b""#, r#"a"\b"#),
        ] {
            assert_eq!(parse(text.as_bytes()).as_deref(), Some(key.as_bytes()), "{text}");
        }
        let long = "x".repeat(MAX_KEY_BYTES);
        assert!(parse(long.as_bytes()).is_some());
        assert!(parse(format!("\"{long}\"").as_bytes()).is_some());
        let too_long = format!("{long}x");
        for bad in [
            "",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "\"a\" b",
            "\"a\";p=1",
            "a b",
            "a,b",
            "a=b",
            "(a)",
            "\"a\\b\"",
            "\"a\\",
            "\"\u{e9}\"",
            "\u{e9}",
            &too_long,
            &format!("\"{too_long}\""),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(b"\"a\tb\""), None);
    }

    #[test]
    fn a_key_counts_where_it_makes_a_difference() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let request = Request::builder().method(method).uri("http://a/x");
            assert!(
                scope_of(request.header(IDEMPOTENCY_KEY, "(")).is_ok_and(|scope| scope.is_none())
            );
        }
        for method in UNSAFE {
            let request = Request::builder().method(method).uri("http://a/x");
            assert!(
                scope_of(request.header(IDEMPOTENCY_KEY, "k")).is_ok_and(|scope| scope.is_some())
            );
        }
        assert!(scope_of(Request::post("http://a/x")).is_ok_and(|scope| scope.is_none()));
        assert!(scope_of(post().header(IDEMPOTENCY_KEY, "\"l\"")).is_err(), "two of them");
        assert!(scope_of(Request::post("http://a/x").header(IDEMPOTENCY_KEY, "(")).is_err());
    }

    #[test]
    fn method_host_target_caller_and_key_keep_requests_apart() {
        let scope = |request| scope_of(request).expect("good").expect("a key");
        let first = scope(post());
        assert_eq!(first, scope(post().header("x-other", "1")));
        let token = Request::post("http://a/x?y=z").header(IDEMPOTENCY_KEY, "k");
        assert_eq!(first, scope(token), "a token is the string of the same text");
        for same in ["http://A./x?y=z", "https://a:8080/x?y=z"] {
            assert_eq!(first, scope(post().uri(same)), "{same}");
        }
        let address = |host| scope(post().uri(format!("http://{host}/x?y=z")));
        assert_eq!(address("[::1]"), address("[0:0::1]:80"));
        let mut scopes = vec![
            first,
            address("[::1]"),
            scope(post().uri("http://b/x?y=z")),
            scope(post().method(Method::PUT)),
            scope(post().uri("http://a/x")),
            scope(post().uri("http://a/x?y=zz")),
            scope(Request::post("http://a/x?y=z").header(IDEMPOTENCY_KEY, "l")),
            scope(post().header(AUTHORIZATION, "Bearer 1")),
            scope(post().header(AUTHORIZATION, "Bearer 2")),
            scope(post().header(COOKIE, "Bearer 1")),
            scope(post().header(AUTHORIZATION, HeaderValue::from_static(""))),
            scope(post().header(CALLER, "cart")),
            scope(post().header(CALLER, "order")),
            scope(post().header(CALLER, "cart").header(COOKIE, "a=b")),
        ];
        let with_both = post().header(AUTHORIZATION, "Bearer 1").header(COOKIE, "a=b");
        assert_eq!(scope(with_both), scopes[7], "a cookie says nothing more");
        scopes.sort_unstable();
        scopes.dedup();
        assert_eq!(scopes.len(), 14);
    }
}
