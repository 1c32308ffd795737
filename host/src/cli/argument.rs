//! Arguments that several commands have. Their errors don't say again what was given: it is
//! said before them.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::config::parse_duration;
use crate::name::ServiceName;
use crate::oci::{InvalidReference, Reference};

/// A component, by where it is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    File(PathBuf),
    Registry(Reference),
}

/// A service's name.
pub(super) fn service(text: &str) -> Result<ServiceName, String> {
    text.parse().map_err(|_| {
        "a service is called by 1 to 63 lower-case letters, digits and inner hyphens".to_owned()
    })
}

/// An event's position on the bus.
pub(super) fn position(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|position| *position > 0).ok_or_else(|| {
        "a position is a whole number from 1 on, as `hotdock events held` shows it".to_owned()
    })
}

/// The position before those that are wanted; 0 is before all.
pub(super) fn after(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "a position is a whole number, as `hotdock events tail` shows it".to_owned())
}

/// How many events are wanted.
pub(super) fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "it is a whole number".to_owned())
}

/// How long something may take.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |_| "it is a duration with its unit, such as 30s or 500ms".to_owned();
    parse_duration(text).map_err(wrong)
}

/// How many lines are wanted.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("it is a whole number from 1 to {MOST}");
    text.parse().ok().filter(|count| (1..=MOST).contains(count)).ok_or_else(wrong)
}

/// As many as a page of the host has.
const MOST: u64 = 1000;

/// `oci://REGISTRY/REPOSITORY:TAG`, or with a digest.
pub(super) fn reference(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|error: InvalidReference| {
        format!("oci://REGISTRY/REPOSITORY:TAG or …@sha256:DIGEST is expected: {}", error.reason())
    })
}

/// A file, or a reference where it begins as one.
pub(super) fn place() -> impl TypedValueParser<Value = Place> {
    PathBufValueParser::new().try_map(|path| match path.to_str() {
        Some(text) if Reference::is_meant(text) => reference(text).map(Place::Registry),
        _ => Ok(Place::File(path)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_told_what_it_should_be() {
        assert_eq!((position("7"), count("1000")), (Ok(7), Ok(1000)));
        for wrong in ["x", "0", "-1", "1.5", ""] {
            let error = position(wrong).expect_err(wrong);
            assert!(error.starts_with("a position is a whole number from 1 on"), "{error}");
            assert_eq!(count(wrong), Err("it is a whole number from 1 to 1000".to_owned()));
        }
    }

    #[test]
    fn what_begins_as_a_reference_is_one_or_wrong() {
        let place = |text: &str| {
            let command = clap::Command::new("x").arg(clap::Arg::new("it").value_parser(place()));
            let found = command.try_get_matches_from(["x", text]);
            found
                .map(|mut found| found.remove_one::<Place>("it"))
                .map_err(|error| error.to_string())
        };
        assert!(matches!(place("cart.wasm"), Ok(Some(Place::File(_)))));
        assert!(matches!(place("oci://r.example/cart:1"), Ok(Some(Place::Registry(_)))));
        let error = place("oci://r.example/Cart:1").expect_err("no reference");
        assert!(error.contains("`Cart` is no repository"), "{error}");
        assert_eq!(error.matches("oci://r.example/Cart:1").count(), 1, "{error}");
    }
}
