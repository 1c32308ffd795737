//! Requests of the host's own, to where its operator says. The address rule is
//! the same for them.

use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body::RequestBody;
use super::{Outbound, failure};

/// What is read of an answer's body, so that its connection can be used again.
const MAX_UNREAD_BYTES: usize = 64 << 10;

/// How long that may take.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The address rule.
    #[error("{0}; `[outbound] allow-private` in hotdock.toml opens networks")]
    Prohibited(String),
    /// It did not come in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The connection failed.
    #[error("{0}")]
    Failed(String),
}

impl Outbound {
    /// Sends a request and returns the answer's head. Follows no redirects.
    pub(crate) async fn ask(
        &self,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<Parts, AskError> {
        let request = request.map(|body| {
            let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
            RequestBody::new(body, CancellationToken::new())
        });
        let answer = timeout(limit, self.inner.own.client(false).request(request)).await;
        let answer = answer.map_err(|_| AskError::Late(limit))?.map_err(|error| {
            failure::prohibited(&error)
                .map_or_else(|| AskError::Failed(failure::in_words(&error)), AskError::Prohibited)
        })?;
        let (head, body) = Response::into_parts(answer);
        discard(body).await;
        Ok(head)
    }
}

/// A body that is longer, or slower, costs its connection.
async fn discard(body: Incoming) {
    let rest = Limited::new(body, MAX_UNREAD_BYTES).collect();
    _ = timeout(UNREAD_TIMEOUT, rest).await;
}
