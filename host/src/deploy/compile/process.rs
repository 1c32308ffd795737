//! The compiler's process: begun, stopped and let go on by turns, ended at its limits.

use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval};

use super::queue::Place;
use super::turn::Order;
use super::{CompileFailure, child, output};
use crate::runtime::Processor;

/// What the child may say on its standard output and of its last words.
pub(super) const MAX_OUTPUT_BYTES: usize = 4096;

/// How often it is looked what the child has used.
const LOOK: Duration = Duration::from_millis(50);

/// The system's clock ticks per second (`USER_HZ`), the unit of proc(5); the same on all
/// architectures that Linux is built for today.
const TICKS: u64 = 100;

/// How a child ended.
enum End {
    Exited(std::io::Result<(ExitStatus, String, String)>),
    TimeLimit,
    /// It had to make room for another, and may begin again.
    MadeRoom,
}

/// Compiles `input` into `output` in a child process; returns what the code must
/// match. Dropped, it ends the child.
pub(in super::super) async fn run_child(
    limits: (&Path, Duration),
    input: &Path,
    output: &Path,
) -> Result<String, CompileFailure> {
    run_child_for(Processor::This, limits, input, output).await
}

/// The same for this processor or any.
pub(in super::super) async fn run_child_for(
    processor: Processor,
    (compiler, limit): (&Path, Duration),
    input: &Path,
    output: &Path,
) -> Result<String, CompileFailure> {
    let mut child = spawn(processor, compiler, input, output)?;
    let end = drive(&mut child, limit, None).await;
    outcome(&mut child, (compiler, limit), end).await.unwrap_or_else(|| Err(cut_short()))
}

/// Compiles by turns, which may take several children one after the other.
pub(super) async fn run_in_turn(
    place: &mut Place,
    (compiler, limit): (&Path, Duration),
    input: &Path,
    output: &Path,
) -> Result<String, CompileFailure> {
    loop {
        place.turn().await;
        let mut child = spawn(Processor::This, compiler, input, output)?;
        let end = drive(&mut child, limit, Some(&mut *place)).await;
        if let Some(done) = outcome(&mut child, (compiler, limit), end).await {
            return done;
        }
        place.has_ended();
    }
}

fn spawn(
    processor: Processor,
    compiler: &Path,
    input: &Path,
    output: &Path,
) -> Result<Child, CompileFailure> {
    Command::new(compiler)
        .arg("compile")
        .args((processor == Processor::Any).then_some("--portable"))
        // In full: a file may be called like an option.
        .args(
            [input, output]
                .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
        )
        // Held open until the child is done: it ends itself when the host is gone.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Of its own, so that the system itself ends it where it stands still and the host,
        // which alone would let it go on, is gone (POSIX, orphaned process groups).
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| not_run(compiler, source))
}

/// Waits for the child's end, and lets it run for no longer than `limit` in all; by turns
/// where there are others.
async fn drive(child: &mut Child, limit: Duration, mut place: Option<&mut Place>) -> End {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut exited = pin!(exited(child));
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What counts is the time in which it may run.
    let (mut ran, mut since, mut stopped) = (Duration::ZERO, Instant::now(), false);
    loop {
        tokio::select! {
            exited = &mut exited => return End::Exited(exited),
            order = order(&mut place) => {
                let stops = match order {
                    Order::Again => return End::MadeRoom,
                    Order::Wait => true,
                    Order::Run => false,
                };
                if stops != stopped && let Some(pid) = pid {
                    // It may just have ended, but is not waited for: the number is still its own.
                    _ = kill_process(pid, if stops { Signal::STOP } else { Signal::CONT });
                    if stops {
                        ran += since.elapsed();
                    }
                    (since, stopped) = (Instant::now(), stops);
                    place.iter().for_each(|place| place.tell(stops));
                }
            }
            _ = look.tick(), if !stopped => {
                if ran + since.elapsed() >= limit {
                    return End::TimeLimit;
                }
                if let Some(place) = &place {
                    place.uses(pid.and_then(cpu_time).unwrap_or(ran + since.elapsed()));
                }
            }
        }
    }
}

async fn order(place: &mut Option<&mut Place>) -> Order {
    match place {
        Some(place) => place.order().await,
        None => std::future::pending().await,
    }
}

async fn exited(child: &mut Child) -> std::io::Result<(ExitStatus, String, String)> {
    let said = output::head(child.stdout.take(), MAX_OUTPUT_BYTES);
    let last_words = output::ends(child.stderr.take(), MAX_OUTPUT_BYTES / 2);
    let stdin = child.stdin.take();
    let (said, last_words) = tokio::join!(said, last_words);
    let status = child.wait().await?;
    drop(stdin);
    Ok((status, said?, last_words?))
}

/// What came of it; nothing yet where it is to begin again. The child is gone then.
async fn outcome(
    child: &mut Child,
    (compiler, limit): (&Path, Duration),
    end: End,
) -> Option<Result<String, CompileFailure>> {
    let (status, key, last_words) = match end {
        End::Exited(Ok(exited)) => exited,
        End::Exited(Err(error)) => return Some(Err(not_run(compiler, error))),
        End::TimeLimit | End::MadeRoom => {
            // Waited for, so that no zombie stays.
            _ = child.kill().await;
            let is_over = matches!(end, End::TimeLimit);
            return is_over.then_some(Err(CompileFailure::TimeLimit(limit)));
        }
    };
    let last_words = last_words.trim();
    Some(match status.code() {
        _ if status.success() => Ok(key.trim().to_owned()),
        // What Rust's allocator says before it aborts.
        None if last_words.contains("memory allocation of") => {
            Err(CompileFailure::MemoryLimit(child::MAX_MEMORY_BYTES))
        }
        Some(code) if code == i32::from(child::NO_ROOM) => Err(CompileFailure::NoRoom),
        Some(_) if !last_words.is_empty() => Err(CompileFailure::Refused(last_words.to_owned())),
        _ => Err(CompileFailure::Ended(format!("{status} {last_words}").trim().to_owned())),
    })
}

fn not_run(compiler: &Path, source: std::io::Error) -> CompileFailure {
    CompileFailure::NotRun { program: compiler.display().to_string(), error: source }
}

fn cut_short() -> CompileFailure {
    CompileFailure::Ended("the host".to_owned())
}

/// What all threads of a process have used of the processors (proc(5), `stat`).
fn cpu_time(pid: Pid) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The program's name is before it, in parentheses, and may have any character.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_used_is_read() {
        let this = rustix::process::getpid();
        let began = Instant::now();
        while cpu_time(this).expect("it is known") < Duration::from_millis(20) {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing is counted");
        }
    }
}
