//! What an endpoint's answer means (HTTP WebHook §2.2).

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{DATE, RETRY_AFTER};
use http::response::Parts;

use super::{REST, WebhookOutcome};
use crate::clock;

/// The longest time that an endpoint may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time that one rests that has too many: what it asks for is not counted as an
/// attempt, and would come to no end.
const LEAST_REST: Duration = Duration::from_secs(1);

/// | status | |
/// |---|---|
/// | 2xx | delivered |
/// | 410 | the endpoint is gone |
/// | 413, 415 | it will never take this event |
/// | 429 | it takes none until `Retry-After`, for a second at the least, else for a minute |
/// | any other | another attempt, not before `Retry-After`, as far as `backoff` goes |
pub(super) fn read(answer: &Parts) -> Result<(), WebhookOutcome> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let reason = format!("the endpoint answered {status}");
    let after = answer.headers.get(RETRY_AFTER).and_then(|value| {
        // By the endpoint's own clock, where it tells that: either may be wrong.
        let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
        let now = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let wait = retry_after(value.to_str().ok()?, now.unwrap_or_else(clock::now))?;
        Some(wait.min(MAX_RETRY_AFTER))
    });
    Err(match status {
        StatusCode::GONE => WebhookOutcome::Gone,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            WebhookOutcome::Reject(reason)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            WebhookOutcome::Wait { reason, pause: after.unwrap_or(REST).max(LEAST_REST) }
        }
        status if status.is_redirection() => WebhookOutcome::Retry {
            reason: format!("{reason}: redirects are not followed, name the new URL in `url`"),
            after,
        },
        _ => WebhookOutcome::Retry { reason, after },
    })
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn outcome(status: u16, retry_after: Option<&str>) -> WebhookOutcome {
        let mut response = Response::builder().status(status);
        if let Some(value) = retry_after {
            response = response.header(RETRY_AFTER, value);
        }
        let (head, ()) = response.body(()).expect("a response").into_parts();
        read(&head).err().unwrap_or(WebhookOutcome::Delivered)
    }

    #[test]
    fn a_status_says_what_becomes_of_the_event() {
        for status in [200, 201, 202, 204] {
            assert_eq!(outcome(status, None), WebhookOutcome::Delivered);
        }
        assert!(matches!(outcome(410, None), WebhookOutcome::Gone));
        for status in [413, 415] {
            assert!(matches!(outcome(status, None), WebhookOutcome::Reject(_)), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 404, 405, 422, 500, 502, 503] {
            let outcome = outcome(status, None);
            assert!(matches!(outcome, WebhookOutcome::Retry { after: None, .. }), "{status}");
        }
        let minute = Duration::from_secs(60);
        assert!(
            matches!(outcome(429, None), WebhookOutcome::Wait { pause, .. } if pause == minute)
        );
    }

    #[test]
    fn an_endpoint_says_when_to_try_again() {
        let seconds = Duration::from_secs;
        assert!(matches!(outcome(429, Some("7")), WebhookOutcome::Wait { pause, .. }
            if pause == seconds(7)));
        for now in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            let outcome = outcome(429, Some(now));
            assert!(matches!(outcome, WebhookOutcome::Wait { pause, .. } if pause == LEAST_REST));
        }
        assert!(matches!(outcome(503, Some("7")), WebhookOutcome::Retry { after: Some(after), .. }
            if after == seconds(7)));
        assert!(matches!(
            outcome(503, Some("99999999")),
            WebhookOutcome::Retry { after: Some(MAX_RETRY_AFTER), .. }
        ));
        assert!(matches!(outcome(503, Some("soon")), WebhookOutcome::Retry { after: None, .. }));
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(seconds(60)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
    }
}
