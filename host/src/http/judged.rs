//! What a request says of the version that runs it.

use std::sync::Arc;

use http::StatusCode;

use crate::runtime::ReplayBody;
use crate::service::{Kind, Measure, Outcome, VersionMetrics};

/// How a request ends for the version that runs it, unless it is its client who did not send its
/// body: how soon, and with what, a version answers half a request is no sign of how it is. Nor
/// is it that such a client leaves, which one does who waits for an answer.
pub(super) struct Judged<'a, F: Fn() -> bool> {
    measure: Option<Measure>,
    body: &'a ReplayBody,
    /// Asked once it left: whether it did so before.
    left_before: F,
}

impl<'a, F: Fn() -> bool> Judged<'a, F> {
    /// It has its lease.
    pub(super) fn begin(
        metrics: &Arc<VersionMetrics>,
        body: &'a ReplayBody,
        left_before: F,
    ) -> Self {
        Self { measure: Some(metrics.begin(Kind::Request)), body, left_before }
    }

    /// How it ended; `status` where there is an answer.
    pub(super) fn ended(mut self, outcome: Outcome, status: Option<StatusCode>) {
        let Some(measure) = self.measure.take() else { return };
        if self.body.fault().is_some() || outcome == Outcome::ClientLeft {
            measure.says_nothing();
        } else {
            measure.ended(outcome, status);
        }
    }
}

impl<F: Fn() -> bool> Drop for Judged<'_, F> {
    fn drop(&mut self) {
        let Some(measure) = self.measure.take() else { return };
        if self.body.is_waited_for() || self.body.fault().is_some() {
            measure.says_nothing();
        } else if (self.left_before)() {
            measure.left_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use wasmtime_wasi_http::Error;

    use super::*;
    use crate::runtime::Unread;
    use crate::service::Ending;

    fn body(breaks: bool) -> ReplayBody {
        let frames = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"ab")))]);
        let rest = async move {
            if breaks { Err(Error::HttpProtocolError) } else { std::future::pending().await }
        };
        let frames = futures_util::StreamExt::chain(frames, futures_util::stream::once(rest));
        ReplayBody::new(StreamBody::new(frames).boxed_unsync(), 100, 100, Unread::Drop)
    }

    fn counted(body: &ReplayBody, end: impl FnOnce(Judged<'_, fn() -> bool>)) -> (u64, u64) {
        counted_of(body, || false, end)
    }

    fn counted_of(
        body: &ReplayBody,
        left_before: fn() -> bool,
        end: impl FnOnce(Judged<'_, fn() -> bool>),
    ) -> (u64, u64) {
        let metrics = Arc::<VersionMetrics>::default();
        end(Judged::begin(&metrics, body, left_before));
        let requests = metrics.read().requests;
        (requests.all(), requests.count(Ending::Left))
    }

    #[tokio::test]
    async fn nothing_is_said_of_a_version_by_a_client_that_did_not_send_its_body() {
        let broken = body(true);
        broken.ends(100).await;
        let coming = body(false);
        assert!(futures_util::FutureExt::now_or_never(coming.ends(100)).is_none());
        assert!(coming.is_waited_for());
        let failed = Some(StatusCode::INTERNAL_SERVER_ERROR);
        for outcome in [Outcome::Answered, Outcome::ClientLeft, Outcome::Trapped] {
            let ended = counted(&broken, |judged| judged.ended(outcome, failed));
            assert_eq!(ended, (0, 0), "{outcome:?}");
        }
        assert_eq!(counted(&broken, |judged| drop(judged)), (0, 0));
        assert_eq!(counted(&coming, |judged| drop(judged)), (0, 0), "its rest was waited for");
        // Who leaves with a whole request has waited for its answer.
        let whole = ReplayBody::new(Default::default(), 100, 100, Unread::Drop);
        assert_eq!(counted(&whole, |judged| drop(judged)), (1, 1));
        assert_eq!(counted_of(&whole, || true, |judged| drop(judged)), (1, 0), "it counts once");
        let ended = counted(&whole, |judged| judged.ended(Outcome::Answered, failed));
        assert_eq!(ended, (1, 0));
    }
}
