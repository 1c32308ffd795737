//! What becomes of a request's body that nobody read when its answer is there.
//!
//! On a connection of HTTP/1 the next request comes after it. So it is read to its end where
//! that is near; else the connection ends with the answer, which says so. HTTP/2 gives up the
//! stream alone.

use std::sync::Arc;

use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::arriving::{Arriving, End};
use super::client::Client;
use crate::drain;
use crate::invocation::ResponseBody;
use crate::runtime::ReplayBody;

/// How much is read for an answer that no service had a part in.
const EARLY_BYTES: u64 = 1 << 20;

/// A request's body, wherever it is.
pub(super) struct Leftover {
    body: Where,
    /// How it ends, where that matters to what comes after it.
    end: Option<Arc<End>>,
    is_http_1: bool,
    may_be_held: bool,
}

enum Where {
    /// Nobody has asked for it.
    Here(Arriving),
    /// With who runs the request.
    There(ReplayBody),
    /// With who takes events of it.
    Events(Arc<End>),
    /// On its way from here to there.
    Taken,
}

impl Leftover {
    /// Of a request of this client that begins so.
    pub(super) fn new(body: Incoming, head: &Parts, may_be_held: bool, client: &Client) -> Self {
        let is_http_1 = head.version < Version::HTTP_2;
        let mut body = Arriving::new(body);
        let is_chunked = is_http_1 && head.headers.contains_key(TRANSFER_ENCODING);
        let end = is_chunked.then(|| body.tell());
        if let Some(end) = &end {
            client.waits_for(Arc::clone(end));
        }
        Self { body: Where::Here(body), end, is_http_1, may_be_held }
    }

    /// Takes it, to be read.
    pub(super) fn take(&mut self) -> Arriving {
        match std::mem::replace(&mut self.body, Where::Taken) {
            Where::Here(body) => body,
            Where::There(_) | Where::Events(_) | Where::Taken => unreachable!("it is taken once"),
        }
    }

    /// Takes it, to be read to its end or not.
    pub(super) fn follow(&mut self) -> Arriving {
        let mut body = self.take();
        self.body = Where::Events(body.tell());
        body
    }

    /// It is read from there.
    pub(super) fn is_with(&mut self, body: ReplayBody) {
        self.body = Where::There(body);
    }

    /// Reads it to its end, or has the answer say that the connection ends.
    pub(super) fn leave(self, response: &mut Response<ResponseBody>) {
        if !self.is_http_1 {
            return;
        }
        let closes = match self.body {
            Where::Here(body) if body.is_end_stream() => false,
            // The client waits for a word, and may send it or not.
            Where::Here(_) if self.may_be_held => true,
            Where::Here(body) => {
                let is_near = body.size_hint().exact().is_some_and(|left| left <= EARLY_BYTES);
                if is_near {
                    drain::later(body, EARLY_BYTES);
                }
                !is_near
            }
            Where::There(body) => body.is_given_up(),
            Where::Events(end) => !end.is_whole(),
            Where::Taken => false,
        };
        let closes = closes || self.end.is_some_and(|end| end.has_trailers());
        if closes {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}
