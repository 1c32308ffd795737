//! When an answer was made.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

thread_local! {
    /// The second that was written last, and how.
    static WRITTEN: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))) };
}

/// The value of `Date` (RFC 9110 §6.6.1). hyper's own does not follow a clock that is set back: it says the
/// same until the time comes again.
pub(super) fn now() -> HeaderValue {
    of(SystemTime::now())
}

fn of(time: SystemTime) -> HeaderValue {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    WRITTEN.with_borrow_mut(|(written, value)| {
        if *written != seconds {
            let date =
                httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(seconds));
            *value = HeaderValue::from_str(&date).expect("a date is ASCII");
            *written = seconds;
        }
        value.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::of;

    #[test]
    fn a_clock_that_is_set_back_is_followed() {
        for (seconds, date) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (784_111_770, "Sun, 06 Nov 1994 08:49:30 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(of(UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
        assert_eq!(of(UNIX_EPOCH - Duration::from_secs(1)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
