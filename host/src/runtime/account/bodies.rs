//! Bodies that come in from the network for a guest, and that go out from it.
//!
//! A frame that comes in was taken by whoever read it off the network, and parts of it are
//! shared with what came before and after it: it is copied once it is the guest's.
//! One that goes out was taken by the guest's doing and is freed by whoever sends it.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, WasiBody};

use super::{Account, TOLD_IN_STEPS_OF, Total, measured, outside, runs_guest};

thread_local! {
    /// Whether the last frame came through here on its way to the network again, past a
    /// guest that never had it.
    static PASSED: Cell<bool> = const { Cell::new(false) };
}

/// A body from the network, read by a guest.
struct Arriving {
    /// Always there; taken out to be dropped.
    body: Option<WasiBody>,
}

/// A large part of a body that waits to be sent.
struct Waiting {
    data: Bytes,
    bytes: i64,
    total: Arc<Total>,
}

/// A guest's body, read by who sends it.
pub(in crate::runtime) struct Leaving {
    body: WasiBody,
    account: Arc<Account>,
}

impl Arriving {
    fn new(body: WasiBody) -> Self {
        Self { body: Some(body) }
    }

    fn body(&self) -> &WasiBody {
        self.body.as_ref().expect("there until it is dropped")
    }
}

impl Leaving {
    /// The same body; what is sent of it is off the account.
    pub(in crate::runtime) fn body(body: WasiBody, account: &Arc<Account>) -> WasiBody {
        Self { body, account: Arc::clone(account) }.boxed_unsync()
    }
}

/// A frame that the host read is the guest's from here on, where it is a guest that reads.
pub(in crate::runtime) fn hand_over(frame: Frame<Bytes>) -> Frame<Bytes> {
    if !runs_guest() {
        PASSED.set(true);
        return frame;
    }
    frame.map_data(|data| {
        let copy = Bytes::copy_from_slice(&data);
        outside(|| drop(data));
        copy
    })
}

impl Account {
    /// What a guest sends is the host's from here on, until it is sent.
    pub(in crate::runtime) fn leave(&self, data: Bytes) -> Bytes {
        self.subtract(data.len());
        match i64::try_from(data.len()) {
            Ok(bytes) if bytes >= TOLD_IN_STEPS_OF => {
                self.total.bytes.fetch_add(bytes, Ordering::Relaxed);
                Bytes::from_owner(Waiting { data, bytes, total: Arc::clone(&self.total) })
            }
            _ => data,
        }
    }

    /// An answer from the network, for the guest.
    pub(in crate::runtime) fn arrive(&self, response: Response<WasiBody>) -> Response<WasiBody> {
        outside(|| {
            let (mut head, body) = response.into_parts();
            let (headers, copied) = measured(|| copy(&head.headers));
            head.headers = headers;
            head.extensions.clear();
            let (body, boxed) = measured(|| Arriving::new(body).boxed_unsync());
            self.add(copied + boxed);
            Response::from_parts(head, body)
        })
    }
}

/// The same, sharing nothing with what they were read from.
fn copy(headers: &HeaderMap) -> HeaderMap {
    let mut copies = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let copied = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(mut copied)) = (name, copied) {
            copied.set_sensitive(value.is_sensitive());
            copies.append(name, copied);
        }
    }
    copies
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = outside(|| Pin::new(body).poll_frame(context));
        polled.map(|frame| frame.map(|frame| frame.map(hand_over)))
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.total.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // With what waits in it to be read.
        let body = self.body.take();
        outside(|| drop(body));
    }
}

impl Body for Leaving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        PASSED.set(false);
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if PASSED.get() {
            return polled;
        }
        let leave = |frame: Frame<Bytes>| frame.map_data(|data| self.account.leave(data));
        polled.map(|frame| frame.map(|frame| frame.map(leave)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scope;
    use super::*;
    use http_body_util::Full;

    fn account() -> (Arc<Total>, Arc<Account>) {
        let total = Arc::new(Total::new(1 << 30));
        let account = Arc::new(Account::new(1 << 20, &total, &Arc::default()));
        (total, account)
    }

    fn whole(bytes: usize) -> WasiBody {
        Full::new(Bytes::from(vec![7; bytes])).map_err(|never| match never {}).boxed_unsync()
    }

    #[tokio::test]
    async fn what_leaves_is_off_the_account_and_counts_for_all_until_it_is_sent() {
        let (total, account) = account();
        account.add(200_000);
        let mut body = Leaving::body(whole(150_000), &account);
        let frame = body.frame().await.expect("a frame").expect("a good one");
        assert!(format!("{account:?}").contains("held: 50000"), "{account:?}");
        assert_eq!(total.bytes(), 150_000);
        let data = frame.into_data().expect("data");
        let part = data.slice(5..10);
        drop(data);
        assert_eq!(total.bytes(), 150_000);
        assert_eq!(part, [7; 5][..]);
        drop(part);
        assert_eq!(total.bytes(), 0);
    }

    #[tokio::test]
    async fn what_goes_past_the_guest_was_never_its() {
        let (total, account) = account();
        let mut body = Leaving::body(Arriving::new(whole(150_000)).boxed_unsync(), &account);
        assert!(body.frame().await.is_some());
        assert!(format!("{account:?}").contains("held: 0"), "{account:?}");
        assert_eq!(total.bytes(), 0);
    }

    #[tokio::test]
    async fn what_goes_past_one_guest_to_another_was_never_the_firsts() {
        let (total, account) = account();
        let content = Bytes::from(vec![7; 150_000]);
        let source = Full::new(content.clone()).map_err(|never| match never {}).boxed_unsync();
        let passes = Leaving::body(Arriving::new(source).boxed_unsync(), &account);
        let mut body = Arriving::new(passes);
        let other = Account::new(1 << 20, &total, &Arc::default());
        let scope = Scope::enter(&other);
        let frame = body.frame().await.expect("a frame").expect("a good one");
        drop(scope);
        assert!(format!("{account:?}").contains("held: 0"), "{account:?}");
        let data = frame.into_data().expect("data");
        assert!(data == content && data.as_ptr() != content.as_ptr(), "the other has a copy");
    }

    #[tokio::test]
    async fn an_answer_that_arrives_is_a_copy() {
        let (_, account) = account();
        let answer = Response::builder().header("x-a", "1").header("x-a", "2");
        let arrived = account.arrive(answer.body(whole(10)).expect("an answer"));
        assert_eq!(arrived.headers().get_all("x-a").iter().count(), 2);
        let body = arrived.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, [7; 10][..]);
    }
}
