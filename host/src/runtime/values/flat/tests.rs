//! Values cross the border of a component as they do by way of `Val`, and what is wrong with them
//! is found where it is found there.

mod components;
mod crossing;

use fastrand::Rng;
use wasmtime::component::Val;

use self::components::{Echo, bomb, returns};
use self::crossing::{Crossing, Way, engine, lift, lift_poked};
use crate::runtime::compile::Abi;
use crate::runtime::functions::{Shape, Signature};
use crate::runtime::values::codec::{read_result, write_result};
use crate::runtime::values::tests::{boxed, name, some, text};

/// How many slots parameters and results have: none, one, all that an asynchronous import has
/// and one more, all that there are and one more.
const COUNTS: [usize; 6] = [0, 1, 4, 5, 16, 17];

/// Every kind of type that a component can have, with values of it.
fn kinds() -> Vec<(Shape, Vec<Val>)> {
    let mut kinds = crate::runtime::values::tests::kinds();
    // No component has more than 32 flags in one type.
    kinds.retain(|(shape, _)| !matches!(shape, Shape::Flags(names) if names.len() > 32));
    for count in [1, 8, 9, 16, 17, 32] {
        let names: Vec<_> = (0..count).map(|index| format!("f{index}")).collect();
        let last = names[count - 1..].to_vec();
        let values = vec![Val::Flags(Vec::new()), Val::Flags(last), Val::Flags(names.clone())];
        kinds.push((Shape::Flags(names), values));
    }
    let list = |of, values: Vec<Val>| (Shape::List(boxed(of)), vec![Val::List(values)]);
    kinds.extend([
        list(Shape::Bool, vec![Val::Bool(true), Val::Bool(false), Val::Bool(true)]),
        list(Shape::Char, vec![Val::Char('a'), Val::Char('🦀')]),
        list(Shape::S16, vec![Val::S16(-2), Val::S16(1)]),
        list(Shape::F64, vec![Val::Float64(0.5), Val::Float64(f64::MAX)]),
        list(Shape::Tuple(vec![Shape::U8, Shape::U64]), vec![pair(1, 2), pair(3, u64::MAX)]),
    ]);
    kinds.extend([mixed(), large()]);
    kinds
}

fn pair(one: u8, other: u64) -> Val {
    Val::Tuple(vec![Val::U8(one), Val::U64(other)])
}

/// Cases that share slots of several types.
fn mixed() -> (Shape, Vec<Val>) {
    let shape = Shape::Variant(vec![
        (name("small"), Some(Shape::U8)),
        (name("single"), Some(Shape::F32)),
        (name("double"), Some(Shape::F64)),
        (name("long"), Some(Shape::Tuple(vec![Shape::F32, Shape::S64, Shape::S8]))),
        (name("words"), Some(Shape::List(boxed(Shape::String)))),
        (name("nothing"), None),
    ]);
    let of = |case: &str, value| Val::Variant(name(case), some(value));
    let values = vec![
        of("small", Val::U8(200)),
        of("single", Val::Float32(-1.5)),
        of("double", Val::Float64(1e300)),
        of("long", Val::Tuple(vec![Val::Float32(2.5), Val::S64(i64::MIN), Val::S8(-1)])),
        of("words", Val::List(vec![text("a"), text("")])),
        Val::Variant(name("nothing"), None),
    ];
    (shape, values)
}

/// What is in memory wherever it is: it has more slots than there are.
fn large() -> (Shape, Vec<Val>) {
    let (shapes, values): (Vec<_>, Vec<_>) = crate::runtime::values::tests::kinds()
        .into_iter()
        .take(18)
        .map(|(shape, mut values)| (shape, values.pop().expect("one at the least")))
        .unzip();
    (Shape::Tuple(shapes), vec![Val::Tuple(values)])
}

fn signature(params: Vec<Shape>, result: Option<Shape>, is_async: bool) -> Signature {
    let params = params.into_iter().enumerate();
    let params = params.map(|(index, shape)| (format!("p{index}"), shape)).collect();
    Signature { params, result, is_async }
}

fn result(shape: &Shape) -> Signature {
    signature(Vec::new(), Some(shape.clone()), false)
}

fn bytes_of(shape: &Shape, value: &Val) -> Vec<u8> {
    write_result(&result(shape), std::slice::from_ref(value)).expect("a value of its type")
}

/// A component that hands values of this type on.
fn echo(shape: &Shape, encoding: &'static str) -> Crossing {
    let echo = Echo { encoding, ..Echo::of(shape) };
    let signature = signature(vec![shape.clone()], Some(shape.clone()), false);
    Crossing::new(&engine(Abi::Sync), &echo.text(), signature)
}

#[tokio::test]
async fn every_kind_of_value_crosses_as_it_does_by_val() {
    for (shape, values) in kinds() {
        let crossing = echo(&shape, "utf8");
        for value in values {
            let bytes = bytes_of(&shape, &value);
            for way in Way::all() {
                let crossed = crossing.cross(way, &bytes, &bytes).await.expect("it crosses");
                assert!(crossed.heard == bytes, "{way:?} {shape} {value:?}");
                assert!(crossed.answered == bytes, "{way:?} {shape} {value:?}");
            }
        }
    }
}

#[tokio::test]
async fn strings_cross_in_every_encoding() {
    for encoding in ["utf8", "utf16", "latin1+utf16"] {
        let shape = Shape::List(boxed(Shape::String));
        let crossing = echo(&shape, encoding);
        let long = "ä€🦀".repeat(10_000);
        let words = ["", "abc", "äöü", "ä€🦀\0", "a€", long.as_str()].map(text);
        let bytes = bytes_of(&shape, &Val::List(words.to_vec()));
        for way in Way::all() {
            let crossed = crossing.cross(way, &bytes, &bytes).await.expect("it crosses");
            assert!(crossed.heard == bytes && crossed.answered == bytes, "{way:?} {encoding}");
        }
    }
}

#[tokio::test]
async fn floats_that_are_none_keep_their_bits() {
    let shape = Shape::Tuple(vec![Shape::F32, Shape::F64, Shape::List(boxed(Shape::F32))]);
    let crossing = echo(&shape, "utf8");
    let (single, double) = (0x7fc0_1234_u32.to_le_bytes(), 0xfff8_0000_0000_1234_u64.to_le_bytes());
    let bytes = [&single[..], &double, &[1, 0, 0, 0], &single].concat();
    let crossed = crossing.cross(Way::FLAT, &bytes, &bytes).await.expect("it crosses");
    assert_eq!((&crossed.heard, &crossed.answered), (&bytes, &bytes));
}

#[tokio::test]
async fn as_many_slots_cross_as_there_are_and_more() {
    let reversed = COUNTS.into_iter().zip(COUNTS.into_iter().rev());
    for (params, results) in COUNTS.into_iter().zip(COUNTS).chain(reversed) {
        crosses(Abi::Sync, params, results, false, false).await;
        for (lifts, lowers) in [(false, false), (false, true), (true, false), (true, true)] {
            crosses(Abi::Async, params, results, lifts, lowers).await;
        }
    }
}

/// So many numbers there, and so many back.
async fn crosses(abi: Abi, params: usize, results: usize, lifts: bool, lowers: bool) {
    let is_async = abi == Abi::Async;
    let params = vec![Shape::U32; params];
    let result = (results > 0).then(|| Shape::Tuple(vec![Shape::U32; results]));
    let numbers = |count: usize, first: u32| {
        (first..).take(count).flat_map(|number| (number * 0x0101_0101).to_le_bytes()).collect()
    };
    let (there, back): (Vec<u8>, Vec<u8>) = (numbers(params.len(), 1), numbers(results, 101));
    let echo = Echo {
        params: params.clone(),
        result: result.clone(),
        is_async,
        lifts,
        lowers,
        encoding: "utf8",
    };
    let signature = signature(params, result, is_async);
    let crossing = Crossing::new(&engine(abi), &echo.text(), signature);
    for way in Way::all() {
        let what = format!("{way:?} {abi:?} lifts {lifts} lowers {lowers} {there:?} {back:?}");
        let crossed = crossing.cross(way, &there, &back).await;
        let crossed = crossed.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!((&crossed.heard, &crossed.answered), (&there, &back), "{what}");
    }
}

#[tokio::test]
async fn bytes_take_no_more_than_they_are() {
    let shape = Shape::List(boxed(Shape::U8));
    let crossing = echo(&shape, "utf8");
    let count: u32 = 1 << 20;
    let mut bytes = count.to_le_bytes().to_vec();
    bytes.extend((0..count).map(|index| (index % 251) as u8));
    let crossed = crossing.cross(Way::FLAT, &bytes, &bytes).await.expect("it crosses");
    assert!(crossed.heard == bytes && crossed.answered == bytes);
    assert_eq!(crossed.heard.capacity(), bytes.len());
    assert_eq!(crossed.answered.capacity(), bytes.len());
}

/// As arguments, which may have been sent by anybody, and as a result, which may have been kept.
#[tokio::test]
async fn bytes_that_are_no_values_are_refused_where_they_are_by_val() {
    let mut random = Rng::with_seed(7);
    for (shape, values) in kinds() {
        let crossing = echo(&shape, "utf8");
        let signature = result(&shape);
        for round in 0..60 {
            let value = &values[round % values.len()];
            let good = bytes_of(&shape, value);
            let bad = damaged(&mut random, &good[..good.len().min(200)]);
            let read = read_result(&signature, &bad).ok().flatten();
            for (arguments, returned) in [(&bad, &good), (&good, &bad)] {
                let crossed = crossing.cross(Way::FLAT, arguments, returned).await;
                let Some(value) = &read else {
                    assert!(crossed.is_err(), "{shape} {bad:?}");
                    continue;
                };
                // Such as flags without those bits that stand for none.
                let same = bytes_of(&shape, value);
                let crossed = crossed.expect("it is a value");
                let is_there = if *arguments == bad { crossed.heard } else { crossed.answered };
                assert!(is_there == same, "{shape} {bad:?}");
            }
        }
    }
}

/// Other bytes: cut off, longer, with others in them, or any.
fn damaged(random: &mut Rng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    match random.u8(..4) {
        0 => bytes.truncate(random.usize(..=bytes.len())),
        1 => bytes.push(random.u8(..)),
        2 => bytes = (0..random.usize(..40)).map(|_| random.u8(..)).collect(),
        _ => {
            for _ in 0..random.usize(1..4) {
                if let Some(byte) = random.choice(&mut bytes) {
                    *byte = if random.bool() { random.u8(..) } else { random.u8(..4) };
                }
            }
        }
    }
    bytes
}

/// A guest may say anything of where its result is, and what.
#[tokio::test]
async fn memory_that_holds_no_values_is_refused_where_it_is_by_val() {
    let (mut random, mut values, mut refused) = (Rng::with_seed(11), 0, 0);
    for (shape, _) in kinds() {
        let (signature, component) = (result(&shape), returns(&shape));
        let crossing = Crossing::new(&engine(Abi::Sync), &component, signature);
        for _ in 0..60 {
            let words: Vec<_> = (0..40).map(|_| word(&mut random)).collect();
            let by_val = lift_poked(&crossing, false, &words).await;
            let flat = lift_poked(&crossing, true, &words).await;
            match (by_val, flat) {
                (Ok(by_val), Ok(flat)) => {
                    assert!(by_val == flat, "{shape} {words:?}");
                    values += 1;
                }
                (Err(_), Err(_)) => refused += 1,
                (by_val, flat) => panic!("{shape} {words:?}: {by_val:?} by val, {flat:?}"),
            }
        }
    }
    assert!(values > 100 && refused > 100, "{values} values, {refused} refused");
}

/// One that could be a case, a length, or an address; or any.
fn word(random: &mut Rng) -> u32 {
    match random.u8(..8) {
        0 | 1 => 0,
        2 | 3 => random.u32(..4),
        4 => random.u32(..40),
        5 | 6 => 1024 + 4 * random.u32(..40),
        _ => random.u32(..),
    }
}

/// All of it is paid for: each byte once, and the length of each list.
#[tokio::test]
async fn lists_that_are_all_in_one_place_end_with_the_fuel() {
    let shape = Shape::List(boxed(Shape::List(boxed(Shape::U8))));
    let crossing = Crossing::new(&engine(Abi::Sync), &bomb(16), result(&shape));
    let all = 4 + 16 * (4 + 65536);
    let lifted = lift(&crossing, true, all).await.expect("it is enough");
    assert_eq!(lifted.len(), all);
    let error = lift(&crossing, true, all - 1).await.expect_err("one is missing");
    assert!(format!("{error:#}").contains("fuel allocated for hostcalls"), "{error:#}");
    let crossing = Crossing::new(&engine(Abi::Sync), &bomb(4096), result(&shape));
    lift(&crossing, true, 32 << 20).await.expect_err("it would be 256 MiB");
}
