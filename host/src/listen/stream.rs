//! A connection's bytes, as they come and go: what is spoken, whether a head is open, and
//! whether the peer takes what is ready for it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::date;
use super::frames::{Frames, PREFACE, goaway};
use super::linger::{HalfClosed, Linger};
use super::state::{End, Protocol, State};

/// How much a peer has to take of what is ready for it to count as one that takes it.
const LEAST_TAKEN: usize = 4 << 10;

/// What a client of HTTP/1 is told whose head takes too long.
const HEAD_LATE: &str = concat!(
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n",
    "Content-Type: application/problem+json\r\nContent-Length: 142\r\n\r\n",
    "{\"type\":\"urn:hotdock:problem:head-late\",\"title\":\"Request Timeout\",\"status\":408,",
    "\"detail\":\"the head took too long ([http] header-read-timeout)\"}"
);

/// What it is told whose head is none.
const HEAD_MALFORMED: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n",
    "Content-Type: application/problem+json\r\nContent-Length: 130\r\n\r\n",
    "{\"type\":\"urn:hotdock:problem:head-malformed\",\"title\":\"Bad Request\",\"status\":400,",
    "\"detail\":\"this is no head of an HTTP/1.1 request\"}"
);

/// What it is told whose head is too large.
const HEAD_TOO_LARGE: &str = concat!(
    "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n",
    "Content-Type: application/problem+json\r\nContent-Length: 200\r\n\r\n",
    "{\"type\":\"urn:hotdock:problem:head-too-large\",\"title\":\"Request Header Fields Too Large\",\"status\":431,",
    "\"detail\":\"the head is larger than may be, or has more lines ([http] max-header-bytes, max-headers)\"}"
);

/// What it is told whose target is too long.
const TARGET_TOO_LONG: &str = concat!(
    "HTTP/1.1 414 URI Too Long\r\nConnection: close\r\n",
    "Content-Type: application/problem+json\r\nContent-Length: 131\r\n\r\n",
    "{\"type\":\"urn:hotdock:problem:target-too-long\",\"title\":\"URI Too Long\",\"status\":414,",
    "\"detail\":\"the target is longer than 65534 bytes\"}"
);

/// What it is told where there are more connections than may be.
pub(super) const NO_PLACE: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n",
    "Content-Type: application/problem+json\r\nContent-Length: 136\r\n\r\n",
    "{\"type\":\"urn:hotdock:problem:connections\",\"title\":\"Service Unavailable\",\"status\":503,",
    "\"detail\":\"there are as many connections as may be\"}"
);

/// An answer with when it was made (RFC 9110 §6.6.1).
pub(super) fn dated(answer: &str) -> String {
    let date = date::now();
    let date = date.to_str().expect("a date is ASCII");
    answer.replacen("\r\n", &format!("\r\nDate: {date}\r\n"), 1)
}

/// `NO_ERROR` and `ENHANCE_YOUR_CALM` (RFC 9113 §7).
const NO_ERROR: u32 = 0;
pub(super) const CALM: u32 = 0xb;

/// A connection that is looked at while it is used.
pub struct Watched {
    stream: TcpStream,
    state: Arc<State>,
    max_control_frames: u32,
    /// How much came of what HTTP/2 begins with.
    of_preface: usize,
    /// Where HTTP/2 is spoken.
    frames: Option<Box<Frames>>,
    sent: u64,
    /// What was taken since nothing was.
    taken: usize,
    /// Whether all that was to be written last was: another frame may follow then.
    is_whole: bool,
    reading: Reading,
    /// While it is being closed.
    linger: Option<Box<Linger>>,
}

/// What is known of the peer's side.
enum Reading {
    Open,
    /// There is something that nobody has read yet.
    Unread,
    /// It has ended while requests of it run.
    HalfClosed(HalfClosed),
    /// It has ended.
    Ended,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, state: Arc<State>, max_control_frames: u32) -> Self {
        Self {
            stream,
            state,
            max_control_frames,
            of_preface: 0,
            frames: None,
            sent: 0,
            taken: 0,
            is_whole: true,
            reading: Reading::Open,
            linger: None,
        }
    }

    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.frames.is_some() {
            return self.follow(bytes);
        }
        if self.state.protocol() == Protocol::Http1 {
            self.state.heard();
            return Ok(());
        }
        let expected = &PREFACE[self.of_preface..];
        let (start, rest) = bytes.split_at(bytes.len().min(expected.len()));
        if !expected.starts_with(start) {
            self.state.speaks(Protocol::Http1);
            self.state.heard();
            return Ok(());
        }
        self.of_preface += start.len();
        if self.of_preface < PREFACE.len() {
            self.state.speaks(Protocol::Unknown);
            self.state.heard();
            return Ok(());
        }
        self.state.speaks(Protocol::Http2);
        self.frames = Some(Box::new(Frames::new(self.of_preface, self.max_control_frames)));
        self.follow(rest)
    }

    fn follow(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(frames) = &mut self.frames else { return Ok(()) };
        if frames.follow(bytes, self.sent).is_err() {
            self.state.end_for(End::Flood);
            return Err(io::Error::other("too many frames that bring nothing"));
        }
        let is_open = frames.is_head_open();
        self.state.head_is_open(is_open);
        if !is_open {
            self.state.is_idle();
        }
        Ok(())
    }

    /// Looks whether the peer is still there while a request of it runs. Its end alone does not
    /// say that it is not (RFC 9112 §9.6), and what reads the connection does not look meanwhile.
    fn look(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Reading::HalfClosed(half) = &mut self.reading {
            return half.look(&self.stream, context);
        }
        if !matches!(self.reading, Reading::Open) || self.frames.is_some() {
            return Ok(());
        }
        let mut byte = [0];
        match self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(0)) => self.half_closed(context),
            Poll::Ready(Ok(_)) => {
                self.reading = Reading::Unread;
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    fn half_closed(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut half = HalfClosed::new();
        half.look(&self.stream, context)?;
        self.reading = Reading::HalfClosed(half);
        Ok(())
    }

    /// The peer's side has ended. Of one of HTTP/2 its reader, which gives up all streams then,
    /// is told only after the answers that are under way, or about to be.
    fn ended(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let has_asked = self.frames.as_ref().is_some_and(|frames| frames.last_stream() > 0);
        if !has_asked || matches!(self.reading, Reading::Ended) {
            self.reading = Reading::Ended;
            return Poll::Ready(Ok(()));
        }
        if !matches!(self.reading, Reading::HalfClosed(_)) {
            self.half_closed(context)?;
        }
        let Reading::HalfClosed(half) = &mut self.reading else { return Poll::Ready(Ok(())) };
        half.look(&self.stream, context)?;
        half.has_run |= self.state.running() > 0;
        // The last answer may not be written yet: it is when this was flushed.
        if half.has_run || !half.has_looked {
            return Poll::Pending;
        }
        self.reading = Reading::Ended;
        Poll::Ready(Ok(()))
    }

    /// What is sent instead of the answer that hyper has for a head that it cannot read, which
    /// says nothing of why, nor that the connection ends. It is known by coming before any
    /// request; a later one is sent as it is, as what it follows may be in the same bytes.
    fn in_words(&self, answer: &[u8]) -> Option<&'static str> {
        if self.state.has_asked() || self.state.protocol() != Protocol::Http1 {
            return None;
        }
        match answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)? {
            b"400" => Some(HEAD_MALFORMED),
            b"414" => Some(TARGET_TOO_LONG),
            b"431" => Some(HEAD_TOO_LARGE),
            _ => None,
        }
    }

    /// Writes other words than these, of which nothing is left to be written then. They are the
    /// first on their connection, so that the system has room for all of them.
    fn write_instead(
        &mut self,
        context: &mut Context<'_>,
        words: &str,
        offered: usize,
    ) -> Poll<io::Result<usize>> {
        let words = dated(words);
        let polled = Pin::new(&mut self.stream).poll_write(context, words.as_bytes());
        self.wrote(&polled, words.len());
        polled.map(|written| written.map(|_| offered))
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>, offered: usize) {
        match polled {
            Poll::Pending => {
                self.is_whole = false;
                self.state.blocked();
                self.state.unsent().is_full();
            }
            Poll::Ready(Ok(taken)) => {
                self.sent += *taken as u64;
                self.is_whole = *taken == offered;
                self.state.unsent().takes(*taken);
                if self.state.is_blocked() {
                    self.taken += taken;
                    if self.is_whole || self.taken >= LEAST_TAKEN {
                        self.taken = 0;
                        self.state.unblocked();
                    }
                }
            }
            Poll::Ready(Err(_)) => {}
        }
    }

    /// What the peer is told at the end, if it can be told anything. One of HTTP/1 that has had
    /// an answer would take what it is told for that to the next request.
    fn farewell(&self) {
        let end = self.state.end();
        let has_asked = self.state.has_asked();
        let goaway = |code| {
            let last = self.frames.as_ref().map_or(0, |frames| frames.last_stream());
            goaway(last, code)
        };
        // The system takes it or not; nobody waits for it here.
        let _sent = match (self.state.protocol(), end) {
            (Protocol::Http1, End::Head) if !has_asked => {
                self.stream.try_write(dated(HEAD_LATE).as_bytes())
            }
            (Protocol::Http1 | Protocol::Silent, End::Place) if !has_asked => {
                self.stream.try_write(dated(NO_PLACE).as_bytes())
            }
            (Protocol::Http2, End::Idle | End::Place) if self.is_whole => {
                self.stream.try_write(&goaway(NO_ERROR))
            }
            (Protocol::Http2, End::Flood | End::Head) if self.is_whole => {
                self.stream.try_write(&goaway(CALM))
            }
            _ => return,
        };
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
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if came.is_empty() {
            return this.ended(context);
        }
        this.reading = Reading::Open;
        Poll::Ready(this.came(came))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(words) = this.in_words(bytes) {
            return this.write_instead(context, words, bytes.len());
        }
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(&polled, bytes.len());
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let offered = slices.iter().map(|slice| slice.len()).sum();
        if let Some(words) = slices.first().and_then(|first| this.in_words(first)) {
            return this.write_instead(context, words, offered);
        }
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.wrote(&polled, offered);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state.running() > 0 {
            this.look(context)?;
        } else if matches!(&this.reading, Reading::HalfClosed(half) if half.has_run)
            && this.frames.is_some()
        {
            this.reading = Reading::Ended;
            context.waker().wake_by_ref();
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let linger = match &mut this.linger {
            Some(linger) => linger,
            linger => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
                if matches!(this.reading, Reading::Ended | Reading::HalfClosed(_)) {
                    return Poll::Ready(Ok(()));
                }
                linger.insert(Box::new(Linger::new(this.frames.is_some())))
            }
        };
        linger.poll(&mut this.stream, context).map(Ok)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.farewell();
        // What its peer doesn't take the system would keep for it, long after.
        let keeps = matches!(self.state.end(), End::Answer | End::Flood | End::Unsent)
            && self.state.is_blocked();
        // To HTTP/1.0 nothing else says that an answer is not whole (RFC 9112 §8).
        if keeps || self.state.is_cut() {
            let _the_socket_is_gone_otherwise = self.stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_without_hyper_is_http() {
        for text in [HEAD_LATE, HEAD_MALFORMED, HEAD_TOO_LARGE, TARGET_TOO_LONG, NO_PLACE] {
            let text = dated(text);
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert_eq!(head.matches("\r\nDate: ").count(), 1, "{head}");
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
            let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert!(head.starts_with(&format!("HTTP/1.1 {}", problem["status"])));
        }
    }
}
