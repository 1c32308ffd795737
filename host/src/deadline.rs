//! Waiting, but not for ever.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::TryFutureExt as _;
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep, sleep_until};

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late;

/// What `future` comes to, if it does until the deadline.
pub(crate) fn by<F: Future>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Result<F::Output, Late>> {
    unless(future, move || sleep_until(deadline)).map_err(|()| Late)
}

/// What `future` comes to, or what ends it before. Most are ready at once, so what would
/// end it is made only for one that isn't: that is what it has before
/// [`tokio::time::timeout_at`].
pub(crate) fn unless<F, M, E>(future: F, end: M) -> Unless<F, M, E>
where
    F: Future,
    M: FnOnce() -> E,
    E: Future,
{
    Unless { future, make_end: Some(end), end: None }
}

pin_project! {
    /// See [`unless`]. No `async fn`, which would hold what it is given twice.
    pub(crate) struct Unless<F, M, E> {
        #[pin]
        future: F,
        make_end: Option<M>,
        #[pin]
        end: Option<E>,
    }
}

/// The same within this time.
pub(crate) fn within<F: Future>(
    time: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Late>> {
    unless(future, move || sleep(time)).map_err(|()| Late)
}

impl<F, M, E> Future for Unless<F, M, E>
where
    F: Future,
    M: FnOnce() -> E,
    E: Future,
{
    type Output = Result<F::Output, E::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        if let Some(make_end) = this.make_end.take() {
            this.end.set(Some(make_end()));
        }
        this.end.as_pin_mut().expect("it was just set").poll(context).map(Err)
    }
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
