//! What the operator lets in from anybody, and what comes from the host alone.

use fluent_uri::UriRef;
use percent_encoding::percent_decode_str;

use crate::bus::SEQUENCE;
use crate::config::Opened;
use crate::event::Event;

/// Where what the host and its services publish has its `source`.
const OWN_SOURCES: &str = "services";

/// Extensions that the host gives.
const OWN_EXTENSIONS: [&str; 1] = [SEQUENCE];

/// Why an event is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Its type is not opened.
    Type,
    /// It is, but not for this source.
    Source,
}

/// Whether one of these lets an event in.
pub(super) fn is_let_in(opened: &[Opened], event: &Event) -> Result<(), Closed> {
    let mut closed = Closed::Type;
    for opened in opened.iter().filter(|opened| opened.types.matches(&event.event_type)) {
        let sources = &opened.sources;
        if sources.is_empty() || sources.iter().any(|source| source.matches(&event.source)) {
            return Ok(());
        }
        closed = Closed::Source;
    }
    Err(closed)
}

/// The extension that only the host gives, if the event has one.
pub(super) fn own_extension(event: &Event) -> Option<&'static str> {
    OWN_EXTENSIONS.into_iter().find(|name| event.extensions.contains_key(*name))
}

/// Whether a source is one of the host's own, `/services/…`, however it is written: who
/// compares sources may well have them in their normal form (RFC 3986 §6.2.2).
pub(super) fn is_own_source(source: &str) -> bool {
    let Ok(reference) = UriRef::parse(source) else { return false };
    if reference.scheme().is_some() || reference.authority().is_some() {
        return false;
    }
    let decoded = percent_decode_str(reference.path().as_str()).decode_utf8_lossy();
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    segments.first().is_some_and(|first| first.eq_ignore_ascii_case(OWN_SOURCES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SourcePattern;

    fn event(event_type: &str, source: &str) -> Event {
        let json = format!(
            r#"{{"specversion":"1.0","id":"1","source":"{source}","type":"{event_type}"}}"#
        );
        Event::from_json(json.as_bytes()).expect("an event")
    }

    #[test]
    fn a_type_can_be_bound_to_sources() {
        let opened = |types: &str, sources: &[&str]| Opened {
            types: types.parse().expect("a pattern"),
            sources: sources.iter().map(|source| SourcePattern::from(*source)).collect(),
        };
        let all = [
            opened("shop.external.*", &["/till", "/tills/*"]),
            opened("shop.external.paid", &["/bank"]),
            opened("other.*", &[]),
        ];
        let is_let_in = |event_type, source| is_let_in(&all, &event(event_type, source));
        assert_eq!(is_let_in("shop.external.paid", "/till"), Ok(()));
        assert_eq!(is_let_in("shop.external.paid", "/tills/7"), Ok(()));
        assert_eq!(is_let_in("shop.external.paid", "/bank"), Ok(()));
        assert_eq!(is_let_in("shop.external.other", "/bank"), Err(Closed::Source));
        for source in ["/tills", "/till/", "/till7", "/TILL", "/%74ill", "till"] {
            assert_eq!(is_let_in("shop.external.paid", source), Err(Closed::Source), "{source}");
        }
        assert_eq!(is_let_in("other.a", "/anywhere"), Ok(()));
        assert_eq!(is_let_in("third.a", "/till"), Err(Closed::Type));
    }

    #[test]
    fn the_hosts_own_sources_are_known_however_they_are_written() {
        for source in [
            "/services/cart",
            "/services",
            "/services/",
            "/services?a",
            "/services#a",
            "/%73ervices/cart",
            "/%73%65rvices%2fcart",
            "/a/../services/cart",
            "/./services/cart",
            "/%2e%2e/services/cart",
            "/.//services/cart",
            "./services/cart",
            "../services/cart",
            "services/cart",
            "/Services/cart",
        ] {
            assert!(is_own_source(source), "{source}");
        }
        for source in [
            "/till",
            "/servicesx/cart",
            "/a/services/cart",
            "https://a.example/services/cart",
            "//a.example/services/cart",
            "urn:services:cart",
            "/?/services/cart",
        ] {
            assert!(!is_own_source(source), "{source}");
        }
    }
}
