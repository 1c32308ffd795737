//! Step 2: from a component to code for this machine, in a child process, so
//! that no component can take the host down or keep its processors.

pub(super) mod child;
mod costly;
mod output;
mod process;
mod queue;
mod turn;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use costly::Costly;
pub(super) use process::{run_child, run_child_for};
pub(super) use queue::{Place, Queue};
pub(super) use turn::Urgency;

use process::run_in_turn;

use super::no_room::{self, NO_ROOM};
use super::notice::Notice;
use super::parts::Parts;
use super::receive::Candidate;
use super::refusal::{CHANGED, Stop};
use super::status::Step;
use crate::digest::Digest;
use crate::runtime::LoadedComponent;

/// A candidate whose code is mapped.
pub(super) struct Compiled {
    pub(super) component: LoadedComponent,
    /// None where the code was in the cache.
    pub(super) compile_time: Option<Duration>,
}

/// Finds the candidate's code in the cache or compiles it, and maps it.
pub(super) async fn compile(parts: &Arc<Parts>, candidate: &Candidate) -> Result<Compiled, Stop> {
    let cached = parts.blobs.compiled(&candidate.digest);
    if let Some(component) = load_cached(parts, cached).await {
        return Ok(Compiled { component, compile_time: None });
    }
    let service = &candidate.manifest.service;
    candidate.progress.step(Step::Waiting);
    let urgency = match candidate.origin.file() {
        Some(_) => Urgency::Folder,
        None => Urgency::Awaited,
    };
    let mut place = parts.compiles.enter(service, urgency);
    place.turn().await;
    if candidate.is_superseded(parts) {
        return Err(Stop::Superseded(CHANGED.to_owned()));
    }
    // Another candidate of the same bytes may have been compiled meanwhile.
    if let Some(component) = load_cached(parts, parts.blobs.compiled(&candidate.digest)).await {
        return Ok(Compiled { component, compile_time: None });
    }
    candidate.progress.step(Step::Compiling);
    parts.board.announce(Notice::Compiling {
        service: service.clone(),
        file: candidate.origin.file_name(),
        bytes: candidate.bytes,
    });
    tracing::info!(service = service.as_str(), bytes = candidate.bytes, "compiling");
    let began = Instant::now();
    let refused = |error: &(dyn std::error::Error + 'static)| {
        Stop::from(candidate.refused(vec![no_room::reason(error, parts.stores.room())]))
    };
    let path = compile_into_cache(parts, &mut place, candidate.digest)
        .await
        .map_err(|error| refused(&error))?;
    drop(place);
    let loaded = parts.blocking(move |parts| parts.runtime.load(&path)).await;
    let component = loaded.map_err(|error| match error.of_system() {
        Some(error) => refused(error),
        None => refused(&error),
    })?;
    Ok(Compiled { component, compile_time: Some(began.elapsed()) })
}

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompileFailure {
    #[error("it does not compile: {0}")]
    Refused(String),
    #[error("it does not compile: the compiler was ended by {0}")]
    Ended(String),
    #[error("it does not compile within {0:?} (compile-timeout in hotdock.toml)")]
    TimeLimit(Duration),
    #[error("it does not compile within {0} bytes of memory")]
    MemoryLimit(u64),
    /// It was tried before, and is not now.
    #[error("{0}")]
    Before(String),
    #[error(
        "the compiler makes code for another host ({found}; {expected} expected): restart the host"
    )]
    Mismatch { found: String, expected: String },
    #[error("the compiler {program} could not be run: {error}")]
    NotRun {
        program: String,
        #[source]
        error: std::io::Error,
    },
    #[error("the compiled code could not be kept: {0}")]
    NotKept(#[source] std::io::Error),
    #[error("{NO_ROOM}")]
    NoRoom,
}

impl CompileFailure {
    fn not_kept(error: std::io::Error) -> Self {
        if no_room::is_of_disk(&error) { Self::NoRoom } else { Self::NotKept(error) }
    }

    /// Whether it took all that it may before it failed.
    fn is_costly(&self) -> bool {
        matches!(self, Self::TimeLimit(_) | Self::MemoryLimit(_) | Self::Ended(_))
    }
}

async fn load_cached(parts: &Arc<Parts>, path: PathBuf) -> Option<LoadedComponent> {
    parts
        .blocking(move |parts| {
            if !path.exists() {
                return None;
            }
            let loaded = parts.runtime.load(&path);
            // Made by a host that differs in what the key doesn't tell: compiled again.
            let unusable =
                |error| tracing::warn!(path = %path.display(), %error, "cached code is of no use");
            loaded.map_err(unusable).ok()
        })
        .await
}

/// Compiles a kept component when it is its turn.
pub(super) async fn compile_into_cache(
    parts: &Arc<Parts>,
    place: &mut Place,
    digest: Digest,
) -> Result<PathBuf, CompileFailure> {
    if let Some(reason) = parts.costly.refusal(&digest, Instant::now()) {
        return Err(CompileFailure::Before(reason));
    }
    let output = parts.blocking(|parts| parts.blobs.compiler_output()).await;
    let output = output.map_err(CompileFailure::not_kept)?;
    let limits = (parts.config.compiler.as_path(), parts.config.compile_timeout);
    let input = parts.blobs.component(&digest);
    let key = match run_in_turn(place, limits, &input, output.path()).await {
        Ok(key) => key,
        Err(error) => {
            if error.is_costly() {
                parts.costly.failed(digest, error.to_string(), Instant::now());
            }
            return Err(error);
        }
    };
    parts.costly.compiles(&digest);
    if key != parts.blobs.key() {
        return Err(CompileFailure::Mismatch {
            found: key,
            expected: parts.blobs.key().to_owned(),
        });
    }
    let kept = parts.blocking(move |parts| parts.blobs.put_compiled(&digest, output)).await;
    kept.map_err(CompileFailure::not_kept)
}

#[cfg(test)]
mod tests;
