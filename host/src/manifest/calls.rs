//! `[capabilities] calls` and `[imports]`: the services that a service calls, and which of them
//! an interface that it imports leads to.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::fields::Field;
use super::problem::Problems;
use crate::name::ServiceName;

/// How many services one may call, and how many interfaces are led to one of them.
const MAX_CALLS: usize = 1000;
/// How long an interface's name may be, in bytes.
const MAX_INTERFACE_BYTES: usize = 512;

/// The services of `[capabilities] calls`. Whether they are deployed is a matter of the host, and
/// a service may call itself.
pub(super) fn granted(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> BTreeSet<ServiceName> {
    let elements = field.elements(problems).unwrap_or_default();
    if elements.len() > MAX_CALLS {
        field.report(problems, format_args!("may have {MAX_CALLS} services"));
        return BTreeSet::new();
    }
    let mut calls = BTreeSet::new();
    for element in elements {
        match element.text(problems).map(str::parse::<ServiceName>) {
            Some(Ok(service)) => {
                if let Some(twice) = calls.replace(service) {
                    element.report(problems, format_args!("has `{twice}` twice"));
                }
            }
            Some(Err(error)) => element.report(problems, format_args!("is wrong: {error}")),
            None => {}
        }
    }
    calls
}

/// `[imports]`, each of whose services is among those that may be called.
pub(super) fn imports(
    field: &Field<'_, '_>,
    calls: &BTreeSet<ServiceName>,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, ServiceName> {
    let mut imports = BTreeMap::new();
    let Some(table) = field.table(problems) else { return imports };
    if table.len() > MAX_CALLS {
        field.report(problems, format_args!("may have {MAX_CALLS} interfaces"));
        return imports;
    }
    for (key, value) in table {
        let interface = key.get_ref().as_ref();
        if let Err(reason) = check_interface(interface) {
            problems.report(&key.span(), format!("`[imports] \"{interface}\"` {reason}"));
            continue;
        }
        let refused = match value.get_ref() {
            DeValue::String(text) => match text.parse::<ServiceName>() {
                Ok(service) if calls.contains(&service) => {
                    imports.insert(interface.to_owned(), service);
                    continue;
                }
                Ok(service) => format!(
                    "leads to `{service}`, which the service may not call: add it to \
                     `[capabilities] calls`"
                ),
                Err(error) => format!("is wrong: {error}"),
            },
            other => format!("must be a service's name in quotes; found: {}", other.type_str()),
        };
        problems.report(&value.span(), format!("`[imports] \"{interface}\"` {refused}"));
    }
    imports
}

/// Whether it is an interface's name without a version: `shop:cart/carts`.
fn check_interface(name: &str) -> Result<(), &'static str> {
    if name.contains('@') {
        return Err("has a version: leave it out, as the component says which one it needs");
    }
    let is_word = |word: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.chars().all(allowed)
    };
    let parts = name.split_once(':').and_then(|(namespace, rest)| {
        let (package, interface) = rest.split_once('/')?;
        Some([namespace, package, interface])
    });
    match parts {
        Some(words) if words.into_iter().all(is_word) && name.len() <= MAX_INTERFACE_BYTES => {
            Ok(())
        }
        _ => Err("is no name of an interface, such as \"shop:cart/carts\""),
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::{Manifest, ManifestText, Problem};

    fn read(text: &str) -> Result<Manifest, Vec<String>> {
        let text = ManifestText { file: "order.toml".to_owned(), text: text.to_owned() };
        let read = Manifest::read("order", Some(&text));
        read.map_err(|error| error.problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn a_service_names_whom_it_calls_and_for_what() {
        let manifest = read(
            "[capabilities]\ncalls = [\"cart\", \"order\"]\n\
             [imports]\n\"shop:cart/carts\" = \"cart\"\n",
        )
        .expect("a manifest");
        let calls: Vec<_> = manifest.capabilities.calls.iter().map(|call| call.as_str()).collect();
        assert_eq!(calls, ["cart", "order"]);
        assert_eq!(manifest.imports["shop:cart/carts"].as_str(), "cart");
    }

    #[test]
    fn who_cannot_be_called_is_refused_with_its_place() {
        let refused = read(
            "[capabilities]\ncalls = [\"cart\", \"Cart\", \"cart\", 7]\n\
             [imports]\n\"shop:cart/carts@1.0.0\" = \"cart\"\n\"carts\" = \"cart\"\n\
             \"shop:stock/stocks\" = \"stock\"\n\"shop:cart/carts\" = 1\n\
             \"shop:cart/lists\" = \"A\"\n",
        )
        .expect_err("refused");
        let expected = [
            "order.toml:2:18: `[capabilities] calls` is wrong: `Cart` cannot name a service: 1 to 63 \
             lower-case letters, digits and inner hyphens expected",
            "order.toml:2:26: `[capabilities] calls` has `cart` twice",
            "order.toml:2:34: `[capabilities] calls` must be a text in quotes; found: integer",
            "order.toml:4:1: `[imports] \"shop:cart/carts@1.0.0\"` has a version: leave it out, as \
             the component says which one it needs",
            "order.toml:5:1: `[imports] \"carts\"` is no name of an interface, such as \
             \"shop:cart/carts\"",
            "order.toml:6:23: `[imports] \"shop:stock/stocks\"` leads to `stock`, which the service \
             may not call: add it to `[capabilities] calls`",
            "order.toml:7:21: `[imports] \"shop:cart/carts\"` must be a service's name in quotes; \
             found: integer",
            "order.toml:8:21: `[imports] \"shop:cart/lists\"` is wrong: `A` cannot name a service: 1 to 63 \
             lower-case letters, digits and inner hyphens expected",
        ];
        assert_eq!(refused, expected);
    }
}
