//! The token that operators show to the admin listener.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use crate::files;

/// The environment variable that may have it.
pub const TOKEN_VARIABLE: &str = "HOTDOCK_TOKEN";
/// How short it may be.
const MIN_BYTES: usize = 16;
/// How long it may be.
const MAX_BYTES: usize = 4096;
/// What no file with a token has more of.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// A secret text; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a text is no token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a token has {MIN_BYTES} to {MAX_BYTES} visible ASCII characters and no spaces")]
pub struct InvalidToken;

/// Why there is no token where one is to be.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{place}: the admin token cannot be read: {error}")]
    Unread {
        /// The file, and what names it.
        place: String,
        /// Why. (Not a source: it is said already.)
        error: io::Error,
    },
    /// What is there is none.
    #[error("{place}: {error}")]
    Invalid {
        /// The file, and what names it; or the variable.
        place: String,
        /// What one is.
        error: InvalidToken,
    },
}

impl Token {
    /// The token in the file, else that in the environment, if there is one. The file may be
    /// a pipe.
    ///
    /// # Errors
    /// When the file cannot be read, or what is found is no token.
    pub fn find(file: Option<&Path>) -> Result<Option<Self>, TokenError> {
        Self::find_by(file, |path| std::fs::read_to_string(path))
    }

    /// The same for who reads it anew later: it is a file, and a pipe is not waited for.
    ///
    /// # Errors
    /// As [`Token::find`].
    pub fn find_in_file(file: Option<&Path>) -> Result<Option<Self>, TokenError> {
        Self::find_by(file, |path| files::read_text(path, MAX_FILE_BYTES))
    }

    /// Whether the environment has one, or what is meant as one.
    #[must_use]
    pub fn is_in_environment() -> bool {
        std::env::var_os(TOKEN_VARIABLE).is_some()
    }

    fn find_by(
        file: Option<&Path>,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Option<Self>, TokenError> {
        let (place, text) = match file {
            Some(path) => {
                let place =
                    format!("{} (--token-file, or `token-file` of the settings)", path.display());
                match read(path) {
                    Ok(text) => (place, text),
                    // A file that is no text has no token, though it can be read.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        return Err(TokenError::Invalid { place, error: InvalidToken });
                    }
                    Err(error) => return Err(TokenError::Unread { place, error }),
                }
            }
            None => match std::env::var_os(TOKEN_VARIABLE) {
                // What is no text is no token either, and not taken for none at all.
                Some(text) => (TOKEN_VARIABLE.to_owned(), text.to_string_lossy().into_owned()),
                None => return Ok(None),
            },
        };
        let token: Result<Self, InvalidToken> = text.trim_end_matches(['\n', '\r']).parse();
        token.map(Some).map_err(|error| TokenError::Invalid { place, error })
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// What `Authorization` says with it.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (MIN_BYTES..=MAX_BYTES).contains(&text.len());
        if visible && fits { Ok(Self(text.to_owned())) } else { Err(InvalidToken) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_without_its_line_end_and_never_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "correct-horse-battery\n").expect("written");
        let token = Token::find(Some(file.path())).expect("read").expect("a token");
        assert_eq!(token.reveal(), b"correct-horse-battery");
        assert!(!format!("{token:?}").contains("horse"));
        for wrong in ["", "too short\n", "has spaces in its middle"] {
            std::fs::write(file.path(), wrong).expect("written");
            let error = Token::find(Some(file.path())).expect_err(wrong).to_string();
            assert!(error.contains("16 to 4096 visible"), "{error}");
        }
        std::fs::write(file.path(), [0xff; 20]).expect("written");
        let error = Token::find(Some(file.path())).expect_err("no text");
        assert!(matches!(error, TokenError::Invalid { .. }), "{error}");
        let error = Token::find(Some(Path::new("/nonexistent/token"))).expect_err("no file");
        assert!(matches!(error, TokenError::Unread { .. }), "{error}");
    }
}
