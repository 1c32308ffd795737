//! Registries: what lets one in, and pulling from them.

use std::path::PathBuf;

use super::exit;
use crate::deploy::Pair;
use crate::oci::{self, Access, Credentials, Pulled, Reference};

/// How registries are asked.
#[derive(Debug, clap::Args)]
pub(super) struct Registry {
    /// File with the registry's token, or USER:PASSWORD; HOTDOCK_REGISTRY_TOKEN may have it
    /// itself [default: what `docker login` left]
    #[arg(long, env = "HOTDOCK_REGISTRY_TOKEN_FILE", value_name = "FILE")]
    registry_token_file: Option<PathBuf>,
    /// Ask the registry over plain HTTP; one on this machine always is
    #[arg(long)]
    plain_http: bool,
}

impl Registry {
    pub(super) fn access(&self, reference: &Reference) -> anyhow::Result<Access> {
        let file = self.registry_token_file.as_deref();
        // What is wrong is a file's, the variable's, or what Docker keeps.
        let credentials = Credentials::find(reference, file)
            .map_err(|reason| exit::Unusable(format!("{reference}: {reason}")))?;
        Ok(Access { credentials, plain_http: self.plain_http })
    }

    pub(super) async fn pull(&self, reference: &Reference) -> anyhow::Result<Pulled> {
        Ok(oci::pull(reference, &self.access(reference)?).await?)
    }
}

/// What was pulled, with a manifest of a file's in place of the embedded one if
/// there is one.
pub(super) fn pair(
    reference: &Reference,
    component: Vec<u8>,
    manifest: Option<&PathBuf>,
) -> anyhow::Result<Pair> {
    let names = (reference.name(), reference.to_string());
    let pair = Pair::from_elsewhere(names, component, manifest.map(PathBuf::as_path));
    Ok(pair.map_err(exit::Unusable)?)
}
