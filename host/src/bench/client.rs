//! A client on a connection without a network: a pipe in memory, with the host's own
//! HTTP at its other end.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::asked::peer;
use crate::http::connection::Connections;

/// Bytes that a pipe holds in each direction, as a socket does.
const PIPE_BYTES: usize = 64 << 10;

/// How a chunked body ends (RFC 9112 §7.1), where it has no trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// One end of the connection.
pub(super) struct Client {
    stream: DuplexStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects; the other end is served by a task of its own.
    pub(super) fn connect(connections: &Connections) -> Self {
        let (stream, served) = tokio::io::duplex(PIPE_BYTES);
        let connection = connections.serve(served, peer(), Arc::default());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "the connection ended");
            }
        });
        Self { stream, received: Vec::new() }
    }

    /// Sends a request and reads its answer to the end. Returns its status.
    pub(super) async fn ask(
        &mut self,
        method: &Method,
        request: &[u8],
    ) -> anyhow::Result<StatusCode> {
        self.received.clear();
        self.stream.write_all(request).await.context("the connection")?;
        let mut head = None;
        loop {
            if head.is_none() {
                head = Head::of(&self.received, method)?;
            }
            if let Some(head) = head.as_ref().filter(|head| head.is_whole(&self.received)) {
                return Ok(head.status);
            }
            if self.stream.read_buf(&mut self.received).await.context("the connection")? == 0 {
                bail!("the connection ended before the answer did");
            }
        }
    }
}

/// What an answer's head says of its end.
struct Head {
    status: StatusCode,
    bytes: usize,
    /// `None`: it comes in chunks.
    length: Option<usize>,
}

impl Head {
    /// The head, once all of it is there. (RFC 9112 §6.3)
    fn of(received: &[u8], method: &Method) -> anyhow::Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&received[..end]).context("the answer's head")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let status = StatusCode::from_bytes(status.as_bytes()).context("the answer's status")?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            headers.append(name.parse::<HeaderName>()?, HeaderValue::from_str(value.trim())?);
        }
        let bodiless = method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = if bodiless {
            Some(0)
        } else if headers.contains_key(TRANSFER_ENCODING) {
            None
        } else {
            let length = headers.get(CONTENT_LENGTH).context("the answer has no length")?;
            Some(length.to_str()?.parse()?)
        };
        Ok(Some(Self { status, bytes: end + 4, length }))
    }

    fn is_whole(&self, received: &[u8]) -> bool {
        let body = &received[self.bytes..];
        match self.length {
            Some(length) => body.len() >= length,
            None => body.ends_with(LAST_CHUNK),
        }
    }
}
