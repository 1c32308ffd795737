//! Events from outside: `POST /events`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::bus::{Appended, Bus, BusError};
use crate::event::binding::{self, BindingError};
use crate::event::{Event, InvalidEvent, TypePattern, Written};

/// Where events are taken.
pub const PATH: &str = "/events";

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How many of the largest bodies may be on their way at once; more of smaller ones.
const BODIES_AT_ONCE: u64 = 16;

/// Bytes that one permit stands for.
const PERMIT_BYTES: u64 = 1 << 10;

/// Bodies above this are read by a thread that may take its time.
const PARSE_INLINE_BYTES: usize = 64 << 10;

/// Takes events from outside to the bus. Clones share their limits.
#[derive(Clone, Debug)]
pub struct Intake {
    bus: Bus,
    max_body: u64,
    /// Room for bodies on their way, and for the events that they become.
    room: Arc<Semaphore>,
    /// `None`: all types are taken.
    opened: Option<Arc<[TypePattern]>>,
}

/// Why events were not taken; none of them are on the bus because of this request.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The body did not come to its end.
    #[error("the request's body broke off")]
    BodyBroken,
    /// It took too long.
    #[error("the request's body took longer than {BODY_TIMEOUT:?}")]
    BodyLate,
    /// It is too large.
    #[error("the request's body is larger than the {0} bytes that are taken ([events] max-body)")]
    BodyTooLarge(u64),
    /// An event is wrong.
    #[error("{0}")]
    Invalid(InvalidEvent),
    /// The events are in an unknown format, or compressed.
    #[error("{0}")]
    UnsupportedMediaType(BindingError),
    /// Not everybody may send this type.
    #[error("events of type {0} are not taken here")]
    NotOpened(String),
    /// As many requests bring events as may.
    #[error("as many events are on their way as may be at once")]
    Overloaded,
    /// The bus didn't take them.
    #[error(transparent)]
    Bus(BusError),
}

impl Intake {
    /// Takes events of all types, in bodies of at most so many bytes.
    #[must_use]
    pub fn new(bus: Bus, max_body: u64) -> Self {
        let permits = usize::try_from(BODIES_AT_ONCE * permits(max_body)).unwrap_or(usize::MAX);
        let room = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { bus, max_body, room, opened: None }
    }

    /// The same for those types alone; `None` where there are none.
    #[must_use]
    pub fn only(&self, types: &[TypePattern]) -> Option<Self> {
        let opened = Some(Arc::from(types));
        (!types.is_empty()).then(|| Self { opened, ..self.clone() })
    }

    /// Takes a request's events, all or none; they are durable when it returns.
    /// Those whose source and id the bus knows already are dropped.
    ///
    /// # Errors
    /// When an event is wrong or may not come in here, and when the bus has no
    /// room for them or failed.
    pub async fn take<B>(&self, headers: &HeaderMap, body: B) -> Result<Appended, IntakeError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let _room = self.room(headers)?;
        let limit = usize::try_from(self.max_body).unwrap_or(usize::MAX);
        let collected = timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
        let body = match collected.map_err(|_| IntakeError::BodyLate)? {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(IntakeError::BodyTooLarge(self.max_body));
            }
            Err(_) => return Err(IntakeError::BodyBroken),
        };
        let events = parse(headers, body).await?;
        let is_open = |event: &&Event| match &self.opened {
            None => true,
            Some(types) => types.iter().any(|pattern| pattern.matches(&event.event_type)),
        };
        if let Some(closed) =
            events.iter().map(|written| &*written.event).find(|event| !is_open(event))
        {
            return Err(IntakeError::NotOpened(closed.event_type.to_string()));
        }
        if events.is_empty() {
            return Ok(Appended::default());
        }
        self.bus.append(events).await.map_err(IntakeError::Bus)
    }

    /// Room for the body that is announced, or else for the largest.
    fn room(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, IntakeError> {
        let length =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > self.max_body) {
            return Err(IntakeError::BodyTooLarge(self.max_body));
        }
        let permits = permits(length.unwrap_or(self.max_body));
        let room = Arc::clone(&self.room);
        room.try_acquire_many_owned(u32::try_from(permits).unwrap_or(u32::MAX))
            .map_err(|_| IntakeError::Overloaded)
    }
}

fn permits(bytes: u64) -> u64 {
    1 + bytes / PERMIT_BYTES
}

async fn parse(headers: &HeaderMap, body: Bytes) -> Result<Vec<Written>, IntakeError> {
    let parsed = if body.len() <= PARSE_INLINE_BYTES {
        binding::receive(headers, &body)
    } else {
        let headers = headers.clone();
        let work = tokio::task::spawn_blocking(move || binding::receive(&headers, &body));
        // It is only given up when the host stops.
        let stopping = |_| IntakeError::Bus(BusError::Unavailable("the host stops".to_owned()));
        work.await.map_err(stopping)?
    };
    parsed.map_err(|error| match error {
        BindingError::Invalid(invalid) => IntakeError::Invalid(invalid),
        BindingError::UnsupportedMediaType(_) | BindingError::UnsupportedEncoding(_) => {
            IntakeError::UnsupportedMediaType(error)
        }
    })
}

#[cfg(test)]
mod tests;
