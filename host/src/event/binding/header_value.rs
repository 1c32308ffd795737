//! Attributes' texts as header values (§3.1.3.2).

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

/// What is encoded besides everything that is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The header value of a text.
pub(super) fn encode(text: &str) -> HeaderValue {
    let encoded: Cow<'_, str> = utf8_percent_encode(text, ENCODED).into();
    HeaderValue::from_str(&encoded).expect("what is not visible ASCII is encoded")
}

/// The text of a header value: unquoted, then percent-decoded once.
pub(super) fn decode(value: &HeaderValue) -> Result<String, &'static str> {
    let unquoted = unquote(value.as_bytes())?;
    let decoded = percent_decode(&unquoted).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| "its header is not UTF-8, percent-encoded or plain")
}

/// RFC 9110 §5.6.4: `"a \"b\""` is `a "b"`. What doesn't begin with a quote is no
/// quoted string.
fn unquote(value: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    let Some(quoted) = value.strip_prefix(b"\"") else { return Ok(Cow::Borrowed(value)) };
    let mut unquoted = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    loop {
        match bytes.next() {
            Some(b'"') if bytes.as_slice().is_empty() => return Ok(Cow::Owned(unquoted)),
            Some(b'\\') => unquoted.extend(bytes.next()),
            Some(b'"') | None => return Err("its header is not one quoted string"),
            Some(&byte) => unquoted.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &'static [u8]) -> Result<String, &'static str> {
        decode(&HeaderValue::from_bytes(text).expect("a header value"))
    }

    #[test]
    fn what_is_not_visible_ascii_is_percent_encoded() {
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode("100% \"sure\""), "100%25%20%22sure%22");
        assert_eq!(encode("a/b?c=d&e~f"), "a/b?c=d&e~f");
        assert_eq!(encode("\u{1}\n\u{7f}"), "%01%0A%7F");
        assert_eq!(encode(""), "");
    }

    #[test]
    fn a_header_is_unquoted_and_decoded_once() {
        assert_eq!(decoded(b"Euro%20%e2%82%ac%20%F0%9F%98%80").as_deref(), Ok("Euro € 😀"));
        assert_eq!(decoded(b"\"say \\\"hi\\\" \\\\ %41\"").as_deref(), Ok("say \"hi\" \\ A"));
        assert_eq!(decoded(b"%2541").as_deref(), Ok("%41"));
        assert_eq!(decoded(b"%41%62c").as_deref(), Ok("Abc"));
        assert_eq!(decoded(b"100%").as_deref(), Ok("100%"));
        assert_eq!(decoded("é".as_bytes()).as_deref(), Ok("é"));
        assert_eq!(decoded(b"").as_deref(), Ok(""));
    }

    #[test]
    fn a_header_that_is_no_text_is_refused() {
        for value in
            [b"%C0%A0" as &[u8], b"%ff", b"\xff", b"\"open", b"\"two\" \"parts\"", b"\"a\\"]
        {
            let value = HeaderValue::from_bytes(value).expect("a header value");
            assert!(decode(&value).is_err(), "{value:?}");
        }
    }
}
