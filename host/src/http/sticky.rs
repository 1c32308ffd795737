//! The cookie by which a client stays on one version. It is between the client
//! and the host: no service sees it, and it is not part of who asks.

use http::header::{CACHE_CONTROL, COOKIE, Entry, OccupiedEntry, SET_COOKIE};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// The cookie's name; one for all services of a host name.
const NAME: &str = "hotdock-traffic";

/// Takes the cookie out of a request; the token in it, if it is one of ours.
pub fn take(headers: &mut HeaderMap) -> Option<u64> {
    // Most requests have no cookies or not this one; an entry would make room.
    let has_it = |value: &HeaderValue| {
        value.as_bytes().windows(NAME.len()).any(|window| window == NAME.as_bytes())
    };
    if !headers.get_all(COOKIE).iter().any(has_it) {
        return None;
    }
    match headers.entry(COOKIE) {
        Entry::Occupied(cookies) => take_from(cookies),
        Entry::Vacant(_) => None,
    }
}

/// Whether a pair is the cookie to anybody: there are readers that take the blanks around a name
/// away.
fn is_ours(pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.trim_ascii() == NAME.as_bytes()
}

/// The value of a pair that is the cookie as the host gives it.
fn value_of(pair: &[u8]) -> Option<&[u8]> {
    pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"=")
}

/// Tells the client its token, until its browser ends.
pub fn give(headers: &mut HeaderMap, token: u64, uri: &Uri) {
    let secure = if uri.scheme() == Some(&Scheme::HTTPS) { "; Secure" } else { "" };
    let cookie = format!("{NAME}={token:016x}; Path=/; HttpOnly; SameSite=Lax{secure}");
    headers.append(SET_COOKIE, HeaderValue::try_from(cookie).expect("visible ASCII"));
    keep_private(headers);
}

/// A cache that others share would give them this client's cookie (RFC 9111 §7.3), so such a one
/// may not keep this answer.
fn keep_private(headers: &mut HeaderMap) {
    let mut directives = vec!["private".to_owned()];
    for value in headers.get_all(CACHE_CONTROL) {
        let Ok(text) = value.to_str() else { continue };
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            let name = directive.split('=').next().unwrap_or_default().trim();
            let is_others = ["public", "private", "s-maxage"]
                .iter()
                .any(|each| name.eq_ignore_ascii_case(each));
            if !is_others {
                directives.push(directive.to_owned());
            }
        }
    }
    let value = HeaderValue::try_from(directives.join(", ")).expect("it was made of values");
    headers.insert(CACHE_CONTROL, value);
    // To those that they are for, these win over it.
    let targeted: Vec<HeaderName> =
        headers.keys().filter(|name| is_for_shared_caches(name)).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
}

/// Whether it says to some caches that others share what to keep (RFC 9213 §2), or did so before
/// there was a form for it.
fn is_for_shared_caches(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.ends_with("-cache-control") || name == "surrogate-control" || name == "x-accel-expires"
}

fn take_from(mut cookies: OccupiedEntry<'_, HeaderValue>) -> Option<u64> {
    let mut token = None;
    let mut kept = Vec::new();
    for value in cookies.iter() {
        // The others stay as they were sent, byte by byte, also where they are no text.
        let (ours, others): (Vec<&[u8]>, Vec<&[u8]>) =
            value.as_bytes().split(|byte| *byte == b';').partition(|pair| is_ours(pair));
        if ours.is_empty() {
            kept.push(value.clone());
            continue;
        }
        for value in ours.into_iter().filter_map(value_of) {
            let text = std::str::from_utf8(value).ok();
            token = text.and_then(|text| u64::from_str_radix(text, 16).ok()).or(token);
        }
        let others = others.join(&b';');
        let others = others.trim_ascii();
        if !others.is_empty() {
            kept.push(HeaderValue::from_bytes(others).expect("it was part of a value"));
        }
    }
    let mut kept = kept.into_iter();
    match kept.next() {
        Some(first) => {
            cookies.insert(first);
            kept.for_each(|value| cookies.append(value));
        }
        None => _ = cookies.remove_entry_mult(),
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(cookies: &[&'static str]) -> (Option<u64>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_static(cookie));
        }
        let token = take(&mut headers);
        let left = headers.get_all(COOKIE).iter();
        (token, left.map(|value| value.to_str().expect("text").to_owned()).collect())
    }

    #[test]
    fn the_cookie_is_taken_out_and_the_others_stay() {
        assert_eq!(taken(&[]), (None, vec![]));
        assert_eq!(taken(&["a=1; b=2"]), (None, vec!["a=1; b=2".to_owned()]));
        assert_eq!(taken(&["hotdock-traffic=00000000000000ff"]), (Some(255), vec![]));
        let (token, left) = taken(&["a=1; hotdock-traffic=1f; b=2", "c=3"]);
        assert_eq!((token, left), (Some(31), vec!["a=1; b=2".to_owned(), "c=3".to_owned()]));
        let (token, left) = taken(&["my-hotdock-traffic=1", "hotdock-traffic=zz"]);
        assert_eq!((token, left), (None, vec!["my-hotdock-traffic=1".to_owned()]));
    }

    #[test]
    fn the_others_stay_as_they_were_sent() {
        for (sent, left) in [
            ("a=1;b=2; hotdock-traffic=1f", "a=1;b=2"),
            ("hotdock-traffic=1f;a=1;; b", "a=1;; b"),
            ("a=1;  b=2;hotdock-traffic=1f;c", "a=1;  b=2;c"),
            ("a=1; hotdock-traffic=1f;", "a=1;"),
        ] {
            assert_eq!(taken(&[sent]), (Some(31), vec![left.to_owned()]), "{sent}");
        }
        assert_eq!(taken(&["hotdock-traffic=1f;"]), (Some(31), vec![]));
        // By some readings it is ours, and by the host's none that it gave.
        for sent in
            ["a=1; hotdock-traffic =1f", "hotdock-traffic\t = 1f; a=1", "hotdock-traffic; a=1"]
        {
            assert_eq!(taken(&[sent]), (None, vec!["a=1".to_owned()]), "{sent}");
        }
        // Ours is no service's business, whatever comes with it.
        let mut headers = HeaderMap::new();
        let sent = HeaderValue::from_bytes(b"a=\xc3\xa9; hotdock-traffic=1f").expect("a value");
        headers.insert(COOKIE, sent);
        assert_eq!(take(&mut headers), Some(31));
        assert_eq!(headers[COOKIE].as_bytes(), b"a=\xc3\xa9");
    }

    #[test]
    fn an_answer_with_the_cookie_is_for_this_client_alone() {
        let kept = |given: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            give(&mut headers, 1, &"http://a/".parse().expect("a URI"));
            let mut lines = headers.get_all(CACHE_CONTROL).iter();
            let line = lines.next().expect("a line").to_str().expect("text").to_owned();
            assert!(lines.next().is_none());
            line
        };
        assert_eq!(kept(&[]), "private");
        assert_eq!(kept(&["public, max-age=60", "S-MaxAge=9"]), "private, max-age=60");
        assert_eq!(kept(&["no-store"]), "private, no-store");
    }

    #[test]
    fn no_cache_is_told_otherwise_by_a_field_of_its_own() {
        let mut headers = HeaderMap::new();
        for name in ["cdn-cache-control", "x-cdn-cache-control", "surrogate-control"] {
            headers.insert(name, HeaderValue::from_static("max-age=60"));
        }
        headers.insert("x-cache", HeaderValue::from_static("a"));
        give(&mut headers, 1, &"http://a/".parse().expect("a URI"));
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "set-cookie", "x-cache"]);
    }

    #[test]
    fn a_given_cookie_is_taken_again() {
        let mut headers = HeaderMap::new();
        give(&mut headers, 42, &"https://shop.example/cart".parse().expect("a URI"));
        let given = headers[SET_COOKIE].to_str().expect("text");
        assert!(given.ends_with("; Secure"), "{given}");
        let pair = given.split(';').next().expect("a pair").to_owned();
        headers.insert(COOKIE, HeaderValue::try_from(pair).expect("text"));
        assert_eq!(take(&mut headers), Some(42));
    }
}
