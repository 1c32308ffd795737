//! Values cross as they are, and what is none is refused.

use wasmtime::component::Val;

use super::codec::{read_arguments, read_result, write_arguments, write_result};
use super::*;

pub(super) fn boxed(shape: Shape) -> Box<Shape> {
    Box::new(shape)
}

pub(super) fn some(value: Val) -> Option<Box<Val>> {
    Some(Box::new(value))
}

pub(super) fn text(text: &str) -> Val {
    Val::String(text.to_owned())
}

pub(super) fn name(name: &str) -> String {
    name.to_owned()
}

/// Every kind of type with values of it.
pub(super) fn kinds() -> Vec<(Shape, Vec<Val>)> {
    let names = || vec![name("one"), name("two"), name("three")];
    let flags: Vec<String> = (0..40).map(|index| format!("flag-{index}")).collect();
    let record = Shape::Record(vec![(name("id"), Shape::U64), (name("tags"), boxed_list())]);
    let record_value = Val::Record(vec![
        (name("id"), Val::U64(7)),
        (name("tags"), Val::List(vec![text(""), text("ä€🦀")])),
    ]);
    vec![
        (Shape::Bool, vec![Val::Bool(false), Val::Bool(true)]),
        (Shape::S8, vec![Val::S8(i8::MIN), Val::S8(i8::MAX)]),
        (Shape::U8, vec![Val::U8(0), Val::U8(u8::MAX)]),
        (Shape::S16, vec![Val::S16(i16::MIN), Val::S16(i16::MAX)]),
        (Shape::U16, vec![Val::U16(0), Val::U16(u16::MAX)]),
        (Shape::S32, vec![Val::S32(i32::MIN), Val::S32(i32::MAX)]),
        (Shape::U32, vec![Val::U32(0), Val::U32(u32::MAX)]),
        (Shape::S64, vec![Val::S64(i64::MIN), Val::S64(i64::MAX)]),
        (Shape::U64, vec![Val::U64(0), Val::U64(u64::MAX)]),
        (Shape::F32, vec![Val::Float32(-0.0), Val::Float32(f32::MIN_POSITIVE)]),
        (Shape::F64, vec![Val::Float64(f64::NEG_INFINITY), Val::Float64(f64::MAX)]),
        (Shape::Char, vec![Val::Char('\0'), Val::Char(char::MAX)]),
        (Shape::String, vec![text(""), text("ä€🦀\0"), text(&"x".repeat(100_000))]),
        (
            Shape::List(boxed(Shape::U8)),
            vec![Val::List(Vec::new()), Val::List((0..=u8::MAX).map(Val::U8).collect())],
        ),
        (
            Shape::FixedLengthList(boxed(Shape::U16), 2),
            vec![Val::FixedLengthList(vec![Val::U16(1), Val::U16(2)])],
        ),
        (
            Shape::Map(boxed(Shape::String), boxed(Shape::Bool)),
            vec![
                Val::Map(Vec::new()),
                Val::Map(vec![(text("a"), Val::Bool(true)), (text("b"), Val::Bool(false))]),
            ],
        ),
        (record.clone(), vec![record_value.clone()]),
        (Shape::List(boxed(record.clone())), vec![Val::List(vec![record_value.clone(); 3])]),
        (Shape::Tuple(vec![Shape::U8, record]), vec![Val::Tuple(vec![Val::U8(1), record_value])]),
        (
            Shape::Variant(vec![(name("none"), None), (name("some"), Some(Shape::Char))]),
            vec![
                Val::Variant(name("none"), None),
                Val::Variant(name("some"), some(Val::Char('x'))),
            ],
        ),
        (Shape::Enum(names()), vec![Val::Enum(name("one")), Val::Enum(name("three"))]),
        (
            Shape::Option(boxed(Shape::Option(boxed(Shape::U8)))),
            vec![
                Val::Option(None),
                Val::Option(some(Val::Option(None))),
                Val::Option(some(Val::Option(some(Val::U8(1))))),
            ],
        ),
        (
            Shape::Result(None, Some(boxed(Shape::String))),
            vec![Val::Result(Ok(None)), Val::Result(Err(some(text("no"))))],
        ),
        (
            Shape::Result(Some(boxed(Shape::U8)), None),
            vec![Val::Result(Ok(some(Val::U8(9)))), Val::Result(Err(None))],
        ),
        (
            Shape::Flags(flags.clone()),
            vec![
                Val::Flags(Vec::new()),
                Val::Flags(vec![flags[0].clone(), flags[8].clone(), flags[39].clone()]),
                Val::Flags(flags),
            ],
        ),
    ]
}

fn boxed_list() -> Shape {
    Shape::List(boxed(Shape::String))
}

pub(super) fn signature(params: &[Shape], result: Option<Shape>) -> Signature {
    let params = params.iter().map(|shape| (name("it"), shape.clone())).collect();
    Signature { params, result, is_async: false }
}

#[test]
fn every_kind_of_value_crosses_as_it_is() {
    for (shape, values) in kinds() {
        let signature = signature(std::slice::from_ref(&shape), Some(shape.clone()));
        for value in values {
            let value = [value];
            let bytes = write_arguments(&signature, &value).expect("a value of its type");
            assert_eq!(read_arguments(&signature, &bytes).expect("the same"), value);
            let bytes = write_result(&signature, &value).expect("a value of its type");
            assert_eq!(read_result(&signature, &bytes).expect("the same"), Some(value[0].clone()));
        }
    }
}

#[test]
fn several_arguments_and_none_cross() {
    let (shapes, values): (Vec<_>, Vec<_>) =
        kinds().into_iter().map(|(shape, mut values)| (shape, values.remove(0))).unzip();
    let all = signature(&shapes, None);
    let bytes = write_arguments(&all, &values).expect("values of their types");
    assert_eq!(read_arguments(&all, &bytes).expect("the same"), values);
    let none = signature(&[], None);
    assert_eq!(write_arguments(&none, &[]), Ok(Vec::new()));
    assert_eq!(read_result(&none, &[]), Ok(None));
}

#[test]
fn nans_keep_their_bits() {
    let signature = signature(&[Shape::F32, Shape::F64], None);
    let (single, double) = (f32::from_bits(0x7fc0_1234), f64::from_bits(0xfff8_0000_0000_1234));
    let bytes = write_arguments(&signature, &[Val::Float32(single), Val::Float64(double)]);
    let values = read_arguments(&signature, &bytes.expect("numbers")).expect("the same");
    let [Val::Float32(one), Val::Float64(other)] = values[..] else { panic!("{values:?}") };
    assert_eq!((one.to_bits(), other.to_bits()), (single.to_bits(), double.to_bits()));
}

#[test]
fn bytes_cost_one_byte_each() {
    let signature = signature(&[Shape::List(boxed(Shape::U8))], None);
    let bytes = write_arguments(&signature, &[Val::List(vec![Val::U8(3); 1_000])]);
    assert_eq!(bytes.expect("a list").len(), 4 + 1_000);
}

#[test]
fn what_is_not_of_its_type_or_damaged_is_refused() {
    let kinds = kinds();
    for (index, (shape, _)) in kinds.iter().enumerate() {
        let own = signature(std::slice::from_ref(shape), None);
        for (other, (_, values)) in kinds.iter().enumerate() {
            let wrong = write_arguments(&own, &values[..1]);
            let related = matches!(
                (shape, &kinds[other].0),
                (Shape::List(_), Shape::List(_))
                    | (Shape::Result(..), Shape::Result(..))
                    | (Shape::Flags(_), Shape::Flags(_))
            );
            assert!(wrong.is_err() || index == other || related, "{shape} {values:?}");
        }
        for value in &kinds[index].1 {
            let bytes = write_arguments(&own, std::slice::from_ref(value)).expect("a value");
            for cut in 0..bytes.len().min(50) {
                assert_eq!(read_arguments(&own, &bytes[..cut]), Err(Invalid::Bytes), "{shape}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(read_arguments(&own, &longer), Err(Invalid::Bytes), "{shape}");
        }
    }
}

#[test]
fn an_error_says_that_the_callee_is_unavailable_where_it_can() {
    let result = |error: Option<Shape>| signature(&[], Some(Shape::Result(None, error.map(boxed))));
    let error = |shape| {
        let signature = result(Some(shape));
        let bytes = unavailable(&signature, "why")?;
        assert!(is_err(&signature, &bytes));
        match read_result(&signature, &bytes) {
            Ok(Some(Val::Result(Err(Some(error))))) => Some(*error),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error(Shape::String), Some(text("why")));
    let of = |payload| {
        Shape::Variant(vec![(name("other"), Some(Shape::U8)), (name("unavailable"), payload)])
    };
    let variant = |payload| Some(Val::Variant(name("unavailable"), payload));
    assert_eq!(error(of(None)), variant(None));
    assert_eq!(error(of(Some(Shape::String))), variant(some(text("why"))));
    assert_eq!(error(of(Some(Shape::U8))), None);
    let names = Shape::Enum(vec![name("unavailable")]);
    assert_eq!(error(names), Some(Val::Enum(name("unavailable"))));
    assert_eq!(error(Shape::Enum(vec![name("gone")])), None);
    assert_eq!(unavailable(&result(None), "why"), None);
    assert_eq!(unavailable(&signature(&[], Some(Shape::String)), "why"), None);
    assert_eq!(unavailable(&signature(&[], None), "why"), None);
}

#[test]
fn only_a_result_of_its_own_is_a_failure() {
    let is_failure = |result: Shape, value: Val| {
        let signature = signature(&[], Some(result));
        is_err(&signature, &write_result(&signature, &[value]).expect("a value of its type"))
    };
    let result = || Shape::Result(None, None);
    assert!(is_failure(result(), Val::Result(Err(None))));
    assert!(!is_failure(result(), Val::Result(Ok(None))));
    let other = Shape::Option(boxed(result()));
    assert!(!is_failure(other, Val::Option(some(Val::Result(Err(None))))));
    assert!(!is_err(&signature(&[], None), &[]));
}
