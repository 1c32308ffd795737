//! Whether an endpoint wants events (HTTP WebHook §4, "Abuse Protection"): asked
//! before the first one, and again once a day.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderName;
use http::response::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::sync::Mutex;

use super::{WebhookOutcome, WebhookTarget, answer, sender};
use crate::config::WebhookConfig;

pub(super) const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// How long consent is good.
const GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What the endpoint said last.
#[derive(Default)]
pub(super) struct Consent {
    given: Mutex<Option<Given>>,
}

#[derive(Clone, Copy)]
struct Given {
    at: Instant,
    rate: Option<NonZeroU32>,
}

/// The rate that the endpoint wants events at, in requests a minute; asks it
/// where it did not say so lately.
pub(super) async fn ask(target: &WebhookTarget) -> Result<Option<NonZeroU32>, WebhookOutcome> {
    // Held over the request: one asks and the others wait for the answer.
    let mut given = target.consent.given.lock().await;
    if let Some(Given { rate, .. }) = given.filter(|given| given.at.elapsed() < GOOD_FOR) {
        return Ok(rate);
    }
    // The one before may have learnt that it doesn't.
    target.awake()?;
    let config = &target.config;
    let asked = target.outbound.ask(request(target), config.timeout).await;
    let outcome = match asked {
        Ok(head) => read(config, &head),
        Err(error) => Err(WebhookOutcome::Blocked(format!(
            "the endpoint could not be asked whether it wants events: {error}"
        ))),
    };
    if let Err(outcome) = &outcome {
        // Before the next one gets the lock.
        target.note(outcome);
    }
    let rate = outcome?;
    *given = Some(Given { at: Instant::now(), rate });
    Ok(rate)
}

fn request(target: &WebhookTarget) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::OPTIONS;
    request.uri_mut().clone_from(&target.config.url);
    sender(target, request.headers_mut());
    if let Some(rate) = target.config.rate {
        request.headers_mut().insert(REQUEST_RATE, HeaderValue::from(rate.get()));
    }
    request
}

/// Consent is in the headers alone: any server answers OPTIONS somehow.
fn read(config: &WebhookConfig, head: &Parts) -> Result<Option<NonZeroU32>, WebhookOutcome> {
    if matches!(head.status, StatusCode::GONE | StatusCode::TOO_MANY_REQUESTS) {
        answer::read(head)?;
    }
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(ALLOWED_ORIGIN);
    if !origin.is_some_and(|origin| origin == "*" || origin.eq_ignore_ascii_case(&config.origin)) {
        let reason = format!(
            "the endpoint does not consent to events from {}: it answered OPTIONS with {} and {}; \
             `handshake = false` sends without asking",
            config.origin,
            head.status,
            origin.map_or_else(
                || "no WebHook-Allowed-Origin".to_owned(),
                |origin| format!("WebHook-Allowed-Origin {origin}")
            ),
        );
        return Err(WebhookOutcome::Blocked(reason));
    }
    let allowed = text(ALLOWED_RATE).and_then(|rate| rate.parse::<NonZeroU32>().ok());
    Ok(match (allowed, config.rate) {
        (Some(allowed), Some(wanted)) => Some(allowed.min(wanted)),
        (allowed, wanted) => allowed.or(wanted),
    })
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::event::TypePattern;

    fn config(rate: u32) -> WebhookConfig {
        crate::events::webhook::tests::config(
            "http://crm.example/".parse().expect("a URL"),
            vec![">".parse::<TypePattern>().expect("a pattern")],
            NonZeroU32::new(rate),
        )
    }

    fn rate(
        config: &WebhookConfig,
        origin: &str,
        allowed: &str,
    ) -> Result<Option<u32>, WebhookOutcome> {
        let response = Response::builder()
            .header(ALLOWED_ORIGIN, origin)
            .header(ALLOWED_RATE, allowed)
            .body(());
        let (head, ()) = response.expect("a response").into_parts();
        read(config, &head).map(|rate| rate.map(NonZeroU32::get))
    }

    #[test]
    fn the_lower_of_both_rates_counts() {
        let (free, bound) = (config(0), config(100));
        assert_eq!(rate(&free, "*", "*"), Ok(None));
        assert_eq!(rate(&free, "*", "120"), Ok(Some(120)));
        assert_eq!(rate(&bound, "SHOP.example", "120"), Ok(Some(100)));
        assert_eq!(rate(&bound, "shop.example", "7"), Ok(Some(7)));
        assert_eq!(rate(&bound, "*", "*"), Ok(Some(100)));
        assert_eq!(rate(&bound, "*", "many"), Ok(Some(100)));
    }

    #[test]
    fn another_origin_is_no_consent() {
        let refused = rate(&config(0), "other.example", "*");
        assert!(matches!(refused, Err(WebhookOutcome::Blocked(reason))
            if reason.contains("WebHook-Allowed-Origin other.example")));
    }
}
