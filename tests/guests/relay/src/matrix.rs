//! Every kind of value, there and back.

use std::fmt::Debug;

use crate::bindings::test::calls::values::{self, Colour, Figure, Person, Point, Rights};

/// What came back as something else.
pub fn differences() -> Vec<String> {
    let mut differences = Vec::new();
    let mut same = |what: &str, is_same: bool| {
        if !is_same {
            differences.push(what.to_owned());
        }
    };
    numbers(&mut same);
    texts(&mut same);
    composed(&mut same);
    values::nothing();
    differences
}

fn numbers(same: &mut impl FnMut(&str, bool)) {
    for all in [
        (0, i8::MIN, 0, i16::MIN, 0, i32::MIN, 0, i64::MIN),
        (u8::MAX, i8::MAX, u16::MAX, i16::MAX, u32::MAX, i32::MAX, u64::MAX, i64::MAX),
    ] {
        let (a, b, c, d, e, f, g, h) = all;
        same("numbers", values::numbers(a, b, c, d, e, f, g, h) == all);
    }
    for (single, double) in [
        (0.0, -0.0),
        (f32::MIN_POSITIVE, f64::MAX),
        (f32::INFINITY, f64::NEG_INFINITY),
        (1.5e-42, 5e-324),
    ] {
        let (one, other) = values::floats(single, double);
        let is_same = one.to_bits() == single.to_bits() && other.to_bits() == double.to_bits();
        same("floats", is_same);
    }
    let (one, other) = values::floats(f32::NAN, f64::NAN);
    same("floats that are none", one.is_nan() && other.is_nan());
}

fn texts(same: &mut impl FnMut(&str, bool)) {
    let long = "ä€🦀".repeat(20_000);
    for (truth, letter, text) in [(true, '\0', ""), (false, char::MAX, "a\0b"), (true, 'ß', &long)]
    {
        let back = values::texts(truth, letter, text);
        same("texts", back == (truth, letter, text.to_owned()));
    }
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for bytes in [Vec::new(), all.clone(), all.repeat(200)] {
        same("bytes", values::bytes(&bytes) == bytes);
    }
}

fn composed(same: &mut impl FnMut(&str, bool)) {
    let point = |x, y| Point { x, y };
    let person = |name: &str, tags: &[&str], home| Person {
        name: name.to_owned(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        home,
    };
    let people =
        vec![person("", &[], None), person("Åse", &["", "x"], Some(point(i32::MIN, i32::MAX)))];
    same("people", alike(&values::people(&people), &people));
    let many: Vec<Person> = people.iter().cloned().cycle().take(2_000).collect();
    same("many people", alike(&values::people(&many), &many));
    same("no people", values::people(&[]).is_empty());
    let figures = vec![
        Figure::Nothing,
        Figure::Dot(point(1, -1)),
        Figure::Named("it".to_owned()),
        Figure::Many(vec![point(0, 0); 3]),
        Figure::Many(Vec::new()),
    ];
    same("figures", alike(&values::figures(&figures), &figures));
    let colours = [Colour::Red, Colour::Green, Colour::Blue];
    same("colours", values::colours(&colours) == colours);
    let rights = [Rights::empty(), Rights::READ | Rights::BURN, Rights::EXECUTE | Rights::SELL];
    same("rights", values::all_rights(&rights) == rights);
    let options = [None, Some(None), Some(Some(u16::MAX))];
    same("options", values::options(&options) == options);
    let results = [Ok(7), Err(String::new()), Err("no".to_owned())];
    same("results", values::results(&results) == results);
    let bare = [Ok(()), Err(())];
    same("bare results", values::bare_results(&bare) == bare);
    let lists = [vec![], vec![vec![], vec![1, u64::MAX]]];
    same("lists", values::lists(&lists) == lists);
}

/// Generated types compare by what they show.
fn alike(one: &impl Debug, other: &impl Debug) -> bool {
    format!("{one:?}") == format!("{other:?}")
}
