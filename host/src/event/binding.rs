//! The HTTP protocol binding (CloudEvents 1.0.2): events in the heads and bodies
//! of requests and answers.
//!
//! | mode | content type | an event is |
//! |---|---|---|
//! | binary | the data's | `ce-` headers, and the body is its data |
//! | structured | `application/cloudevents+json` | the body |
//! | batched | `application/cloudevents-batch+json` | one of the body's array |

mod header_value;
mod receive;
mod send;

use bytes::Bytes;
use http::HeaderMap;

use super::InvalidEvent;

pub use receive::{check_head, receive};
pub use send::{batch, binary, structured};

/// What every attribute's header begins with.
const PREFIX: &str = "ce-";

/// What a message says, besides who it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `Content-Type`, and in binary mode the attributes.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why a message has no events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// One of its events is wrong.
    #[error("{0}")]
    Invalid(#[from] InvalidEvent),
    /// Its events are in a format other than JSON.
    #[error(
        "{0} is not taken: send application/cloudevents+json, \
         application/cloudevents-batch+json, or ce- headers"
    )]
    UnsupportedMediaType(String),
    /// Its body is compressed.
    #[error("a body in the encoding {0} is not taken: send it without Content-Encoding")]
    UnsupportedEncoding(String),
}
