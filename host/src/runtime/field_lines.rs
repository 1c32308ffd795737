//! Header fields as HTTP/1.1 writes them (RFC 9112 §5): `name: value` and CR LF each. A value
//! never has CR or LF in it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What a line may take, so that most are written in one place.
const LINE: usize = 64;

/// The lines of these fields, in their order.
pub(crate) fn write(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::with_capacity(LINE * headers.len());
    for (name, value) in headers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// The fields of these lines; `None` where one is no field.
pub(crate) fn read(lines: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest[..end].strip_suffix(b"\r")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon..].strip_prefix(b": ")?);
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        rest = &rest[end + 1..];
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_as_they_were() {
        let mut given = HeaderMap::new();
        given.append("set-cookie", HeaderValue::from_static("a=b"));
        given.append("set-cookie", HeaderValue::from_static("c: d"));
        given.append("x-empty", HeaderValue::from_static(""));
        given.append("x-opaque", HeaderValue::from_bytes(b"\xff\t\xfe").expect("a value"));
        assert_eq!(read(&write(&given)), Some(given));
        assert_eq!(read(b""), Some(HeaderMap::new()));
        for damaged in [&b"x"[..], b"x: y", b"x\r\n", b": y\r\n"] {
            assert_eq!(read(damaged), None);
        }
    }
}
