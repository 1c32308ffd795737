//! Where values are in memory, as far as reading and writing have it in common.

use wasmtime::component::__internal::{CanonicalAbiInfo, InterfaceType};

/// How many bytes a number has, which are the same in memory and here; `None` for all else.
pub(super) fn width(ty: InterfaceType) -> Option<usize> {
    use InterfaceType as Ty;
    match ty {
        Ty::S8 | Ty::U8 => Some(1),
        Ty::S16 | Ty::U16 => Some(2),
        Ty::S32 | Ty::U32 | Ty::Float32 => Some(4),
        Ty::S64 | Ty::U64 | Ty::Float64 => Some(8),
        _ => None,
    }
}

/// Where the next of several values is, and how many bytes it has: as soon behind the `end` of
/// the last as it may be.
pub(super) fn in_order(abi: &CanonicalAbiInfo, end: &mut usize) -> (usize, usize) {
    let (at, size) = (end.next_multiple_of(abi.align32 as usize), abi.size32 as usize);
    *end = at.saturating_add(size);
    (at, size)
}
