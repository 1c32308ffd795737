//! Signatures (Standard Webhooks 1.0.0, symmetric): `v1,` and the Base64 of
//! HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`, once for each key,
//! with spaces between them.
//!
//! The body is all that is covered besides id and time: in binary mode the
//! event's other attributes are not.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use http::header::HeaderName;
use sha2::Sha256;

use crate::files;

pub(super) const HEADER: HeaderName = HeaderName::from_static("webhook-signature");

/// What a key in Base64 begins with.
const BASE64_PREFIX: &str = "whsec_";

/// The shortest key, in bytes.
const MIN_KEY_BYTES: usize = 24;

/// Bytes of the file.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The keys of one endpoint. There are two while one is replaced.
pub(super) struct Keys {
    keys: Vec<Hmac<Sha256>>,
}

/// A webhook's keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("webhook {webhook}: secret-file {}: {reason}", .path.display())]
pub struct KeyError {
    webhook: String,
    path: PathBuf,
    reason: String,
}

impl Keys {
    /// Reads a file of keys: a line each, `whsec_` and Base64 or the bytes as they
    /// are.
    pub(super) fn read(webhook: &str, path: &Path) -> Result<Self, KeyError> {
        let failed = |reason: String| KeyError {
            webhook: webhook.to_owned(),
            path: path.to_owned(),
            reason,
        };
        let text = files::read_text(path, MAX_FILE_BYTES);
        Self::parse(&text.map_err(|error| failed(error.to_string()))?).map_err(failed)
    }

    /// Whether these sign as the others do.
    pub(super) fn are_as(&self, other: &Self) -> bool {
        let sign = |keys: &Self| keys.sign("", 0, b"");
        sign(self) == sign(other)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            let key = match line.strip_prefix(BASE64_PREFIX) {
                Some(encoded) => STANDARD.decode(encoded).map_err(|error| {
                    format!("line {number}: after {BASE64_PREFIX} comes Base64: {error}")
                })?,
                None => line.as_bytes().to_vec(),
            };
            if key.len() < MIN_KEY_BYTES {
                let bytes = key.len();
                return Err(format!(
                    "line {number}: a key has at least {MIN_KEY_BYTES} bytes, this one has {bytes}"
                ));
            }
            keys.push(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"));
        }
        if keys.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(Self { keys }) }
    }

    /// The header's value; `timestamp` is in seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> HeaderValue {
        let head = format!("{id}.{timestamp}.");
        let sign = |key: &Hmac<Sha256>| {
            let mac = key.clone().chain_update(&head).chain_update(body).finalize().into_bytes();
            format!("v1,{}", STANDARD.encode(mac))
        };
        let signatures: Vec<String> = self.keys.iter().map(sign).collect();
        HeaderValue::try_from(signatures.join(" ")).expect("Base64 is visible ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_signature_is_the_one_that_others_make() {
        // The example that the implementations of Standard Webhooks share.
        let keys = Keys::parse(KEY).expect("a key");
        let signature =
            keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_key_signs() {
        let raw = "a-key-as-it-is-with-some-bytes";
        let both = Keys::parse(&format!("{KEY}\n\n{raw}\r\n")).expect("two keys");
        let one = |key| Keys::parse(key).expect("a key").sign("id", 1, b"body");
        let expected =
            format!("{} {}", one(KEY).to_str().expect("ASCII"), one(raw).to_str().expect("ASCII"));
        assert_eq!(both.sign("id", 1, b"body"), expected);
    }

    #[test]
    fn a_file_without_good_keys_is_refused_with_its_place() {
        for (text, reason) in [
            ("", "there is no key in it"),
            ("too-short", "line 1: a key has at least 24 bytes, this one has 9"),
            ("\nwhsec_?", "line 2: after whsec_ comes Base64: "),
            ("whsec_AAAA", "line 1: a key has at least 24 bytes, this one has 3"),
        ] {
            let error = Keys::parse(text).err().expect(text);
            assert!(error.starts_with(reason), "{error}");
        }
        let error = Keys::read("crm", Path::new("/nowhere/key")).err().expect("no file");
        assert!(
            error.to_string().starts_with("webhook crm: secret-file /nowhere/key: "),
            "{error}"
        );
    }
}
