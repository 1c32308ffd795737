//! Events out to HTTP endpoints: one POST an event.
//!
//! - CloudEvents HTTP binding and HTTP WebHook 1.0.2: the body, what statuses
//!   mean, and the handshake (`consent`)
//! - Standard Webhooks 1.0.0: `webhook-id`, `webhook-timestamp` and
//!   `webhook-signature` (`signature`)
//! - `Idempotency-Key` is the `webhook-id`, the digest of the event's source and
//!   id: the same at every attempt, so an endpoint can drop what it has had
//!
//! What becomes of an event that was not delivered is not decided here.

mod answer;
mod consent;
mod signature;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request};

use self::consent::Consent;
use self::signature::Keys;
use crate::clock;
use crate::config::{WebhookConfig, WebhookMode};
use crate::digest::Digest;
use crate::event::Event;
use crate::event::binding::{self, Message};
use crate::outbound::{AskError, Outbound};

pub use signature::KeyError;

/// How long an endpoint rests that cannot be reached for a reason that only
/// somebody can change.
pub(super) const REST: Duration = Duration::from_secs(60);

/// How long an endpoint that wants no more events is not thought of.
pub(super) const GONE_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why nothing is sent to it.
pub(super) const GONE: &str = "the endpoint answered 410 Gone, so it is sent nothing more; \
                               `hotdock events resume` sends again";

/// How long a request may wait for its turn under the rate.
const MAX_TURN_WAIT: Duration = Duration::from_secs(1);

/// An endpoint, and what is known of it since the start.
pub struct WebhookTarget {
    config: WebhookConfig,
    keys: Option<Keys>,
    outbound: Outbound,
    consent: Consent,
    /// When the next request may be sent under the rate.
    turn: Mutex<Option<Instant>>,
    /// Until when nothing is sent, and why.
    rest: Mutex<Option<(Instant, String)>>,
    /// Whether it wants no more events.
    gone: AtomicBool,
    /// What somebody has to change, as it was logged last.
    warned: Mutex<Option<String>>,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// The endpoint has it.
    Delivered,
    /// It may succeed another time, not before `after`.
    Retry {
        /// Why it failed.
        reason: String,
        /// What the endpoint said.
        after: Option<Duration>,
    },
    /// It was not tried, or the endpoint takes nothing for now: no attempt. No
    /// event needs to be tried before `pause` is over.
    Wait {
        /// Why.
        reason: String,
        /// For how long.
        pause: Duration,
    },
    /// Somebody has to change something before the endpoint takes an event: no
    /// attempt.
    Blocked(String),
    /// The endpoint will never take this event.
    Reject(String),
    /// The endpoint wants no more events.
    Gone,
}

impl WebhookTarget {
    /// An endpoint; reads its keys. Nothing is sent before the first event.
    ///
    /// # Errors
    /// When its keys cannot be used.
    pub fn new(config: WebhookConfig, outbound: Outbound) -> Result<Self, KeyError> {
        let keys = config.secret_file.as_ref().map(|path| Keys::read(&config.name, path));
        Ok(Self {
            keys: keys.transpose()?,
            config,
            outbound,
            consent: Consent::default(),
            turn: Mutex::default(),
            rest: Mutex::default(),
            gone: AtomicBool::default(),
            warned: Mutex::default(),
        })
    }

    /// Whether its keys can be used.
    ///
    /// # Errors
    /// When they cannot.
    pub fn check(config: &WebhookConfig) -> Result<(), KeyError> {
        config.secret_file.as_ref().map_or(Ok(()), |path| Keys::read(&config.name, path).map(drop))
    }

    /// Whether the operator says the same of it as of another, and it has the same keys.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let same_keys = match (&self.keys, &other.keys) {
            (Some(keys), Some(others)) => keys.are_as(others),
            (keys, others) => keys.is_none() && others.is_none(),
        };
        self.config == other.config && same_keys
    }

    /// What the operator says of it.
    #[must_use]
    pub fn config(&self) -> &WebhookConfig {
        &self.config
    }
}

/// Sends an event, once.
pub async fn deliver(target: &WebhookTarget, event: &Event) -> WebhookOutcome {
    let outcome = match attempt(target, event).await {
        Ok(()) => WebhookOutcome::Delivered,
        Err(outcome) => outcome,
    };
    target.note(&outcome);
    outcome
}

async fn attempt(target: &WebhookTarget, event: &Event) -> Result<(), WebhookOutcome> {
    let config = &target.config;
    target.awake()?;
    let message = message(config.mode, event)?;
    let rate = if config.handshake { consent::ask(target).await? } else { config.rate };
    let turn = target.turn(rate)?;
    tokio::time::sleep_until(turn.into()).await;
    let request = request(target, event, message);
    let answer =
        target.outbound.ask(request, config.timeout).await.map_err(|error| match error {
            AskError::Prohibited(_) => WebhookOutcome::Blocked(error.to_string()),
            _ => WebhookOutcome::Retry { reason: error.to_string(), after: None },
        })?;
    answer::read(&answer)
}

/// A request has a body and says what it is (WebHook §2.1): an event without data
/// has a body in structured mode alone.
fn message(mode: WebhookMode, event: &Event) -> Result<Message, WebhookOutcome> {
    if mode == WebhookMode::Binary {
        let message = binding::binary(event).map_err(|invalid| {
            WebhookOutcome::Reject(format!("it has no place in headers: {invalid}"))
        })?;
        if message.headers.contains_key(CONTENT_TYPE) && !message.body.is_empty() {
            return Ok(message);
        }
    }
    Ok(binding::structured(event))
}

fn request(target: &WebhookTarget, event: &Event, message: Message) -> Request<Bytes> {
    let Message { headers, body } = message;
    let id = id(event);
    let now = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = target.keys.as_ref().map(|keys| keys.sign(&id, now, &body));
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    request.uri_mut().clone_from(&target.config.url);
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    let id = HeaderValue::try_from(id).expect("hexadecimal digits are visible ASCII");
    headers.insert("idempotency-key", id.clone());
    headers.insert("webhook-id", id);
    headers.insert("webhook-timestamp", now.into());
    headers.extend(signature.map(|value| (signature::HEADER, value)));
    sender(target, headers);
    request
}

/// What an endpoint is told of who sends.
fn sender(target: &WebhookTarget, headers: &mut http::HeaderMap) {
    let agent = concat!("hotdock/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if target.config.handshake {
        let origin = HeaderValue::try_from(&target.config.origin);
        headers.extend(origin.ok().map(|origin| (consent::REQUEST_ORIGIN, origin)));
    }
}

/// The same for the same event, and for no other.
fn id(event: &Event) -> String {
    Digest::of_parts(&[event.source.as_bytes(), event.id.as_bytes()]).to_string()
}

impl WebhookTarget {
    /// The endpoint wants no more events, until somebody says otherwise.
    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.warn_once(GONE);
    }

    /// Sends again, whatever the endpoint said. Returns whether it was sent nothing until now.
    pub(super) fn wake(&self) -> bool {
        let was_gone = self.gone.swap(false, Ordering::Relaxed);
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        *self.warned.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let rested = rest.is_some_and(|(until, _)| until > Instant::now());
        if was_gone || rested {
            tracing::info!(webhook = self.config.name, "it is sent events again: it was resumed");
        }
        was_gone || rested
    }

    /// Takes note of what a delivery came to.
    fn note(&self, outcome: &WebhookOutcome) {
        match outcome {
            WebhookOutcome::Delivered => {
                let warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner).take();
                if warned.is_some() {
                    tracing::info!(webhook = self.config.name, "it is sent events again");
                }
            }
            WebhookOutcome::Wait { reason, pause } => self.rest_for(*pause, reason),
            WebhookOutcome::Blocked(reason) => {
                self.rest_for(REST, reason);
                self.warn_once(reason);
            }
            WebhookOutcome::Gone => self.set_gone(),
            WebhookOutcome::Retry { .. } | WebhookOutcome::Reject(_) => {}
        }
    }

    /// Each reason once, as long as nothing is delivered.
    fn warn_once(&self, reason: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.as_deref() != Some(reason) {
            tracing::warn!(webhook = self.config.name, reason, "nothing is sent");
            *warned = Some(reason.to_owned());
        }
    }

    /// Refuses as long as the endpoint is gone or rests.
    fn awake(&self) -> Result<(), WebhookOutcome> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(WebhookOutcome::Gone);
        }
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*rest {
            Some((until, reason)) if *until > Instant::now() => Err(WebhookOutcome::Wait {
                reason: reason.clone(),
                pause: until.saturating_duration_since(Instant::now()),
            }),
            _ => Ok(()),
        }
    }

    fn rest_for(&self, pause: Duration, reason: &str) {
        let until = Instant::now() + pause;
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.as_ref().is_none_or(|(earlier, _)| *earlier < until) {
            *rest = Some((until, reason.to_owned()));
        }
    }

    /// When this request may be sent, at so many a minute.
    fn turn(&self, rate: Option<std::num::NonZeroU32>) -> Result<Instant, WebhookOutcome> {
        let now = Instant::now();
        let Some(rate) = rate else { return Ok(now) };
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let next = turn.unwrap_or(now).max(now);
        if next - now > MAX_TURN_WAIT {
            let reason = format!("the endpoint takes {rate} events a minute");
            return Err(WebhookOutcome::Wait { reason, pause: next - now });
        }
        *turn = Some(next + Duration::from_secs(60) / rate.get());
        Ok(next)
    }
}

impl fmt::Debug for WebhookTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookTarget").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
