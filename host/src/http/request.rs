//! From the head that a client sent to the head that a guest may see.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::client::Client;
use super::forwarded;
use super::problem::Problem;

/// Headers that belong to one connection (RFC 9110 §7.6.1) and end here.
static HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Checks a head and makes it what a guest sees: an absolute URI with scheme
/// and authority, no hop-by-hop headers, and the truth about the client.
///
/// # Errors
/// 400 where the request names no host, two, or one that is none (RFC 9112 §3.2); 431
/// where the head is too large (RFC 6585 §5).
pub fn prepare(head: &mut Parts, client: &Client) -> Result<(), Problem> {
    // HTTP/2 has a bound of its own, and counts otherwise.
    if head.version < Version::HTTP_2 && size(head) > client.common.max_header_bytes {
        return Err(Problem::head_too_large(client.common.max_header_bytes));
    }
    if !has_path(head) {
        return Err(Problem::bad_request("the request's target is not a path"));
    }
    let peer = client.peer;
    let named = match told_host(head)? {
        Some(text) => client.named(text, || authority(text))?,
        None if head.version >= Version::HTTP_11 => {
            return Err(Problem::bad_request("the request has no Host header"));
        }
        None => {
            let text = peer.local.to_string();
            client.named(text.as_bytes(), || authority(text.as_bytes()))?
        }
    };
    remove_hop_by_hop(&mut head.headers);
    let mut scheme = Scheme::HTTP;
    if peer.trusted {
        let told = forwarded::scheme(&head.headers).unwrap_or("http");
        let host = named.authority.as_str();
        forwarded::append(&client.common.told, &mut head.headers, peer.address, host, told);
        if told == "https" {
            scheme = Scheme::HTTPS;
        }
    } else {
        named.forwarded.write(&mut head.headers);
    }
    // The host continues the client by itself when the body is first read.
    head.headers.remove(EXPECT);
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.scheme = Some(scheme);
    uri.authority = Some(named.authority.clone());
    head.uri = Uri::from_parts(uri)
        .map_err(|error| Problem::bad_request(format!("its target: {error}")))?;
    Ok(())
}

/// Whether the client holds its body back until it is told to go on, or that
/// it needn't (RFC 9110 §10.1.1).
#[must_use]
pub fn expects_continue(head: &Parts) -> bool {
    let expected = head.headers.get(EXPECT);
    head.version == Version::HTTP_11
        && expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The length that the client says its body has.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How many bytes an HTTP/1 head had.
fn size(head: &Parts) -> usize {
    const AROUND_TARGET: usize = "  HTTP/1.1\r\n\r\n".len();
    const AROUND_VALUE: usize = ": \r\n".len();
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = head.uri.authority().map_or(0, |authority| authority.as_str().len());
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + AROUND_VALUE);
    head.method.as_str().len() + authority + target + AROUND_TARGET + headers.sum::<usize>()
}

/// Whether the target is something a route can lead to: not `*`, and not the
/// authority alone, which is for `CONNECT` (RFC 9112 §3.2).
fn has_path(head: &Parts) -> bool {
    let path = head.uri.path_and_query().map(PathAndQuery::path);
    head.method != Method::CONNECT && path.is_some_and(|path| path.starts_with('/'))
}

/// What the request names as its host, if it names one.
fn told_host(head: &Parts) -> Result<Option<&[u8]>, Problem> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Problem::bad_request("the request has more than one Host header"));
    }
    // RFC 9112 §3.2.2: an absolute target wins over Host.
    let absolute = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    Ok(absolute.or_else(|| host.map(HeaderValue::as_bytes)))
}

fn authority(text: &[u8]) -> Result<Authority, Problem> {
    let authority = Authority::try_from(text);
    let authority = authority.map_err(|_| Problem::bad_request("the Host header is not a host"))?;
    // RFC 9110 §4.2.4: user information has no place in an HTTP authority.
    if authority.as_str().contains('@') {
        return Err(Problem::bad_request("the request's host has user information"));
    }
    Ok(authority)
}

/// RFC 9110 §7.6.1: the named ones and those that `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most heads have none of them, so that nothing has to be looked up.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
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
        prepare(&mut head, &Client::new(peer, Arc::new(Common::new(&limits))))?;
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
    fn a_request_without_one_good_host_is_refused() {
        assert!(prepared(Request::get("/x")).is_err());
        assert!(prepared(Request::get("/x").header(HOST, "a").header(HOST, "b")).is_err());
        assert!(prepared(Request::get("/x").header(HOST, "a b")).is_err());
        assert!(prepared(Request::get("/x").header(HOST, "user@a")).is_err());
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
            .header(CONNECTION, "close, X-Private")
            .header("x-private", "1")
            .header(TE, "trailers")
            .header("x-public", "2");
        let head = prepared(request).expect("good");
        assert!(!head.headers.contains_key("x-private") && !head.headers.contains_key(CONNECTION));
        assert!(!head.headers.contains_key(TE));
        assert_eq!(head.headers["x-public"], "2");
    }
}
