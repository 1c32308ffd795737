//! Step 1: the files' bytes become a candidate. From here on everything works
//! on the copy in the data folder.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::blobs::Hold;
use super::config::MAX_COMPONENT_BYTES;
use super::deployments::Progress;
use super::operator::Condition;
use super::origin::Origin;
use super::pair::{Content, manifest_of, too_large};
use super::parts::Parts;
use super::plugin_file::{Part, Signature, Stem};
use super::record::Seen;
use super::refusal::Refusal;
use crate::digest::Digest;
use crate::manifest::{Canary, MAX_TEXT_BYTES, Manifest, ManifestText};

/// A version on its way in.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) origin: Origin,
    /// Who brought it, as far as that is known.
    pub(super) who: Option<String>,
    pub(super) digest: Digest,
    pub(super) bytes: usize,
    pub(super) manifest: Arc<Manifest>,
    pub(super) text: Option<ManifestText>,
    pub(super) seen: Seen,
    /// What must hold of its service when it gets its traffic.
    pub(super) condition: Condition,
    /// How it takes the traffic over; at once where there is none.
    pub(super) canary: Option<Canary>,
    /// Whether it may break what relies on the version that serves.
    pub(super) allow_breaking: bool,
    pub(super) progress: Progress,
    pub(super) _hold: Hold,
}

/// What is found where a pair of plugin files may be.
#[derive(Debug)]
pub(super) enum Received {
    Candidate(Box<Candidate>),
    /// There is no component.
    Absent,
    /// The files changed while they were read.
    Unsettled,
    Refused(Refusal),
}

impl Candidate {
    /// The refusal of this candidate for these reasons.
    pub(super) fn refused(&self, reasons: Vec<String>) -> Refusal {
        let service = Some(self.manifest.service.clone());
        Refusal { service, seen: self.seen, reasons, blocked: false }
    }

    /// Whether its files changed since it was received.
    pub(super) fn is_superseded(&self, parts: &Parts) -> bool {
        self.origin.file().is_some_and(|file| parts.is_superseded(file))
    }
}

/// Reads and keeps what the files hold now.
pub(super) async fn receive(parts: &Arc<Parts>, file: &Stem) -> Received {
    let _slot = parts.read_slots.acquire().await.expect("the semaphore is never closed");
    let file = file.clone();
    parts.blocking(move |parts| read_pair(parts, &file)).await
}

fn read_pair(parts: &Parts, file: &Stem) -> Received {
    match try_read_pair(parts, file) {
        Ok(received) => received,
        Err(error) => {
            let reasons =
                vec![format!("{} could not be read: {error}", file.file(Part::Component))];
            Received::Refused(Refusal {
                service: None,
                seen: Seen::default(),
                reasons,
                blocked: false,
            })
        }
    }
}

fn try_read_pair(parts: &Parts, file: &Stem) -> io::Result<Received> {
    let folder = &parts.config.folder;
    let before = file.signature(folder)?;
    let component = read(parts, file, Part::Component, before.component, MAX_COMPONENT_BYTES)?;
    let manifest = read(parts, file, Part::Manifest, before.manifest, MAX_TEXT_BYTES as u64)?;
    // The pair is taken as one: changed since its first byte was read, it is
    // read again when it has settled again.
    if file.signature(folder)? != before {
        return Ok(Received::Unsettled);
    }
    parts.acted_on.lock().unwrap_or_else(PoisonError::into_inner).insert(file.clone(), before);
    let Some(component) = component else { return Ok(Received::Absent) };
    candidate(parts, file, component, manifest)
}

fn read(
    parts: &Parts,
    file: &Stem,
    part: Part,
    signature: Option<Signature>,
    most: u64,
) -> io::Result<Option<Content>> {
    let Some(signature) = signature else { return Ok(None) };
    if signature.bytes > most {
        return Ok(Some(Err(signature.bytes)));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(signature.bytes).unwrap_or_default());
    // One byte more than there should be shows that the file grew.
    File::open(file.path(&parts.config.folder, part))?
        .take(signature.bytes + 1)
        .read_to_end(&mut bytes)?;
    Ok(Some(Ok(bytes)))
}

fn candidate(
    parts: &Parts,
    file: &Stem,
    component: Content,
    manifest: Option<Content>,
) -> io::Result<Received> {
    let seen = Seen {
        component: component.as_deref().ok().map(Digest::of),
        manifest: manifest
            .as_ref()
            .map(|content| Digest::of(content.as_deref().unwrap_or_default())),
    };
    let inspected = component.map_err(|size| vec![too_large(file, size)]).and_then(|bytes| {
        manifest_of(file, &bytes, manifest).map(|(text, manifest)| (bytes, text, manifest))
    });
    match inspected {
        Ok((bytes, text, manifest)) => {
            let digest = Digest::of(&bytes);
            let origin = Origin::File(file.clone());
            let who = owner(&file.path(&parts.config.folder, Part::Component));
            Ok(Received::Candidate(Box::new(Candidate {
                progress: parts.board.begin(
                    None,
                    (&manifest.service, &digest),
                    (&origin, who.as_deref()),
                ),
                digest,
                bytes: bytes.len(),
                canary: manifest.deploy.canary.clone(),
                allow_breaking: manifest.deploy.allow_breaking,
                manifest: Arc::new(manifest),
                origin,
                who,
                text,
                seen,
                condition: Condition::None,
                _hold: parts.blobs.put(digest, &bytes)?,
            })))
        }
        Err(reasons) => {
            let service = parts.board.service_of(file);
            Ok(Received::Refused(Refusal { service, seen, reasons, blocked: false }))
        }
    }
}

/// Who put the file there, as far as the file system knows.
fn owner(path: &Path) -> Option<String> {
    std::fs::metadata(path).ok().map(|metadata| format!("uid {}", metadata.uid()))
}
