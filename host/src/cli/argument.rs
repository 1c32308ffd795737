//! Arguments that several commands have. Their errors don't say again what was given: it is
//! said before them.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::oci::{InvalidReference, Reference};
use crate::service::ServiceName;

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
