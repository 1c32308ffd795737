//! Who an exchange waits for: the host, which works at the answer, or the client, which does
//! not take what is ready. Nothing tells a task of an HTTP/2 stream which it is; but it is
//! plain from what it did last before it began to wait.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::metrics::Counts;
use crate::config::HttpLimits;

thread_local! {
    /// What the exchange that is polled on this thread did last.
    static LAST: Cell<Last> = const { Cell::new(Last::Nothing) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// It did not come to its answer: there was no room to send to.
    Nothing,
    /// It waits for its answer, or for more of it.
    Waited,
    /// It has a piece of its answer.
    Had,
}

/// An exchange has a piece of its answer, or waits for one.
pub(super) fn note<T>(polled: Poll<T>) -> Poll<T> {
    LAST.set(if polled.is_pending() { Last::Waited } else { Last::Had });
    polled
}

pin_project! {
    /// Works at an answer.
    pub struct Answering<F> {
        #[pin]
        inner: F,
    }
}

impl<F> Answering<F> {
    /// What comes to an answer so.
    pub fn new(inner: F) -> Self {
        Self { inner }
    }
}

impl<F: Future> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        note(self.project().inner.poll(context))
    }
}

/// Runs the streams of HTTP/2 connections, each for as long as its client takes its answer.
#[derive(Clone, Debug)]
pub struct Streams {
    answer_idle: Duration,
    counts: Arc<Counts>,
}

impl Streams {
    /// Those of connections that no listener has.
    #[must_use]
    pub fn alone(limits: &HttpLimits) -> Self {
        Self::new(limits.answer_idle, Arc::default())
    }

    pub(super) fn new(answer_idle: Duration, counts: Arc<Counts>) -> Self {
        Self { answer_idle, counts }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let (answer_idle, counts) = (self.answer_idle, Arc::clone(&self.counts));
        tokio::spawn(Stream { inner: future, answer_idle, counts, gives_up: None });
    }
}

pin_project! {
    struct Stream<F> {
        #[pin]
        inner: F,
        answer_idle: Duration,
        counts: Arc<Counts>,
        // When it is given up unless the client takes something; while it is waited for.
        gives_up: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        LAST.set(Last::Nothing);
        if this.inner.poll(context).is_ready() {
            return Poll::Ready(());
        }
        let gives_up = match LAST.get() {
            Last::Waited => {
                *this.gives_up = None;
                return Poll::Pending;
            }
            Last::Had => {
                let until = Instant::now() + *this.answer_idle;
                let sleep = this.gives_up.get_or_insert_with(|| Box::pin(sleep(*this.answer_idle)));
                sleep.as_mut().reset(until);
                sleep
            }
            Last::Nothing => {
                this.gives_up.get_or_insert_with(|| Box::pin(sleep(*this.answer_idle)))
            }
        };
        if gives_up.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.counts.answer_cut();
        // With it the stream is reset, and what works at its answer ends.
        Poll::Ready(())
    }
}
