//! What lets one into a registry: what the command line is given, else what
//! `docker login` left.

use std::path::Path;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

use super::Reference;

/// The environment variable that may have a token.
const TOKEN_VARIABLE: &str = "HOTDOCK_REGISTRY_TOKEN";
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
    /// When the file or a helper fails, in words.
    pub fn find(reference: &Reference, file: Option<&Path>) -> Result<Self, String> {
        let given = match file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| format!("{}: {error}", path.display()))?,
            ),
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        match given {
            Some(text) => Self::given(&text),
            None => Self::of_docker(reference.registry()),
        }
    }

    fn given(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("the registry's token is empty, or more than one line".to_owned());
        }
        // Tokens have no colon (RFC 6750 §2.1), so it tells the two apart.
        Ok(Self(match text.split_once(':') {
            Some((user, password)) => RegistryAuth::Basic(user.to_owned(), password.to_owned()),
            None => RegistryAuth::Bearer(text.to_owned()),
        }))
    }

    fn of_docker(registry: &str) -> Result<Self, String> {
        let server = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
        match docker_credential::get_credential(server) {
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
        assert!(auth("").is_err() && auth("a\nb").is_err());
        let shown = format!("{:?}", Credentials::given("abc").expect("a token"));
        assert!(!shown.contains("abc"));
    }
}
