//! What a client would rather have.

use axum::http::header::{ACCEPT, HeaderMap};

/// How much a client wants this kind of content (RFC 9110 §12.5.1), where it names it, or at least its type
/// (`text/*`); the more exact counts. That it takes anything (`*/*`) says nothing of one kind.
pub(super) fn weight(headers: &HeaderMap, kind: &str) -> Option<f32> {
    let (class, _) = kind.split_once('/').unwrap_or((kind, ""));
    let (mut exact, mut of_class) = (None::<f32>, None::<f32>);
    for value in headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
        for range in value.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
            });
            let quality = quality.unwrap_or(1.0);
            let most =
                |before: Option<f32>| Some(before.map_or(quality, |found| found.max(quality)));
            if name.eq_ignore_ascii_case(kind) {
                exact = most(exact);
            } else if name.strip_suffix("/*").is_some_and(|name| name.eq_ignore_ascii_case(class)) {
                of_class = most(of_class);
            }
        }
    }
    exact.or(of_class)
}

#[cfg(test)]
mod tests {
    use axum::http::header::{ACCEPT, HeaderMap, HeaderValue};

    use super::weight;

    fn weighed(accepts: &[&'static str], kind: &str) -> Option<f32> {
        let values = accepts.iter().map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
        weight(&values.collect::<HeaderMap>(), kind)
    }

    #[test]
    fn the_more_exact_range_counts() {
        let all = ["text/*;q=0.3, text/plain ; Q=0.7", "*/*;q=0.9", "application/json"];
        assert_eq!(weighed(&all, "text/plain"), Some(0.7));
        assert_eq!(weighed(&all, "text/event-stream"), Some(0.3));
        assert_eq!(weighed(&all, "Application/JSON"), Some(1.0));
        assert_eq!(weighed(&all, "image/png"), None);
    }

    #[test]
    fn a_weight_of_nought_is_one_and_none_is_the_most() {
        assert_eq!(weighed(&["text/plain;q=0"], "text/plain"), Some(0.0));
        assert_eq!(weighed(&["text/plain;version=0.0.4"], "text/plain"), Some(1.0));
        assert_eq!(weighed(&["text/plain;q=no"], "text/plain"), Some(1.0));
        assert_eq!(weighed(&["text/plain;q=0.2, text/plain;q=0.4"], "text/plain"), Some(0.4));
        assert_eq!(weighed(&[], "text/plain"), None);
    }
}
