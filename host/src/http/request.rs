//! From the head that a client sent to the head that a guest may see.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::authority::{authority, is_same};
use super::client::Client;
use super::problem::Problem;
use super::{by_name, forwarded};

/// The method that HTTP/2 begins with (RFC 9113 §3.4), and no request.
const PRI: &str = "PRI";

/// The target of a request about the host as a whole.
const ASTERISK: &str = "*";

/// What a head has of the fields that the host looks at. Most have few of them, and one look at
/// all names costs less than to look these up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    /// Whether the client holds its body back until it is told to go on, or that it needn't
    /// (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The length that the client says its body has.
    pub content_length: Option<u64>,
    /// Lines of cookies.
    pub cookies: usize,
    hosts: usize,
    lengths: usize,
    has_coding: bool,
    has_expect: bool,
    /// Whether anything is expected.
    expects_something: bool,
    /// Whether something else is expected than to be told to go on, or that in a list.
    expects_other: bool,
    has_hop_by_hop: bool,
    claims_origin: bool,
    claims_caller: bool,
    has_lookalike: bool,
    /// Bytes of all lines.
    bytes: usize,
}

impl Fields {
    /// Those of a head as it came.
    #[must_use]
    pub fn of(head: &Parts) -> Self {
        const AROUND_VALUE: usize = ": \r\n".len();
        let mut fields = Self::default();
        for (name, value) in &head.headers {
            let name = name.as_str();
            fields.bytes += name.len() + value.len() + AROUND_VALUE;
            match name {
                "host" => fields.hosts += 1,
                "cookie" => fields.cookies += 1,
                "content-length" => {
                    fields.lengths += 1;
                    let length = value.to_str().ok().and_then(|text| text.parse().ok());
                    fields.content_length = fields.content_length.or(length);
                }
                "hotdock-caller" => fields.claims_caller = true,
                "expect" => fields.expect(head.version, value),
                name if is_hop_by_hop(name) => {
                    fields.has_hop_by_hop = true;
                    fields.has_coding |= name == "transfer-encoding";
                }
                name => {
                    fields.claims_origin |= forwarded::is_claim(name);
                    fields.has_lookalike |= is_lookalike(name);
                }
            }
        }
        fields
    }

    /// A line of `Expect`. The library that reads HTTP/1.1 tells a client to go on where the last
    /// line is nothing but this one expectation: who expects it in a list, be the rest of it empty,
    /// might never be told. So the list is to have it alone, and several lines are one list
    /// (RFC 9110 §5.3); one of empty elements expects nothing (§5.6.1.2).
    fn expect(&mut self, version: Version, value: &HeaderValue) {
        let value = value.as_bytes();
        let is_first = !std::mem::replace(&mut self.has_expect, true);
        if value.iter().all(|byte| matches!(byte, b',' | b' ' | b'\t')) {
            self.expects_other |= self.expects_something;
            return;
        }
        self.expects_something = true;
        let is_alone = is_first && value.eq_ignore_ascii_case(b"100-continue");
        self.expects_continue = is_alone && version == Version::HTTP_11;
        self.expects_other |= !is_alone;
    }

    /// Whether the client may hold its body back, and then may not send it at all.
    #[must_use]
    pub fn may_hold_body(&self) -> bool {
        self.expects_continue || self.expects_other
    }

    /// RFC 9110 §10.1.1: what is expected is met, or refused.
    fn check_expectation(&self) -> Result<(), Problem> {
        if self.expects_other { Err(Problem::unknown_expectation()) } else { Ok(()) }
    }
}

/// Headers that belong to one connection (RFC 9110 §7.6.1) and end here.
static HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The shortest and the longest name with a hyphen that only the host writes.
const CALLER_LENGTH: usize = "hotdock-caller".len();
const X_FORWARDED_PROTO_LENGTH: usize = "x-forwarded-proto".len();

/// Checks a head that no guest sees.
///
/// # Errors
/// As [`prepare`], but for the head's size.
pub fn check(head: &mut Parts) -> Result<(), Problem> {
    let fields = Fields::of(head);
    check_coding(&head.headers)?;
    fields.check_expectation()?;
    check_target(head)?;
    match told_host(head, &fields)? {
        Some(told) => authority(told.name).map(drop),
        None if head.version >= Version::HTTP_11 => Err(no_host()),
        None => Ok(()),
    }
}

/// Checks a head and makes it what a guest sees: an absolute URI with scheme
/// and authority, the same as its `Host`, cookies in one line, no hop-by-hop headers, and the
/// truth about the client.
///
/// # Errors
/// 400 where the request names no host, two, or one that is none (RFC 9112 §3.2), where its
/// target is no path, or its method none of a request; 417 where it expects something else than 100
/// alone (RFC 9110 §10.1.1); 431 where the head is too large or has too many lines (RFC 6585 §5); 501
/// where its body is coded in a way that is not understood (RFC 9112 §6.1).
pub fn prepare(head: &mut Parts, fields: &Fields, client: &Client) -> Result<(), Problem> {
    // HTTP/2 has a bound of its own, and counts otherwise.
    if head.version < Version::HTTP_2 && size(head, fields) > client.common.max_header_bytes {
        return Err(Problem::head_too_large(client.common.max_header_bytes));
    }
    if fields.has_coding {
        check_coding(&head.headers)?;
    }
    fields.check_expectation()?;
    check_target(head)?;
    let peer = client.peer;
    let told = told_host(head, fields)?;
    let named = match told {
        Some(Told { name, .. }) => client.named(name, || authority(name))?,
        None if head.version >= Version::HTTP_11 => return Err(no_host()),
        None => {
            let text = peer.local.to_string();
            client.named(text.as_bytes(), || authority(text.as_bytes()))?
        }
    };
    if told.is_none_or(|told| !told.is_in_header) {
        head.headers.insert(HOST, named.host.clone());
    }
    if fields.has_hop_by_hop {
        remove_hop_by_hop(&mut head.headers);
    }
    if fields.claims_caller {
        head.headers.remove(by_name::CALLER);
    }
    if fields.has_lookalike {
        remove_lookalikes(&mut head.headers);
    }
    if fields.cookies > 1 {
        join_cookies(&mut head.headers);
    }
    if fields.lengths > 1 {
        be_one_length(&mut head.headers);
    }
    // HTTP/2 has only a bound of bytes; cookies are one line, in however many crumbs they came.
    if head.headers.len() > client.common.max_headers {
        return Err(Problem::too_many_headers(client.common.max_headers));
    }
    let mut scheme = Scheme::HTTP;
    if peer.trusted {
        let told = forwarded::scheme(&head.headers).unwrap_or("http");
        let host = named.authority.as_str();
        forwarded::append(&client.common.told, &mut head.headers, peer.address, host, told);
        if told == "https" {
            scheme = Scheme::HTTPS;
        }
    } else {
        if fields.claims_origin {
            forwarded::forget(&mut head.headers);
        }
        named.forwarded.write(&mut head.headers);
    }
    // The host continues the client by itself when the body is first read.
    if fields.has_expect {
        head.headers.remove(EXPECT);
    }
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.scheme = Some(scheme);
    uri.authority = Some(named.authority.clone());
    head.uri = Uri::from_parts(uri)
        .map_err(|error| Problem::bad_request(format!("its target: {error}")))?;
    Ok(())
}

/// Whether a request is none by RFC 9113 §8.3.1: its path does not begin with a slash. What else
/// makes it malformed the library sees that reads it.
#[must_use]
pub fn is_malformed(head: &http::Request<impl Sized>) -> bool {
    let target = head.uri().path_and_query().map(PathAndQuery::as_str);
    head.version() == Version::HTTP_2
        && target.is_some_and(|target| !target.starts_with('/') && target != ASTERISK)
}

/// Whether it asks about the host as a whole (RFC 9110 §9.3.7).
#[must_use]
pub fn is_about_host(head: &Parts) -> bool {
    head.method == Method::OPTIONS && head.uri.path() == ASTERISK
}

/// Whether a gateway takes the name for one that only the host writes: those of CGI's kind have
/// `_` for `-` (RFC 3875 §4.1.18).
fn is_lookalike(name: &str) -> bool {
    let lengths = CALLER_LENGTH..=X_FORWARDED_PROTO_LENGTH;
    if !lengths.contains(&name.len()) || !name.contains('_') {
        return false;
    }
    let name = name.replace('_', "-");
    name == by_name::CALLER.as_str() || forwarded::is_hosts(&name)
}

/// Takes out what a gateway would take for the host's own.
pub(super) fn remove_lookalikes(headers: &mut HeaderMap) {
    let found: Vec<_> =
        headers.keys().filter(|name| is_lookalike(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// How many bytes an HTTP/1 head had, or would have.
pub(super) fn size(head: &Parts, fields: &Fields) -> usize {
    const AROUND_TARGET: usize = "  HTTP/1.1\r\n\r\n".len();
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = head.uri.authority().map_or(0, |authority| authority.as_str().len());
    head.method.as_str().len() + authority + target + AROUND_TARGET + fields.bytes
}

/// Whether the body is coded as HTTP/1.1 has it. The library takes any coding before the last
/// one, but what it reads is coded still.
fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if is_chunked && codings.next().is_none() {
        return Ok(());
    }
    Err(Problem::unknown_coding())
}

/// Whether a service may be asked by this method. `CONNECT` asks for a connection.
pub(super) fn check_method(method: &Method) -> Result<(), Problem> {
    if *method == Method::CONNECT || method.as_str() == PRI {
        let detail = format!("{method} is no method of a service's requests");
        return Err(Problem::bad_request(detail));
    }
    Ok(())
}

/// Whether the target is something a route can lead to: a path, or `*` where that is asked for
/// its options; not the authority alone, which is for `CONNECT` (RFC 9112 §3.2). Where an
/// absolute one has a query and no path, that is `/`; where it has neither, and is asked for its
/// options, that is `*` (RFC 9112 §3.2.4), as HTTP/2 has it from the beginning (RFC 9113 §8.3.1).
fn check_target(head: &mut Parts) -> Result<(), Problem> {
    let none = || Problem::bad_request("the request's target is not a path");
    check_method(&head.method)?;
    // It has no case (RFC 3986 §3.1), also where HTTP/2 brings it as it was written.
    if let Some(scheme) = head.uri.scheme().map(Scheme::as_str)
        && !["http", "https"].into_iter().any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err(Problem::bad_request("the request's target has a scheme that is not HTTP's"));
    }
    let is_options = head.method == Method::OPTIONS;
    if is_options && head.version < Version::HTTP_2 && has_no_path(&head.uri) {
        return set_target(head, PathAndQuery::from_static(ASTERISK));
    }
    let target = head.uri.path_and_query().ok_or_else(none)?.as_str();
    if target.starts_with('/') || (target == ASTERISK && is_options) {
        return Ok(());
    }
    if !target.starts_with('?') || head.uri.authority().is_none() {
        return Err(none());
    }
    let target = PathAndQuery::try_from(format!("/{target}")).map_err(|_| none())?;
    set_target(head, target)
}

fn set_target(head: &mut Parts, target: PathAndQuery) -> Result<(), Problem> {
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.path_and_query = Some(target);
    head.uri = Uri::from_parts(uri)
        .map_err(|error| Problem::bad_request(format!("its target: {error}")))?;
    Ok(())
}

/// Whether an absolute target of HTTP/1 has neither path nor query. The library puts `/` there,
/// and nothing but its place in memory tells it from one that was sent: that one begins where the
/// authority ends, in the bytes that came.
fn has_no_path(uri: &Uri) -> bool {
    let (Some(authority), Some(target)) = (uri.authority(), uri.path_and_query()) else {
        return false;
    };
    let sent_at = authority.as_str().as_bytes().as_ptr_range().end;
    target.as_str() == "/" && target.as_str().as_ptr() != sent_at
}

fn no_host() -> Problem {
    Problem::bad_request("the request has no Host header")
}

/// What a request names as its host.
#[derive(Clone, Copy)]
struct Told<'a> {
    name: &'a [u8],
    /// Whether that is its `Host`.
    is_in_header: bool,
}

/// What the request names as its host, if it names one.
fn told_host<'a>(head: &'a Parts, fields: &Fields) -> Result<Option<Told<'a>>, Problem> {
    let host = head.headers.get(HOST).map(HeaderValue::as_bytes);
    if fields.hosts > 1 {
        return Err(Problem::bad_request("the request has more than one Host header"));
    }
    let in_header = host.map(|name| Told { name, is_in_header: true });
    let Some(absolute) = head.uri.authority() else { return Ok(in_header) };
    let name = absolute.as_str().as_bytes();
    let told = Some(Told { name, is_in_header: host == Some(name) });
    match (head.version, host) {
        // RFC 9112 §3.2: it has to be there, and to be one, though the target wins over it.
        (Version::HTTP_11, None) => Ok(None),
        (Version::HTTP_11, Some(host)) => authority(host).map(|_| told),
        // RFC 9113 §8.3.1: they may not differ.
        (Version::HTTP_2, Some(host)) if !is_same(host, name) => {
            Err(Problem::bad_request("the request's Host is not its :authority"))
        }
        _ => Ok(told),
    }
}

/// One line of all cookies: HTTP/2 sends them in crumbs (RFC 9113 §8.2.3). Empty ones are none:
/// what they would leave at an end is blank, which not everybody sees.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let cookies = headers.get_all(COOKIE).iter().map(|crumb| crumb.as_bytes().trim_ascii());
    let cookies: Vec<&[u8]> = cookies.filter(|crumb| !crumb.is_empty()).collect();
    if cookies.is_empty() {
        headers.remove(COOKIE);
        return;
    }
    let all = Bytes::from(cookies.join(&b"; "[..]));
    let all = HeaderValue::from_maybe_shared(all).expect("they were values");
    headers.insert(COOKIE, all);
}

/// HTTP/2's library takes several lengths where they are the same; a guest is told one, as it is
/// by HTTP/1.1.
fn be_one_length(headers: &mut HeaderMap) {
    if let Some(length) = headers.get(CONTENT_LENGTH).cloned() {
        headers.insert(CONTENT_LENGTH, length);
    }
}

/// Whether it is one of [`HOP_BY_HOP`].
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade"
    )
}

/// RFC 9110 §7.6.1: the named ones and those that `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most heads have none of them, so that nothing has to be looked up.
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // It is whom the request is for, to all who see it.
        .filter(|name| *name != HOST)
        .collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::super::client::{Common, Peer};
    use super::*;
    use crate::config::HttpLimits;

    fn prepared(request: http::request::Builder) -> Result<Parts, Problem> {
        let (mut head, ()) = request.body(()).expect("a request").into_parts();
        let address = "192.0.2.1:1000".parse().expect("an address");
        let peer = Peer { address, local: address, trusted: false };
        let limits = HttpLimits {
            max_header_bytes: 1_000,
            forwarded: Arc::default(),
            ..HttpLimits::default()
        };
        let fields = Fields::of(&head);
        prepare(&mut head, &fields, &Client::new(peer, Arc::new(Common::new(&limits))))?;
        Ok(head)
    }

    #[test]
    fn the_guest_sees_scheme_and_authority() {
        let head =
            prepared(Request::get("/cart?a=b").header(HOST, "shop.example:81")).expect("good");
        assert_eq!(head.uri.to_string(), "http://shop.example:81/cart?a=b");
        let absolute = Request::get("http://other.example/x").header(HOST, "shop.example");
        assert_eq!(prepared(absolute).expect("good").uri.to_string(), "http://other.example/x");
        let old = Request::get("/x").version(Version::HTTP_10);
        assert_eq!(prepared(old).expect("good").uri.to_string(), "http://192.0.2.1:1000/x");
    }

    #[test]
    fn a_scheme_is_https_in_any_spelling_and_no_other() {
        let of_http2 = |scheme: &str| {
            let uri = Uri::builder().scheme(scheme).authority("a").path_and_query("/x").build();
            prepared(Request::get(uri.expect("a target")).version(Version::HTTP_2))
        };
        for scheme in ["http", "https", "HTTPS", "Http"] {
            let head = of_http2(scheme).expect(scheme);
            assert_eq!(head.uri.to_string(), "http://a/x", "{scheme}");
        }
        assert!(of_http2("ftp").is_err());
    }

    #[test]
    fn a_request_without_one_good_host_is_refused() {
        assert!(prepared(Request::get("/x")).is_err());
        assert!(prepared(Request::get("/x").header(HOST, "a").header(HOST, "b")).is_err());
        assert!(prepared(Request::get("/x").header(HOST, "a b")).is_err());
        assert!(prepared(Request::get("/x").header(HOST, "user@a")).is_err());
        assert!(prepared(Request::get("http://a/x")).is_err());
        assert!(prepared(Request::get("http://a/x").header(HOST, "a b")).is_err());
        assert!(prepared(Request::get("ftp://a/x").header(HOST, "a")).is_err());
        let crossed = Request::get("http://a/x").version(Version::HTTP_2).header(HOST, "b");
        assert!(prepared(crossed).is_err());
        let same = Request::get("http://a/x").version(Version::HTTP_2).header(HOST, "A");
        assert_eq!(prepared(same).expect("good").headers[HOST], "a");
    }

    #[test]
    fn the_host_header_is_the_targets_authority() {
        let absolute = Request::get("http://other.example/x").header(HOST, "shop.example");
        assert_eq!(prepared(absolute).expect("good").headers[HOST], "other.example");
        let second = Request::get("http://a:81/x").version(Version::HTTP_2);
        assert_eq!(prepared(second).expect("good").headers[HOST], "a:81");
    }

    #[test]
    fn a_target_without_a_path_is_the_root() {
        let target = |uri: &str| {
            let request = Request::get(uri).header(HOST, "a");
            prepared(request).map(|head| head.uri.to_string()).ok()
        };
        assert_eq!(target("http://a?user_id=7").as_deref(), Some("http://a/?user_id=7"));
        assert_eq!(target("http://a").as_deref(), Some("http://a/"));
        assert_eq!(target("*"), None);
        let second = |path: &'static str| {
            let target = PathAndQuery::from_static(path);
            let mut uri = http::uri::Parts::default();
            uri.path_and_query = Some(target);
            let mut request = Request::new(());
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = Uri::from_parts(uri).expect("a target");
            is_malformed(&request)
        };
        assert!(second("?user_id=7") && !second("/?user_id=7") && !second("*"));
        let options = Request::options("*").header(HOST, "a");
        assert!(is_about_host(&prepared(options).expect("good")));
    }

    #[test]
    fn options_of_a_target_without_a_path_are_the_hosts() {
        let is_hosts = |uri: &str| {
            let request = Request::options(uri).header(HOST, "a");
            is_about_host(&prepared(request).expect("good"))
        };
        for target in ["*", "http://a", "http://a:80", "HTTP://a.example"] {
            assert!(is_hosts(target), "{target}");
        }
        for target in ["/", "http://a/", "http://a:80/", "http://a?b", "http://a/?", "http://a/b"] {
            assert!(!is_hosts(target), "{target}");
        }
        // HTTP/2 has them apart: a path that is there was sent.
        let second = Request::options("http://a").version(Version::HTTP_2);
        assert!(!is_about_host(&prepared(second).expect("good")));
    }

    #[test]
    fn nothing_is_expected_but_to_be_told_to_go_on() {
        let of = |version, lines: &[&str]| {
            let request = Request::post("http://a/x").version(version).header(HOST, "a");
            let request = lines.iter().fold(request, |request, line| request.header(EXPECT, *line));
            let (head, ()) = request.body(()).expect("a request").into_parts();
            let fields = Fields::of(&head);
            (fields.expects_continue, fields.check_expectation().is_err())
        };
        let (first, second) = (Version::HTTP_11, Version::HTTP_2);
        for version in [Version::HTTP_10, first, second] {
            for met in ["100-continue", "100-Continue"] {
                assert_eq!(of(version, &[met]), (version == first, false), "{version:?}: {met}");
            }
            for nothing in [&[""][..], &[","], &[" ,\t, "], &["", ","], &[]] {
                assert_eq!(of(version, nothing), (false, false), "{version:?}: {nothing:?}");
            }
            // What is one list is judged as one, in however many lines it comes.
            for other in [
                &["foo"][..],
                &["100-continue, foo"],
                &["100-continue, 100-continue"],
                &["100-continue", "100-continue"],
                &["100-continue,"],
                &["100-continue", ""],
                &[",100-continue"],
                &["", "100-continue"],
                &["100-continue", "foo"],
                &["foo", "100-continue"],
            ] {
                assert!(of(version, other).1, "{version:?}: {other:?}");
            }
        }
    }

    #[test]
    fn cookies_are_one_line_and_codings_are_known() {
        let crumbs = Request::get("/x").header(HOST, "a").header(COOKIE, "a=1").header(COOKIE, "b");
        let head = prepared(crumbs).expect("good");
        let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b"]);
        // Odd ones, too, are only put behind one another (RFC 9113 §8.2.3).
        for (crumbs, joined) in [
            (&["a=1;", "", "b = 2", ";c"][..], Some("a=1;; b = 2; ;c")),
            (&["s=1", ""], Some("s=1")),
            (&["", "s=1", "", ""], Some("s=1")),
            (&["", ""], None),
        ] {
            let request = Request::get("/x").header(HOST, "a");
            let request = crumbs.iter().fold(request, |head, crumb| head.header(COOKIE, *crumb));
            let head = prepared(request).expect("good");
            let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
            assert_eq!(cookies, joined.into_iter().collect::<Vec<_>>(), "{crumbs:?}");
        }
        for (coding, status) in
            [("chunked", 0), ("Chunked", 0), ("gzip, chunked", 501), ("chunked, chunked", 501)]
        {
            let request = Request::post("/x").header(HOST, "a").header(TRANSFER_ENCODING, coding);
            let refused = prepared(request).err().map_or(0, |problem| problem.status().as_u16());
            assert_eq!(refused, status, "{coding}");
        }
    }

    #[test]
    fn what_begins_http_2_is_no_method() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for (method, is_taken) in [("PRI", false), ("pri", true), ("PRIX", true)] {
                let request = Request::builder().method(method).uri("http://a/x").version(version);
                let prepared = prepared(request.header(HOST, "a"));
                assert_eq!(prepared.is_ok(), is_taken, "{method} by {version:?}");
            }
        }
    }

    #[test]
    fn a_length_that_is_said_twice_is_told_once() {
        let request = Request::post("http://a/x").version(Version::HTTP_2);
        let request = request.header(CONTENT_LENGTH, "5").header(CONTENT_LENGTH, "5");
        let head = prepared(request).expect("good");
        let lengths: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
        assert_eq!(lengths, ["5"]);
    }

    #[test]
    fn a_head_has_a_largest_size() {
        let request = |more: usize| {
            // `GET /x HTTP/1.1`, `host: a` and `x: …`, each with its end, and an empty line.
            let rest = "GET /x HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n".len();
            Request::get("/x").header(HOST, "a").header("x", "y".repeat(1_000 - rest + more))
        };
        assert!(prepared(request(0)).is_ok());
        let problem = prepared(request(1)).expect_err("it is too large");
        assert_eq!(problem.status(), 431);
    }

    #[test]
    fn headers_of_the_connection_end_here() {
        let request = Request::get("/x")
            .header(HOST, "a")
            .header(CONNECTION, "close, X-Private, Host")
            .header("x-private", "1")
            .header(TE, "trailers")
            .header("x-public", "2");
        let head = prepared(request).expect("good");
        assert!(!head.headers.contains_key("x-private") && !head.headers.contains_key(CONNECTION));
        assert!(!head.headers.contains_key(TE));
        assert_eq!(head.headers[HOST], "a");
        assert_eq!(head.headers["x-public"], "2");
    }
}
