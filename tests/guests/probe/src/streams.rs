//! Reading and writing bodies, chunk by chunk.

use wasip2::http::types::{IncomingBody, IncomingRequest, OutgoingBody, Trailers};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

const CHUNK: usize = 64 * 1024;

/// A stream's other end went away: whoever writes can only stop.
pub struct Gone;

/// Writes all bytes and flushes them.
pub fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), Gone> {
    while !bytes.is_empty() {
        stream.subscribe().block();
        let room = stream.check_write().map_err(gone)?;
        let length = bytes.len().min(usize::try_from(room).unwrap_or(CHUNK));
        let (now, later) = bytes.split_at(length);
        stream.write(now).map_err(gone)?;
        bytes = later;
    }
    stream.blocking_flush().map_err(gone)
}

/// Hands each chunk of the request's body to `each` as it comes, until that fails or the body ends;
/// then the trailers.
pub fn read(
    request: &IncomingRequest,
    mut each: impl FnMut(&[u8]) -> Result<(), Gone>,
) -> Result<Option<Trailers>, Gone> {
    let body = request.consume().expect("a body is consumed once");
    let stream = body.stream().expect("a body's stream is taken once");
    read_all(&stream, &mut each)?;
    drop(stream);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    match trailers.get() {
        Some(Ok(Ok(trailers))) => Ok(trailers),
        _ => Err(Gone),
    }
}

/// Hands each chunk to `each` as it comes, until that fails or the stream ends.
pub fn read_all(
    stream: &InputStream,
    mut each: impl FnMut(&[u8]) -> Result<(), Gone>,
) -> Result<(), Gone> {
    while let Some(chunk) = next(stream)? {
        each(&chunk)?;
    }
    Ok(())
}

/// Ends a body, if its client is still there.
pub fn finish(body: OutgoingBody, trailers: Option<Trailers>) {
    // A client that went away is no fault of the guest.
    let _ = OutgoingBody::finish(body, trailers);
}

fn next(stream: &InputStream) -> Result<Option<Vec<u8>>, Gone> {
    match stream.blocking_read(CHUNK as u64) {
        Ok(chunk) => Ok(Some(chunk)),
        Err(StreamError::Closed) => Ok(None),
        Err(StreamError::LastOperationFailed(_)) => Err(Gone),
    }
}

fn gone(_: StreamError) -> Gone {
    Gone
}
