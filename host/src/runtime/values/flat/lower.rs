//! Into a guest: from bytes to its slots and its memory.
//!
//! The bytes were made of values, but may have been kept on a disk since: they are looked at as
//! if they were anybody's. Memory is looked up anew for each value, as a guest that is asked
//! for room may move it.

use std::mem::{self, MaybeUninit};

use wasmtime::ValRaw;
use wasmtime::component::__internal::wasmtime_environ::component::{
    TypeMap, TypeTuple, VariantInfo,
};
use wasmtime::component::__internal::{
    CanonicalAbiInfo, ComponentTypes, InterfaceType, LowerContext,
};
use wasmtime::component::Lower;

use super::super::Invalid;
use super::super::reader::Reader;
use super::layout::{in_order, width};
use super::slots::MAX_SLOTS;

/// To the slots of a function's parameters; where they take more than there are, to memory, and to
/// the first slot where that is.
pub(super) fn to_parameters<T>(
    context: &mut LowerContext<'_, T>,
    list: &TypeTuple,
    bytes: &[u8],
    slots: &mut [ValRaw; MAX_SLOTS],
) -> wasmtime::Result<()> {
    if list.abi.flat_count(MAX_SLOTS).is_some() {
        return to_slots(context, list, bytes, slots);
    }
    let at = context.realloc(0, 0, list.abi.align32, list.abi.size32 as usize)?;
    slots[0] = address(at)?;
    to_memory(context, list, bytes, at)
}

/// To slots, which are zeros where nothing is written.
pub(super) fn to_slots<T>(
    context: &mut LowerContext<'_, T>,
    list: &TypeTuple,
    bytes: &[u8],
    mut slots: &mut [ValRaw],
) -> wasmtime::Result<()> {
    let mut lowering = Lowering::new(context, bytes);
    for ty in &list.types {
        lowering.lower(*ty, &mut slots)?;
    }
    Ok(lowering.bytes.end()?)
}

/// To memory, from `at` on.
pub(super) fn to_memory<T>(
    context: &mut LowerContext<'_, T>,
    list: &TypeTuple,
    bytes: &[u8],
    at: usize,
) -> wasmtime::Result<()> {
    let mut lowering = Lowering::new(context, bytes);
    lowering.each(list.types.iter().copied(), at)?;
    Ok(lowering.bytes.end()?)
}

struct Lowering<'c, 'a, 'b, T: 'static> {
    context: &'c mut LowerContext<'a, T>,
    types: &'a ComponentTypes,
    /// What is left.
    bytes: Reader<'b>,
}

impl<'c, 'a, 'b, T: 'static> Lowering<'c, 'a, 'b, T> {
    fn new(context: &'c mut LowerContext<'a, T>, bytes: &'b [u8]) -> Self {
        let types = context.types;
        Self { context, types, bytes: Reader::new(bytes) }
    }

    fn lower(&mut self, ty: InterfaceType, slots: &mut &mut [ValRaw]) -> wasmtime::Result<()> {
        use InterfaceType as Ty;
        let types = self.types;
        let value = match ty {
            Ty::Bool => ValRaw::u32(self.bytes.flag()?.into()),
            Ty::S8 => ValRaw::i32(i8::from_le_bytes(self.bytes.array()?).into()),
            Ty::U8 => ValRaw::u32(u8::from_le_bytes(self.bytes.array()?).into()),
            Ty::S16 => ValRaw::i32(i16::from_le_bytes(self.bytes.array()?).into()),
            Ty::U16 => ValRaw::u32(u16::from_le_bytes(self.bytes.array()?).into()),
            Ty::S32 | Ty::U32 => ValRaw::u32(u32::from_le_bytes(self.bytes.array()?)),
            Ty::S64 | Ty::U64 => ValRaw::u64(u64::from_le_bytes(self.bytes.array()?)),
            Ty::Float32 => ValRaw::f32(u32::from_le_bytes(self.bytes.array()?)),
            Ty::Float64 => ValRaw::f64(u64::from_le_bytes(self.bytes.array()?)),
            Ty::Char => ValRaw::u32(u32::from_le_bytes(self.character()?)),
            Ty::String | Ty::List(_) | Ty::Map(_) => {
                let (at, length) = self.elsewhere(ty)?;
                put(slots, address(at)?)?;
                address(length)?
            }
            Ty::Record(index) => {
                let mut fields = types[index].fields.iter();
                return fields.try_for_each(|field| self.lower(field.ty, slots));
            }
            Ty::Tuple(index) => {
                let mut members = types[index].types.iter();
                return members.try_for_each(|ty| self.lower(*ty, slots));
            }
            Ty::FixedLengthList(index) => {
                let list = &types[index];
                return (0..list.size).try_for_each(|_| self.lower(list.element, slots));
            }
            Ty::Flags(index) => return self.flags_to_slots(types[index].names.len(), slots),
            Ty::Variant(_) | Ty::Enum(_) | Ty::Option(_) | Ty::Result(_) => {
                // The slots of all cases are those of the largest: others leave zeros.
                let mut own = take(slots, types.canonical_abi(&ty))?;
                let (case, payload) = self.case(ty)?;
                put(&mut own, ValRaw::u32(case))?;
                return match payload {
                    Some(payload) => self.lower(payload, &mut own),
                    None => Ok(()),
                };
            }
            Ty::Own(_) | Ty::Borrow(_) | Ty::Future(_) | Ty::Stream(_) | Ty::ErrorContext(_) => {
                return Err(Invalid::Type.into());
            }
        };
        Ok(put(slots, value)?)
    }

    /// To memory that the guest gave for it.
    fn store(&mut self, ty: InterfaceType, at: usize) -> wasmtime::Result<()> {
        use InterfaceType as Ty;
        let types = self.types;
        if let Some(width) = width(ty) {
            return self.copy(at, width);
        }
        match ty {
            Ty::Bool => {
                let flag = u8::from(self.bytes.flag()?);
                self.write(at, &[flag])
            }
            Ty::Char => {
                let code = self.character()?;
                self.write(at, &code)
            }
            Ty::String | Ty::List(_) | Ty::Map(_) => {
                let (there, length) = self.elsewhere(ty)?;
                self.write(at, &word(there)?)?;
                self.write(at.saturating_add(4), &word(length)?)
            }
            Ty::Record(index) => self.each(types[index].fields.iter().map(|field| field.ty), at),
            Ty::Tuple(index) => self.each(types[index].types.iter().copied(), at),
            Ty::FixedLengthList(index) => {
                let list = &types[index];
                self.members(list.element, list.size as usize, at)
            }
            Ty::Flags(index) => {
                let size = types[index].abi.size32 as usize;
                self.flags(types[index].names.len(), at, size)
            }
            Ty::Variant(index) => self.variant(ty, &types[index].info, at),
            Ty::Enum(index) => self.variant(ty, &types[index].info, at),
            Ty::Option(index) => self.variant(ty, &types[index].info, at),
            Ty::Result(index) => self.variant(ty, &types[index].info, at),
            _ => Err(Invalid::Type.into()),
        }
    }

    /// Values one after the other, each where its alignment lets it be.
    fn each(
        &mut self,
        members: impl Iterator<Item = InterfaceType>,
        start: usize,
    ) -> wasmtime::Result<()> {
        let mut end = 0;
        for ty in members {
            let (at, _) = in_order(self.types.canonical_abi(&ty), &mut end);
            self.store(ty, start.saturating_add(at))?;
        }
        Ok(())
    }

    /// The members of a list.
    fn members(&mut self, ty: InterfaceType, count: usize, start: usize) -> wasmtime::Result<()> {
        if let Some(width) = width(ty) {
            return self.copy(start, count.saturating_mul(width));
        }
        let size = self.types.canonical_abi(&ty).size32 as usize;
        for index in 0..count {
            self.store(ty, start.saturating_add(index.saturating_mul(size)))?;
        }
        Ok(())
    }

    /// What is not where its type is: where it is in memory, and how long.
    fn elsewhere(&mut self, ty: InterfaceType) -> wasmtime::Result<(usize, usize)> {
        let types = self.types;
        match ty {
            InterfaceType::String => self.string(),
            InterfaceType::List(index) => {
                let element = types[index].element;
                let count = self.length(width(element).unwrap_or(1))?;
                let at = self.room(count, types.canonical_abi(&element))?;
                self.members(element, count, at)?;
                Ok((at, count))
            }
            InterfaceType::Map(index) => self.map(&types[index]),
            _ => Err(Invalid::Type.into()),
        }
    }

    fn map(&mut self, map: &TypeMap) -> wasmtime::Result<(usize, usize)> {
        let count = self.length(1)?;
        let start = self.room(count, &map.entry_abi)?;
        for index in 0..count {
            let at = start.saturating_add(index.saturating_mul(map.entry_abi.size32 as usize));
            self.store(map.key, at)?;
            self.store(map.value, at.saturating_add(map.value_offset32 as usize))?;
        }
        Ok((start, count))
    }

    /// In whatever encoding the guest has.
    fn string(&mut self) -> wasmtime::Result<(usize, usize)> {
        let length = self.length(1)?;
        let text = str::from_utf8(self.bytes.take(length)?).map_err(|_| Invalid::Bytes)?;
        let mut pair = MaybeUninit::new([ValRaw::u32(0); 2]);
        text.linear_lower_to_flat(self.context, InterfaceType::String, &mut pair)?;
        // SAFETY: it was made of two values, and can only have been written over.
        #[expect(unsafe_code, reason = "Wasmtime writes to where nothing has to be")]
        let [at, length] = unsafe { pair.assume_init() };
        Ok((at.get_u32() as usize, length.get_u32() as usize))
    }

    fn variant(
        &mut self,
        ty: InterfaceType,
        info: &VariantInfo,
        at: usize,
    ) -> wasmtime::Result<()> {
        let (case, payload) = self.case(ty)?;
        let size = usize::from(info.size);
        self.write(at, &case.to_le_bytes()[..size])?;
        match payload {
            Some(payload) => self.store(payload, at.saturating_add(info.payload_offset32 as usize)),
            None => Ok(()),
        }
    }

    /// Which case it is, and what comes with it.
    fn case(&mut self, ty: InterfaceType) -> Result<(u32, Option<InterfaceType>), Invalid> {
        let types = self.types;
        let (index, payload) = match ty {
            InterfaceType::Variant(ty) => {
                let index = self.bytes.length()?;
                let (_, payload) = types[ty].cases.get_index(index).ok_or(Invalid::Bytes)?;
                (index, *payload)
            }
            InterfaceType::Enum(ty) => {
                let index = self.bytes.length()?;
                if index >= types[ty].names.len() {
                    return Err(Invalid::Bytes);
                }
                (index, None)
            }
            InterfaceType::Option(ty) => match self.bytes.flag()? {
                false => (0, None),
                true => (1, Some(types[ty].ty)),
            },
            InterfaceType::Result(ty) => match self.bytes.flag()? {
                false => (0, types[ty].ok),
                true => (1, types[ty].err),
            },
            _ => return Err(Invalid::Type),
        };
        Ok((u32::try_from(index).map_err(|_| Invalid::Bytes)?, payload))
    }

    fn character(&mut self) -> Result<[u8; 4], Invalid> {
        let code = self.bytes.array()?;
        let is_one = char::from_u32(u32::from_le_bytes(code)).is_some();
        if is_one { Ok(code) } else { Err(Invalid::Bytes) }
    }

    fn flags_to_slots(&mut self, count: usize, slots: &mut &mut [ValRaw]) -> wasmtime::Result<()> {
        let set = self.bytes.take(count.div_ceil(8))?;
        for (index, set) in set.chunks(4).enumerate() {
            let mut bits = [0; 4];
            bits[..set.len()].copy_from_slice(set);
            let left = count - 32 * index;
            // Without bits that stand for none.
            let mask = if left >= 32 { u32::MAX } else { (1 << left) - 1 };
            put(slots, ValRaw::u32(u32::from_le_bytes(bits) & mask))?;
        }
        Ok(())
    }

    /// The same to memory, where they may take some bytes more.
    fn flags(&mut self, count: usize, at: usize, size: usize) -> wasmtime::Result<()> {
        let set = self.bytes.take(count.div_ceil(8))?;
        let place = self.place(at, size)?;
        let (own, rest) = place.split_at_mut_checked(set.len()).ok_or(Invalid::Type)?;
        own.copy_from_slice(set);
        rest.fill(0);
        if let Some(last) = own.last_mut().filter(|_| !count.is_multiple_of(8)) {
            *last &= (1 << (count % 8)) - 1;
        }
        Ok(())
    }

    /// A length of members that have so many bytes at the least, which must be there before the
    /// guest is asked for room.
    fn length(&mut self, least: usize) -> Result<usize, Invalid> {
        let length = self.bytes.length()?;
        let are_there = length.saturating_mul(least) <= self.bytes.left();
        if are_there { Ok(length) } else { Err(Invalid::Bytes) }
    }

    /// Room in the guest's memory.
    fn room(&mut self, count: usize, abi: &CanonicalAbiInfo) -> wasmtime::Result<usize> {
        let size = count.checked_mul(abi.size32 as usize).ok_or(Invalid::TooLong)?;
        self.context.realloc(0, 0, abi.align32, size)
    }

    /// The next bytes as they are.
    fn copy(&mut self, at: usize, size: usize) -> wasmtime::Result<()> {
        let bytes = self.bytes.take(size)?;
        self.write(at, bytes)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> wasmtime::Result<()> {
        self.place(at, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn place(&mut self, at: usize, size: usize) -> Result<&mut [u8], Invalid> {
        let memory = self.context.as_slice_mut();
        memory.get_mut(at..).and_then(|rest| rest.get_mut(..size)).ok_or(Invalid::Beyond)
    }
}

/// An address or a length, which has 32 bits in a guest.
fn address(value: usize) -> Result<ValRaw, Invalid> {
    u32::try_from(value).map(ValRaw::u32).map_err(|_| Invalid::TooLong)
}

fn word(value: usize) -> Result<[u8; 4], Invalid> {
    u32::try_from(value).map(u32::to_le_bytes).map_err(|_| Invalid::TooLong)
}

fn put(slots: &mut &mut [ValRaw], value: ValRaw) -> Result<(), Invalid> {
    let (first, rest) = mem::take(slots).split_first_mut().ok_or(Invalid::Type)?;
    *first = value;
    *slots = rest;
    Ok(())
}

/// The slots of a type.
fn take<'s>(
    slots: &mut &'s mut [ValRaw],
    abi: &CanonicalAbiInfo,
) -> Result<&'s mut [ValRaw], Invalid> {
    let count = abi.flat_count(usize::MAX).ok_or(Invalid::Type)?;
    let (own, rest) = mem::take(slots).split_at_mut_checked(count).ok_or(Invalid::Type)?;
    *slots = rest;
    Ok(own)
}
