//! What a guest was ended by, in words: with where it was, by the names that its modules give their
//! functions, which are the guest's own texts and may be of any length.
//!
//! A name is cut before it is looked at and its demangled form while it is written: a few hundred
//! bytes of a mangled name can stand for many gigabytes.

use std::fmt::Write as _;

use wasmtime::{FrameInfo, WasmBacktrace};

use crate::escape::cut;

/// Bytes of all of it.
const MAX_WORDS: usize = 8 << 10;

/// Bytes of one cause among several.
const MAX_CAUSE: usize = 2 << 10;

/// Bytes of a name, mangled or not.
const MAX_NAME: usize = 120;

/// How the engine's own words for where a guest was begin.
const BACKTRACE: &str = "error while executing at wasm backtrace:";

/// The error with its causes, `what: why: …`.
pub(crate) fn words(error: &wasmtime::Error) -> String {
    let mut words = String::new();
    for (at, cause) in error.chain().enumerate() {
        let separator = if at == 0 { "" } else { ": " };
        let said = cut(cause, MAX_CAUSE);
        let said = match error.downcast_ref::<WasmBacktrace>() {
            Some(backtrace) if said.starts_with(BACKTRACE) => frames(backtrace),
            _ => said,
        };
        words.push_str(separator);
        words.push_str(&said);
        if words.len() > MAX_WORDS {
            return cut(&words, MAX_WORDS);
        }
    }
    words
}

fn frames(backtrace: &WasmBacktrace) -> String {
    let mut text = BACKTRACE.to_owned();
    for (at, frame) in backtrace.frames().iter().enumerate() {
        // Into a text it cannot fail.
        _ = write!(text, "\n  {at:>3}: ");
        if let Some(offset) = frame.module_offset() {
            _ = write!(text, "{offset:#8x} - ");
        }
        let module = frame.module().name().unwrap_or("<unknown>");
        _ = write!(text, "{}!{}", cut(module, MAX_NAME), function(frame));
    }
    text
}

fn function(frame: &FrameInfo) -> String {
    match frame.func_name() {
        Some(name) => demangled(name),
        None => format!("<wasm function {}>", frame.func_index()),
    }
}

/// Of Rust's names, what they stand for; others as they are.
fn demangled(name: &str) -> String {
    if name.len() > MAX_NAME {
        return cut(name, MAX_NAME);
    }
    match rustc_demangle::try_demangle(name) {
        Ok(demangled) => cut(format_args!("{demangled:#}"), MAX_NAME),
        Err(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_for_gigabytes_is_cut_as_it_is_written() {
        // Each level has the one before it twice.
        let levels: String = (0..16).map(|_| "TB7_B7_E").collect();
        for name in [format!("_RINvC1a1fTuuE{levels}E"), "_RINvC1a1fTuuETB7_B7_EE".to_owned()] {
            assert!(demangled(&name).len() <= MAX_NAME + '…'.len_utf8(), "{name}");
        }
    }

    #[test]
    fn rusts_names_are_told_as_they_are_written() {
        assert_eq!(demangled("_ZN4cart3add17h0123456789abcdefE"), "cart::add");
        assert_eq!(demangled("_RNvC4cart3add"), "cart::add");
        assert_eq!(demangled("add"), "add");
        assert_eq!(demangled(&"x".repeat(1_000)).chars().count(), MAX_NAME + 1);
    }

    #[test]
    fn causes_are_told_in_their_order_and_each_is_cut() {
        let error = wasmtime::Error::msg("why").context("what");
        assert_eq!(words(&error), "what: why");
        let error = wasmtime::Error::msg("why").context("w".repeat(100_000));
        let words = words(&error);
        assert!(words.ends_with("…: why") && words.len() < MAX_WORDS, "{words}");
    }
}
