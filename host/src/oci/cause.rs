//! What stands against a pull or a push.

use http::StatusCode;
use serde::Deserialize;

/// How much of a registry's own words is repeated.
const MAX_SAID: usize = 300;

#[derive(Debug)]
pub(super) enum Cause {
    /// Nobody is let in so.
    Unauthorized,
    /// Not with these credentials.
    Denied,
    NotFound,
    Http(reqwest::Error),
    /// In words.
    Said(String),
}

/// What a registry says of why it refuses (Distribution Specification, "Error Codes").
#[derive(Debug, Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Vec<Word>,
}

#[derive(Debug, Deserialize)]
struct Word {
    code: String,
    #[serde(default)]
    message: String,
}

impl Cause {
    pub(super) fn refused(status: StatusCode, body: &[u8]) -> Self {
        let envelope: Envelope = serde_json::from_slice(body).unwrap_or_default();
        let word = envelope.errors.first();
        match (status, word.map(|word| word.code.as_str())) {
            (_, Some("UNAUTHORIZED")) | (StatusCode::UNAUTHORIZED, _) => Self::Unauthorized,
            (_, Some("DENIED")) | (StatusCode::FORBIDDEN, _) => Self::Denied,
            (_, Some("MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "NOT_FOUND"))
            | (StatusCode::NOT_FOUND, _) => Self::NotFound,
            _ => Self::Said(match word {
                Some(Word { code, message }) => {
                    let said: String = format!("{code} {message}").chars().take(MAX_SAID).collect();
                    format!("it answers {status}: {}", said.trim())
                }
                None => format!("it answers {status}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_told_in_part() {
        let body = format!(
            r#"{{"errors": [{{"code": "SIZE_INVALID", "message": "{}"}}]}}"#,
            "x".repeat(9000)
        );
        let Cause::Said(said) = Cause::refused(StatusCode::BAD_REQUEST, body.as_bytes()) else {
            panic!("it is said")
        };
        assert!(said.starts_with("it answers 400 Bad Request: SIZE_INVALID xxx"), "{said}");
        assert!(said.len() < 400, "{}", said.len());
        let page = Cause::refused(StatusCode::BAD_GATEWAY, b"<html>oh</html>");
        assert!(matches!(page, Cause::Said(said) if said == "it answers 502 Bad Gateway"));
        assert!(matches!(Cause::refused(StatusCode::NOT_FOUND, b""), Cause::NotFound));
    }
}
