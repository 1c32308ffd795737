//! The fields of a message, as they are however the message came.

use http::{HeaderMap, HeaderValue};

/// Takes away the blanks around each value. They are none of it (RFC 9110 §5.5), and over HTTP/2 malformed
/// (RFC 9113 §8.2.1); hyper takes them away of what comes over HTTP/1.1, and of nothing else.
pub fn trim(fields: &mut HeaderMap) {
    for value in fields.values_mut() {
        let (bytes, is_blank) = (value.as_bytes(), |byte: &u8| matches!(byte, b' ' | b'\t'));
        if bytes.first().is_some_and(is_blank) || bytes.last().is_some_and(is_blank) {
            let trimmed = bytes.trim_ascii();
            let mut bare = HeaderValue::from_bytes(trimmed).expect("a part of a value is one");
            bare.set_sensitive(value.is_sensitive());
            *value = bare;
        }
    }
}
