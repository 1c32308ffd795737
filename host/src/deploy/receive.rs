//! Step 1: the files' bytes become a candidate. From here on everything works
//! on the copy in the data folder.

use std::io;
use std::sync::{Arc, PoisonError};

use tokio_util::sync::CancellationToken;

use super::blobs::Hold;
use super::config::{LOOKED_AT_BYTES, SMALL_COMPONENT_BYTES};
use super::deployments::Progress;
use super::no_room::{self, NO_ROOM};
use super::opened::{Opened, Unread};
use super::operator::Condition;
use super::origin::Origin;
use super::pair::{Content, manifest_of, too_large};
use super::parts::Parts;
use super::plugin_file::{PairSignature, Part, Stem};
use super::record::{RecordError, Seen};
use super::refusal::{Refusal, bounded};
use super::worker::Occasion;
use crate::component::MAX_COMPONENT_BYTES;
use crate::digest::Digest;
use crate::machine;
use crate::manifest::{Canary, MAX_TEXT_BYTES, Manifest, ManifestText};

/// How much is hashed before it is looked whether the host stops.
const HASHED_AT_ONCE: usize = 1 << 20;

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
    /// There is more to read than a small component has; nothing was read.
    Large,
    /// The host stops; nothing comes of them.
    Stopping,
    Refused(Refusal),
}

impl Candidate {
    /// The refusal of this candidate for these reasons.
    pub(super) fn refused(&self, reasons: Vec<String>) -> Refusal {
        let service = Some(self.manifest.service.clone());
        let (seen, reasons) = (self.seen, bounded(reasons));
        Refusal { service, seen, reasons, blocked: false, waits: false }
    }

    /// The refusal of this candidate, in whose deployment the host panicked.
    pub(super) fn panicked(&self) -> Refusal {
        Refusal::panicked(Some(self.manifest.service.clone()))
    }

    /// The refusal of this candidate for what may not be so later: it is looked at again.
    pub(super) fn blocked(&self, reason: String) -> Refusal {
        Refusal { blocked: true, ..self.refused(vec![reason]) }
    }

    /// The same for what `host.db` says.
    pub(super) fn unrecorded(&self, error: &RecordError) -> Refusal {
        let blocked = matches!(error, RecordError::Busy(_) | RecordError::NoRoom);
        let reason = match error {
            RecordError::NoRoom => NO_ROOM.to_owned(),
            error => error.to_string(),
        };
        Refusal { blocked, ..self.refused(vec![reason]) }
    }

    /// Whether its files changed since it was received.
    pub(super) fn is_superseded(&self, parts: &Parts) -> bool {
        self.origin.file().is_some_and(|file| parts.is_superseded(file))
    }

    /// Resolves when its files change; never, where it has none.
    pub(super) async fn superseded(&self, parts: &Parts) {
        match self.origin.file() {
            Some(file) => parts.superseded(file).await,
            None => std::future::pending().await,
        }
    }
}

/// Reads and keeps what the files hold now. Whoever comes to look because the host starts, at
/// what was refused before, lets all others go first; so do large files, of which one is read
/// at a time.
pub(super) async fn receive(parts: &Arc<Parts>, file: &Stem, occasion: Occasion) -> Received {
    tokio::select! {
        biased;
        // What is being read is let be: nothing comes of it.
        () = parts.stopping.cancelled() => Received::Stopping,
        received = read(parts, file, occasion) => received,
    }
}

async fn read(parts: &Arc<Parts>, file: &Stem, occasion: Occasion) -> Received {
    const OPEN: &str = "the semaphore is never closed";
    let known = occasion == Occasion::Start && parts.board.refusal(file).is_some();
    let _again = match known {
        true => Some(parts.again_slots.acquire().await.expect(OPEN)),
        false => None,
    };
    let at_most = |most: u64| {
        let file = file.clone();
        parts.blocking(move |parts| read_pair(parts, &file, most))
    };
    let first = {
        let _slot = parts.read_slots.acquire().await.expect(OPEN);
        at_most(SMALL_COMPONENT_BYTES).await
    };
    if !matches!(first, Received::Large) {
        return first;
    }
    let _slot = parts.large_read_slots.acquire().await.expect(OPEN);
    at_most(MAX_COMPONENT_BYTES).await
}

fn read_pair(parts: &Parts, file: &Stem, most: u64) -> Received {
    match try_read_pair(parts, file, most) {
        Ok(received) => received,
        Err(Unread::Stopping) => Received::Stopping,
        // The machine has no room to open it now, and will have.
        Err(Unread::Io(error)) if machine::is_shortage(&error) => {
            tracing::warn!(file = file.as_str(), %error, "a plugin file is read again later");
            Received::Unsettled
        }
        Err(Unread::Io(error)) => {
            // It is said once, until it is another.
            let found = file.signature(&parts.config.folder).unwrap_or_default();
            parts
                .acted_on
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(file.clone(), found);
            let reason = no_room::reason(&error, parts.stores.room());
            refused(parts, file, Seen::default(), vec![reason])
        }
    }
}

fn try_read_pair(parts: &Parts, file: &Stem, most: u64) -> Result<Received, Unread> {
    let folder = &parts.config.folder;
    let of = |part: Part| {
        move |error: io::Error| {
            let words = format!("{} could not be read: {error}", file.file(part));
            Unread::Io(match error.raw_os_error() {
                Some(_) if machine::is_shortage(&error) => error,
                _ => io::Error::new(error.kind(), words),
            })
        }
    };
    let component =
        Opened::open(&file.path(folder, Part::Component)).map_err(of(Part::Component))?;
    let manifest = Opened::open(&file.path(folder, Part::Manifest)).map_err(of(Part::Manifest))?;
    let signature = |opened: &Option<Opened>| opened.as_ref().map(|opened| opened.signature);
    let opened = PairSignature { component: signature(&component), manifest: signature(&manifest) };
    let size = opened.component.map_or(0, |signature| signature.bytes);
    // Taken by what it begins with, where reading it would take its time.
    let look = component.as_ref().filter(|_| size > LOOKED_AT_BYTES);
    let broken = look.map(Opened::look).transpose()?.and_then(Result::err);
    if broken.is_none() && size > most && size <= MAX_COMPONENT_BYTES {
        return Ok(Received::Large);
    }
    let read = |opened: Option<&Opened>, most: u64| match opened {
        Some(opened) if opened.signature.bytes > most => Ok(Some(Err(opened.signature.bytes))),
        Some(opened) => opened.read(&parts.stopping).map(|bytes| Some(Ok(bytes))),
        None => Ok(None),
    };
    let content = match broken {
        None => read(component.as_ref(), most)?,
        Some(_) => None,
    };
    let beside = read(manifest.as_ref(), MAX_TEXT_BYTES as u64)?;
    // The pair is taken as one: changed since its first byte was read, it is
    // read again when it has settled again.
    let is_same = |opened: &Option<Opened>| opened.as_ref().map_or(Ok(true), Opened::is_unchanged);
    if !is_same(&component)? || !is_same(&manifest)? || file.signature(folder)? != opened {
        return Ok(Received::Unsettled);
    }
    parts.acted_on.lock().unwrap_or_else(PoisonError::into_inner).insert(file.clone(), opened);
    let Some(component) = component else { return Ok(Received::Absent) };
    match (broken, content) {
        (Some(error), _) => {
            let reason = format!("{} {error}", file.file(Part::Component));
            Ok(refused(parts, file, Seen::default(), vec![reason]))
        }
        (None, Some(content)) => candidate(parts, file, (&component, content), beside),
        (None, None) => Ok(Received::Absent),
    }
}

fn refused(parts: &Parts, file: &Stem, seen: Seen, reasons: Vec<String>) -> Received {
    let service = parts.board.service_of(file);
    let reasons = bounded(reasons);
    Received::Refused(Refusal { service, seen, reasons, blocked: false, waits: false })
}

fn candidate(
    parts: &Parts,
    file: &Stem,
    (opened, component): (&Opened, Content),
    manifest: Option<Content>,
) -> Result<Received, Unread> {
    let digest = component.as_deref().map(|bytes| digest_of(bytes, &parts.stopping));
    let digest = digest.ok().transpose()?;
    let seen = Seen {
        component: digest,
        manifest: manifest
            .as_ref()
            .map(|content| Digest::of(content.as_deref().unwrap_or_default())),
    };
    let inspected = component
        .map_err(|size| vec![too_large(&file.file(Part::Component), size)])
        .and_then(|bytes| {
            manifest_of(file, &bytes, manifest).map(|(text, manifest)| (bytes, text, manifest))
        });
    let (digest, (bytes, text, manifest)) = match (digest, inspected) {
        (Some(digest), Ok(inspected)) => (digest, inspected),
        (_, inspected) => {
            return Ok(refused(parts, file, seen, inspected.err().unwrap_or_default()));
        }
    };
    let origin = Origin::File(file.clone());
    // As far as the file system knows.
    let who = Some(machine::user(opened.owner));
    let hold = parts.blobs.put(digest, &bytes, &parts.stopping)?;
    Ok(Received::Candidate(Box::new(Candidate {
        progress: parts.board.begin(None, (&manifest.service, &digest), (&origin, who.as_deref())),
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
        _hold: hold,
    })))
}

/// The digest of bytes that are many.
fn digest_of(bytes: &[u8], stopping: &CancellationToken) -> Result<Digest, Unread> {
    let chunks = bytes.chunks(HASHED_AT_ONCE).take_while(|_| !stopping.is_cancelled());
    let digest = Digest::of_chunks(chunks);
    if stopping.is_cancelled() { Err(Unread::Stopping) } else { Ok(digest) }
}
