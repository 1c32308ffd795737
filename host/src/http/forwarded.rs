//! What a guest learns of the client and of the proxies before the host:
//! `Forwarded` (RFC 7239) and the older `X-Forwarded-*`.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a guest is told of a client that is not believed.
#[derive(Debug)]
pub struct Forwarded([(HeaderName, Option<HeaderValue>); 4]);

impl Forwarded {
    /// Of a client at `peer` that asks for `host`, over plain HTTP.
    #[must_use]
    pub fn of(peer: SocketAddr, host: &str) -> Self {
        let nothing = HeaderMap::new();
        let value = |(name, text): (_, String)| (name, HeaderValue::from_str(&text).ok());
        Self(texts(&nothing, peer, host, "http").map(value))
    }

    /// Writes it in place of what the client sent.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.reserve(self.0.len());
        for (name, value) in &self.0 {
            match value {
                Some(value) => headers.insert(name, value.clone()),
                None => headers.remove(name),
            };
        }
    }
}

/// Writes the same of a client that is believed: behind what it sent.
pub fn append(headers: &mut HeaderMap, peer: SocketAddr, host: &str, scheme: &str) {
    for (name, value) in texts(headers, peer, host, scheme) {
        match HeaderValue::from_str(&value) {
            Ok(value) => headers.insert(name, value),
            Err(_) => headers.remove(name),
        };
    }
}

/// The headers about a connection, behind those in `sent`.
fn texts(
    sent: &HeaderMap,
    peer: SocketAddr,
    host: &str,
    scheme: &str,
) -> [(HeaderName, String); 4] {
    let before = |name: &HeaderName| {
        let sent: Vec<_> =
            sent.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!sent.is_empty()).then(|| sent.join(", "))
    };
    let chain = |before: Option<String>, this: String| match before {
        Some(before) => format!("{before}, {this}"),
        None => this,
    };
    let ip = peer.ip().to_canonical();
    let this = format!("for={};host=\"{host}\";proto={scheme}", forwarded_node(ip));
    [
        (FORWARDED, chain(before(&FORWARDED), this)),
        (X_FORWARDED_FOR, chain(before(&X_FORWARDED_FOR), ip.to_string())),
        (X_FORWARDED_HOST, before(&X_FORWARDED_HOST).unwrap_or_else(|| host.to_owned())),
        (X_FORWARDED_PROTO, before(&X_FORWARDED_PROTO).unwrap_or_else(|| scheme.to_owned())),
    ]
}

/// The scheme that a trusted proxy says its client used.
#[must_use]
pub fn scheme(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(X_FORWARDED_PROTO)?.to_str().ok()?;
    // The first is the client's own; later ones are between proxies.
    match value.split(',').next()?.trim() {
        "https" => Some("https"),
        "http" => Some("http"),
        _ => None,
    }
}

/// RFC 7239 §6: an IPv6 address is bracketed and quoted.
fn forwarded_node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(trusted: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("203.0.113.9"));
        let peer = "[2001:db8::1]:4711".parse().expect("an address");
        if trusted {
            append(&mut headers, peer, "shop.example", "http");
        } else {
            Forwarded::of(peer, "shop.example").write(&mut headers);
        }
        headers
    }

    #[test]
    fn a_clients_own_claims_are_replaced_unless_it_is_trusted() {
        assert_eq!(written(false)[X_FORWARDED_FOR], "2001:db8::1");
        assert_eq!(written(true)[X_FORWARDED_FOR], "203.0.113.9, 2001:db8::1");
        assert_eq!(
            written(false)[FORWARDED],
            "for=\"[2001:db8::1]\";host=\"shop.example\";proto=http"
        );
        assert_eq!(written(false)[X_FORWARDED_PROTO], "http");
        assert_eq!(written(false)[X_FORWARDED_HOST], "shop.example");
    }
}
