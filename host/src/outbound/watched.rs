//! A connection's bytes as they come and go: counted until it is closed, read in turns, and its
//! end where the peer sends without end what is no answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connect::Held;
use super::peer::Peer;

/// How often a connection is read before others have their turn. A peer that sends without end
/// what is no answer yet (interim responses are read as long as there are any) would have the
/// thread for itself.
const READS_AT_ONCE: u8 = 2;

/// How much of TLS's own may come while nothing comes of what it protects: tickets, new keys,
/// records of nothing, a part of a record.
const MAX_TLS_BYTES: u64 = 64 << 10;

/// A TCP connection, counted until it is closed.
pub(super) struct Counted {
    stream: TcpStream,
    /// Reads since its task gave way, none of which had to wait.
    reads: u8,
    /// Bytes that came.
    came: u64,
    _held: Held,
}

/// What TLS, if there is any, makes of it.
type Stream = MaybeHttpsStream<TokioIo<Counted>>;

/// A connection whose peer is looked at while it is used.
pub(super) struct Watched {
    stream: TokioIo<Stream>,
    /// Where HTTP/2 is spoken. A connection of HTTP/1.1 ends by itself when something comes on
    /// it that is no answer.
    peer: Option<Box<Peer>>,
    /// What had come when something came last of what TLS protects.
    came: u64,
}

impl Counted {
    pub(super) fn new(stream: TcpStream, held: Held) -> Self {
        Self { stream, reads: 0, came: 0, _held: held }
    }
}

impl Watched {
    /// `h2c`: it speaks HTTP/2 without having said so.
    pub(super) fn new(stream: Stream, h2c: bool) -> Self {
        let is_http2 = h2c || stream.connected().is_negotiated_h2();
        let peer = is_http2.then(|| Box::new(Peer::new()));
        let mut watched = Self { stream: TokioIo::new(stream), peer, came: 0 };
        watched.came = watched.came_in_all();
        watched
    }

    /// What came over TLS, its own with it.
    fn came_in_all(&self) -> u64 {
        match self.stream.inner() {
            MaybeHttpsStream::Http(_) => 0,
            MaybeHttpsStream::Https(tls) => tls.inner().get_ref().0.inner().inner().came,
        }
    }

    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        let came = self.came_in_all();
        if bytes.is_empty() {
            let nothing = came.saturating_sub(self.came);
            return if nothing > MAX_TLS_BYTES { Err(too_much()) } else { Ok(()) };
        }
        self.came = came;
        let sends = self.peer.as_mut().map_or(Ok(()), |peer| peer.sends(bytes));
        sends.map_err(|_| too_much())
    }

    fn wrote<'a>(
        &mut self,
        polled: &Poll<io::Result<usize>>,
        slices: impl Iterator<Item = &'a [u8]>,
    ) {
        let (Poll::Ready(Ok(taken)), Some(peer)) = (polled, &mut self.peer) else { return };
        let mut left = *taken;
        for slice in slices {
            let part = &slice[..slice.len().min(left)];
            left -= part.len();
            peer.is_sent(part);
        }
    }
}

fn too_much() -> io::Error {
    let error = "the peer sends too much that is no answer";
    tracing::debug!(error, "an outgoing connection is closed");
    io::Error::other(error)
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.came(&buffer.filled()[before..])?;
        polled
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.reads == READS_AT_ONCE {
            this.reads = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.reads = if polled.is_ready() { this.reads + 1 } else { 0 };
        this.came += (buffer.filled().len() - before) as u64;
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(&polled, std::iter::once(bytes));
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.wrote(&polled, slices.iter().map(|slice| &**slice));
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Has each of its wakes counted.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_connection_with_much_to_read_gives_way_after_a_few_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut peer, _) = listener.accept().await.expect("a connection");
        peer.write_all(&[7; 16]).await.expect("sent");
        stream.readable().await.expect("there is something");
        let mut counted = Counted::new(stream, Held::one().await);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut read = || {
            let mut bytes = [0];
            let mut buffer = ReadBuf::new(&mut bytes);
            let mut context = Context::from_waker(&waker);
            Pin::new(&mut counted).poll_read(&mut context, &mut buffer).is_ready()
        };
        let woken = || wakes.0.load(Ordering::SeqCst);
        for turn in 0..3 {
            assert!(read() && read(), "there is something to read");
            assert_eq!(woken(), turn);
            assert!(!read(), "others have their turn");
            assert_eq!(woken(), turn + 1, "it comes again by itself");
        }
    }
}
