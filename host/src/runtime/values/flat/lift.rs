//! Out of a guest: from its slots and its memory to bytes.
//!
//! What a guest says of where its values are may be anything. It pays for each byte that is
//! made of them with the fuel of its call: lists that say that they are all in one place are
//! read for each, and end with it.

use wasmtime::ValRaw;
use wasmtime::component::__internal::wasmtime_environ::component::{
    StringEncoding, TypeMap, TypeTuple, VariantInfo,
};
use wasmtime::component::__internal::{
    CanonicalAbiInfo, ComponentTypes, InterfaceType, LiftContext,
};
use wasmtime::component::Lift;

use super::super::Invalid;
use super::layout::{in_order, width};

/// What is passed in slots.
pub(super) fn from_slots(
    context: &mut LiftContext<'_>,
    list: &TypeTuple,
    mut slots: &[ValRaw],
) -> wasmtime::Result<Vec<u8>> {
    let mut lifting = Lifting::new(context);
    for ty in &list.types {
        lifting.lift(*ty, &mut slots)?;
    }
    Ok(lifting.bytes)
}

/// What is in memory, from `at` on.
pub(super) fn from_memory(
    context: &mut LiftContext<'_>,
    list: &TypeTuple,
    at: usize,
) -> wasmtime::Result<Vec<u8>> {
    let mut lifting = Lifting::new(context);
    let place = lifting.place(at, 1, &list.abi)?;
    lifting.each(list.types.iter().copied(), place)?;
    Ok(lifting.bytes)
}

struct Lifting<'c, 'a> {
    context: &'c mut LiftContext<'a>,
    types: &'a ComponentTypes,
    /// The bytes so far.
    bytes: Vec<u8>,
}

impl<'c, 'a> Lifting<'c, 'a> {
    fn new(context: &'c mut LiftContext<'a>) -> Self {
        let types: &'a ComponentTypes = context.types;
        Self { context, types, bytes: Vec::new() }
    }

    fn lift(&mut self, ty: InterfaceType, slots: &mut &[ValRaw]) -> wasmtime::Result<()> {
        use InterfaceType as Ty;
        let types = self.types;
        match ty {
            Ty::Bool => self.write(&[u8::from(next(slots)?.get_u32() != 0)]),
            Ty::S8 | Ty::U8 => self.write(&next(slots)?.get_u32().to_le_bytes()[..1]),
            Ty::S16 | Ty::U16 => self.write(&next(slots)?.get_u32().to_le_bytes()[..2]),
            Ty::S32 | Ty::U32 => self.write(&next(slots)?.get_u32().to_le_bytes()),
            Ty::S64 | Ty::U64 => self.write(&next(slots)?.get_u64().to_le_bytes()),
            Ty::Float32 => self.write(&next(slots)?.get_f32().to_le_bytes()),
            Ty::Float64 => self.write(&next(slots)?.get_f64().to_le_bytes()),
            Ty::Char => self.character(next(slots)?.get_u32()),
            Ty::String => {
                let (at, length) = (next(slots)?.get_u32(), next(slots)?.get_u32());
                self.string(at, length)
            }
            Ty::List(index) => {
                let (at, length) = (next(slots)?.get_u32(), next(slots)?.get_u32());
                self.list(types[index].element, at, length)
            }
            Ty::Map(index) => {
                let (at, length) = (next(slots)?.get_u32(), next(slots)?.get_u32());
                self.map(&types[index], at, length)
            }
            Ty::Record(index) => {
                let mut fields = types[index].fields.iter();
                fields.try_for_each(|field| self.lift(field.ty, slots))
            }
            Ty::Tuple(index) => {
                let mut members = types[index].types.iter();
                members.try_for_each(|ty| self.lift(*ty, slots))
            }
            Ty::FixedLengthList(index) => {
                let list = &types[index];
                (0..list.size).try_for_each(|_| self.lift(list.element, slots))
            }
            Ty::Flags(index) => self.flags_from_slots(types[index].names.len(), slots),
            Ty::Variant(_) | Ty::Enum(_) | Ty::Option(_) | Ty::Result(_) => {
                // The slots of all cases are those of the largest.
                let mut own = take(slots, types.canonical_abi(&ty))?;
                let case = next(&mut own)?.get_u32();
                match self.case(ty, case)? {
                    Some(payload) => self.lift(payload, &mut own),
                    None => Ok(()),
                }
            }
            Ty::Own(_) | Ty::Borrow(_) | Ty::Future(_) | Ty::Stream(_) | Ty::ErrorContext(_) => {
                Err(Invalid::Type.into())
            }
        }
    }

    /// What is in `place`, which is as large as its type.
    fn load(&mut self, ty: InterfaceType, place: &'a [u8]) -> wasmtime::Result<()> {
        use InterfaceType as Ty;
        let types = self.types;
        if let Some(width) = width(ty) {
            return self.write(part(place, 0, width)?);
        }
        match ty {
            Ty::Bool => self.write(&[u8::from(*part(place, 0, 1)? != [0_u8])]),
            Ty::Char => self.character(word(place, 0)?),
            Ty::String => self.string(word(place, 0)?, word(place, 4)?),
            Ty::List(index) => self.list(types[index].element, word(place, 0)?, word(place, 4)?),
            Ty::Map(index) => self.map(&types[index], word(place, 0)?, word(place, 4)?),
            Ty::Record(index) => self.each(types[index].fields.iter().map(|field| field.ty), place),
            Ty::Tuple(index) => self.each(types[index].types.iter().copied(), place),
            Ty::FixedLengthList(index) => {
                let list = &types[index];
                self.members(list.element, list.size, place)
            }
            Ty::Flags(index) => {
                let count = types[index].names.len();
                self.flags(count, part(place, 0, count.div_ceil(8))?)
            }
            Ty::Variant(index) => self.variant(ty, &types[index].info, place),
            Ty::Enum(index) => self.variant(ty, &types[index].info, place),
            Ty::Option(index) => self.variant(ty, &types[index].info, place),
            Ty::Result(index) => self.variant(ty, &types[index].info, place),
            _ => Err(Invalid::Type.into()),
        }
    }

    /// Values one after the other, each where its alignment lets it be.
    fn each(
        &mut self,
        members: impl Iterator<Item = InterfaceType>,
        place: &'a [u8],
    ) -> wasmtime::Result<()> {
        let mut end = 0;
        for ty in members {
            let (at, size) = in_order(self.types.canonical_abi(&ty), &mut end);
            self.load(ty, part(place, at, size)?)?;
        }
        Ok(())
    }

    /// The members of a list, without its length.
    fn members(&mut self, ty: InterfaceType, count: u32, place: &'a [u8]) -> wasmtime::Result<()> {
        let count = count as usize;
        if let Some(width) = width(ty) {
            return self.write(part(place, 0, count.saturating_mul(width))?);
        }
        let size = self.types.canonical_abi(&ty).size32 as usize;
        for index in 0..count {
            self.load(ty, part(place, index.saturating_mul(size), size)?)?;
        }
        Ok(())
    }

    fn list(&mut self, ty: InterfaceType, at: u32, length: u32) -> wasmtime::Result<()> {
        let place = self.place(at as usize, length, self.types.canonical_abi(&ty))?;
        if width(ty).is_some() {
            return self.sized(length, place);
        }
        self.write(&length.to_le_bytes())?;
        self.members(ty, length, place)
    }

    fn map(&mut self, map: &TypeMap, at: u32, length: u32) -> wasmtime::Result<()> {
        let types = self.types;
        let bytes_of = |ty| types.canonical_abi(&ty).size32 as usize;
        let place = self.place(at as usize, length, &map.entry_abi)?;
        self.write(&length.to_le_bytes())?;
        let size = map.entry_abi.size32 as usize;
        for index in 0..length as usize {
            let entry = part(place, index.saturating_mul(size), size)?;
            self.load(map.key, part(entry, 0, bytes_of(map.key))?)?;
            let at = map.value_offset32 as usize;
            self.load(map.value, part(entry, at, bytes_of(map.value))?)?;
        }
        Ok(())
    }

    fn string(&mut self, at: u32, length: u32) -> wasmtime::Result<()> {
        if self.context.options().string_encoding == StringEncoding::Utf8 {
            let text = self.place(at as usize, length, &CanonicalAbiInfo::SCALAR1)?;
            self.sized(length, text)?;
            std::str::from_utf8(text).map_err(|_| Invalid::Text)?;
            return Ok(());
        }
        let pair = [ValRaw::u32(at), ValRaw::u32(length)];
        // Which pays for what it reads; what it made of that is paid for besides.
        let text = String::linear_lift_from_flat(self.context, InterfaceType::String, &pair)?;
        let length = u32::try_from(text.len()).map_err(|_| Invalid::TooLong)?;
        self.sized(length, text.as_bytes())
    }

    fn character(&mut self, code: u32) -> wasmtime::Result<()> {
        let character = char::from_u32(code).ok_or(Invalid::Char)?;
        self.write(&u32::from(character).to_le_bytes())
    }

    fn variant(
        &mut self,
        ty: InterfaceType,
        info: &VariantInfo,
        place: &'a [u8],
    ) -> wasmtime::Result<()> {
        let mut case = [0; 4];
        let size = usize::from(info.size);
        case[..size].copy_from_slice(part(place, 0, size)?);
        let Some(payload) = self.case(ty, u32::from_le_bytes(case))? else { return Ok(()) };
        let size = self.types.canonical_abi(&payload).size32 as usize;
        self.load(payload, part(place, info.payload_offset32 as usize, size)?)
    }

    /// Writes which case it is; returns what comes with it.
    fn case(&mut self, ty: InterfaceType, case: u32) -> wasmtime::Result<Option<InterfaceType>> {
        let types = self.types;
        let index = case as usize;
        let (payload, is_flag) = match ty {
            InterfaceType::Variant(ty) => {
                let (_, payload) = types[ty].cases.get_index(index).ok_or(Invalid::Case)?;
                (*payload, false)
            }
            InterfaceType::Enum(ty) if index < types[ty].names.len() => (None, false),
            InterfaceType::Option(ty) if index < 2 => ([None, Some(types[ty].ty)][index], true),
            InterfaceType::Result(ty) if index < 2 => ([types[ty].ok, types[ty].err][index], true),
            _ => return Err(Invalid::Case.into()),
        };
        let bytes = case.to_le_bytes();
        self.write(if is_flag { &bytes[..1] } else { &bytes })?;
        Ok(payload)
    }

    fn flags_from_slots(&mut self, count: usize, slots: &mut &[ValRaw]) -> wasmtime::Result<()> {
        let mut left = count;
        while left > 0 {
            let here = left.min(32);
            let set = next(slots)?.get_u32().to_le_bytes();
            self.flags(here, &set[..here.div_ceil(8)])?;
            left -= here;
        }
        Ok(())
    }

    /// Without bits that stand for none.
    fn flags(&mut self, count: usize, set: &[u8]) -> wasmtime::Result<()> {
        self.write(set)?;
        if let Some(last) = self.bytes.last_mut().filter(|_| !count.is_multiple_of(8)) {
            *last &= (1 << (count % 8)) - 1;
        }
        Ok(())
    }

    /// The place of so many values from `at` on.
    fn place(&self, at: usize, count: u32, abi: &CanonicalAbiInfo) -> Result<&'a [u8], Invalid> {
        if !at.is_multiple_of(abi.align32 as usize) {
            return Err(Invalid::Unaligned);
        }
        // No type takes no place: such members could be any number.
        if abi.size32 == 0 && count > 1 {
            return Err(Invalid::Type);
        }
        let size = (count as usize).checked_mul(abi.size32 as usize).ok_or(Invalid::Beyond)?;
        part(self.context.memory(), at, size)
    }

    /// A length, and the bytes that it is of.
    fn sized(&mut self, length: u32, bytes: &[u8]) -> wasmtime::Result<()> {
        self.context.consume_fuel(size_of::<u32>() + bytes.len())?;
        self.reserve(size_of::<u32>() + bytes.len());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> wasmtime::Result<()> {
        self.context.consume_fuel(bytes.len())?;
        self.reserve(bytes.len());
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// What is large takes no more than it is; what is small takes it ahead, so that not each
    /// moves all that was before it.
    fn reserve(&mut self, more: usize) {
        if more > self.bytes.len() {
            self.bytes.reserve_exact(more);
        } else {
            self.bytes.reserve(more);
        }
    }
}

fn part(place: &[u8], at: usize, size: usize) -> Result<&[u8], Invalid> {
    place.get(at..).and_then(|rest| rest.get(..size)).ok_or(Invalid::Beyond)
}

fn word(place: &[u8], at: usize) -> Result<u32, Invalid> {
    let word = place.get(at..).and_then(|rest| rest.first_chunk());
    Ok(u32::from_le_bytes(*word.ok_or(Invalid::Beyond)?))
}

fn next(slots: &mut &[ValRaw]) -> Result<ValRaw, Invalid> {
    let (first, rest) = slots.split_first().ok_or(Invalid::Type)?;
    *slots = rest;
    Ok(*first)
}

/// The slots of a type.
fn take<'s>(slots: &mut &'s [ValRaw], abi: &CanonicalAbiInfo) -> Result<&'s [ValRaw], Invalid> {
    let count = abi.flat_count(usize::MAX).ok_or(Invalid::Type)?;
    let (own, rest) = slots.split_at_checked(count).ok_or(Invalid::Type)?;
    *slots = rest;
    Ok(own)
}
