//! The rest of a request's body that nobody reads. A client that is in the middle of sending
//! would lose the answer with the connection (RFC 9112 §9.6), so it is read to its end, if
//! that is near.

use std::time::Duration;

use bytes::Buf as _;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long it may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a body to its end, or until it has more than `room` bytes, while others go on.
pub(crate) fn later(body: impl Body + Send + Unpin + 'static, room: u64) {
    // Without a runtime there is no connection, either.
    if let Ok(runtime) = Handle::try_current() {
        let rest = Box::pin(read(body, room));
        runtime.spawn(async { drop(timeout(DRAIN_TIMEOUT, rest).await) });
    }
}

async fn read(mut body: impl Body + Unpin, mut room: u64) {
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        match room.checked_sub(length) {
            Some(left) => room = left,
            None => return,
        }
    }
}
