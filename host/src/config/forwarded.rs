//! `[http] forwarded`: what guests are told of a request's origin.

/// A header about a request's origin, as `[http] forwarded` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// RFC 7239: address, host and scheme.
    Forwarded,
    /// The client's address, then those of the proxies.
    XForwardedFor,
    /// The host that the client asked for.
    XForwardedHost,
    /// The scheme that the client used.
    XForwardedProto,
}
