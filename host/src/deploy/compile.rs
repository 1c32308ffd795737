//! Step 2: from a component to code for this machine, in a child process, so
//! that no component can take the host down or keep its processors.

pub(super) mod child;
mod output;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::notice::Notice;
use super::parts::Parts;
use super::receive::Candidate;
use super::refusal::Stop;
use super::status::Step;
use crate::digest::Digest;
use crate::runtime::{LoadedComponent, Processor};

/// What the child may say on its standard output and of its last words.
const MAX_OUTPUT_BYTES: usize = 4096;

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
    let _slot = parts.compile_slots.acquire().await.expect("the semaphore is never closed");
    if candidate.is_superseded(parts) {
        return Err(Stop::Superseded("its file changed meanwhile".to_owned()));
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
    let refused = |reason: String| Stop::from(candidate.refused(vec![reason]));
    let path = compile_into_cache(parts, candidate.digest)
        .await
        .map_err(|error| refused(error.to_string()))?;
    let loaded = parts.blocking(move |parts| parts.runtime.load(&path)).await;
    let component = loaded.map_err(|error| refused(error.to_string()))?;
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
    #[error(
        "the compiler makes code for another host ({found}; {expected} expected): restart the host"
    )]
    Mismatch { found: String, expected: String },
    #[error("the compiler {program} could not be run: {source}")]
    NotRun { program: String, source: std::io::Error },
    #[error("the compiled code could not be kept: {0}")]
    NotKept(std::io::Error),
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

/// Compiles a kept component.
pub(super) async fn compile_into_cache(
    parts: &Arc<Parts>,
    digest: Digest,
) -> Result<PathBuf, CompileFailure> {
    let output = parts.blocking(|parts| parts.blobs.compiler_output()).await;
    let output = output.map_err(CompileFailure::NotKept)?;
    let limits = (parts.config.compiler.as_path(), parts.config.compile_timeout);
    let key = run_child(limits, &parts.blobs.component(&digest), output.path()).await?;
    if key != parts.blobs.key() {
        return Err(CompileFailure::Mismatch {
            found: key,
            expected: parts.blobs.key().to_owned(),
        });
    }
    let kept = parts.blocking(move |parts| parts.blobs.put_compiled(&digest, output)).await;
    kept.map_err(CompileFailure::NotKept)
}

/// Compiles `input` into `output` in a child process; returns what the code must
/// match. Dropped, it ends the child.
pub(super) async fn run_child(
    (compiler, limit): (&Path, Duration),
    input: &Path,
    output: &Path,
) -> Result<String, CompileFailure> {
    run_child_for(Processor::This, (compiler, limit), input, output).await
}

/// The same for this processor or any.
pub(super) async fn run_child_for(
    processor: Processor,
    (compiler, limit): (&Path, Duration),
    input: &Path,
    output: &Path,
) -> Result<String, CompileFailure> {
    let not_run =
        |source| CompileFailure::NotRun { program: compiler.display().to_string(), source };
    let mut child = Command::new(compiler)
        .arg("compile")
        .args((processor == Processor::Any).then_some("--portable"))
        .args([input, output])
        // Held open until the child is done: it ends itself when the host is gone.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    match timeout(limit, outcome(&mut child)).await {
        Ok(Ok((status, key, _))) if status.success() => Ok(key.trim().to_owned()),
        // What Rust's allocator says before it aborts.
        Ok(Ok((status, _, last_words)))
            if status.code().is_none() && last_words.contains("memory allocation of") =>
        {
            Err(CompileFailure::MemoryLimit(child::MAX_MEMORY_BYTES))
        }
        Ok(Ok((status, _, last_words))) => match status.code() {
            Some(_) if !last_words.trim().is_empty() => {
                Err(CompileFailure::Refused(last_words.trim().to_owned()))
            }
            _ => Err(CompileFailure::Ended(
                format!("{status} {}", last_words.trim()).trim().to_owned(),
            )),
        },
        Ok(Err(error)) => Err(not_run(error)),
        Err(_) => {
            // Waited for, so that no zombie stays.
            _ = child.kill().await;
            Err(CompileFailure::TimeLimit(limit))
        }
    }
}

async fn outcome(child: &mut Child) -> std::io::Result<(std::process::ExitStatus, String, String)> {
    let said = output::head(child.stdout.take(), MAX_OUTPUT_BYTES);
    let last_words = output::tail(child.stderr.take(), MAX_OUTPUT_BYTES);
    let stdin = child.stdin.take();
    let (said, last_words) = tokio::join!(said, last_words);
    let status = child.wait().await?;
    drop(stdin);
    Ok((status, said?, last_words?))
}

#[cfg(test)]
mod tests;
