//! What a guest learns of the client and of the proxies before the host:
//! `Forwarded` (RFC 7239) and the older `X-Forwarded-*`.
//!
//! Scheme and host are in the request itself (`wasi:http`); the client's address is
//! nowhere else, so that is what guests are told where the operator says nothing.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::config::ForwardedHeader;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How the names of the older fields begin.
const X_FORWARDED: &[u8] = b"x-forwarded-";

/// All that the host writes, in the order of [`ForwardedHeader`].
static NAMES: [HeaderName; 4] = [FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO];

/// What a guest is told of a client that is not believed.
#[derive(Debug)]
pub struct Forwarded(Vec<(&'static HeaderName, HeaderValue)>);

impl Forwarded {
    /// Of a client at `peer` that asks for `host`, over plain HTTP, in these headers.
    #[must_use]
    pub fn of(told: &[ForwardedHeader], peer: SocketAddr, host: &str) -> Self {
        let nothing = HeaderMap::new();
        let value = |header: &ForwardedHeader| {
            let text = header.text(&nothing, peer, host, "http");
            Some((header.name(), HeaderValue::from_str(&text).ok()?))
        };
        Self(told.iter().filter_map(value).collect())
    }

    /// Writes it.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(*name, value.clone());
        }
    }
}

/// Whether a field says anything of a request's origin: also a port or a prefix, which the host
/// never writes, and also with `_` for `-`, as gateways of CGI's kind read it (RFC 3875 §4.1.18).
#[must_use]
pub fn is_claim(name: &str) -> bool {
    let name = name.as_bytes();
    let is_same = |(byte, of): (&u8, &u8)| byte == of || (*byte == b'_' && *of == b'-');
    name == b"forwarded"
        || name
            .get(..X_FORWARDED.len())
            .is_some_and(|start| start.iter().zip(X_FORWARDED).all(is_same))
}

/// Whether a field is one that the host writes.
#[must_use]
pub fn is_hosts(name: &str) -> bool {
    NAMES.iter().any(|hosts| hosts.as_str() == name)
}

/// Takes out all that a client says of its request's origin.
pub fn forget(headers: &mut HeaderMap) {
    let claims: Vec<_> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Writes the same of a client that is believed: behind what it sent.
pub fn append(
    told: &[ForwardedHeader],
    headers: &mut HeaderMap,
    peer: SocketAddr,
    host: &str,
    scheme: &str,
) {
    for header in told {
        match HeaderValue::from_str(&header.text(headers, peer, host, scheme)) {
            Ok(value) => headers.insert(header.name(), value),
            Err(_) => headers.remove(header.name()),
        };
    }
}

impl ForwardedHeader {
    fn name(self) -> &'static HeaderName {
        &NAMES[self as usize]
    }

    /// Its value, behind the one in `sent`.
    fn text(self, sent: &HeaderMap, peer: SocketAddr, host: &str, scheme: &str) -> String {
        let before: Vec<_> =
            sent.get_all(self.name()).iter().filter_map(|value| value.to_str().ok()).collect();
        let ip = peer.ip().to_canonical();
        let this = match self {
            // What the client asked for is what the first of the proxies saw.
            Self::XForwardedHost | Self::XForwardedProto if !before.is_empty() => {
                return before.join(", ");
            }
            Self::XForwardedHost => host.to_owned(),
            Self::XForwardedProto => scheme.to_owned(),
            Self::XForwardedFor => ip.to_string(),
            Self::Forwarded => format!("for={};host=\"{host}\";proto={scheme}", node(ip)),
        };
        before.into_iter().chain([this.as_str()]).collect::<Vec<_>>().join(", ")
    }
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

/// The client that trusted proxies say they ask for: of those that they name the last that
/// is none of them. What is before it is the client's own word.
#[must_use]
pub fn client(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let listed = |name: &HeaderName| {
        let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        lines.flat_map(|line| line.split(',')).map(str::trim).collect::<Vec<_>>()
    };
    let mut named: Vec<Option<IpAddr>> =
        listed(&X_FORWARDED_FOR).into_iter().map(address).collect();
    if named.is_empty() {
        let node = |element: &str| {
            let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
            let mut nodes = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
            address(nodes.next()?.1.trim_matches('"'))
        };
        named = listed(&FORWARDED).into_iter().map(node).collect();
    }
    // One that is no address ends what can be believed.
    named.into_iter().rev().find(|named| !named.is_some_and(&is_proxy)).flatten()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// RFC 7239 §6: an IPv6 address is bracketed and quoted.
fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ForwardedHeader; 4] = [
        ForwardedHeader::Forwarded,
        ForwardedHeader::XForwardedFor,
        ForwardedHeader::XForwardedHost,
        ForwardedHeader::XForwardedProto,
    ];

    fn written(told: &[ForwardedHeader], trusted: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("203.0.113.9"));
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        headers.insert("x-forwarded-port", HeaderValue::from_static("443"));
        headers.insert("x_forwarded-prefix", HeaderValue::from_static("/shop"));
        let peer = "[2001:db8::1]:4711".parse().expect("an address");
        if trusted {
            append(told, &mut headers, peer, "shop.example", "http");
        } else {
            assert!(headers.keys().all(|name| is_claim(name.as_str())));
            forget(&mut headers);
            Forwarded::of(told, peer, "shop.example").write(&mut headers);
        }
        headers
    }

    #[test]
    fn a_clients_own_claims_are_replaced_unless_it_is_trusted() {
        let told = written(&ALL, false);
        assert_eq!(told[X_FORWARDED_FOR], "2001:db8::1");
        assert_eq!(told[FORWARDED], "for=\"[2001:db8::1]\";host=\"shop.example\";proto=http");
        assert_eq!(told[X_FORWARDED_PROTO], "http");
        assert_eq!(told[X_FORWARDED_HOST], "shop.example");
        assert_eq!(told.len(), ALL.len(), "{told:?}");
        let trusted = written(&ALL, true);
        assert_eq!(trusted[X_FORWARDED_FOR], "203.0.113.9, 2001:db8::1");
        assert_eq!(trusted[X_FORWARDED_PROTO], "https");
        assert_eq!(trusted["x-forwarded-port"], "443");
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy() {
        let proxy: IpAddr = "10.0.0.1".parse().expect("an address");
        let found = |name: &HeaderName, text: &'static str| {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(text))]);
            client(&headers, |address| address == proxy).map(|address| address.to_string())
        };
        for (text, expected) in [
            ("203.0.113.9, 10.0.0.1", Some("203.0.113.9")),
            ("1.1.1.1, 203.0.113.9:4711, 10.0.0.1, 10.0.0.1", Some("203.0.113.9")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("203.0.113.9, unknown, 10.0.0.1", None),
            ("10.0.0.1", None),
        ] {
            assert_eq!(found(&X_FORWARDED_FOR, text).as_deref(), expected, "{text}");
        }
        let text = "for=1.1.1.1, for=\"[2001:db8::1]:80\";proto=http, for=10.0.0.1";
        assert_eq!(found(&FORWARDED, text).as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn a_claim_is_removed_even_where_the_guest_is_told_nothing_else() {
        assert!(NAMES.iter().all(|name| is_claim(name.as_str()) && is_hosts(name.as_str())));
        for name in ["x-forwarded-port", "x-forwarded-ssl", "x_forwarded_for", "x_forwarded-by"] {
            assert!(is_claim(name) && !is_hosts(name), "{name}");
        }
        for name in ["x-forwarded", "x-forward-for", "forwarded-for", "xx-forwarded-for"] {
            assert!(!is_claim(name), "{name}");
        }
        assert!(written(&[], false).is_empty());
        let told = written(&[ForwardedHeader::XForwardedFor], false);
        assert_eq!(
            (told.len(), &told[X_FORWARDED_FOR]),
            (1, &HeaderValue::from_static("2001:db8::1"))
        );
    }
}
