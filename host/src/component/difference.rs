//! What a newer component has, lacks or changed, in words, and whom it breaks.

use serde::Serialize;
use wit_parser::{InterfaceId, Type, WorldItem};

use super::interfaces::{Interfaces, Items, Named};
use super::types::{Comparison, definition, signature};

/// What differs, sorted by whether what worked with the older one goes on to work
/// with the newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// What it breaks.
    pub breaking: Vec<String>,
    /// What it doesn't.
    pub compatible: Vec<String>,
}

/// One change of an export or import.
struct Change {
    kind: Kind,
    words: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Gone,
    Changed,
    /// Another version of the same, as compatible as its content is.
    Version,
}

/// What differs in what they export. Whoever calls the older one finds in the
/// newer one what is still there with the same type, under a version that
/// semantic versioning takes for the same. `counts` leaves exports out.
pub fn exports(old: &Interfaces, new: &Interfaces, counts: impl Fn(&str) -> bool) -> Differences {
    let mut differences = Differences::default();
    for (name, change) in changes((old, &old.exports), (new, &new.exports), "export") {
        if !counts(&name) {
            continue;
        }
        match change.kind {
            Kind::Gone | Kind::Changed => differences.breaking.push(change.words),
            Kind::New | Kind::Version => differences.compatible.push(change.words),
        }
    }
    differences
}

/// What differs in what they import. More or other imports break nobody as long as
/// they are `provided`.
pub fn imports(old: &Interfaces, new: &Interfaces, provided: impl Fn(&str) -> bool) -> Differences {
    let mut differences = Differences::default();
    let needs = new.needs();
    for (name, change) in changes((old, &old.imports), (new, &new.imports), "import") {
        let asks_more = matches!(change.kind, Kind::New | Kind::Changed) && needs.contains(&name);
        if asks_more && !provided(&name) {
            differences
                .breaking
                .push(format!("{}, and the host does not provide it", change.words));
        } else {
            differences.compatible.push(change.words);
        }
    }
    differences
}

/// Every change, with the name of the item that it is in.
fn changes(
    (old, old_items): (&Interfaces, &Items),
    (new, new_items): (&Interfaces, &Items),
    word: &str,
) -> Vec<(String, Change)> {
    let mut comparison = Comparison::new(&old.resolve, &new.resolve);
    let mut changes = Vec::new();
    for (track, before) in old_items {
        let Some(after) = new_items.get(track) else {
            let other = other_version(track, new_items).filter(|_| word == "export");
            let words = format!("{word} {} is gone{}", before.name, other.unwrap_or_default());
            changes.push((before.name.clone(), Change { kind: Kind::Gone, words }));
            continue;
        };
        if before.name != after.name {
            let words = format!("{word} {} has another version: {}", before.name, after.name);
            changes.push((after.name.clone(), Change { kind: Kind::Version, words }));
        }
        let within = within((old, before), (new, after), &mut comparison, word);
        changes.extend(within.into_iter().map(|change| (after.name.clone(), change)));
    }
    for (track, after) in new_items {
        if !old_items.contains_key(track) {
            let words = format!("{word} {} is new", after.name);
            changes.push((after.name.clone(), Change { kind: Kind::New, words }));
        }
    }
    changes
}

/// What stands in for an interface that is gone, and cannot.
fn other_version(track: &str, items: &Items) -> Option<String> {
    let package = |name: &str| name.split_once('@').map(|(package, _)| package.to_owned());
    let wanted = package(track)?;
    let other = items.values().find(|named| package(&named.name).as_ref() == Some(&wanted))?;
    Some(format!(" ({} is not compatible with it)", other.name))
}

/// What changed within one export or import.
fn within(
    (old, before): (&Interfaces, &Named),
    (new, after): (&Interfaces, &Named),
    comparison: &mut Comparison<'_>,
    word: &str,
) -> Vec<Change> {
    let name = &after.name;
    let changed = |was: String, is: String| {
        let words = format!("{word} {name} was {was}, is {is}");
        vec![Change { kind: Kind::Changed, words }]
    };
    match (&before.item, &after.item) {
        (WorldItem::Interface { id: before, .. }, WorldItem::Interface { id: after, .. }) => {
            within_interface((old, *before), (new, *after), comparison, &format!("{word} {name}"))
        }
        (WorldItem::Function(before), WorldItem::Function(after)) => {
            if comparison.same_functions(before, after) {
                return Vec::new();
            }
            changed(signature(&old.resolve, before), signature(&new.resolve, after))
        }
        (WorldItem::Type { id: before, .. }, WorldItem::Type { id: after, .. }) => {
            if comparison.same(&Type::Id(*before), &Type::Id(*after)) {
                return Vec::new();
            }
            changed(definition(&old.resolve, *before), definition(&new.resolve, *after))
        }
        (before, after) => changed(kind(before).to_owned(), kind(after).to_owned()),
    }
}

fn kind(item: &WorldItem) -> &'static str {
    match item {
        WorldItem::Interface { .. } => "an interface",
        WorldItem::Function(_) => "a function",
        WorldItem::Type { .. } => "a type",
    }
}

/// Functions and named types that are gone, new or changed. A function whose
/// type is only changed because a named type is says so.
fn within_interface(
    (old, before): (&Interfaces, InterfaceId),
    (new, after): (&Interfaces, InterfaceId),
    comparison: &mut Comparison<'_>,
    interface: &str,
) -> Vec<Change> {
    let (before, after) = (&old.resolve.interfaces[before], &new.resolve.interfaces[after]);
    let mut changes = Vec::new();
    let mut say = |kind, words: String| {
        changes.push(Change { kind, words: format!("{interface}: {words}") });
    };
    for (name, was) in &before.types {
        match after.types.get(name) {
            None => say(Kind::Gone, format!("type {name} is gone")),
            Some(is) if comparison.same(&Type::Id(*was), &Type::Id(*is)) => {}
            Some(is) => {
                let (was, is) = (definition(&old.resolve, *was), definition(&new.resolve, *is));
                let nested = if was == is { " (a type that it names changed)" } else { "" };
                say(Kind::Changed, format!("type {name} was {was}, is {is}{nested}"));
            }
        }
    }
    for (name, was) in &before.functions {
        match after.functions.get(name) {
            None => say(Kind::Gone, format!("{name} is gone")),
            Some(is) if comparison.same_functions(was, is) => {}
            Some(is) => {
                let (was, is) = (signature(&old.resolve, was), signature(&new.resolve, is));
                if was == is {
                    say(Kind::Changed, format!("{name} is {is}, and a type that it names changed"));
                } else {
                    say(Kind::Changed, format!("{name} was {was}, is {is}"));
                }
            }
        }
    }
    let new_types = after.types.keys().filter(|name| !before.types.contains_key(*name));
    new_types.for_each(|name| say(Kind::New, format!("type {name} is new")));
    let functions = after.functions.keys();
    let new_functions = functions.filter(|name| !before.functions.contains_key(*name));
    new_functions.for_each(|name| say(Kind::New, format!("{name} is new")));
    changes
}

#[cfg(test)]
mod tests;
