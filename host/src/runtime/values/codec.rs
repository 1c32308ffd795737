//! The same bytes by way of Wasmtime's `Val`: slowly, and without walking its types. What the
//! tests compare with.

use wasmtime::component::Val;

use super::reader::Reader;
use super::{Invalid, Shape, Signature};

/// The arguments of a function.
pub(super) fn write_arguments(signature: &Signature, values: &[Val]) -> Result<Vec<u8>, Invalid> {
    if signature.params.len() != values.len() {
        return Err(Invalid::Type);
    }
    let mut bytes = Vec::new();
    for ((_, shape), value) in signature.params.iter().zip(values) {
        write(&mut bytes, shape, value)?;
    }
    Ok(bytes)
}

/// The same back.
pub(super) fn read_arguments(signature: &Signature, bytes: &[u8]) -> Result<Vec<Val>, Invalid> {
    let mut reader = Reader::new(bytes);
    let values = signature.params.iter().map(|(_, shape)| reader.value(shape));
    let values = values.collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(values)
}

/// What a function returned.
pub(super) fn write_result(signature: &Signature, values: &[Val]) -> Result<Vec<u8>, Invalid> {
    let mut bytes = Vec::new();
    match (&signature.result, values) {
        (None, []) => {}
        (Some(shape), [value]) => write(&mut bytes, shape, value)?,
        _ => return Err(Invalid::Type),
    }
    Ok(bytes)
}

/// The same back.
pub(super) fn read_result(signature: &Signature, bytes: &[u8]) -> Result<Option<Val>, Invalid> {
    let mut reader = Reader::new(bytes);
    let value = signature.result.as_ref().map(|shape| reader.value(shape)).transpose()?;
    reader.end()?;
    Ok(value)
}

fn write(bytes: &mut Vec<u8>, shape: &Shape, value: &Val) -> Result<(), Invalid> {
    match (shape, value) {
        (Shape::Bool, Val::Bool(value)) => bytes.push(u8::from(*value)),
        (Shape::S8, Val::S8(value)) => bytes.extend(value.to_le_bytes()),
        (Shape::U8, Val::U8(value)) => bytes.push(*value),
        (Shape::S16, Val::S16(value)) => bytes.extend(value.to_le_bytes()),
        (Shape::U16, Val::U16(value)) => bytes.extend(value.to_le_bytes()),
        (Shape::S32, Val::S32(value)) => bytes.extend(value.to_le_bytes()),
        (Shape::U32, Val::U32(value)) => bytes.extend(value.to_le_bytes()),
        (Shape::S64, Val::S64(value)) => bytes.extend(value.to_le_bytes()),
        (Shape::U64, Val::U64(value)) => bytes.extend(value.to_le_bytes()),
        (Shape::F32, Val::Float32(value)) => bytes.extend(value.to_bits().to_le_bytes()),
        (Shape::F64, Val::Float64(value)) => bytes.extend(value.to_bits().to_le_bytes()),
        (Shape::Char, Val::Char(value)) => bytes.extend(u32::from(*value).to_le_bytes()),
        (Shape::String, Val::String(value)) => {
            write_length(bytes, value.len())?;
            bytes.extend_from_slice(value.as_bytes());
        }
        (Shape::List(of), Val::List(values)) => {
            write_length(bytes, values.len())?;
            write_all(bytes, of, values)?;
        }
        (Shape::FixedLengthList(of, length), Val::FixedLengthList(values)) => {
            if values.len() != *length as usize {
                return Err(Invalid::Type);
            }
            write_all(bytes, of, values)?;
        }
        (Shape::Map(of_key, of), Val::Map(pairs)) => {
            write_length(bytes, pairs.len())?;
            for (key, value) in pairs {
                write(bytes, of_key, key)?;
                write(bytes, of, value)?;
            }
        }
        (Shape::Record(fields), Val::Record(values)) if fields.len() == values.len() => {
            for ((name, shape), (named, value)) in fields.iter().zip(values) {
                if name != named {
                    return Err(Invalid::Type);
                }
                write(bytes, shape, value)?;
            }
        }
        (Shape::Tuple(shapes), Val::Tuple(values)) if shapes.len() == values.len() => {
            for (shape, value) in shapes.iter().zip(values) {
                write(bytes, shape, value)?;
            }
        }
        (Shape::Variant(cases), Val::Variant(name, payload)) => {
            let index = cases.iter().position(|(case, _)| case == name).ok_or(Invalid::Type)?;
            write_length(bytes, index)?;
            write_payload(bytes, cases[index].1.as_ref(), payload.as_deref())?;
        }
        (Shape::Enum(names), Val::Enum(name)) => {
            let index = names.iter().position(|case| case == name).ok_or(Invalid::Type)?;
            write_length(bytes, index)?;
        }
        (Shape::Option(of), Val::Option(value)) => {
            bytes.push(u8::from(value.is_some()));
            if let Some(value) = value {
                write(bytes, of, value)?;
            }
        }
        (Shape::Result(ok, err), Val::Result(value)) => {
            bytes.push(u8::from(value.is_err()));
            let (shape, payload) = match value {
                Ok(payload) => (ok, payload),
                Err(payload) => (err, payload),
            };
            write_payload(bytes, shape.as_deref(), payload.as_deref())?;
        }
        (Shape::Flags(names), Val::Flags(set)) => {
            let start = bytes.len();
            bytes.resize(start + names.len().div_ceil(8), 0);
            for name in set {
                let index = names.iter().position(|flag| flag == name).ok_or(Invalid::Type)?;
                bytes[start + index / 8] |= 1 << (index % 8);
            }
        }
        _ => return Err(Invalid::Type),
    }
    Ok(())
}

/// The members of a list.
fn write_all(bytes: &mut Vec<u8>, of: &Shape, values: &[Val]) -> Result<(), Invalid> {
    if *of == Shape::U8 {
        bytes.reserve(values.len());
        for value in values {
            let Val::U8(byte) = value else { return Err(Invalid::Type) };
            bytes.push(*byte);
        }
        return Ok(());
    }
    values.iter().try_for_each(|value| write(bytes, of, value))
}

fn write_payload(
    bytes: &mut Vec<u8>,
    shape: Option<&Shape>,
    payload: Option<&Val>,
) -> Result<(), Invalid> {
    match (shape, payload) {
        (None, None) => Ok(()),
        (Some(shape), Some(value)) => write(bytes, shape, value),
        _ => Err(Invalid::Type),
    }
}

fn write_length(bytes: &mut Vec<u8>, length: usize) -> Result<(), Invalid> {
    let length = u32::try_from(length).map_err(|_| Invalid::TooLong)?;
    bytes.extend(length.to_le_bytes());
    Ok(())
}

impl Reader<'_> {
    fn value(&mut self, shape: &Shape) -> Result<Val, Invalid> {
        Ok(match shape {
            Shape::Bool => Val::Bool(self.flag()?),
            Shape::S8 => Val::S8(i8::from_le_bytes(self.array()?)),
            Shape::U8 => Val::U8(u8::from_le_bytes(self.array()?)),
            Shape::S16 => Val::S16(i16::from_le_bytes(self.array()?)),
            Shape::U16 => Val::U16(u16::from_le_bytes(self.array()?)),
            Shape::S32 => Val::S32(i32::from_le_bytes(self.array()?)),
            Shape::U32 => Val::U32(u32::from_le_bytes(self.array()?)),
            Shape::S64 => Val::S64(i64::from_le_bytes(self.array()?)),
            Shape::U64 => Val::U64(u64::from_le_bytes(self.array()?)),
            Shape::F32 => Val::Float32(f32::from_bits(u32::from_le_bytes(self.array()?))),
            Shape::F64 => Val::Float64(f64::from_bits(u64::from_le_bytes(self.array()?))),
            Shape::Char => {
                let code = u32::from_le_bytes(self.array()?);
                Val::Char(char::from_u32(code).ok_or(Invalid::Bytes)?)
            }
            Shape::String => {
                let length = self.length()?;
                let text = std::str::from_utf8(self.take(length)?).map_err(|_| Invalid::Bytes)?;
                Val::String(text.to_owned())
            }
            Shape::List(of) => {
                let length = self.length()?;
                Val::List(self.all(of, length)?)
            }
            Shape::FixedLengthList(of, length) => {
                Val::FixedLengthList(self.all(of, *length as usize)?)
            }
            Shape::Map(of_key, of) => {
                let length = self.length()?;
                let pairs = (0..length).map(|_| Ok((self.value(of_key)?, self.value(of)?)));
                Val::Map(pairs.collect::<Result<_, Invalid>>()?)
            }
            Shape::Record(fields) => {
                let fields = fields.iter();
                let values = fields.map(|(name, shape)| Ok((name.clone(), self.value(shape)?)));
                Val::Record(values.collect::<Result<_, Invalid>>()?)
            }
            Shape::Tuple(shapes) => {
                let values = shapes.iter().map(|shape| self.value(shape));
                Val::Tuple(values.collect::<Result<_, _>>()?)
            }
            Shape::Variant(cases) => {
                let (name, shape) = cases.get(self.length()?).ok_or(Invalid::Bytes)?;
                Val::Variant(name.clone(), self.payload(shape.as_ref())?)
            }
            Shape::Enum(names) => {
                Val::Enum(names.get(self.length()?).ok_or(Invalid::Bytes)?.clone())
            }
            Shape::Option(of) => {
                let of = self.flag()?.then_some(&**of);
                Val::Option(self.payload(of)?)
            }
            Shape::Result(ok, err) => Val::Result(if self.flag()? {
                Err(self.payload(err.as_deref())?)
            } else {
                Ok(self.payload(ok.as_deref())?)
            }),
            Shape::Flags(names) => {
                let set = self.take(names.len().div_ceil(8))?;
                let is_set = |index: usize| set[index / 8] & (1 << (index % 8)) != 0;
                let names = names.iter().enumerate().filter(|(index, _)| is_set(*index));
                Val::Flags(names.map(|(_, name)| name.clone()).collect())
            }
        })
    }

    /// The members of a list.
    fn all(&mut self, of: &Shape, length: usize) -> Result<Vec<Val>, Invalid> {
        if *of == Shape::U8 {
            return Ok(self.take(length)?.iter().copied().map(Val::U8).collect());
        }
        (0..length).map(|_| self.value(of)).collect()
    }

    fn payload(&mut self, shape: Option<&Shape>) -> Result<Option<Box<Val>>, Invalid> {
        shape.map(|shape| self.value(shape).map(Box::new)).transpose()
    }
}
