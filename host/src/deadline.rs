//! Waiting, but not for ever.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late;

/// What `future` comes to, if it does until the deadline.
pub(crate) async fn by<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Late> {
    unless(future, || sleep_until(deadline)).await.map_err(|()| Late)
}

/// What `future` comes to, or what ends it before. Most are ready at once, so what would
/// end it is made only for one that isn't: that is what it has before
/// [`tokio::time::timeout_at`].
pub(crate) async fn unless<F: Future, E: Future>(
    future: F,
    end: impl FnOnce() -> E,
) -> Result<F::Output, E::Output> {
    let mut future = pin!(future);
    let mut make_end = Some(end);
    let mut end = pin!(None::<E>);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        if let Some(make_end) = make_end.take() {
            end.set(Some(make_end()));
        }
        let end = end.as_mut().as_pin_mut().expect("it was just set");
        end.poll(context).map(Err)
    })
    .await
}

/// The same within this time.
pub(crate) async fn within<F: Future>(time: Duration, future: F) -> Result<F::Output, Late> {
    by(Instant::now() + time, future).await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_is_ready_comes_even_after_the_deadline_and_what_is_not_is_late() {
        let now = Instant::now();
        assert_eq!(by(now, ready(1)).await, Ok(1));
        assert_eq!(by(now, pending::<()>()).await, Err(Late));
        assert_eq!(within(Duration::from_millis(1), pending::<()>()).await, Err(Late));
        assert!(Instant::now() >= now + Duration::from_millis(1));
    }
}
