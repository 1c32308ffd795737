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
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
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
