//! What services and their versions go by.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A DNS label (RFC 1123): 1 to 63 lower-case letters, digits and hyphens, no
/// hyphen at either end. Safe in paths, file names, logs and metrics.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

/// Why a text cannot name a service.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` cannot name a service: 1 to 63 lower-case letters, digits and inner hyphens expected"
)]
pub struct InvalidServiceName(String);

/// Which version: `cart v3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct VersionId {
    /// The service.
    pub service: ServiceName,
    /// Counted per service from 1.
    pub number: u64,
}

impl ServiceName {
    /// What the operator's webhooks go by. No service can have this name.
    #[must_use]
    pub fn webhooks() -> Self {
        Self("_webhooks".into())
    }

    /// A name that subscriptions go by: a service's, or the webhooks'.
    ///
    /// # Errors
    /// When it is neither.
    pub fn of_subscriber(text: &str) -> Result<Self, InvalidServiceName> {
        let webhooks = Self::webhooks();
        if text == webhooks.as_str() { Ok(webhooks) } else { text.parse() }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = matches!(bytes.len(), 1..=63)
            && bytes.iter().all(|&byte| letters(byte) || byte == b'-')
            && bytes.first().is_some_and(|&byte| letters(byte))
            && bytes.last().is_some_and(|&byte| letters(byte));
        if valid { Ok(Self(text.into())) } else { Err(InvalidServiceName(text.to_owned())) }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for ServiceName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for ServiceName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.service, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_a_dns_label() {
        for good in ["cart", "a", "cart-2", &"x".repeat(63)] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "Cart", "-cart", "cart-", "a.b", "a/b", "..", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }
}
