//! What a guest prints: its standard output and error, line by line, in the
//! host's log with service and version.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

use crate::name::VersionId;
use crate::tally::Tally;

/// What a line costs besides its text: time, service, version.
const LINE_COST: usize = 64;

/// A line is cut here and goes on as another.
const LINE_LIMIT: usize = 8 << 10;

/// Bytes that one write takes.
const WRITE_LIMIT: usize = 64 << 10;

/// How much of the current invocation's `[limits] log` is used, by printed lines
/// and `wasi:logging` together; the rest is dropped, and said so once.
#[derive(Debug)]
pub(super) struct LogBudget {
    used: AtomicU64,
    limit: u64,
    limits_reached: Arc<Tally>,
}

/// One of a guest's two output streams.
#[derive(Clone)]
pub(super) struct GuestOutput {
    shared: Arc<Shared>,
}

struct Shared {
    version: VersionId,
    stream: &'static str,
    budget: Arc<LogBudget>,
    line: Mutex<Vec<u8>>,
}

impl LogBudget {
    pub(super) fn new(limit: u64, limits_reached: Arc<Tally>) -> Self {
        Self { used: AtomicU64::new(0), limit, limits_reached }
    }

    pub(super) fn reset(&self) {
        self.used.store(0, Ordering::Relaxed);
    }

    /// Whether a line with `bytes` of text may be logged.
    pub(super) fn spend(&self, bytes: usize, version: &VersionId) -> bool {
        let cost = (bytes + LINE_COST) as u64;
        let before = self.used.fetch_add(cost, Ordering::Relaxed);
        let limit = self.limit;
        if before <= limit && before + cost > limit {
            self.limits_reached.note("log");
            tracing::warn!(
                service = %version.service,
                version = version.number,
                "the invocation logged more than {limit} bytes ([limits] log); the rest is dropped"
            );
        }
        before + cost <= limit
    }
}

impl GuestOutput {
    pub(super) fn new(version: VersionId, stream: &'static str, budget: Arc<LogBudget>) -> Self {
        let line = Mutex::new(Vec::new());
        Self { shared: Arc::new(Shared { version, stream, budget, line }) }
    }

    /// Logs what stands without a line end; called when an invocation ends.
    pub(super) fn flush_line(&self) {
        let mut line = self.shared.line.lock().unwrap_or_else(PoisonError::into_inner);
        if !line.is_empty() {
            self.shared.log(&line);
            line.clear();
        }
    }
}

impl Shared {
    fn write(&self, mut bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(&first) = bytes.first() {
            let room = LINE_LIMIT - line.len();
            let end = bytes.iter().take(room).position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(bytes.len().min(room));
            line.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if end.is_some() {
                bytes = &bytes[1..];
            }
            if end.is_some() || line.len() == LINE_LIMIT {
                if !line.is_empty() || first == b'\n' {
                    self.log(&line);
                }
                line.clear();
            }
        }
    }

    fn log(&self, line: &[u8]) {
        if !self.budget.spend(line.len(), &self.version) {
            return;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        tracing::info!(
            target: "guest",
            service = %self.version.service,
            version = self.version.number,
            stream = self.stream,
            "{text}"
        );
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.shared.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.shared.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(WRITE_LIMIT)
    }
}
