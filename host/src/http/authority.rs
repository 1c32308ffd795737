//! The name by which a request asks for the host (RFC 9110 §7.2, RFC 3986 §3.2.2).

use std::net::Ipv6Addr;

use http::uri::Authority;

use super::problem::Problem;

/// Bytes of a host name (RFC 1035 §2.3.4), and of one of its labels.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// A host and perhaps a port, as a URI's `http` authority may have them.
///
/// # Errors
/// 400 where it is none.
pub(super) fn authority(text: &[u8]) -> Result<Authority, Problem> {
    // RFC 9110 §4.2.4: user information has no place in an HTTP authority.
    if text.contains(&b'@') {
        return Err(Problem::bad_request("the request's host has user information"));
    }
    let none = || Problem::bad_request("the request's Host is not a host, or its port not a port");
    let authority = Authority::try_from(text).map_err(|_| none())?;
    let host = authority.host();
    let port = &authority.as_str()[host.len()..];
    if is_host(host) && is_port(port) { Ok(authority) } else { Err(none()) }
}

/// Whether two authorities are one.
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|it| it.parse::<Ipv6Addr>().is_ok());
    }
    // With a dot at its end it is the same name (RFC 1034 §3.1).
    let name = host.strip_suffix('.').unwrap_or(host);
    name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Nothing, or a colon and a number, which may be left out (RFC 3986 §3.2.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some(digits) => {
            digits.is_empty()
                || (digits.bytes().all(|byte| byte.is_ascii_digit())
                    && digits.parse::<u16>().is_ok())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port_a_number() {
        for good in [
            "shop.example",
            "SHOP.example.:80",
            "localhost:8080",
            "a_b-c:",
            "192.0.2.1:1",
            "[::1]:65535",
            "[2001:DB8:0::1]",
            "xn--mnchen-3ya.example",
        ] {
            assert!(authority(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a..",
            "shop.example:abc",
            "shop.example:80:80",
            "shop.example:65536",
            "shop.example:+1",
            "shop.example:-1",
            "a b",
            "a/b",
            "a,b",
            "a%2eb",
            "user@a",
            "@a",
            "[::1",
            "::1",
            "[::1]x",
            "[v1.x]",
            "[fe80::1%25eth0]",
            "[]",
            "m\u{fc}nchen.example",
        ] {
            assert!(authority(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(authority("x".repeat(64).as_bytes()).is_err());
    }
}
