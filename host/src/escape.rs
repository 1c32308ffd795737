//! Text of others (services, registries, clients, files) where people read it: on a
//! terminal, or in a log. What a terminal would obey, what ends a line, and what nobody
//! sees is shown as what it is.
//!
//! It is done once, where text is written: by `cli`'s console and by `telemetry`. How long it may
//! be is seen to where it comes in ([`cut`]).

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A text of one line for a terminal or a log: `\n`, `\u{1b}`, `\u{202e}`.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    Line(&mut shown).write_str(text).expect("a string takes everything");
    Cow::Owned(shown)
}

/// JSON on one line, in which everything that is hidden is escaped: `\u009b`. It says the
/// same as before.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            // Between its parts: within texts JSON itself has them escaped.
            '\n' | '\r' | '\t' => shown.push(' '),
            c if is_hidden(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(shown, "\\u{unit:04x}").expect("a string takes everything");
                }
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Writes what is one line, escaped as [`line()`] has it.
#[derive(Debug)]
pub struct Line<W>(pub W);

impl<W: Write> Write for Line<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_hidden) {
            let (plain, from) = rest.split_at(at);
            let c = from.chars().next().expect("one was found there");
            write!(self.0, "{plain}{}", c.escape_default())?;
            rest = &from[c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// As much of a text as there is room for, in bytes, with `…` behind it where that is not all.
/// What makes the text is told when there is no room left: it makes no more of it.
#[must_use]
pub fn cut(text: impl Display, room: usize) -> String {
    let mut cut = Cut { text: String::new(), room };
    if write!(cut, "{text}").is_err() {
        cut.text.push('…');
    }
    cut.text
}

struct Cut {
    text: String,
    room: usize,
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.room);
        self.text.push_str(&text[..fits]);
        self.room -= fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Whether a character does something to a line instead of being seen in it: control
/// characters (C0, C1), line and paragraph separators, what changes the direction of text,
/// and what has no width (Unicode's `Default_Ignorable_Code_Point`, but for the variation
/// selectors, which say how the character before them looks).
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// A path as people are told it, on one line: what of it is no text as `\xe9`.
pub(crate) fn path(path: &Path) -> String {
    let mut shown = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        shown.push_str(&line(chunk.valid()));
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("a string takes everything");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn what_is_seen_is_as_it_was() {
        for text in ["", "tea", "C:\\tea \"green\"", "緑茶 é e\u{301} ❤\u{fe0f} ไทย मराठी", "a  b"]
        {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text), "{text}");
            assert!(matches!(json(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_steers_ends_or_hides_is_shown() {
        assert_eq!(line("a\x1b[2Jb\nc\r\td\0"), "a\\u{1b}[2Jb\\nc\\r\\td\\u{0}");
        assert_eq!(line("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
        assert_eq!(
            line("\u{202e}nur\u{2066}\u{200b}\u{2028}"),
            "\\u{202e}nur\\u{2066}\\u{200b}\\u{2028}"
        );
        assert_eq!(line("\u{feff}\u{e0041}\u{61c}\u{ad}"), "\\u{feff}\\u{e0041}\\u{61c}\\u{ad}");
        assert_eq!(line(&line("a\nb")), "a\\nb", "once is enough");
    }

    #[test]
    fn json_says_the_same_in_visible_characters() {
        let text = "{\"a\u{9b}\u{202e}\":\n\t\"b\u{e0041}\u{7f}\u{feff}\\n\"}";
        let shown = json(text);
        assert_eq!(shown, "{\"a\\u009b\\u202e\":  \"b\\udb40\\udc41\\u007f\\ufeff\\n\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&shown), read(text));
    }

    #[test]
    fn a_path_is_told_on_one_line_whatever_is_in_it() {
        let shown = |bytes: &[u8]| path(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(shown("café/a b.wasm".as_bytes()), "café/a b.wasm");
        assert_eq!(shown(b"caf\xe9.wasm"), "caf\\xe9.wasm");
        assert_eq!(shown(b"a\nb\x1b"), "a\\nb\\u{1b}");
    }
}
