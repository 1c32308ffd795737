//! The two formats in which scrapes are answered: OpenMetrics 1.0, and the text of Prometheus
//! (0.0.4) for those who ask for that.

use std::fmt::Write as _;

use axum::http::HeaderMap;

use super::accept::weight;

pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a client asks for the text of Prometheus: it prefers that (RFC 9110 §12.5.1).
pub(super) fn wants_prometheus(headers: &HeaderMap) -> bool {
    let plain = weight(headers, "text/plain").unwrap_or_default();
    plain > weight(headers, "application/openmetrics-text").unwrap_or_default()
}

/// OpenMetrics text as the text of Prometheus: a counter is described by the name that its
/// samples have, kinds that it lacks are untyped, and there is no end mark.
pub(super) fn prometheus(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    // The description comes before the kind, which decides about the name.
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
            continue;
        }
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap_or((typed, "unknown"));
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let kind = match kind {
                "counter" | "gauge" | "histogram" | "summary" => kind,
                "info" | "stateset" => "gauge",
                _ => "untyped",
            };
            if let Some((_, words)) = help.take().filter(|(described, _)| *described == name) {
                _ = writeln!(text, "# HELP {name}{suffix} {words}");
            }
            _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            continue;
        }
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        // What follows a sample is an example of it.
        let sample = line.split_once(" # ").map_or(line, |(sample, _)| sample);
        text.push_str(sample);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT;

    use super::*;

    #[test]
    fn the_text_of_prometheus_is_for_those_who_prefer_it() {
        let wants = |accept: &'static str| {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().expect("a value"))]);
            wants_prometheus(&headers)
        };
        assert!(!wants_prometheus(&HeaderMap::new()));
        for prometheus in [
            "text/plain",
            "text/plain; version=0.0.4",
            "text/plain;version=0.0.4;q=0.6,*/*;q=0.5",
            "application/openmetrics-text;q=0.3, text/plain;q=0.5",
        ] {
            assert!(wants(prometheus), "{prometheus}");
        }
        for open in [
            "*/*",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text",
            "text/html",
        ] {
            assert!(!wants(open), "{open}");
        }
    }

    #[test]
    fn counters_are_described_by_the_name_of_their_samples() {
        let open = "# HELP a_requests Requests.\n# TYPE a_requests counter\n# UNIT a_requests x\n\
                    a_requests_total{service=\"x\"} 1\n# HELP b Free.\n# TYPE b gauge\nb 2\n\
                    # HELP c Of what.\n# TYPE c unknown\nc 3\n# EOF\n";
        let expected = "# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\n\
                        a_requests_total{service=\"x\"} 1\n# HELP b Free.\n# TYPE b gauge\nb 2\n\
                        # HELP c Of what.\n# TYPE c untyped\nc 3\n";
        assert_eq!(prometheus(open), expected);
    }
}
