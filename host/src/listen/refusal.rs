//! What a client is told for which there is no place.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::frames::{PREFACE, goaway};
use super::stream::{CALM, NO_PLACE, dated};

/// How many are told at once; others are closed.
const TOLD_AT_ONCE: usize = 64;

/// How long it may take: until it says what it speaks, and until it has read the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much of what it sends meanwhile is read.
const MOST_READ: u64 = 64 << 10;

/// Tells clients that there is no place for them.
#[derive(Clone, Debug)]
pub(super) struct Refusals(Arc<Semaphore>);

impl Refusals {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(TOLD_AT_ONCE)))
    }

    pub(super) fn tell(&self, stream: TcpStream) {
        if let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() {
            tokio::spawn(async move {
                let _permit = permit;
                // Whether it was told is its own matter.
                let _told = timeout(2 * PATIENCE, tell(stream)).await;
            });
        }
    }
}

async fn tell(mut stream: TcpStream) -> std::io::Result<()> {
    let mut start = [0; PREFACE.len()];
    let peeked = timeout(PATIENCE, stream.peek(&mut start)).await;
    let came = peeked.map_or(Ok(0), |peeked| peeked)?;
    if came > 0 && PREFACE.starts_with(&start[..came]) {
        // Its settings come first, as HTTP/2 wants it: none that differ.
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        stream.write_all(&[settings.as_slice(), &goaway(0, CALM)].concat()).await?;
    } else {
        stream.write_all(dated(NO_PLACE).as_bytes()).await?;
    }
    stream.shutdown().await?;
    // Closed with something unread, it would lose what it was told (RFC 9112 §9.6).
    let mut rest = stream.take(MOST_READ);
    let mut buffer = [0; 1024];
    while rest.read(&mut buffer).await? > 0 {}
    Ok(())
}
