//! Uploads: a component that comes over the network goes the way of one that was
//! dropped into the folder.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::blobs::Hold;
use super::drain::close_store;
use super::notice::Notice;
use super::operator::{Condition, NotDone};
use super::origin::Origin;
use super::pair::{Content, manifest_of_upload};
use super::parts::Parts;
use super::plugin_file::Part;
use super::preamble;
use super::receive::Candidate;
use super::record::Seen;
use super::refusal::Stop;
use super::settle::Change;
use super::status::Step;
use crate::component::MAX_COMPONENT_BYTES;
use crate::digest::Digest;
use crate::machine::with_descriptors;
use crate::manifest::{Canary, Manifest, ManifestText};
use crate::name::ServiceName;
use crate::oci::Reference;
use crate::turns::Turn;

/// A component on its way in: in a file, not in memory.
#[derive(Debug)]
pub struct Spool {
    file: NamedTempFile,
    writer: tokio::fs::File,
    bytes: u64,
    /// The first of them, until they tell what it is.
    head: Vec<u8>,
    idle_timeout: Duration,
    _slot: OwnedSemaphorePermit,
}

/// What was uploaded.
#[derive(Debug)]
pub struct Upload {
    /// The service.
    pub service: ServiceName,
    /// The component.
    pub component: Spool,
    /// The manifest that wins over what is embedded in the component.
    pub manifest: Option<Vec<u8>>,
    /// Who brings it.
    pub who: Option<String>,
    /// How it takes the traffic over.
    pub takeover: Takeover,
    /// Whether it may break what relies on the version that serves; its manifest
    /// may allow it, too.
    pub allow_breaking: bool,
    /// Where who brings it has it from: `oci://…` with its digest.
    pub reference: Option<Reference>,
}

/// How a version takes the traffic over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Takeover {
    /// As its manifest says.
    #[default]
    AsDeclared,
    /// All at once.
    AtOnce,
    /// Step by step: by these steps, else by the manifest's or the default's.
    Canary(Option<Vec<u8>>),
}

impl Spool {
    pub(super) async fn begin(parts: &Arc<Parts>) -> Result<Self, NotDone> {
        let slot = Arc::clone(&parts.upload_slots).try_acquire_owned();
        let slot = slot.map_err(|_| {
            NotDone::Busy(
                "as many components as may be uploaded at once are on their way; try again in a \
                 while"
                    .to_owned(),
            )
        })?;
        let file = parts.blocking(|parts| {
            let file = parts.blobs.upload()?;
            let writer = with_descriptors(|| file.as_file().try_clone())?;
            Ok::<_, io::Error>((file, writer))
        });
        let (file, writer) = file.await.map_err(NotDone::unkept)?;
        let (writer, idle_timeout) =
            (tokio::fs::File::from_std(writer), parts.config.upload_idle_timeout);
        Ok(Self { file, writer, bytes: 0, head: Vec::new(), idle_timeout, _slot: slot })
    }

    /// How long nothing may come: there are few places, and one who stalls has one.
    #[must_use]
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Takes in the next part of the component.
    ///
    /// # Errors
    /// When it is too large by then, or no component, or cannot be kept.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), NotDone> {
        self.bytes += chunk.len() as u64;
        if self.head.len() < preamble::BYTES {
            let missing = preamble::BYTES - self.head.len();
            self.head.extend(chunk.iter().take(missing));
            if let Some(error) = preamble::never(&self.head) {
                return Err(NotDone::Refused(vec![format!("what is uploaded {error}")]));
            }
        }
        if self.bytes > MAX_COMPONENT_BYTES {
            return Err(NotDone::TooLarge(format!(
                "the component has more than {MAX_COMPONENT_BYTES} bytes"
            )));
        }
        self.writer.write_all(chunk).await.map_err(NotDone::unkept)
    }
}

impl Takeover {
    fn canary(self, manifest: &Manifest) -> Option<Canary> {
        let declared = manifest.deploy.canary.clone();
        match self {
            Self::AsDeclared => declared,
            Self::AtOnce => None,
            Self::Canary(steps) => {
                let canary = declared.unwrap_or_default();
                Some(Canary { steps: steps.unwrap_or_else(|| canary.steps.clone()), ..canary })
            }
        }
    }
}

/// Begins the deployment of what was uploaded, in its turn. Returns the
/// deployment's id.
pub(super) async fn deploy(
    parts: &Arc<Parts>,
    turn: Turn,
    upload: Upload,
    condition: Condition,
) -> Result<String, NotDone> {
    let Upload { service, mut component, manifest, who, takeover, allow_breaking, reference } =
        upload;
    component.writer.flush().await.map_err(NotDone::unkept)?;
    let inspected = {
        let service = service.clone();
        parts.blocking(move |parts| keep(parts, &service, component.file, manifest)).await
    };
    let Kept { text, manifest, digest, bytes, hold } = inspected?;
    if manifest.service != service {
        let named = &manifest.service;
        return Err(NotDone::Invalid(format!(
            "its manifest names the service {named}, not {service}"
        )));
    }
    let origin = reference.map_or(Origin::Upload, |reference| Origin::Oci(reference.to_string()));
    let progress = parts.board.begin(None, (&service, &digest), (&origin, who.as_deref()));
    let candidate = Candidate {
        origin,
        who,
        digest,
        bytes,
        canary: takeover.canary(&manifest),
        allow_breaking: allow_breaking || manifest.deploy.allow_breaking,
        manifest: Arc::new(manifest),
        text,
        seen: Seen::default(),
        condition,
        progress,
        _hold: hold,
    };
    candidate.progress.step(Step::Received);
    let id = candidate.progress.id().to_owned();
    let parts = Arc::clone(parts);
    parts.clone().tasks.spawn(async move {
        let result = Box::pin(super::run(&parts, candidate)).await;
        drop(turn);
        match result {
            Ok(()) => parts.look_at_blocked(),
            Err(Stop::Refused(refusal)) => refused(&parts, &service, refusal.reasons).await,
            Err(Stop::Superseded(reason)) => superseded(&parts, &service, &reason).await,
            Err(Stop::Stopping) => {}
        }
        // Gone while the upload had the service, the file that has it back undeploys it.
        if let Some(holder) = parts.claims.holder(&service) {
            parts.note(&holder, Part::Component, Change::Other);
        }
    });
    Ok(id)
}

/// Says why, once: the deployment has it for whoever asks.
async fn refused(parts: &Arc<Parts>, service: &ServiceName, reasons: Vec<String>) {
    tracing::warn!(
        service = service.as_str(),
        reasons = reasons.join("; "),
        "an upload is refused"
    );
    let service = service.clone();
    close_store(parts, &service).await;
    parts.board.announce(Notice::Refused { service: Some(service), file: None, reasons });
    parts.sweep();
}

async fn superseded(parts: &Arc<Parts>, service: &ServiceName, reason: &str) {
    tracing::info!(service = service.as_str(), reason, "an upload is superseded");
    close_store(parts, service).await;
    parts.sweep();
}

/// What an upload is, kept by its digest.
struct Kept {
    text: Option<ManifestText>,
    manifest: Manifest,
    digest: Digest,
    bytes: usize,
    hold: Hold,
}

fn keep(
    parts: &Parts,
    service: &ServiceName,
    file: NamedTempFile,
    manifest: Option<Vec<u8>>,
) -> Result<Kept, NotDone> {
    let bytes = std::fs::read(file.path()).map_err(NotDone::unkept)?;
    let beside: Option<Content> = manifest.map(Ok);
    let kept = manifest_of_upload(service, &bytes, beside);
    let (text, manifest) = kept.map_err(NotDone::Refused)?;
    let digest = Digest::of(&bytes);
    let hold = parts.blobs.put_upload(digest, file).map_err(NotDone::unkept)?;
    Ok(Kept { text, manifest, digest, bytes: bytes.len(), hold })
}
