//! Which JSON every reader takes.
//!
//! What they have in common is I-JSON (RFC 7493). A reader that gives up what is beyond it gives up
//! the whole list of events that it is in, so that such data is no part of an event's text.

/// How deep data may be nested: readers have limits of their own. jq 1.6 gives up at 256 levels,
/// `serde_json` at 128; what is left is for the lists that events are in.
const MAX_DEPTH: usize = 100;

/// Bytes of a number: Python's `json` gives up at 4300 digits. None that is meant as a number of
/// IEEE 754's has so many.
const MAX_NUMBER_BYTES: usize = 1_000;

/// A number of so many bytes, without an exponent, is in IEEE 754's range whatever its digits are.
const FINITE_BYTES: usize = 308;

/// Whether every reader takes this JSON: it is not nested too deep, its strings and names have no
/// half of a surrogate pair alone (RFC 7493 §2.1), and its numbers are in IEEE 754's range (§2.2).
/// What is no JSON at all may be taken for either.
pub(in crate::event) fn is_for_all(json: &[u8]) -> bool {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = json.get(at) {
        let length = match byte {
            b'"' => string(&json[at..]),
            b'-' | b'0'..=b'9' => number(&json[at..]),
            _ => Some(1),
        };
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let Some(length) = length.filter(|_| depth <= MAX_DEPTH) else { return false };
        at += length;
    }
    true
}

/// How long the string is that this begins with; `None` where half of a pair is alone in it.
fn string(json: &[u8]) -> Option<usize> {
    let mut at = 1;
    while let Some(&byte) = json.get(at) {
        at += match byte {
            b'"' => return Some(at + 1),
            b'\\' => escape(&json[at..])?,
            _ => 1,
        };
    }
    None
}

/// How long the escape is that this begins with, or the pair of them; `None` where it is half of
/// one.
fn escape(json: &[u8]) -> Option<usize> {
    match unit(json) {
        Some(0xD800..=0xDBFF) => {
            let low = json.get(6..).and_then(unit)?;
            (0xDC00..=0xDFFF).contains(&low).then_some(12)
        }
        Some(0xDC00..=0xDFFF) => None,
        Some(_) => Some(6),
        None => Some(2),
    }
}

/// The UTF-16 code unit that this names, if it begins with `\u`.
fn unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(br"\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// How long the number is that this begins with; `None` where it is out of range.
fn number(json: &[u8]) -> Option<usize> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let length = json.iter().position(|byte| !is_part(byte)).unwrap_or(json.len());
    let text = std::str::from_utf8(&json[..length]).ok()?;
    let is_finite = (length <= FINITE_BYTES && !text.contains(['e', 'E']))
        || (length <= MAX_NUMBER_BYTES && text.parse::<f64>().is_ok_and(f64::is_finite));
    is_finite.then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_reader_gives_up_is_known() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let digits = |count: usize| "1".repeat(count);
        for json in [
            nested(100),
            format!("[{}\"[[\\\"[\"]", "[],{},".repeat(200)),
            r#"{"\ud83d\ude00":"\\ud800 \uD83D\uDE00 \u00e9 \" \\"}"#.to_owned(),
            "[-0, 1.50, 1e308, -1.7976931348623157e308, 1e-999999, 0e999999]".to_owned(),
            digits(308),
            format!("0.{}", digits(998)),
        ] {
            assert!(is_for_all(json.as_bytes()), "{json}");
        }
        for json in [
            nested(101),
            r#""\ud800""#.to_owned(),
            r#"["\udc00"]"#.to_owned(),
            r#"{"\ud800":1}"#.to_owned(),
            r#""\ud800\ud800\udc00""#.to_owned(),
            r#""\ud800\n\udc00""#.to_owned(),
            r#""\\\ud800\\udc00""#.to_owned(),
            "1e309".to_owned(),
            "[-1E+999999]".to_owned(),
            digits(310),
            digits(6_000),
            format!("0.{}", digits(6_000)),
        ] {
            assert!(!is_for_all(json.as_bytes()), "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_looked_at_to_its_end() {
        let texts =
            [&b"\""[..], b"\"\\", b"\"\\u", b"\"\\ud800\\u", b"\\", b"-", b"\xff\"\xff", b"]"];
        for text in texts {
            let _either = is_for_all(text);
        }
    }
}
