//! The values of `hotdock.toml`'s settings.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error as _, Unexpected};

use super::{Network, socket_address};
use crate::machine;

/// Counts end here: beyond it none is of anything that a machine has.
pub(super) const COUNT: u64 = 1_000_000_000;

/// Bytes of a head, at most: it is in memory before anything is known of its request.
pub(super) const HEAD: u64 = 16 << 20;

/// As long as anything may take: a century. (A clock that is asked for much more has no answer.)
const LONGEST: Duration = Duration::from_secs(100 * 31_557_600);

/// `30s`, `500ms`, `1m 30s`.
///
/// # Errors
/// When it is none, or longer than anything may take.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is no duration such as 30s or 500ms"))?;
    if time > LONGEST {
        let longest = humantime::format_duration(LONGEST);
        return Err(format!("it must be {longest} at the most; found: {text}"));
    }
    Ok(time)
}

/// A duration that may be none at all.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(D::Error::custom)
}

/// The shortest time in which anything can be done.
const SHORTEST: Duration = Duration::from_millis(1);

/// As [`parse_duration`], of a time in which something can be done.
///
/// # Errors
/// When it is none, or shorter or longer than anything may take.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be longer than 0s, in which nothing can be done".to_owned()),
        time if time < SHORTEST => Err(format!(
            "it must be {SHORTEST:?} at the least; found: {}",
            humantime::format_duration(time)
        )),
        time => Ok(time),
    }
}

/// A duration in which something can be done: with none at all nothing ever would be.
pub(super) fn time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_time(&text).map(Some).map_err(D::Error::custom)
}

/// A whole number from `LEAST` to `MOST`.
pub(super) fn number<
    'de,
    D: Deserializer<'de>,
    T: TryFrom<u64>,
    const LEAST: u64,
    const MOST: u64,
>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let found = i64::deserialize(deserializer)?;
    let number = u64::try_from(found).ok().filter(|number| (LEAST..=MOST).contains(number));
    number.and_then(|number| T::try_from(number).ok()).map(Some).ok_or_else(|| {
        let expected = format!("a whole number from {LEAST} to {MOST}");
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

/// So many bytes of memory: no less than `LEAST`, and no more than there are.
pub(super) fn in_memory<'de, D: Deserializer<'de>, const LEAST: u64>(
    deserializer: D,
) -> Result<Option<ByteSize>, D::Error> {
    let size = bytes::<D, LEAST>(deserializer)?;
    let most = machine::memory().map_or(ByteSize(u64::MAX), ByteSize);
    match size {
        Some(size) if size > most => Err(D::Error::custom(format!(
            "it must be {most} of memory at the most, which is what this machine, or the host's \
             control group, has; found: {size}"
        ))),
        size => Ok(size),
    }
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
