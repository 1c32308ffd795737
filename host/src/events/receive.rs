//! Events from outside: `POST /events`.

mod body;
mod metrics;
mod opened;
mod room;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;

use crate::bus::{Appended, Bus, BusError, Sender};
use crate::config::{BODIES_AT_ONCE, Opened};
use crate::event::binding::{self, BindingError};
use crate::event::{Event, InvalidEvent, Written};
use opened::Closed;
use room::{Full, Room};

pub use metrics::IntakeCollector;

/// Where events are taken.
pub const PATH: &str = "/events";

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How many of them may be anybody's who is one of many.
const BODIES_OF_ONE: u64 = 4;

/// Bodies above this are read by a thread that may take its time.
const PARSE_INLINE_BYTES: usize = 64 << 10;

/// Takes events from outside to the bus. Clones share their limits.
#[derive(Clone, Debug)]
pub struct Intake {
    bus: Bus,
    limits: IntakeLimits,
    room: Arc<Room>,
    /// `None`: all types are taken.
    opened: Option<Arc<[Opened]>>,
    refused: Arc<metrics::Refused>,
}

/// What an intake takes at the most.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    /// Bytes of one body.
    pub max_body: u64,
    /// How long nothing may come of a body.
    pub body_idle: Duration,
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
    /// Nothing came of it for too long.
    #[error("nothing came of the request's body for {0:?} ([http] body-idle)")]
    BodyIdle(Duration),
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
    #[error("events of type {event_type} are not taken here")]
    TypeNotOpened {
        /// The type.
        event_type: String,
        /// Which event of a batch.
        index: Option<usize>,
    },
    /// It may not be of this source.
    #[error("events of type {event_type} are not taken here from source {event_source}")]
    SourceNotOpened {
        /// The type, which is opened for others.
        event_type: String,
        /// The source.
        event_source: String,
        /// Which event of a batch.
        index: Option<usize>,
    },
    /// It says that it is from a service of this host.
    #[error("source {event_source} is a service's of this host: nothing from outside is")]
    SourceReserved {
        /// The source.
        event_source: String,
        /// Which event of a batch.
        index: Option<usize>,
    },
    /// As many requests bring events as may.
    #[error("as many events are on their way as may be at once")]
    Overloaded,
    /// This sender brings as many as one may.
    #[error("as many of your events are on their way as may be at once of one sender")]
    SenderOverloaded,
    /// The bus didn't take them.
    #[error(transparent)]
    Bus(BusError),
}

impl Intake {
    /// Takes events of all types, from whoever may operate the host.
    #[must_use]
    pub fn new(bus: Bus, limits: IntakeLimits) -> Self {
        let max_bytes = limits.max_body.saturating_mul(BODIES_AT_ONCE);
        let room = Arc::new(Room::new(max_bytes, max_bytes));
        Self { bus, limits, room, opened: None, refused: Arc::default() }
    }

    /// The same for those types alone, and with room of its own; `None` where there are none.
    #[must_use]
    pub fn only(&self, opened: &[Opened]) -> Option<Self> {
        if opened.is_empty() {
            return None;
        }
        let max_body = self.limits.max_body;
        let room = Room::new(
            max_body.saturating_mul(BODIES_AT_ONCE),
            max_body.saturating_mul(BODIES_OF_ONE),
        );
        Some(Self {
            bus: self.bus.clone(),
            limits: self.limits,
            room: Arc::new(room),
            opened: Some(opened.into()),
            refused: Arc::default(),
        })
    }

    /// Takes a request's events, all or none; they are durable when it returns.
    /// Those whose source and id the bus knows already of this sender are dropped.
    ///
    /// # Errors
    /// When an event is wrong or may not come in here, and when the bus has no
    /// room for them or failed.
    pub async fn take<B>(
        &self,
        headers: &HeaderMap,
        body: B,
        sender: Sender,
    ) -> Result<Appended, IntakeError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let taken = self.take_in(headers, body, sender).await;
        if let Err(error) = &taken {
            self.refused.count(error);
        }
        taken
    }

    /// Whether a request with this head may bring events that are taken: one that may not is
    /// refused before its body is asked for.
    ///
    /// # Errors
    /// Where it says that it brings none, or in what form they are not taken.
    pub fn check_head(&self, headers: &HeaderMap) -> Result<(), IntakeError> {
        let checked = binding::check_head(headers).map_err(of_message);
        if let Err(error) = &checked {
            self.refused.count(error);
        }
        checked
    }

    async fn take_in<B>(
        &self,
        headers: &HeaderMap,
        body: B,
        sender: Sender,
    ) -> Result<Appended, IntakeError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let length =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > self.limits.max_body) {
            return Err(IntakeError::BodyTooLarge(self.limits.max_body));
        }
        binding::check_head(headers).map_err(of_message)?;
        // Held until they are durable: parsed they take as much.
        let mut part = self.room.part(sender)?;
        let body = body::read(body, self.limits, &mut part).await?;
        let events = parse(headers, body).await?;
        for (index, written) in events.iter().enumerate() {
            self.check(&written.event, (events.len() > 1).then_some(index))?;
        }
        if events.is_empty() {
            return Ok(Appended::default());
        }
        self.bus.append(sender, events).await.map_err(IntakeError::Bus)
    }

    /// Whether an event may come in here.
    fn check(&self, event: &Event, index: Option<usize>) -> Result<(), IntakeError> {
        let (event_type, event_source) = (&event.event_type, &event.source);
        if opened::is_own_source(event_source) {
            return Err(IntakeError::SourceReserved {
                event_source: event_source.to_string(),
                index,
            });
        }
        if let Some(name) = opened::own_extension(event) {
            let invalid = InvalidEvent::attribute(name, "is given by the host alone");
            return Err(IntakeError::Invalid(InvalidEvent { index, ..invalid }));
        }
        let Some(opened) = &self.opened else { return Ok(()) };
        opened::is_let_in(opened, event).map_err(|closed| match closed {
            Closed::Type => {
                IntakeError::TypeNotOpened { event_type: event_type.to_string(), index }
            }
            Closed::Source => IntakeError::SourceNotOpened {
                event_type: event_type.to_string(),
                event_source: event_source.to_string(),
                index,
            },
        })
    }
}

impl From<Full> for IntakeError {
    fn from(full: Full) -> Self {
        match full {
            Full::All => Self::Overloaded,
            Full::Sender => Self::SenderOverloaded,
        }
    }
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
    parsed.map_err(of_message)
}

fn of_message(error: BindingError) -> IntakeError {
    match error {
        BindingError::Invalid(invalid) => IntakeError::Invalid(invalid),
        BindingError::UnsupportedMediaType(_) | BindingError::UnsupportedEncoding(_) => {
            IntakeError::UnsupportedMediaType(error)
        }
    }
}

#[cfg(test)]
mod tests;
