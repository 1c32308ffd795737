//! The values of `hotdock.toml`'s settings.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error as _, Unexpected};

use super::{Network, socket_address};

/// A duration that may be none at all.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map(Some)
        .map_err(|_| D::Error::custom(format!("`{text}` is no duration such as 30s or 500ms")))
}

/// A duration in which something can be done: with none at all nothing ever would be.
pub(super) fn time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    match duration(deserializer)? {
        Some(Duration::ZERO) => {
            Err(D::Error::custom("it must be longer than 0s, in which nothing can be done"))
        }
        time => Ok(time),
    }
}

/// A whole number that is no less than `LEAST`.
pub(super) fn number<'de, D: Deserializer<'de>, T: TryFrom<u64>, const LEAST: u64>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let found = i64::deserialize(deserializer)?;
    let number = u64::try_from(found).ok().filter(|number| *number >= LEAST);
    number.and_then(|number| T::try_from(number).ok()).map(Some).ok_or_else(|| {
        let expected = match LEAST {
            0 => "a whole number".to_owned(),
            least => format!("a whole number from {least} on"),
        };
        D::Error::invalid_value(Unexpected::Signed(found), &expected.as_str())
    })
}

/// So many bytes, and no less than `LEAST`.
pub(super) fn bytes<'de, D: Deserializer<'de>, const LEAST: u64>(
    deserializer: D,
) -> Result<Option<ByteSize>, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if size.as_u64() < LEAST {
        let least = ByteSize(LEAST);
        return Err(D::Error::custom(format!("it must be {least} at the least; found: {size}")));
    }
    Ok(Some(size))
}

pub(super) fn address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    socket_address(&text).map(Some).map_err(D::Error::custom)
}

/// A list of networks; every one that is none is named.
pub(super) fn networks<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Network>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let (mut networks, mut wrong) = (Vec::new(), Vec::new());
    for text in &texts {
        match text.parse::<Network>() {
            Ok(network) => networks.push(network),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if wrong.is_empty() { Ok(Some(networks)) } else { Err(D::Error::custom(wrong.join("; "))) }
}
