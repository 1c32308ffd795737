use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

/// A component of the world `service`, of a package that `wit` is the content of.
fn component(wit: &str) -> Interfaces {
    let mut resolve = Resolve::new();
    let package = resolve.push_str("test.wit", &format!("package test:test;\n{wit}"));
    let package = package.unwrap_or_else(|error| panic!("{wit}: {error:?}"));
    let world = resolve.select_world(&[package], Some("service")).expect("a world");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embedded");
    let mut encoder = ComponentEncoder::default().module(&module).expect("a module").validate(true);
    let bytes = encoder.encode().expect("a component");
    Interfaces::read(bytes.as_slice()).expect("its interfaces")
}

/// The service that exports stock of this version and content.
fn stock(version: &str, content: &str) -> Interfaces {
    component(&format!(
        "world service {{ export shop:stock/stock@{version}; }}
         package shop:stock@{version} {{ interface stock {{ {content} }} }}"
    ))
}

fn between(old: &Interfaces, new: &Interfaces) -> Differences {
    exports(old, new, |_| true)
}

const CONTENT: &str = "record item { id: u64, name: string }
                       find: func(id: u64) -> option<item>;";

#[test]
fn the_same_interface_has_no_differences() {
    assert_eq!(between(&stock("1.0.0", CONTENT), &stock("1.0.0", CONTENT)), Differences::default());
}

#[test]
fn what_is_new_breaks_nobody_and_what_is_gone_does() {
    let old = stock("1.0.0", CONTENT);
    let new = stock("1.0.0", &format!("{CONTENT} count: func() -> u32;"));
    let added = between(&old, &new);
    assert_eq!(added.breaking, [""; 0]);
    assert_eq!(added.compatible, ["export shop:stock/stock@1.0.0: count is new"]);
    let removed = between(&new, &old);
    assert_eq!(removed.breaking, ["export shop:stock/stock@1.0.0: count is gone"]);
    let nothing = component("world service {}");
    let gone = between(&old, &nothing);
    assert_eq!(gone.breaking, ["export shop:stock/stock@1.0.0 is gone"]);
    assert_eq!(between(&nothing, &old).compatible, ["export shop:stock/stock@1.0.0 is new"]);
}

#[test]
fn a_minor_version_stands_in_for_the_one_before_and_a_major_one_does_not() {
    let old = stock("1.0.0", CONTENT);
    let minor = between(&old, &stock("1.1.0", CONTENT));
    assert_eq!(minor.breaking, [""; 0]);
    assert_eq!(
        minor.compatible,
        ["export shop:stock/stock@1.0.0 has another version: shop:stock/stock@1.1.0"]
    );
    let major = between(&old, &stock("2.0.0", CONTENT));
    assert_eq!(
        major.breaking,
        [
            "export shop:stock/stock@1.0.0 is gone (shop:stock/stock@2.0.0 is not compatible with it)"
        ]
    );
    // Before 1.0 a minor version may break, and a pre-release always.
    assert_eq!(between(&stock("0.1.0", CONTENT), &stock("0.2.0", CONTENT)).breaking.len(), 1);
    assert!(between(&stock("0.1.0", CONTENT), &stock("0.1.3", CONTENT)).breaking.is_empty());
    let drafts = between(&stock("1.0.0-draft", CONTENT), &stock("1.0.0-draft2", CONTENT));
    assert_eq!(drafts.breaking.len(), 1);
}

#[test]
fn a_changed_signature_is_said_as_it_was_and_as_it_is() {
    let new =
        stock("1.0.0", &CONTENT.replace("find: func(id: u64)", "find: func(id: u64, at: u32)"));
    assert_eq!(
        between(&stock("1.0.0", CONTENT), &new).breaking,
        ["export shop:stock/stock@1.0.0: find was func(id: u64) -> option<item>, \
          is func(id: u64, at: u32) -> option<item>"]
    );
    let renamed = stock("1.0.0", &CONTENT.replace("find: func(id:", "find: func(number:"));
    assert_eq!(between(&stock("1.0.0", CONTENT), &renamed).breaking.len(), 1);
}

#[test]
fn a_changed_type_changes_what_names_it() {
    let new = stock("1.0.0", &CONTENT.replace("name: string", "name: string, price: u32"));
    assert_eq!(
        between(&stock("1.0.0", CONTENT), &new).breaking,
        [
            "export shop:stock/stock@1.0.0: type item was record { id: u64, name: string }, \
             is record { id: u64, name: string, price: u32 }",
            "export shop:stock/stock@1.0.0: find is func(id: u64) -> option<item>, and a type \
             that it names changed"
        ]
    );
}

#[test]
fn names_of_types_do_not_count_and_those_of_resources_do() {
    let of = |ty: &str, name: &str| {
        stock("1.0.0", &format!("type id = u64; {ty} get: func() -> {name};"))
    };
    let plain = between(&of("", "id"), &of("", "u64"));
    assert_eq!(plain, Differences::default(), "an alias is what it stands for");
    let resources = between(&of("resource a;", "a"), &of("resource b;", "b"));
    assert!(resources.breaking.iter().any(|words| words.contains("get was")), "{resources:?}");
}

#[test]
fn a_type_of_another_interface_counts_where_it_is_used() {
    let service = |field: &str| {
        component(&format!(
            "world service {{ export shop:stock/stock@1.0.0; }}
             package shop:stock@1.0.0 {{
                 interface types {{ record item {{ {field} }} }}
                 interface stock {{ use types.{{item}}; find: func() -> item; }}
             }}"
        ))
    };
    let differences = between(&service("id: u64"), &service("id: u32"));
    assert!(differences.breaking.iter().any(|words| words.contains("find")), "{differences:?}");
}

#[test]
fn more_imports_break_only_what_nobody_provides() {
    let with = |imported: &str| {
        component(&format!(
            "world service {{ {imported} }}
             package shop:mail@1.0.0 {{ interface mail {{ send: func(to: string); }} }}"
        ))
    };
    let (old, new) = (with(""), with("import shop:mail/mail@1.0.0;"));
    let provided = imports(&old, &new, |_| true);
    assert_eq!(provided.compatible, ["import shop:mail/mail@1.0.0 is new"]);
    let missing = imports(&old, &new, |_| false);
    assert_eq!(
        missing.breaking,
        ["import shop:mail/mail@1.0.0 is new, and the host does not provide it"]
    );
    assert!(imports(&new, &old, |_| false).breaking.is_empty());
}
