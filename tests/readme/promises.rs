//! What the pages say of the code, the tests, the commands and each other is so.

use std::path::Path;
use std::process::{Command, Stdio};

use super::pages;

/// What a newcomer reads before anything else.
const README_BYTES: usize = 8 << 10;

/// Programs that pages run and nobody checks here.
const OTHERS: [&str; 13] = [
    "bash",
    "cargo",
    "cd",
    "cp",
    "curl",
    "export",
    "git",
    "mkdir",
    "node_modules",
    "npm",
    "python3",
    "sed",
    "venv",
];

#[test]
fn the_readme_is_short_and_the_book_has_every_page() {
    assert!(pages::read("README.md").len() <= README_BYTES, "the README is too long");
    let summary = pages::read("docs/SUMMARY.md");
    for (path, _) in pages::all() {
        let listed = path.strip_prefix("docs/").filter(|name| *name != "SUMMARY.md");
        if let Some(name) = listed {
            assert!(summary.contains(&format!("({name})")), "SUMMARY.md lacks {name}");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for (path, text) in pages::all() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let own = Path::new(&path);
            let to = match file {
                "" => own.to_owned(),
                file => own.parent().expect("a folder").join(file),
            };
            assert!(pages::root().join(&to).exists(), "{path} links to {link}");
            if !heading.is_empty() {
                let there = pages::read(to.to_str().expect("text"));
                let mut headings = there.lines().filter(|line| line.starts_with('#'));
                assert!(headings.any(|line| slug(line) == heading), "{path} links to {link}");
            }
        }
    }
}

/// A heading's anchor.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_architectures_files_have_the_functions_that_it_names() {
    let mut named = 0;
    for unit in pages::units(&pages::read("docs/ARCHITECTURE.md")) {
        let mut source = None;
        for code in pages::code(&unit) {
            if code.ends_with(".rs") && !code.contains(' ') {
                source = Some((code, pages::read(&format!("host/src/{code}"))));
            } else if let Some(function) = code.strip_suffix("()") {
                let (file, text) = source.as_ref().expect("a file before its function");
                let is_there =
                    ['(', '<'].iter().any(|c| text.contains(&format!("fn {function}{c}")));
                assert!(is_there, "{file} has no {function}()");
                named += 1;
            }
        }
    }
    assert!(named > 100, "only {named} functions are named");
}

#[test]
fn every_invariant_is_guarded_by_tests_that_exist() {
    let text = pages::read("docs/invariants.md");
    for row in pages::rows(&text) {
        let guards: Vec<_> = row.last().into_iter().flat_map(|cell| pages::code(cell)).collect();
        assert!(!guards.is_empty(), "nothing guards {row:?}");
        for guard in guards {
            let (module, name) = guard.rsplit_once("::").expect("a module and a test");
            let source = pages::read(&format!("tests/{}.rs", module.replace("::", "/")));
            assert!(source.contains(&format!("fn {name}()")), "there is no test {guard}");
        }
    }
}

/// A message is written with `…` for what differs each time.
#[test]
fn messages_are_those_of_the_host() {
    let mut host = String::new();
    for path in pages::sources(&pages::root().join("host/src")) {
        host += &std::fs::read_to_string(path).expect("a source");
    }
    let host = joined(&host);
    let text = pages::read("docs/troubleshooting.md");
    for row in pages::rows(&text) {
        let messages: Vec<_> = pages::code(row[0]).collect();
        assert!(!messages.is_empty(), "{row:?} has no message");
        for message in messages {
            let parts = message.split('…').map(str::trim).filter(|part| !part.is_empty());
            let parts: Vec<_> = parts.collect();
            let constant: usize = parts.iter().map(|part| part.len()).sum();
            assert!(constant >= 10, "{message}: what is always there is too short");
            assert!(says(&host, &parts), "the host never says: {message}");
        }
    }
}

/// Whether these parts follow each other somewhere, with little between them.
fn says(source: &str, parts: &[&str]) -> bool {
    let (first, rest) = parts.split_first().expect("a part");
    let follow = |from: &str| {
        let mut near = from.chars().take(400).collect::<String>();
        rest.iter().all(|part| match near.find(part) {
            Some(bytes) => {
                near.drain(..bytes + part.len());
                true
            }
            None => false,
        })
    };
    source.match_indices(first).any(|(at, found)| follow(&source[at + found.len()..]))
}

/// The source with its texts in one line each, without escapes.
fn joined(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let mut text = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| text += part.trim_start());
    text.replace("\\\"", "\"").replace("\\\\", "\\").replace("{{", "{").replace("}}", "}")
}

#[test]
fn commands_are_such_as_there_are() {
    let makefile = pages::read("Makefile");
    for (path, text) in pages::all() {
        for step in pages::steps(&text) {
            let line = step.command.split("  #").next().unwrap_or_default();
            for command in line.split("&&").flat_map(|part| part.split(" | ")).map(str::trim) {
                // What a variable is set to by another command.
                if command.contains("=$(") {
                    continue;
                }
                let mut words = command.split_whitespace().skip_while(|word| is_assignment(word));
                let program = words.next().unwrap_or_default();
                match program.strip_prefix("target/debug/").unwrap_or(program) {
                    "" => {}
                    "hotdock" => assert!(is_understood(words), "{path}: {command}"),
                    "make" => {
                        let target = words.find(|word| !word.contains('=')).expect("a target");
                        let is_there = makefile.contains(&format!("\n{target}:"));
                        assert!(is_there, "{path}: {command}");
                    }
                    other => {
                        let first = other.split('/').next().unwrap_or_default();
                        assert!(OTHERS.contains(&first), "{path}: {other} is not known here");
                    }
                }
            }
        }
    }
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

/// With `--help` at its end a command does nothing, and all that comes before it is read.
fn is_understood<'w>(words: impl Iterator<Item = &'w str>) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    command.args(words).arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("the host").success()
}

#[test]
fn settings_and_manifests_are_good() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in pages::all() {
        for (index, block) in pages::blocks(&text, "toml").into_iter().enumerate() {
            let file = folder.path().join("page.toml");
            std::fs::write(&file, block).expect("a file");
            let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
            let is_setting =
                ["[http]", "[events]", "[outbound]", "keep-versions", "compile-timeout"]
                    .iter()
                    .any(|each| block.contains(each));
            if block.contains("[lib]") {
                continue;
            } else if is_setting {
                command.args(["up", "--check", "--config"]).arg(&file).arg(folder.path());
            } else {
                // A core module has nothing wrong with its manifest: the rest is said anyway.
                std::fs::write(folder.path().join("page.wasm"), b"\0asm\x0d\0\x01\0")
                    .expect("a file");
                command.arg("check").arg(folder.path().join("page.wasm"));
            }
            let output = command.output().expect("the host");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(!said.contains("page.toml:"), "{path}, block {}: {said}", index + 1);
        }
    }
}
