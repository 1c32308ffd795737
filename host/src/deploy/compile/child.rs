//! The compiler: what `hotdock compile INPUT OUTPUT` does, in a process of its own.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use crate::deploy::no_room;
use crate::runtime::{self, Processor};

/// How far behind the host's own threads the compiler's stand. Behind them, but
/// not last of all: at 19 a saturated host gave it under one per cent of a
/// processor, and a deployment of half a second took a minute.
const NICENESS: i32 = 14;
/// How much memory the compiler may write to; a 20 MB component takes less than
/// a quarter of it.
pub(super) const MAX_MEMORY_BYTES: u64 = 4 << 30;

/// The highest there is (proc(5)).
const FIRST_TO_GO: &str = "1000";

/// Why nothing was compiled.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// A file could not be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The bytes are no valid component.
    #[error(transparent)]
    Compile(#[from] runtime::CompileError),
    /// The host doesn't listen.
    #[error("the host could not be told: {0}")]
    Report(io::Error),
}

/// How the process ends that finds no room for the code, whatever it says of it.
pub const NO_ROOM: u8 = 28;

impl ChildError {
    /// How the process is to end.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File { error, .. } if no_room::is_of_disk(error) => NO_ROOM,
            _ => 1,
        }
    }
}

/// Compiles `input` into `output`, for this processor or any, and prints what the code
/// must match.
///
/// Called once, first thing in a process that does nothing else: it makes the
/// process nice, limits its memory, and ends it when standard input is closed,
/// that is when the host that started it is gone.
///
/// # Errors
/// When a file cannot be read or written, or `input` is not a valid component;
/// the caller prints the error to standard error and exits with a failure.
pub fn compile_child(input: &Path, output: &Path, processor: Processor) -> Result<(), ChildError> {
    restrain();
    end_with_host();
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| ChildError::File { path, error }
    };
    let component = std::fs::read(input).map_err(at(input))?;
    let code = runtime::compile_for(processor, &component)?;
    std::fs::write(output, code).map_err(at(output))?;
    #[expect(clippy::disallowed_methods, reason = "the host reads it, nobody else's text is in it")]
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", runtime::compatibility_key()).map_err(ChildError::Report)?;
    stdout.flush().map_err(ChildError::Report)
}

/// Where a limit cannot be set, compiling without it is still better than not
/// compiling: the host's own time limit remains.
fn restrain() {
    _ = nice(NICENESS);
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // Not the address space: an engine reserves far more of it than it uses.
    _ = setrlimit(Resource::Data, limit(MAX_MEMORY_BYTES));
    _ = setrlimit(Resource::Core, limit(0));
    // Also where it stands still, and cannot see that standard input is closed.
    _ = set_parent_process_death_signal(Some(Signal::KILL));
    // Where the machine's memory runs out, this goes before the host does.
    _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
}

fn end_with_host() {
    std::thread::spawn(|| {
        // The host writes nothing: this returns when its end is closed.
        _ = io::stdin().lock().read(&mut [0]);
        std::process::exit(1);
    });
}
