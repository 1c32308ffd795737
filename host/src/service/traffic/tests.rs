use std::sync::{Arc, LazyLock};

use http::Request;
use http::request::Parts;

use super::*;
use crate::config::OutboundConfig;
use crate::name::VersionId;
use crate::outbound::Outbound;
use crate::runtime::{Runtime, fixture};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new(Outbound::new(OutboundConfig::default())).expect("an engine"));

fn version(number: u64, manifest: &str) -> Arc<Version> {
    let id = VersionId { service: "cart".parse().expect("a name"), number };
    let manifest = fixture::manifest(manifest);
    let pool = fixture::pool(&RUNTIME, id.clone(), Arc::clone(&manifest));
    Version::new(id, Digest::of(b""), manifest, pool)
}

fn split(plan: &str, versions: &[Arc<Version>]) -> Traffic {
    Traffic::new(serde_json::from_str(plan).expect("a plan"), versions).expect("traffic")
}

fn request(path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::get(format!("http://shop.example{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn chosen(traffic: &Traffic, head: &Parts, ticket: &mut Ticket) -> u64 {
    traffic.choose(head, ticket).id.number
}

const HALVES: &str =
    r#"{"versions": [{"version": 1, "weight": 50}, {"version": 2, "weight": 50}]}"#;

#[test]
fn shares_are_as_the_weights_say() {
    let versions = [version(1, ""), version(2, "")];
    for weight in [0, 1, 10, 50, 100] {
        let plan = format!(
            r#"{{"versions": [{{"version": 2, "weight": {weight}}}, {{"version": 1, "weight": {}}}]}}"#,
            100 - weight
        );
        let traffic = split(&plan, &versions);
        let head = request("/cart", &[]);
        let requests = 20_000;
        let of_two =
            (0..requests).filter(|_| chosen(&traffic, &head, &mut Ticket::default()) == 2).count();
        let share = of_two as f64 / f64::from(requests) * 100.0;
        assert!((share - f64::from(weight)).abs() < 2.0, "{weight}: {share}");
        let keys =
            (0..requests).filter(|key| traffic.version_for_key(&key.to_string()).id.number == 2);
        let share = keys.count() as f64 / f64::from(requests) * 100.0;
        assert!((share - f64::from(weight)).abs() < 2.0, "{weight}: {share}");
    }
}

#[test]
fn a_key_moves_at_most_once_while_a_version_is_given_more() {
    let versions = [version(1, ""), version(2, "")];
    for key in 0..500 {
        let key = key.to_string();
        let mut moved = false;
        for weight in 0..=100 {
            let plan = TrafficPlan {
                versions: vec![
                    Share { version: 1, weight: 100 - weight },
                    Share { version: 2, weight },
                ],
                rules: Vec::new(),
                sticky: None,
            };
            let traffic = Traffic::new(plan, &versions).expect("traffic");
            let has_moved = traffic.version_for_key(&key).id.number == 2;
            assert!(has_moved || !moved, "{key} went back at {weight}");
            moved = has_moved;
        }
        assert!(moved);
    }
}

#[test]
fn a_client_stays_by_cookie_or_by_header() {
    let versions = [version(1, ""), version(2, "")];
    let with = |sticky: &str| {
        split(&HALVES.replacen('{', &format!("{{\"sticky\": {sticky}, "), 1), &versions)
    };
    let by_cookie = with("\"cookie\"");
    for _ in 0..100 {
        let mut first = Ticket::default();
        let number = chosen(&by_cookie, &request("/cart", &[]), &mut first);
        let token = first.new_token().expect("a token to tell the client");
        let mut again = Ticket::new(Some(token));
        assert_eq!(chosen(&by_cookie, &request("/cart", &[]), &mut again), number);
        assert_eq!(again.new_token(), None);
    }
    let by_header = with(r#"{"header": "x-user"}"#);
    for user in 0..100 {
        let head = request("/cart", &[("x-user", &user.to_string())]);
        let chosen = || chosen(&by_header, &head, &mut Ticket::default());
        assert_eq!(chosen(), chosen());
    }
}

#[test]
fn a_rule_wins_over_the_weights() {
    let versions = [version(1, ""), version(2, "")];
    let traffic = split(
        r#"{"versions": [{"version": 1, "weight": 100}, {"version": 2, "weight": 0}],
            "rules": [{"header": "X-Beta", "value": "yes", "version": 2}]}"#,
        &versions,
    );
    let number = |headers| chosen(&traffic, &request("/cart", headers), &mut Ticket::default());
    assert_eq!(number(&[("x-beta", "yes")]), 2);
    assert_eq!(number(&[("x-beta", "Yes")]), 1);
    assert_eq!(number(&[]), 1);
    assert_eq!(traffic.primary().id.number, 1);
}

#[test]
fn a_request_goes_only_to_a_version_with_a_route_for_it() {
    let more = "[[route]]\npath = \"/cart\"\n[[route]]\npath = \"/wishes\"\nmethods = [\"GET\"]\n";
    let versions = [version(1, ""), version(2, more)];
    let traffic = split(HALVES, &versions);
    for _ in 0..100 {
        let wishes = request("/wishes/7", &[]);
        assert_eq!(chosen(&traffic, &wishes, &mut Ticket::default()), 2);
        let subscribers = |version: &Version| version.id.number == 1;
        assert_eq!(traffic.version_for_key_among("key", subscribers).id.number, 1);
    }
}

#[test]
fn the_same_ticket_is_answered_the_same() {
    let versions = [version(1, ""), version(2, "")];
    let traffic = split(HALVES, &versions);
    let head = request("/cart", &[]);
    for _ in 0..100 {
        let mut ticket = Ticket::default();
        let first = chosen(&traffic, &head, &mut ticket);
        assert_eq!(chosen(&traffic, &head, &mut ticket), first);
    }
}

#[test]
fn a_plan_that_cannot_be_is_refused() {
    let error = |plan: &str| {
        let plan: TrafficPlan = serde_json::from_str(plan).expect("JSON of a plan");
        plan.check().expect_err("refused").to_string()
    };
    let one = r#"{"version": 1, "weight": 100}"#;
    for (plan, said) in [
        (r#"{"versions": []}"#.to_owned(), "the weights sum up to 0, not to 100"),
        (format!(r#"{{"versions": [{one}, {one}]}}"#), "version 1 is named twice"),
        (
            format!(
                r#"{{"versions": [{one}], "rules": [{{"header": "a", "value": "", "version": 2}}]}}"#
            ),
            "names version 2, which has no share",
        ),
        (
            format!(r#"{{"versions": [{one}], "sticky": {{"header": "a b"}}}}"#),
            "`a b` is no name of a header",
        ),
    ] {
        assert!(error(&plan).contains(said), "{plan}: {}", error(&plan));
    }
}

#[test]
fn a_call_goes_where_its_callers_request_would_go_or_where_the_function_is() {
    let versions = [version(1, ""), version(2, "")];
    let to = |traffic: &Traffic, place: &Place, takes: &dyn Fn(&Version) -> bool| {
        traffic.choose_for_call(place, takes).map(|version| version.id.number)
    };
    let any = |_: &Version| true;
    let place = |headers: &[(&str, &str)], token| {
        Ticket::new(token).place(&Arc::new(request("/order", headers)))
    };
    let rule = r#""rules": [{"header": "x-try", "value": "yes", "version": 2}]"#;
    let ruled = split(
        &format!(
            r#"{{"versions": [{{"version": 1, "weight": 100}}, {{"version": 2, "weight": 0}}], {rule}}}"#
        ),
        &versions,
    );
    assert_eq!(to(&ruled, &place(&[("x-try", "yes")], None), &any), Some(2));
    assert_eq!(to(&ruled, &place(&[], None), &any), Some(1));
    let only_one = |version: &Version| version.id.number == 1;
    assert_eq!(to(&ruled, &place(&[("x-try", "yes")], None), &only_one), Some(1));
    assert_eq!(to(&ruled, &place(&[], None), &|_: &Version| false), None);

    let by_cookie = split(&HALVES.replacen('{', r#"{"sticky": "cookie", "#, 1), &versions);
    for token in 0..100 {
        let as_request = chosen(&by_cookie, &request("/cart", &[]), &mut Ticket::new(Some(token)));
        assert_eq!(to(&by_cookie, &place(&[], Some(token)), &any), Some(as_request));
    }
    let halves = split(HALVES, &versions);
    for key in 0..100 {
        let key = key.to_string();
        let as_delivery = halves.version_for_key(&key).id.number;
        assert_eq!(to(&halves, &Place::Key(key.as_str().into()), &any), Some(as_delivery));
    }
}
