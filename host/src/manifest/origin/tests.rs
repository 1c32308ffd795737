use super::*;

fn pattern(text: &str) -> OriginPattern {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn origin(uri: &str) -> Result<Origin, OriginError> {
    Origin::of(&uri.parse().unwrap_or_else(|error| panic!("{uri}: {error}")))
}

#[test]
fn a_pattern_grants_its_scheme_host_and_port_only() {
    let table = [
        ("https://api.example.com", "https://api.example.com/v1", true),
        ("https://api.example.com", "https://api.example.com:443/", true),
        ("https://api.example.com:443", "https://api.example.com/", true),
        ("https://API.Example.com.", "https://api.example.com/", true),
        ("https://api.example.com", "https://API.example.COM./", true),
        ("https://bücher.example", "https://xn--bcher-kva.example/", true),
        ("https://api.example.com", "http://api.example.com/", false),
        ("https://api.example.com", "https://api.example.com:8443/", false),
        ("https://api.example.com", "https://example.com/", false),
        ("https://api.example.com", "https://api.example.com.evil.test/", false),
        ("https://*.example.com", "https://a.example.com/", true),
        ("https://*.example.com", "https://example.com/", false),
        ("https://*.example.com", "https://a.b.example.com/", false),
        ("https://*.example.com", "https://aexample.com/", false),
        ("http://10.0.0.5:8080", "http://10.0.0.5:8080/", true),
        ("http://10.0.0.5:8080", "http://10.0.0.5/", false),
        ("http://[::1]:80", "http://[0:0::1]/", true),
    ];
    for (granted, asked, expected) in table {
        let asked_origin = origin(asked).expect("an origin");
        assert_eq!(pattern(granted).grants(&asked_origin), expected, "{granted} {asked}");
    }
}

#[test]
fn what_is_no_origin_is_refused_by_the_manifest() {
    let table = [
        ("api.example.com", OriginError::Scheme),
        ("ftp://api.example.com", OriginError::Scheme),
        ("https://", OriginError::Host),
        ("https://a b", OriginError::Host),
        ("https://a..b", OriginError::Host),
        ("https://%61.example.com", OriginError::Host),
        ("https://api.example.com/", OriginError::Path),
        ("https://api.example.com/v1", OriginError::Path),
        ("https://api.example.com?q", OriginError::Path),
        ("https://user@api.example.com", OriginError::UserInfo),
        ("https://user:secret@api.example.com", OriginError::UserInfo),
        ("https://api.example.com:0", OriginError::Port),
        ("https://api.example.com:", OriginError::Port),
        ("https://api.example.com:+80", OriginError::Port),
        ("https://api.example.com:65536", OriginError::Port),
        ("https://*", OriginError::Wildcard),
        ("https://*.com", OriginError::Wildcard),
        ("https://*.10.0.0.1", OriginError::Wildcard),
        ("https://a.*.com", OriginError::Wildcard),
        ("https://a*.example.com", OriginError::Wildcard),
        ("https://*.*.example.com", OriginError::Wildcard),
        ("http://127.1", OriginError::Spelling([127, 0, 0, 1].into())),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse::<OriginPattern>(), Err(expected), "{text}");
    }
}

#[test]
fn unusual_spellings_of_addresses_are_refused_in_requests() {
    for host in [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "0",
        "1.2.3.4.5",
        "127.0.0.256",
        "[::1].",
        "127.0.0.1%00",
        "a.example%2ecom",
        "user@127.0.0.1",
        "api.example.com@127.0.0.1",
        "a..example.com",
        "a.example.com..",
    ] {
        let Ok(uri) = format!("http://{host}/").parse::<Uri>() else { continue };
        assert!(Origin::of(&uri).is_err(), "{host}");
    }
}

#[test]
fn an_origin_is_written_without_its_default_port() {
    let shown = |uri: &str| origin(uri).expect("an origin").to_string();
    assert_eq!(shown("http://A.example:80/x"), "http://a.example");
    assert_eq!(shown("https://[0::1]:8443/"), "https://[::1]:8443");
    assert_eq!(pattern("https://*.Example.com:8443").to_string(), "https://*.example.com:8443");
}

#[test]
fn a_name_of_one_label_in_internal_is_a_service_of_this_host_however_it_is_spelled() {
    for (uri, name) in [
        ("http://cart.internal/x", Some("cart")),
        ("http://CART.Internal.:80/", Some("cart")),
        ("https://cart.internal:8443/", Some("cart")),
        ("http://a.cart.internal/", None),
        ("http://internal/", None),
        ("http://cartinternal/", None),
        ("http://cart.internal.example/", None),
        ("http://127.0.0.1/", None),
    ] {
        let origin = origin(uri).expect("an origin");
        assert_eq!(origin.neighbour(), name, "{uri}");
    }
    assert!(origin("http://cart.internal:80/").expect("an origin").has_default_port());
    assert!(!origin("http://cart.internal:443/").expect("an origin").has_default_port());
}
