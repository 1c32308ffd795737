//! The trace that an invocation is part of, so that the events it publishes are, too:
//! the CloudEvents extension for distributed tracing.

use http::{HeaderMap, HeaderName};

use super::handlers::types::{Delivery, ExtensionValue};

/// The attribute of an event.
pub(in crate::runtime) const TRACEPARENT: &str = "traceparent";

/// The header of a request (W3C Trace Context). Each request is looked through for it, so
/// it is not to be made of a text each time.
static HEADER: HeaderName = HeaderName::from_static(TRACEPARENT);

/// What a request says of it.
pub(super) fn of_request(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(&HEADER)?.to_str().ok()?;
    is_traceparent(value).then(|| value.to_owned())
}

/// What an event says of it.
pub(super) fn of_delivery(delivery: &Delivery) -> Option<String> {
    let mut extensions = delivery.event.extensions.iter();
    match &extensions.find(|extension| extension.name == TRACEPARENT)?.value {
        ExtensionValue::Text(value) if is_traceparent(value) => Some(value.clone()),
        _ => None,
    }
}

/// `<version>-<trace>-<parent>-<flags>` of lower-case hexadecimal digits; later versions
/// may have more behind another dash. (W3C Trace Context §3.2)
fn is_traceparent(value: &str) -> bool {
    const LENGTHS: [usize; 4] = [2, 32, 16, 2];
    let mut fields = value.split('-');
    let is_hex = |field: &str| field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let has_them = LENGTHS
        .iter()
        .all(|length| fields.next().is_some_and(|field| field.len() == *length && is_hex(field)));
    has_them && !value.starts_with("ff") && (fields.next().is_none() || !value.starts_with("00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_traceparent_is_not_passed_on() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good) && is_traceparent(&format!("01{}-later", &good[2..])));
        let longer = format!("{good}-later");
        let forbidden = format!("ff{}", &good[2..]);
        let upper = good.to_uppercase();
        for bad in ["", "00", &good[..54], &longer, &forbidden, &upper] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
