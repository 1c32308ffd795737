//! What Wasmtime lifts and lowers: types of our own that stand for any signature's.
//!
//! Its traits for that are unsafe. What they ask for is here; the walks ([`lift`], [`lower`])
//! are safe code that checks each access itself:
//!
//! - What they are passed as is a list of slots, `[ValRaw; N]`, and `N` is what the type takes:
//!   looked at when a function is linked or called, and again before slots are read or written.
//! - Each slot that is handed over was written.
//! - `SIZE32` is nothing, so that Wasmtime hands on where a value is, and looks at none of it. That
//!   is not what its type takes, so the walks look at the bounds of all that they touch.

use std::mem::{self, MaybeUninit};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use wasmtime::ValRaw;
use wasmtime::component::__internal::wasmtime_environ::component::TypeTuple;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, ComponentTypes, InstanceType, InterfaceType, LiftContext, LowerContext,
};
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Lower};

use super::super::Invalid;
use super::slots::{IN_MEMORY, MAX_SLOTS};
use super::{lift, lower};
use crate::runtime::account::outside;

/// What a guest gave, the arguments of a call or a result, of so many slots.
pub(super) struct Lifted<const N: usize>(pub(super) Vec<u8>);

/// The result of a call, for the guest that made it: in no slot or one, or else in its memory.
pub(super) struct Lowered<const N: usize>(Held);

/// The arguments of a call, for the guest that is called. There are always slots for the most
/// that a function can take; it reads those that it has.
pub(super) struct Arguments(Mutex<Held>);

/// Bytes that are on no guest's account, and are freed so.
#[derive(Default)]
struct Held(Bytes);

/// Parameters or results, whose types are told as those of a tuple.
fn list_of(types: &ComponentTypes, ty: InterfaceType) -> Result<&TypeTuple, Invalid> {
    match ty {
        InterfaceType::Tuple(index) => Ok(&types[index]),
        _ => Err(Invalid::Type),
    }
}

/// Where slots are read or written, there are as many as the type takes.
fn check_slots(list: &TypeTuple, count: usize) -> Result<(), Invalid> {
    let is_so = list.abi.flat_count(MAX_SLOTS) == Some(count);
    if is_so { Ok(()) } else { Err(Invalid::Type) }
}

// SAFETY: `Lower` is a list of slots, and as many as the type takes; where that is in memory
// there is one slot more than any value has, and Wasmtime reads it from there.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl<const N: usize> ComponentType for Lifted<N> {
    type Lower = [ValRaw; N];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(ty: &InterfaceType, instance: &InstanceType<'_>) -> wasmtime::Result<()> {
        let list = list_of(instance.types, *ty)?;
        let is_so = list.abi.flat_count(MAX_SLOTS).unwrap_or(IN_MEMORY) == N;
        if is_so { Ok(()) } else { Err(Invalid::Type.into()) }
    }
}

// SAFETY: it is told its types as those of a list, and says so itself where they are no list.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl<const N: usize> ComponentNamedList for Lifted<N> {}

// SAFETY: it reads the slots that it is given and no others, and the guest's memory by slices.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl<const N: usize> Lift for Lifted<N> {
    fn linear_lift_from_flat(
        context: &mut LiftContext<'_>,
        ty: InterfaceType,
        slots: &[ValRaw; N],
    ) -> wasmtime::Result<Self> {
        let list = list_of(context.types, ty)?;
        check_slots(list, N)?;
        lift::from_slots(context, list, slots).map(Self)
    }

    fn linear_lift_from_memory(
        context: &mut LiftContext<'_>,
        ty: InterfaceType,
        place: &[u8],
    ) -> wasmtime::Result<Self> {
        let list = list_of(context.types, ty)?;
        // It has no bytes: it says where they are.
        let start = context.memory().as_ptr().addr();
        let at = place.as_ptr().addr().checked_sub(start).ok_or(Invalid::Beyond)?;
        lift::from_memory(context, list, at).map(Self)
    }
}

// SAFETY: as for `Lifted`. Where the result is in memory there are no slots, and none are
// written: `check_slots`.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl<const N: usize> ComponentType for Lowered<N> {
    type Lower = [ValRaw; N];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(ty: &InterfaceType, instance: &InstanceType<'_>) -> wasmtime::Result<()> {
        let list = list_of(instance.types, *ty)?;
        let is_so = list.abi.flat_count(1).unwrap_or(0) == N;
        if is_so { Ok(()) } else { Err(Invalid::Type.into()) }
    }
}

// SAFETY: as for `Lifted`.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl<const N: usize> ComponentNamedList for Lowered<N> {}

// SAFETY: all slots are written, as they are the type's, and memory by slices.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl<const N: usize> Lower for Lowered<N> {
    fn linear_lower_to_flat<T>(
        &self,
        context: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        slots: &mut MaybeUninit<[ValRaw; N]>,
    ) -> wasmtime::Result<()> {
        let list = list_of(context.types, ty)?;
        check_slots(list, N)?;
        let mut written = [ValRaw::u32(0); N];
        lower::to_slots(context, list, &self.0.0, &mut written)?;
        slots.write(written);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        context: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        at: usize,
    ) -> wasmtime::Result<()> {
        let list = list_of(context.types, ty)?;
        lower::to_memory(context, list, &self.0.0, at)
    }
}

// SAFETY: `Lower` is as many slots as a function has at the most, of which it reads its own.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl ComponentType for Arguments {
    type Lower = [ValRaw; MAX_SLOTS];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(ty: &InterfaceType, instance: &InstanceType<'_>) -> wasmtime::Result<()> {
        list_of(instance.types, *ty)?;
        Ok(())
    }
}

// SAFETY: as for `Lifted`.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl ComponentNamedList for Arguments {}

// SAFETY: all slots are written: those of the type, or where its values are if they take more
// than that; and zeros in all others. Memory is written by slices.
#[expect(unsafe_code, reason = "Wasmtime's traits for that are unsafe")]
unsafe impl Lower for Arguments {
    fn linear_lower_to_flat<T>(
        &self,
        context: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        slots: &mut MaybeUninit<[ValRaw; MAX_SLOTS]>,
    ) -> wasmtime::Result<()> {
        let list = list_of(context.types, ty)?;
        let mut written = [ValRaw::u32(0); MAX_SLOTS];
        lower::to_parameters(context, list, &self.take().0, &mut written)?;
        slots.write(written);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        context: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        at: usize,
    ) -> wasmtime::Result<()> {
        let list = list_of(context.types, ty)?;
        lower::to_memory(context, list, &self.take().0, at)
    }
}

impl<const N: usize> Lowered<N> {
    pub(super) fn new(result: Bytes) -> Self {
        Self(Held(result))
    }
}

impl Arguments {
    pub(super) fn new(arguments: Bytes) -> Self {
        Self(Mutex::new(Held(arguments)))
    }

    /// Once: Wasmtime keeps them until the call is over, and they are not needed for so long.
    fn take(&self) -> Held {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.0);
        outside(|| drop(bytes));
    }
}
