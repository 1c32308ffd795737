//! What lets one into a registry: what the command line is given, else what
//! `docker login` left.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

use super::Reference;
use crate::{escape, files};

/// The environment variable that may have a token.
const TOKEN_VARIABLE: &str = "HOTDOCK_REGISTRY_TOKEN";
/// What names the file that may have one.
const NAMED_BY: &str = "--registry-token-file or HOTDOCK_REGISTRY_TOKEN_FILE";
/// What no file with a token has more of.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// The same of Docker's configuration.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// What `docker login` calls Docker Hub.
const DOCKER_HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

/// What lets one into a registry; never shown.
#[derive(Clone)]
pub struct Credentials(RegistryAuth);

impl Credentials {
    /// The token or `USER:PASSWORD` in the file, else in `HOTDOCK_REGISTRY_TOKEN`,
    /// else what Docker's `config.json` (in `DOCKER_CONFIG`, else `~/.docker`) and
    /// its credential helpers have for the registry; else none.
    ///
    /// # Errors
    /// When the file or a helper fails, or what is given is none, in words.
    pub fn find(reference: &Reference, file: Option<&Path>) -> Result<Self, String> {
        let (place, text) = match file {
            Some(path) => {
                let place = format!("{} ({NAMED_BY})", escape::path(path));
                let text = files::read_text(path, MAX_FILE_BYTES).map_err(|error| {
                    format!("{place}: the registry's token cannot be read: {error}")
                })?;
                (place, text)
            }
            None => match env::var_os(TOKEN_VARIABLE) {
                // What is no text is not taken for none at all.
                Some(text) => (TOKEN_VARIABLE.to_owned(), text.to_string_lossy().into_owned()),
                None => return Self::of_docker(reference.registry()),
            },
        };
        Self::given(&text).map_err(|wrong| format!("{place}: {wrong}"))
    }

    fn given(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches(['\n', '\r']);
        let is_no_text = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
        let wrong = match text {
            "" => Some("there is nothing here"),
            text if text.contains(['\n', '\r']) => Some("this has more than one line"),
            text if text.contains(is_no_text) => Some("this has what is no text"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(format!(
                "a registry's token, or USER:PASSWORD, is one line of text, and {wrong}"
            ));
        }
        // Tokens have no colon (RFC 6750 §2.1), so it tells the two apart.
        Ok(Self(match text.split_once(':') {
            Some((user, password)) => RegistryAuth::Basic(user.to_owned(), password.to_owned()),
            None => RegistryAuth::Bearer(text.to_owned()),
        }))
    }

    fn of_docker(registry: &str) -> Result<Self, String> {
        let server = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
        let Some(config) = docker_config()? else { return Ok(Self(RegistryAuth::Anonymous)) };
        match docker_credential::get_credential_from_reader(config.as_bytes(), server) {
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                Ok(Self(RegistryAuth::Basic(user, password)))
            }
            Ok(DockerCredential::IdentityToken(_)) => Err(format!(
                "Docker has an identity token for {registry}, which only Docker can use: \
                 give a password or token with --registry-token-file"
            )),
            Err(
                CredentialRetrievalError::NoCredentialConfigured
                | CredentialRetrievalError::ConfigNotFound
                | CredentialRetrievalError::ConfigReadError,
            ) => Ok(Self(RegistryAuth::Anonymous)),
            // A helper that has nothing says so by failing.
            Err(CredentialRetrievalError::HelperFailure { stdout, .. })
                if stdout.contains("credentials not found") =>
            {
                Ok(Self(RegistryAuth::Anonymous))
            }
            Err(error) => Err(format!("Docker's credentials for {registry}: {error}")),
        }
    }

    pub(super) fn as_client(&self) -> &RegistryAuth {
        &self.0
    }

    pub(super) fn are_none(&self) -> bool {
        self.0 == RegistryAuth::Anonymous
    }
}

/// The text of Docker's `config.json`; none where there is none that could be read, as Docker
/// has it.
fn docker_config() -> Result<Option<String>, String> {
    let at_home = || env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(at_home);
    let Some(folder) = folder else { return Ok(None) };
    read_docker_config(&folder.join("config.json"))
}

fn read_docker_config(path: &Path) -> Result<Option<String>, String> {
    match files::read_text(path, MAX_CONFIG_BYTES) {
        Ok(text) => Ok(Some(text)),
        // What is no file would be waited for, or never end.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge
            ) =>
        {
            Err(format!("{}: Docker's credentials cannot be read: {error}", escape::path(path)))
        }
        Err(_) => Ok(None),
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_and_a_password_are_told_apart_and_never_shown() {
        let auth = |text: &str| Credentials::given(text).map(|credentials| credentials.0);
        assert_eq!(auth("abc.def\n"), Ok(RegistryAuth::Bearer("abc.def".to_owned())));
        assert_eq!(
            auth("ann:pass:word"),
            Ok(RegistryAuth::Basic("ann".to_owned(), "pass:word".to_owned()))
        );
        for (wrong, why) in [
            ("\n", "there is nothing here"),
            ("a\nb", "more than one line"),
            ("a\u{1b}b", "what is no text"),
        ] {
            let refused = auth(wrong).expect_err(why);
            assert!(refused.ends_with(why), "{refused}");
        }
        let shown = format!("{:?}", Credentials::given("abc").expect("a token"));
        assert!(!shown.contains("abc"));
    }

    #[test]
    fn what_is_no_file_is_named_and_neither_waited_for_nor_read_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("config.json");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        let reference: Reference = "oci://127.0.0.1:1/shop/cart:1".parse().expect("a reference");
        let find = |path: &Path| Credentials::find(&reference, Some(path)).map(drop);
        let refused = find(&pipe).expect_err("a pipe");
        let place = format!("{} (--registry-token-file or ", pipe.display());
        assert!(refused.starts_with(&place), "{refused}");
        assert!(refused.ends_with("it is a pipe, no file"), "{refused}");
        let refused = find(Path::new("/dev/zero")).expect_err("a device");
        assert!(refused.ends_with("it is no file"), "{refused}");
        let refused = read_docker_config(&pipe).expect_err("a pipe");
        assert!(refused.ends_with("it is a pipe, no file"), "{refused}");
        assert_eq!(read_docker_config(&folder.path().join("none")), Ok(None));
        // A file that has none is named, too.
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").expect("written");
        let refused = find(&empty).expect_err("empty");
        assert!(refused.starts_with(&*empty.to_string_lossy()), "{refused}");
    }
}
