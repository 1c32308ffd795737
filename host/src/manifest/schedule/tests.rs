use super::*;
use crate::manifest::{Manifest, ManifestText, Problem};

fn read(text: &str) -> Result<Vec<Schedule>, Vec<String>> {
    let text = ManifestText { file: "cart.toml".to_owned(), text: text.to_owned() };
    match Manifest::read("cart", Some(&text)) {
        Ok(manifest) => Ok(manifest.schedules),
        Err(error) => Err(error.problems.iter().map(Problem::to_string).collect()),
    }
}

fn refusal(text: &str) -> Vec<String> {
    read(text).expect_err("a refusal")
}

#[test]
fn every_key_is_read() {
    let schedules = read(
        r#"
        [[schedule]]
        name = "nightly"
        cron = "30 3 * * *"
        type = "shop.cart.expire"
        [[schedule]]
        name = "every-10s"
        cron = "*/10 * * * * *"
        time-zone = "Europe/Berlin"
        type = "shop.cart.poll"
        missed = "skip"
        data = '{"all": true}'
        key = "poll"
        "#,
    )
    .expect("schedules");
    let cron = |text, zone| Cron::parse(text, zone).expect("a schedule");
    let nightly = Schedule {
        name: "nightly".to_owned(),
        cron: cron("30 3 * * *", "UTC"),
        event_type: "shop.cart.expire".to_owned(),
        missed: Missed::Once,
        data: None,
        key: None,
    };
    let polling = Schedule {
        name: "every-10s".to_owned(),
        cron: cron("*/10 * * * * *", "Europe/Berlin"),
        event_type: "shop.cart.poll".to_owned(),
        missed: Missed::Skip,
        data: Some("{\"all\": true}".to_owned()),
        key: Some("poll".to_owned()),
    };
    assert_eq!(schedules, [nightly, polling]);
}

#[test]
fn a_tick_is_one_event_however_often_it_is_made() {
    let text = "[[schedule]]\nname = \"n\"\ncron = \"0 3 * * *\"\ntype = \"t\"\ndata = \"7\"\n";
    let schedule = &read(text).expect("schedules")[0];
    let event = schedule.event(&"cart".parse().expect("a name"), 1_795_478_400_000);
    assert_eq!(event.id, "n-2026-11-24T00:00:00Z");
    assert_eq!(event.source, "/services/cart");
    assert_eq!(event.time.as_deref(), Some("2026-11-24T00:00:00Z"));
    assert_eq!((event.key(), event.data.as_deref()), ("n", Some(&b"7"[..])));
    event.check().expect("an event");
    let keyed = Schedule { key: Some("k".to_owned()), ..schedule.clone() };
    assert_eq!(keyed.event(&"cart".parse().expect("a name"), 0).key(), "k");
}

#[test]
fn what_is_no_schedule_is_refused_with_its_place() {
    let with = |lines: &str| {
        refusal(&format!("[[schedule]]\nname = \"n\"\ntype = \"t\"\n{lines}")).join("\n")
    };
    assert_eq!(
        refusal("[[schedule]]\nmised = \"once\"\n"),
        [
            "cart.toml:1:1: `[[schedule]]` has no `cron`",
            "cart.toml:1:1: `[[schedule]]` has no `name`",
            "cart.toml:1:1: `[[schedule]]` has no `type`",
            "cart.toml:2:1: unknown key `[[schedule]] mised`; did you mean `missed`?",
        ]
    );
    let never = with("cron = \"0 0 30 2 *\"\n");
    assert!(never.starts_with("cart.toml:4:8: `[[schedule]] cron` has `0 0 30 2 *`"), "{never}");
    assert!(never.ends_with("it never ticks"), "{never}");
    for cron in ["", "* * *", "61 * * * *", "* * * * * * * *", "every day", "*/0 * * * *"] {
        let refused = with(&format!("cron = \"{cron}\"\n"));
        assert!(refused.starts_with("cart.toml:4:8: `[[schedule]] cron` has"), "{refused}");
    }
    let zone = with("cron = \"0 3 * * *\"\ntime-zone = \"Mars\"\n");
    assert!(zone.starts_with("cart.toml:5:13: `[[schedule]] time-zone` has `Mars`"), "{zone}");
    let data = with("cron = \"0 3 * * *\"\ndata = \"{\"\n");
    assert!(data.starts_with("cart.toml:5:8: `[[schedule]] data` is no JSON"), "{data}");
    let missed = with("cron = \"0 3 * * *\"\nmissed = \"twice\"\n");
    assert!(missed.contains("must be \"once\" or \"skip\"; found: `twice`"), "{missed}");
    let name = refusal("[[schedule]]\nname = \"a/b\"\ncron = \"0 3 * * *\"\ntype = \"t\"\n");
    assert!(name[0].starts_with("cart.toml:2:8: `[[schedule]] name` has 1 to"), "{name:?}");
    let kind = refusal("[[schedule]]\nname = \"n\"\ncron = \"0 3 * * *\"\ntype = \"\"\n");
    assert!(kind[0].starts_with("cart.toml:4:8: no event of `[[schedule]]` can be"), "{kind:?}");
    for pattern in ["t.*", ">", "*"] {
        let with = format!("name = \"n\"\ncron = \"0 3 * * *\"\ntype = \"{pattern}\"\n");
        let kind = refusal(&format!("[[schedule]]\n{with}"));
        let expected = format!("cart.toml:4:8: `[[schedule]] type` has `{pattern}`, which is a ");
        assert!(kind[0].starts_with(&expected), "{kind:?}");
    }
    let one = "[[schedule]]\nname = \"n\"\ncron = \"0 3 * * *\"\ntype = \"t\"\n";
    assert_eq!(refusal(&format!("{one}{one}")), ["cart.toml:5:1: schedule `n` is there twice"]);
}

#[test]
fn every_problem_of_one_schedule_is_told() {
    let all = refusal(
        "[[schedule]]\nname = \"n\"\ncron = \"61 * * * *\"\ntype = \"\"\ntime-zone = \"Mars\"\n\
         data = \"{\"\n",
    );
    for (told, place) in all.iter().zip([3, 4, 5, 6]) {
        assert!(told.starts_with(&format!("cart.toml:{place}:")), "{all:?}");
    }
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all[0].ends_with("its minutes (0 to 59) cannot be `61`"), "{all:?}");
}
