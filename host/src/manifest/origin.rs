//! Origins: what an outgoing request goes to, and what a manifest grants.
//!
//! Both are read by the same rules, so that no spelling of a host can mean one
//! thing to the grant and another to the resolver.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use url::Host;

/// What stands for plain HTTP/2 in a manifest, in the place of a scheme.
const H2C: &str = "h2c";

/// What follows a service's name where a request goes to that: the domain that is kept free for
/// private use, in which nobody else has a name.
const NEIGHBOURS: &str = ".internal";

/// Bytes of a host name (RFC 1035 §2.3.4).
const MAX_NAME_BYTES: usize = 253;
/// Bytes of one of its labels.
const MAX_LABEL_BYTES: usize = 63;

/// Scheme, host and port (RFC 6454), normalised: lower case, ASCII, without a
/// trailing dot, with the scheme's default port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// One of `[capabilities] outbound`: an origin, or all whose host has one label
/// more (`https://*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    origin: Origin,
    wildcard: bool,
    /// `h2c://`: requests by `http` that go out by HTTP/2, whose peer is known to speak it.
    h2c: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

/// A text is not an origin that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It does not begin with one of the schemes.
    #[error("it must begin with `https://`, `http://` or, for plain HTTP/2, `h2c://`")]
    Scheme,
    /// It names a user.
    #[error("it must not name a user")]
    UserInfo,
    /// Something follows the host and port.
    #[error("it must end after the host or the port, without path, query or fragment")]
    Path,
    /// The port is no number that a port can have.
    #[error("its port must be a number between 1 and 65535")]
    Port,
    /// The host is neither a name nor an address.
    #[error("its host is neither a name nor an address")]
    Host,
    /// The host is an IPv4 address that is not spelled as usual; resolvers
    /// differ in what they make of it.
    #[error("its host must be spelled {0}")]
    Spelling(std::net::Ipv4Addr),
    /// The wildcard is not where it may be.
    #[error("`*` may only be the whole first label, before a name of two or more")]
    Wildcard,
}

impl Origin {
    /// The origin that a request with this URI goes to.
    ///
    /// # Errors
    /// When the URI is not absolute, or its authority is not a plain host with
    /// an optional port.
    pub fn of(uri: &Uri) -> Result<Self, OriginError> {
        let scheme = uri.scheme_str().ok_or(OriginError::Scheme)?.parse()?;
        Self::new(scheme, uri.authority().ok_or(OriginError::Host)?.as_str())
    }

    fn new(scheme: Scheme, authority: &str) -> Result<Self, OriginError> {
        if authority.contains('@') {
            return Err(OriginError::UserInfo);
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(OriginError::Path);
        }
        // The colons of an IPv6 address are inside its brackets.
        let (host, port) = match authority.rfind(':') {
            Some(at) if !authority[at..].contains(']') => {
                (&authority[..at], port_of(&authority[at + 1..])?)
            }
            _ => (authority, scheme.default_port()),
        };
        Ok(Self { scheme, host: host_of(host)?, port })
    }

    /// The name in `http://NAME.internal`, which no resolver is asked for: a service of this
    /// host. Names of more labels, as some networks have them, are none.
    #[must_use]
    pub fn neighbour(&self) -> Option<&str> {
        let Host::Domain(name) = &self.host else { return None };
        name.strip_suffix(NEIGHBOURS).filter(|label| !label.contains('.'))
    }

    /// Whether it is the one that its scheme has where none is named.
    #[must_use]
    pub fn has_default_port(&self) -> bool {
        self.port == self.scheme.default_port()
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Host and port as they are put into a URI: without the default port.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.has_default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl OriginPattern {
    /// Whether it grants requests to `origin`. A `*` is exactly one label, as in
    /// certificates (RFC 9525 §6.3).
    #[must_use]
    pub fn grants(&self, origin: &Origin) -> bool {
        let Origin { scheme, host, port } = &self.origin;
        let host_matches = match (self.wildcard, host, &origin.host) {
            (true, Host::Domain(parent), Host::Domain(name)) => {
                name.split_once('.').is_some_and(|(_, rest)| rest == parent)
            }
            _ => *host == origin.host,
        };
        *scheme == origin.scheme && *port == origin.port && host_matches
    }
}

impl OriginPattern {
    /// Whether its peers are asked by HTTP/2 without TLS (RFC 9113 §3.3).
    #[must_use]
    pub fn is_h2c(&self) -> bool {
        self.h2c
    }
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, authority) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let h2c = scheme.eq_ignore_ascii_case(H2C);
        let scheme: Scheme = if h2c { Scheme::Http } else { scheme.parse()? };
        let (wildcard, authority) = match authority.strip_prefix("*.") {
            Some(parent) => (true, parent),
            None => (false, authority),
        };
        if authority.contains('*') {
            return Err(OriginError::Wildcard);
        }
        let origin = Origin::new(scheme, authority)?;
        let parent = matches!(&origin.host, Host::Domain(name) if name.contains('.'));
        if wildcard && !parent {
            return Err(OriginError::Wildcard);
        }
        Ok(Self { origin, wildcard, h2c })
    }
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl FromStr for Scheme {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("https") {
            Ok(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Ok(Self::Http)
        } else {
            Err(OriginError::Scheme)
        }
    }
}

fn port_of(text: &str) -> Result<u16, OriginError> {
    // `u16` would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.filter(|&port| port != 0).ok_or(OriginError::Port)
}

/// A name or an address as the URL standard reads it: it knows every spelling
/// that a resolver may take for an IPv4 address, and those are refused.
fn host_of(text: &str) -> Result<Host, OriginError> {
    // What is encoded would be read differently by those who decode it.
    if text.contains('%') {
        return Err(OriginError::Host);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let host = Host::parse(name).map_err(|_| OriginError::Host)?;
    let valid = match &host {
        Host::Ipv4(address) if text != address.to_string() => {
            return Err(OriginError::Spelling(*address));
        }
        Host::Ipv4(_) => true,
        Host::Ipv6(_) => name == text,
        Host::Domain(name) => {
            name.len() <= MAX_NAME_BYTES
                && name.split('.').all(|label| (1..=MAX_LABEL_BYTES).contains(&label.len()))
        }
    };
    if valid { Ok(host) } else { Err(OriginError::Host) }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.h2c { H2C.to_owned() } else { self.origin.scheme.to_string() };
        let wildcard = if self.wildcard { "*." } else { "" };
        write!(f, "{scheme}://{wildcard}{}", self.origin.authority())
    }
}

#[cfg(test)]
mod tests;
