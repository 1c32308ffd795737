use super::super::{Manifest, ManifestText, Problem};
use super::*;

fn read(text: &str) -> Result<Vec<Subscription>, Vec<String>> {
    let text = ManifestText { file: "order.toml".to_owned(), text: text.to_owned() };
    let manifest = Manifest::read("order", Some(&text));
    manifest
        .map(|manifest| manifest.subscriptions)
        .map_err(|error| error.problems.iter().map(Problem::to_string).collect())
}

#[test]
fn a_type_is_enough() {
    let subscriptions = read("[[subscribe]]\ntype = \"shop.order.*\"").expect("a manifest");
    let pattern = "shop.order.*".parse().expect("a pattern");
    assert_eq!(subscriptions, [Subscription::to(vec![pattern])]);
    assert_eq!(subscriptions[0].name, "shop.order.*");
}

#[test]
fn every_key_of_a_subscription_is_read() {
    let subscriptions = read(
        r#"
        [[subscribe]]
        name = "orders"
        type = "shop.order.>"
        from = "beginning"
        attempts = 3
        backoff = { first = "1s", max = "1m" }
        concurrency = 2
        when-failed = "park"
        held = 10
        "#,
    );
    let expected = Subscription {
        name: "orders".to_owned(),
        patterns: vec!["shop.order.>".parse().expect("a pattern")],
        from: StartPosition::Beginning,
        attempts: 3,
        backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) },
        concurrency: 2,
        when_failed: WhenFailed::Park,
        held: 10,
    };
    assert_eq!(subscriptions, Ok(vec![expected]));
}

#[test]
fn what_is_wrong_with_a_subscription_is_said_with_its_line() {
    let cases = [
        ("attempts = 1", "order.toml:1:1: `[[subscribe]]` has no `type`"),
        (
            "type = \"shop..x\"",
            "order.toml:2:8: `[[subscribe]] type` has `shop..x`, which is no pattern such as \"shop.order.*\": a pattern has no empty segments",
        ),
        (
            "type = \"a\"\nfrom = \"start\"",
            "order.toml:3:8: `[[subscribe]] from` must be \"now\" or \"beginning\"; found: `start`",
        ),
        (
            "type = \"a\"\nattempts = 0",
            "order.toml:3:12: `[[subscribe]] attempts` must be between 1 and 1000; found: 0",
        ),
        (
            "type = \"a\"\nattempt = 2",
            "order.toml:3:1: unknown key `[[subscribe]] attempt`; did you mean `attempts`?",
        ),
        (
            "type = \"a\"\nname = \"a/b\"",
            "order.toml:3:8: `[[subscribe]] name` has 1 to 256 letters, digits, `.`, `-` and `_`",
        ),
        (
            "type = \"a@b\"",
            "order.toml:1:1: `[[subscribe]]` needs a `name`: its type `a@b` is none",
        ),
        (
            "type = \"a\"\nbackoff = { first = \"1m\", max = \"30s\" }",
            "order.toml:3:21: `[[subscribe]] backoff.first` is 1m, longer than `max`, 30s, which no \
             wait is",
        ),
        (
            "type = \"a\"\n[[subscribe]]\ntype = \"a\"",
            "order.toml:3:1: subscription `a` is there twice",
        ),
        (
            "type = \"a\"\nbackoff = \"1s\"",
            "order.toml:3:11: `[[subscribe]] backoff` must be a table such as { first = \"100ms\", max = \"30s\" }; found: string",
        ),
    ];
    for (text, expected) in cases {
        let refused = read(&format!("[[subscribe]]\n{text}")).expect_err(text);
        assert_eq!(refused, [expected], "{text}");
    }
}

#[test]
fn a_bound_of_the_waits_that_is_not_said_is_no_narrower_than_the_other() {
    let backoff = |text: &str| {
        let read = read(&format!("[[subscribe]]\ntype = \"a\"\nbackoff = {{ {text} }}"));
        let Backoff { first, max } = read.expect("good")[0].backoff;
        (first.as_millis(), max.as_millis())
    };
    assert_eq!(backoff(""), (100, 30_000));
    assert_eq!(backoff("first = \"1m\""), (60_000, 60_000));
    assert_eq!(backoff("max = \"50ms\""), (50, 50));
}
