//! Waiting, but not for ever.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late;

/// What `future` comes to, if it does until the deadline. Most are ready at once, so
/// a timer is made only for one that isn't: that is what it has before
/// [`tokio::time::timeout_at`].
pub(crate) async fn by<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Late> {
    let mut future = pin!(future);
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        if timer.is_none() {
            timer.set(Some(sleep_until(deadline)));
        }
        let timer = timer.as_mut().as_pin_mut().expect("it was just set");
        timer.poll(context).map(|()| Err(Late))
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
