//! The commands that look at components, without a host.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::typed::{REQUESTS, component as typed, stock};
use crate::harness::{built, component, hello};

/// A folder with files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn hotdock(arguments: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    command.args(arguments).args(files).output().expect("it ends")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON: {output:?}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn a_file_may_be_called_like_an_option() {
    let files = Files::new();
    files.put("--portable.wasm", hello(1));
    files.put("--portable.toml", "[service]\nname = \"hello\"\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    command.args(["check", "--json", "--", "--portable.wasm"]).current_dir(files.0.path());
    let checked = json(&command.output().expect("it ends"));
    assert_eq!(checked["deployable"], true, "{checked}");
}

#[test]
fn a_file_that_is_not_there_is_told_whatever_it_is_called() {
    let files = Files::new();
    for name in ["absent", "absent.wasm"] {
        let checked = json(&hotdock(&["check", "--json"], &[&files.path(name)]));
        let reasons = texts(&checked["reasons"]);
        assert!(reasons.len() == 1 && reasons[0].starts_with("there is no file "), "{checked}");
    }
}

/// As in a host's folder: it is not taken for none.
#[test]
fn a_link_that_leads_nowhere_is_refused_by_every_command() {
    let files = Files::new();
    let file = files.put("z.wasm", hello(1));
    symlink("nope", files.path("z.toml")).expect("a link");
    symlink("nope", files.path("y.wasm")).expect("a link");
    for command in ["check", "inspect", "pack", "deploy"] {
        for (file, wrong) in [(&file, "z.toml"), (&files.path("y.wasm"), "y.wasm")] {
            let output = hotdock(&[command], &[file]);
            let said = [&*output.stdout, &*output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert_eq!(output.status.code(), Some(3), "{command}: {said}");
            let wrong = files.path(wrong);
            let why = format!("{} could not be read: it is a link that leads", wrong.display());
            assert!(said.contains(&why), "{command}: {said}");
        }
    }
}

#[test]
fn two_files_of_one_name_are_told_apart() {
    let files = Files::new();
    std::fs::create_dir(files.path("old")).expect("a folder");
    let (old, new) = (files.put("old/ok.wasm", "garbage"), files.put("ok.wasm", hello(1)));
    let output = hotdock(&["diff"], &[&old, &new]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("{} is not WebAssembly", old.display())), "{said}");
}

#[test]
fn what_cannot_be_taken_apart_is_said_once_and_not_compiled() {
    let files = Files::new();
    let whole = hello(1);
    let file = files.put("hello.wasm", &whole[..whole.len() / 2]);
    let checked = json(&hotdock(&["check", "--json"], &[&file]));
    let reasons = texts(&checked["reasons"]);
    assert_eq!(reasons.len(), 1, "{checked}");
    assert!(reasons[0].contains("is cut short") && !reasons[0].contains("compile"), "{checked}");
}

#[test]
fn a_name_that_is_no_text_is_shown_byte_by_byte() {
    let files = Files::new();
    let file = files.0.path().join(OsStr::from_bytes(b"caf\xe9.wasm"));
    std::fs::write(&file, hello(1)).expect("a file");
    let output = hotdock(&["check"], &[&file]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("caf\\xe9.wasm: cannot be deployed"), "{said}");
    assert!(said.contains("`caf\\xe9` cannot name a service"), "{said}");
}

/// As for a deployment: what a file is called says nothing of what it is.
#[test]
fn a_component_may_be_called_as_it_likes() {
    let files = Files::new();
    let file = files.put("hello.bin", hello(1));
    files.put("hello.toml", "[capabilities]\nsecrets = [\"KEY\"]\n");
    let checked = json(&hotdock(&["check", "--json"], &[&file]));
    assert_eq!(checked["deployable"], true, "{checked}");
    assert_eq!(checked["component"]["service"], "hello", "{checked}");
    assert_eq!(texts(&checked["secrets"]), ["KEY"], "{checked}");
    let said = String::from_utf8(hotdock(&["check"], &[&file]).stdout).expect("text");
    assert!(said.contains("KEY, which the host has to have"), "{said}");
    let plain = files.put("log1", "garbage");
    for command in ["check", "inspect", "pack"] {
        let output = hotdock(&[command], &[&plain]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        assert!(said.contains("log1 is not WebAssembly"), "{command}: {said}");
        assert!(!said.contains("log1.wasm"), "{command}: {said}");
    }
}

#[test]
fn a_registrys_token_file_that_is_not_there_cannot_be_used() {
    let files = Files::new();
    let token = files.path("absent");
    let pull = ["pack", "--pull", "oci://127.0.0.1:1/shop/cart:1", "-o", "x.wasm"];
    let output = hotdock(&[&pull[..], &["--registry-token-file"]].concat(), &[&token]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(token.to_str().expect("text")), "{said}");
}

#[test]
fn inspect_shows_what_a_component_is_and_asks_for() {
    let files = Files::new();
    let (order, manifest) = component("order");
    let file = files.put("order.wasm", &order);
    files.put("order.toml", manifest.expect("order has one"));
    let found = json(&hotdock(&["inspect", "--json"], &[&file]));
    assert_eq!(found["service"], "order");
    assert_eq!(found["bytes"], order.len());
    assert_eq!(found["sizes"]["bytes"], order.len());
    assert!(!found["sizes"]["modules"].as_array().expect("modules").is_empty());
    assert!(texts(&found["exports"]).iter().any(|name| name.starts_with("wasi:http/")), "{found}");
    assert!(texts(&found["subscriptions"]).contains(&"shop.cart.checked-out"), "{found}");
    assert!(found["manifest"].as_str().expect("text").ends_with("order.toml"));
    assert_eq!(found["problems"], Value::Array(Vec::new()));
    let imports = found["imports"].as_array().expect("imports");
    assert!(imports.iter().all(|import| import["provided"] == true), "{found}");
    let checked = json(&hotdock(&["check", "--json"], &[&file]));
    for key in ["service", "digest", "serves", "routes", "subscriptions", "exports", "imports"] {
        let sorted = |value: &Value| {
            let mut all: Vec<String> =
                value.as_array().into_iter().flatten().map(Value::to_string).collect();
            all.sort();
            all
        };
        let (inspected, checked) = (&found[key], &checked["component"][key]);
        assert!(inspected == checked || sorted(inspected) == sorted(checked), "{key}: {inspected}");
    }
    let text = String::from_utf8(hotdock(&["inspect"], &[&file]).stdout).expect("text");
    assert!(text.contains("core modules") && text.contains("the service's own store"), "{text}");
}

#[test]
fn inspect_names_the_capabilities_and_what_is_not_provided() {
    let files = Files::new();
    let mailing = typed(
        &format!("{REQUESTS} import shop:mail/mail@1.0.0;"),
        "package shop:mail@1.0.0 { interface mail { send: func(to: string); } }",
    );
    let file = files.put("mail.wasm", mailing);
    files.put(
        "mail.toml",
        "[capabilities]\noutbound = [\"https://api.example.com\"]\nsecrets = [\"KEY\"]\n\
         config = { currency = \"EUR\" }\n",
    );
    let output = hotdock(&["inspect", "--json"], &[&file]);
    let found = json(&output);
    assert!(output.status.success());
    assert_eq!(texts(&found["capabilities"]["outbound"]), ["https://api.example.com"]);
    assert_eq!(texts(&found["capabilities"]["secrets"]), ["KEY"]);
    assert_eq!(texts(&found["capabilities"]["config"]), ["currency"]);
    let imports = found["imports"].as_array().expect("imports");
    let mail = imports.iter().find(|import| import["interface"] == "shop:mail/mail@1.0.0");
    assert_eq!(mail.expect("the import")["provided"], false);
    assert!(texts(&found["problems"])[0].contains("shop:mail/mail@1.0.0"), "{found}");
    let text = String::from_utf8(hotdock(&["inspect"], &[&file]).stdout).expect("text");
    assert!(text.contains("NOT PROVIDED") && text.contains("it cannot be deployed"), "{text}");
    let garbage = hotdock(&["inspect"], &[&files.put("garbage.wasm", "garbage")]);
    assert_eq!(garbage.status.code(), Some(3));
    assert_eq!(hotdock(&["inspect"], &[&files.path("none.wasm")]).status.code(), Some(3));
}

#[test]
fn large_components_of_other_languages_are_looked_at_too() {
    for name in ["js.wasm", "py.wasm"] {
        let Some(path) = built("test-guests", name) else {
            eprintln!(
                "skipped: target/test-guests/{name} was not built (its toolchain is not here)"
            );
            continue;
        };
        let found = json(&hotdock(&["inspect", "--json"], &[&path]));
        assert_eq!(found["serves"], "wasi:http 0.2", "{found}");
    }
}

#[test]
fn diff_sorts_differences_by_whom_they_break() {
    let files = Files::new();
    let old = files.put(
        "old.wasm",
        stock(
            "1.0.0",
            "record item { id: u64 } find: func(id: u64) -> item; count: func() -> u32;",
        ),
    );
    let new = files.put(
        "new.wasm",
        stock(
            "1.1.0",
            "record item { id: u64, name: string } find: func(id: u64) -> item; \
                        all: func() -> list<item>;",
        ),
    );
    let manifest = |route: &str, sql: &str| {
        format!(
            "[service]\nname = \"stock\"\n[[route]]\npath = \"{route}\"\n\
             [[migration]]\nname = \"1\"\nsql = \"{sql}\"\n"
        )
    };
    files.put("old.toml", manifest("/stock", "CREATE TABLE a (b)"));
    files.put("new.toml", manifest("/items", "CREATE TABLE a (c)"));
    let output = hotdock(&["diff", "--json"], &[&old, &new]);
    assert_eq!(output.status.code(), Some(8));
    let found = json(&output);
    let has = |list: &str, text: &str| texts(&found[list]).iter().any(|each| each.contains(text));
    assert!(has("breaking", "count is gone"), "{found}");
    assert!(has(
        "breaking",
        "type item was record { id: u64 }, is record { id: u64, name: string }"
    ));
    assert!(has("breaking", "find is func(id: u64) -> item, and a type that it names changed"));
    assert!(has("breaking", "migration 1 was changed"));
    assert!(has("compatible", "all is new") && has("compatible", "shop:stock/stock@1.1.0"));
    assert!(has("declared", "route /stock is gone") && has("declared", "route /items is new"));
    let text = String::from_utf8(hotdock(&["diff"], &[&old, &new]).stdout).expect("text");
    assert!(text.starts_with("breaking:\n  - "), "{text}");
}

#[test]
fn diff_of_what_breaks_nobody_ends_well() {
    let files = Files::new();
    let old = files.put("hello.wasm", hello(1));
    let new = files.put("hello2.wasm", hello(2));
    files.put("hello2.toml", "[service]\nname = \"hello\"\n[[route]]\npath = \"/hello\"\n");
    let output = hotdock(&["diff"], &[&old, &new]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("no difference"), "{output:?}");
    // The other way of taking requests, and what WASI 0.3 is imported of.
    let (hello3, _) = component("hello3");
    let other = files.put("hello3.wasm", hello3);
    files.put("hello3.toml", "[service]\nname = \"hello\"\n[[route]]\npath = \"/hello\"\n");
    let output = hotdock(&["diff"], &[&old, &other]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("it takes requests by wasi:http 0.3, not wasi:http 0.2"), "{text}");
    let garbage = files.put("garbage.wasm", "garbage");
    assert_eq!(hotdock(&["diff"], &[&old, &garbage]).status.code(), Some(3));
}

#[test]
fn a_manifest_is_no_component_and_a_result_goes_to_a_file() {
    let files = Files::new();
    let file = files.put("hello.wasm", hello(1));
    let manifest = files.put("hello.toml", "");
    for command in ["pack", "check", "inspect"] {
        let output = hotdock(&[command], &[&manifest]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        assert!(said.contains("hello.toml is "), "{command}: {said}");
        assert!(!said.contains("not WebAssembly"), "{command}: {said}");
    }
    let output = hotdock(&["pack", "-o", "-"], &[&file]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("goes to a file"), "{output:?}");
}

#[test]
fn pack_embeds_the_manifest_and_the_same_input_gives_the_same_bytes() {
    let files = Files::new();
    let file = files.put("hello.wasm", hello(1));
    let manifest = "[[route]]\npath = \"/packed\"\n";
    files.put("hello.toml", manifest);
    let (one, two) = (files.path("one.wasm"), files.path("two.wasm"));
    for output in [&one, &two] {
        let packed = hotdock(&["pack", "-o"], &[output, &file]);
        assert!(packed.status.success(), "{packed:?}");
    }
    let packed = std::fs::read(&one).expect("the result");
    assert_eq!(packed, std::fs::read(&two).expect("the result"));
    assert_eq!(std::fs::read(&file).expect("the component"), hello(1), "it stays as it is");
    let found = json(&hotdock(&["inspect", "--json"], &[&one]));
    assert_eq!(texts(&found["routes"]), ["/packed"]);
    assert_eq!(found["manifest"], format!("{} (hotdock.manifest)", one.display()));

    // In place, another in place of the first, and back to the same bytes.
    let other = files.put("other.toml", "[[route]]\npath = \"/other\"\n");
    let manifest = files.path("hello.toml");
    for with in [&other, &manifest] {
        let packed = hotdock(&["pack", "--manifest"], &[with, &one]);
        assert!(packed.status.success(), "{packed:?}");
    }
    assert_eq!(std::fs::read(&one).expect("the result"), packed);
}

#[test]
fn pack_refuses_what_a_host_would() {
    let files = Files::new();
    let file = files.put("hello.wasm", hello(1));
    let refused = |manifest: &str, reason: &str| {
        let manifest = files.put("hello.toml", manifest);
        let output = hotdock(&["pack", "--manifest"], &[&manifest, &file]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(reason), "{said}");
    };
    refused("[limits]\nmemroy = \"1MiB\"\n", "hello.toml:2:1");
    refused("[[subscribe]]\ntype = \"a.b\"\n", "has nothing to deliver to");
    assert_eq!(std::fs::read(&file).expect("the component"), hello(1));
    std::fs::remove_file(files.path("hello.toml")).expect("removed");
    let output = hotdock(&["pack"], &[&file]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--manifest FILE.toml"), "{output:?}");
    let nowhere = files.path("nowhere/x.wasm");
    files.put("hello.toml", "");
    let output = hotdock(&["pack", "-o"], &[&nowhere, &file]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(nowhere.to_str().expect("text")) && !said.contains(".hotdock"), "{said}");
}
