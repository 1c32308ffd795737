//! How many slots values are passed in: values of core WebAssembly, as the canonical ABI flattens
//! types to them. Wasmtime counts them as well, and refuses to link or call what differs.

use crate::runtime::functions::Shape;

/// As many parameters as a function has at the most, and as many results as an asynchronous one
/// returns. What takes more is in memory.
pub(super) const MAX_SLOTS: usize = 16;

/// What stands for any number above that.
pub(super) const IN_MEMORY: usize = MAX_SLOTS + 1;

/// How many slots parameters of these types take, or a result; [`IN_MEMORY`] where there
/// are too many.
pub(in crate::runtime) fn slots<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> usize {
    shapes.into_iter().fold(0, |sum, shape| IN_MEMORY.min(sum + slots_of(shape)))
}

fn slots_of(shape: &Shape) -> usize {
    let count = match shape {
        Shape::Bool | Shape::Char | Shape::Enum(_) => 1,
        Shape::S8 | Shape::U8 | Shape::S16 | Shape::U16 | Shape::S32 | Shape::U32 => 1,
        Shape::S64 | Shape::U64 | Shape::F32 | Shape::F64 => 1,
        // Where it is, and how long.
        Shape::String | Shape::List(_) | Shape::Map(..) => 2,
        Shape::FixedLengthList(of, length) => slots_of(of).saturating_mul(*length as usize),
        Shape::Record(fields) => slots(fields.iter().map(|(_, of)| of)),
        Shape::Tuple(members) => slots(members),
        // All cases share them.
        Shape::Variant(cases) => 1 + most(cases.iter().filter_map(|(_, of)| of.as_ref())),
        Shape::Option(of) => 1 + slots_of(of),
        Shape::Result(ok, err) => 1 + most([ok, err].into_iter().flatten().map(|of| &**of)),
        Shape::Flags(names) => names.len().div_ceil(32),
    };
    count.min(IN_MEMORY)
}

fn most<'a>(cases: impl Iterator<Item = &'a Shape>) -> usize {
    cases.map(slots_of).max().unwrap_or(0)
}
