//! The end of a connection: the peer may still be sending. Closed with something unread the
//! system would reset the connection, and the peer might lose the answer that it was just sent
//! (RFC 9112 §9.6). So what comes is read for a while, and dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long nothing may come, and how long it may take in all.
const IDLE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(30);

/// How much is read. HTTP/2 is closed for what its peer did, not beside a body that is on its
/// way: what it still sends may be the flood that it is closed for.
const MOST_BYTES_OF_HTTP1: usize = 256 << 20;
const MOST_BYTES_OF_HTTP2: usize = 1 << 20;

/// What is read at once, and how often before others have their turn.
const PIECE_BYTES: usize = 16 << 10;
const PIECES_AT_ONCE: usize = 16;

/// Reads what a peer still sends until it ends, too.
pub(super) struct Linger {
    gives_up: Pin<Box<Sleep>>,
    until: Instant,
    left: usize,
}

impl Linger {
    pub(super) fn new(is_http2: bool) -> Self {
        let left = if is_http2 { MOST_BYTES_OF_HTTP2 } else { MOST_BYTES_OF_HTTP1 };
        Self { gives_up: Box::pin(sleep(IDLE)), until: Instant::now() + LONGEST, left }
    }

    /// Resolves when the peer has ended, or was waited for long enough.
    pub(super) fn poll(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<()> {
        let mut piece = [std::mem::MaybeUninit::uninit(); PIECE_BYTES];
        for _ in 0..PIECES_AT_ONCE {
            let mut buffer = ReadBuf::uninit(&mut piece);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Pending => return self.gives_up.as_mut().poll(context),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            let came = buffer.filled().len();
            self.left = self.left.saturating_sub(came);
            if came == 0 || self.left == 0 {
                return Poll::Ready(());
            }
            self.gives_up.as_mut().reset(self.until.min(Instant::now() + IDLE));
        }
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How often a peer that sends nothing more is looked at: it may be gone.
const LOOK: Duration = Duration::from_millis(250);

/// When it is looked first: what it sent with its end has begun by then.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// A peer that has ended its side while its request runs. Whether it waits for its answer or is
/// gone shows only when it resets the connection, of which the system wakes nobody who has read
/// to the end.
pub(super) struct HalfClosed {
    looks: Pin<Box<Sleep>>,
    /// Whether it was looked at once.
    pub(super) has_looked: bool,
    /// Whether a request ran meanwhile.
    pub(super) has_run: bool,
}

impl HalfClosed {
    pub(super) fn new() -> Self {
        Self { looks: Box::pin(sleep(FIRST_LOOK)), has_looked: false, has_run: false }
    }

    /// Has the task look again in time.
    ///
    /// # Errors
    /// Where the peer has reset the connection.
    pub(super) fn look(&mut self, stream: &TcpStream, context: &mut Context<'_>) -> io::Result<()> {
        while self.looks.as_mut().poll(context).is_ready() {
            self.has_looked = true;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            self.looks.as_mut().reset(Instant::now() + LOOK);
        }
        Ok(())
    }
}
