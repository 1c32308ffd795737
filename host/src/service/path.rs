//! A request's path as routes read it (RFC 3986 §6.2.2), and as others might.
//!
//! Services get the path as it was sent; which of them gets it must not depend on how it is
//! spelled.

use std::borrow::Cow;

use http::Uri;

/// The path with all decoded that needs no encoding, and the rest in upper case.
#[must_use]
pub fn normal(path: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'%', path.as_bytes()) else { return Cow::Borrowed(path) };
    let mut text = String::with_capacity(path.len());
    text.push_str(&path[..first]);
    let mut rest = &path[first..];
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        match encoded(rest) {
            Some(byte) if is_unreserved(byte) => text.push(char::from(byte)),
            Some(_) => text.push_str(&rest[..3].to_ascii_uppercase()),
            None => {
                text.push('%');
                rest = &rest[1..];
                continue;
            }
        }
        rest = &rest[3..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// What those may take a normal path for who decode slashes, merge those that follow one
/// another, and resolve `.` and `..`; `None` where there is nothing of that in it.
#[must_use]
pub fn resolved(normal: &str) -> Option<String> {
    if !may_be_read_otherwise(normal) {
        return None;
    }
    let plain = normal.replace("%2F", "/").replace("%5C", "/").replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in plain.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

/// Path and query, however the path is spelled.
#[must_use]
pub fn target(uri: &Uri) -> Cow<'_, str> {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    match (normal(uri.path()), uri.query()) {
        (Cow::Borrowed(_), _) => Cow::Borrowed(target),
        (Cow::Owned(path), None) => Cow::Owned(path),
        (Cow::Owned(path), Some(query)) => Cow::Owned(format!("{path}?{query}")),
    }
}

fn may_be_read_otherwise(normal: &str) -> bool {
    // In one pass: each request's path is looked at, and it is short.
    let bytes = normal.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'/' => matches!(bytes.get(at + 1), Some(b'/' | b'.')),
        b'\\' => true,
        b'%' => matches!(bytes.get(at + 1..at + 3), Some(b"2F" | b"5C")),
        _ => false,
    })
}

/// What `%` and two digits at the start of a text stand for.
fn encoded(text: &str) -> Option<u8> {
    let digits = text.as_bytes().get(1..3)?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_encoding_is_decoded_once() {
        for (path, expected) in [
            ("/admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%61%64min%7e", "/admin~"),
            ("/%2e%2E/x", "/../x"),
            ("/a%2fb%5c", "/a%2Fb%5C"),
            ("/%2561dmin", "/%2561dmin"),
            ("/%", "/%"),
            ("/%6", "/%6"),
            ("/%zz%61", "/%zza"),
            ("/%%61", "/%a"),
            ("/%é1", "/%é1"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
            assert_eq!(normal(&normal(expected)), normal(expected), "{path}");
        }
    }

    #[test]
    fn what_others_may_read_is_one_path() {
        for path in ["/admin", "/admin/", "/a.b/c..d", "/%41", "/"] {
            assert_eq!(resolved(path), None, "{path}");
        }
        for path in
            ["//admin", "/./admin", "/x/../admin", "/x%2F..%2Fadmin", "/\\admin", "/..//admin/."]
        {
            assert_eq!(resolved(path).as_deref(), Some("/admin"), "{path}");
        }
        assert_eq!(resolved("/cart/.hidden").as_deref(), Some("/cart/.hidden"));
    }
}
