//! The token that operators show to the admin listener.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use crate::{escape, files};

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
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidToken {
    /// There is no text.
    Empty,
    /// It has others than visible ASCII characters.
    Characters,
    /// It has too few of them, or too many.
    Length(usize),
}

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
    /// The token in the file, else that in the environment, if there is one. `named_by` is what
    /// may have named the file; one that is a pipe is not waited for.
    ///
    /// # Errors
    /// When the file cannot be read, or what is found is no token.
    pub fn find(file: Option<&Path>, named_by: &str) -> Result<Option<Self>, TokenError> {
        let (place, text) = match file {
            Some(path) => {
                let place = format!("{} ({named_by})", escape::path(path));
                match files::read_text(path, MAX_FILE_BYTES) {
                    Ok(text) => (place, text),
                    // A file that is no text has no token, though it can be read.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        return Err(TokenError::Invalid { place, error: InvalidToken::Characters });
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

    /// Whether the environment has one, or what is meant as one.
    #[must_use]
    pub fn is_in_environment() -> bool {
        std::env::var_os(TOKEN_VARIABLE).is_some()
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
        match text.len() {
            0 => Err(InvalidToken::Empty),
            _ if !visible => Err(InvalidToken::Characters),
            MIN_BYTES..=MAX_BYTES => Ok(Self(text.to_owned())),
            length => Err(InvalidToken::Length(length)),
        }
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = match self {
            Self::Empty => "there is nothing here".to_owned(),
            Self::Characters => "others are in this".to_owned(),
            Self::Length(length) => format!("this has {length}"),
        };
        write!(
            f,
            "a token has {MIN_BYTES} to {MAX_BYTES} visible ASCII characters and no spaces, and \
             {wrong}; `openssl rand -hex 32` makes a good one"
        )
    }
}

impl std::error::Error for InvalidToken {}

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
        let find = |path: &Path| Token::find(Some(path), "--token-file");
        let token = find(file.path()).expect("read").expect("a token");
        assert_eq!(token.reveal(), b"correct-horse-battery");
        assert!(!format!("{token:?}").contains("horse"));
        for (wrong, why) in [
            ("", "there is nothing here"),
            ("short\n", "this has 5;"),
            (&*"x".repeat(5_000), "this has 5000;"),
            ("has spaces in its middle", "others are in this"),
        ] {
            std::fs::write(file.path(), wrong).expect("written");
            let error = find(file.path()).expect_err(why).to_string();
            assert!(error.contains(" (--token-file): a token has 16 to 4096 visible"), "{error}");
            assert!(error.contains(why), "{error}");
        }
        std::fs::write(file.path(), [0xff; 20]).expect("written");
        let error = find(file.path()).expect_err("no text");
        assert!(matches!(error, TokenError::Invalid { .. }), "{error}");
        let error = find(Path::new("/nonexistent/token")).expect_err("no file");
        assert!(matches!(error, TokenError::Unread { .. }), "{error}");
    }

    #[test]
    fn a_token_is_in_a_file_and_neither_waited_for_nor_read_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        for (path, why) in
            [(pipe.as_path(), "it is a pipe, no file"), (Path::new("/dev/zero"), "it is no file")]
        {
            let error = Token::find(Some(path), "--token-file").expect_err(why).to_string();
            assert!(error.ends_with(why), "{error}");
        }
    }
}
