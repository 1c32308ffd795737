//! The folders of the host form layers: what is further up knows what is further down, and never
//! the other way round.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::readme::pages;

/// Those that may name anything: the crate's own root and the program.
const ROOTS: [&str; 2] = ["lib", "main"];

#[test]
fn no_folder_names_one_that_is_not_further_down() {
    let layers = layers();
    let source = pages::root().join("host/src");
    let mut wrong = Vec::new();
    for file in files(&source) {
        let path = file.strip_prefix(&source).expect("it is in there").with_extension("");
        let folder = path.iter().next().expect("a name").to_str().expect("text");
        let is_test = path.iter().any(|part| part == "tests");
        if is_test || ROOTS.contains(&folder) {
            continue;
        }
        let here = layers.get(folder);
        let here = here.unwrap_or_else(|| panic!("{folder} is in no layer of ARCHITECTURE.md"));
        let text = std::fs::read_to_string(&file).expect("a source file");
        for named in named(&text).into_iter().filter(|named| named != folder) {
            match layers.get(&named) {
                Some(there) if there <= here => {
                    wrong.push(format!("{} names {named}", path.display()));
                }
                // A function or a constant of the crate's root.
                Some(_) | None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that run up: {wrong:#?}");
}

/// Which layer each folder is in, counted from the top.
fn layers() -> BTreeMap<String, usize> {
    let page = pages::read("docs/ARCHITECTURE.md");
    let blocks = pages::blocks(&page, "layers");
    let [block] = blocks.as_slice() else { panic!("one list of layers") };
    let lines = block.lines().enumerate();
    let each = lines.flat_map(|(layer, line)| {
        line.split_whitespace().map(move |folder| (folder.to_owned(), layer))
    });
    each.collect()
}

/// The folders and files that a source file names, but for its comments and its tests.
fn named(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut named: Vec<String> = code.split("crate::").skip(1).flat_map(first_words).collect();
    named.sort();
    named.dedup();
    named
}

/// The first word of a path, or of each path of a group in braces.
fn first_words(path: &str) -> Vec<String> {
    let word = |path: &str| path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut depth, mut words, mut begins) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && c.is_alphabetic() => {
                words.push(word(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    words
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
