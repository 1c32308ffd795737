//! Functions over text whose time grows with their arguments' length only, where SQLite's
//! own grow with its square. Their results are the same.

use std::collections::HashMap;

use memchr::memmem::Finder;

/// The longest character that trimming knows, in bytes.
const LONGEST_CHARACTER: usize = 8;

/// Where trimming begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) left: bool,
    pub(super) right: bool,
}

/// At which byte of `haystack` (counted from 1) `needle` is; 0 where it is not.
pub(super) fn position_of_bytes(haystack: &[u8], needle: &[u8]) -> usize {
    Finder::new(needle).find(haystack).map_or(0, |position| position + 1)
}

/// At which character.
pub(super) fn position_of_text(haystack: &[u8], needle: &[u8]) -> usize {
    if needle.first().is_some_and(|&byte| continues(byte)) {
        return usize::from(haystack.starts_with(needle));
    }
    match Finder::new(needle).find(haystack) {
        Some(position) => {
            let before = haystack.iter().take(position + 1).skip(1);
            1 + before.filter(|&&byte| !continues(byte)).count()
        }
        None => 0,
    }
}

/// `text` with `replacement` wherever `pattern` was. `None` where it has more than `limit`
/// bytes.
pub(super) fn replaced(
    text: &[u8],
    pattern: &[u8],
    replacement: &[u8],
    limit: usize,
) -> Option<Vec<u8>> {
    let finder = Finder::new(pattern);
    let found = finder.find_iter(text).count();
    let kept = text.len().saturating_sub(found.saturating_mul(pattern.len()));
    let size = kept.saturating_add(found.saturating_mul(replacement.len()));
    if size > limit {
        return None;
    }
    let mut result = Vec::with_capacity(size);
    let mut rest = text;
    while let Some(position) = finder.find(rest) {
        let (before, after) = rest.split_at(position);
        result.extend_from_slice(before);
        result.extend_from_slice(replacement);
        rest = after.get(pattern.len()..).unwrap_or_default();
    }
    result.extend_from_slice(rest);
    Some(result)
}

/// `text` without those of `characters` that are at its ends.
pub(super) fn trimmed<'a>(mut text: &'a [u8], characters: &[u8], ends: Ends) -> &'a [u8] {
    // The first of them that is there is taken: of what is no UTF-8, one can be the start of
    // another.
    let mut set = HashMap::new();
    for (place, character) in each_character(characters).enumerate() {
        set.entry(character).or_insert(place);
    }
    let longest = set.keys().map(|character| character.len()).max().unwrap_or(0);
    let lengths = || 1..=longest.min(LONGEST_CHARACTER);
    while ends.left
        && let Some((_, rest)) = lengths()
            .filter_map(|length| {
                let (start, rest) = text.split_at_checked(length)?;
                Some((*set.get(start)?, rest))
            })
            .min_by_key(|&(place, _)| place)
    {
        text = rest;
    }
    while ends.right
        && let Some((_, rest)) = lengths()
            .filter_map(|length| {
                let (rest, end) = text.split_at_checked(text.len().checked_sub(length)?)?;
                Some((*set.get(end)?, rest))
            })
            .min_by_key(|&(place, _)| place)
    {
        text = rest;
    }
    text
}

/// The characters, as SQLite tells them apart: also of what is no UTF-8.
fn each_character(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&first, after) = text.split_first()?;
        if first == 0 {
            return None;
        }
        let more = if first >= 0xc0 {
            after.iter().take_while(|&&byte| continues(byte)).count()
        } else {
            0
        };
        let (character, rest) = text.split_at_checked(1 + more)?;
        text = rest;
        Some(character)
    })
}

fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}
