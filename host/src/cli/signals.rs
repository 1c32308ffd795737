//! SIGINT and SIGTERM, on a thread of its own: whatever keeps the others busy, the first
//! one has the host end in time, and a second one ends it at once.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// A process ended by signal N exits with 128 + N, as shells say it.
const SIGNALLED: i32 = 128;

/// What a host exits with that did not end by itself.
const FORCED: i32 = 1;

/// Begins to listen. What is returned is cancelled by the first signal; from there on the
/// process ends within `limit`.
pub(super) fn listen(limit: Duration) -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let (ready, listens) = mpsc::channel();
    let listen = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async {
            let signals = signal(SignalKind::interrupt())
                .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
            match signals {
                Ok((interrupt, terminate)) => {
                    // Whoever starts this waits for it.
                    _ = ready.send(Ok(()));
                    obey(interrupt, terminate, &told, limit).await;
                }
                Err(error) => _ = ready.send(Err(error)),
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).context("a thread")?;
    listens.recv().context("the thread for signals ended")?.context("signals")?;
    Ok(stop)
}

async fn obey(
    mut interrupt: Signal,
    mut terminate: Signal,
    stop: &CancellationToken,
    limit: Duration,
) {
    either(&mut interrupt, &mut terminate).await;
    stop.cancel();
    tokio::select! {
        signal = either(&mut interrupt, &mut terminate) => {
            std::process::exit(SIGNALLED + signal);
        }
        () = tokio::time::sleep(limit) => {
            tracing::error!("{limit:?} after it was asked to, the host had not ended: it is ended");
            telemetry::flush();
            std::process::exit(FORCED);
        }
    }
}

/// Which of the two came.
async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    }
}
