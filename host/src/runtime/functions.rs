//! The interfaces through which services call one another: which functions they have, and
//! with which types, as the components themselves say it.
//!
//! Types are compared by their structure. What a type is called doesn't count; the names of
//! fields, cases, flags and parameters do, as they are part of what it means.

use std::collections::BTreeMap;
use std::fmt;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};

use super::component::{LoadedComponent, Servable};
use crate::escape::cut;

/// Bytes of a type in words, as far as anyone reads them.
const MAX_WORDS: usize = 300;

/// How many types the signatures of one component may be made of, each use of a type counted
/// with all that it is made of: types that are made of others twice double with each step.
const MAX_TYPES: usize = 50_000;

/// An interface of a component's: `shop:cart/carts@1.0.0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name with its version, if it has one.
    pub name: String,
    /// Its functions by name, those alone that can be called by another service.
    pub functions: BTreeMap<String, Signature>,
    /// The functions that cannot, and why not.
    pub uncallable: BTreeMap<String, String>,
}

/// What a function takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its parameters, by name and in their order.
    pub params: Vec<(String, Shape)>,
    /// What it returns, if anything.
    pub result: Option<Shape>,
    /// Whether it is an `async func`.
    pub is_async: bool,
}

/// A type of WIT's, by its structure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are WIT's own")]
pub enum Shape {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Box<Shape>),
    FixedLengthList(Box<Shape>, u32),
    Map(Box<Shape>, Box<Shape>),
    Record(Vec<(String, Shape)>),
    Tuple(Vec<Shape>),
    Variant(Vec<(String, Option<Shape>)>),
    Enum(Vec<String>),
    Option(Box<Shape>),
    Result(Option<Box<Shape>>, Option<Box<Shape>>),
    Flags(Vec<String>),
}

/// What of an interface's name has to be the same for two of them to be versions of one: the
/// name up to the part of the version that breaks others when it changes. `shop:cart/carts@1`
/// of 1.x, `@0.2` of 0.2.x, and all of one before that or of a pre-release.
#[must_use]
pub fn semver_key(name: &str) -> &str {
    let Some(at) = name.find('@') else { return name };
    // What a version was built of does not count (Semantic Versioning §10).
    let name = name.split('+').next().unwrap_or(name);
    let version = &name[at + 1..];
    if version.contains('-') {
        return name;
    }
    let mut dots = version.match_indices('.').map(|(index, _)| at + 1 + index);
    match version.split('.').take(2).collect::<Vec<_>>()[..] {
        ["0", "0"] => name,
        ["0", _] => dots.nth(1).map_or(name, |end| &name[..end]),
        _ => dots.next().map_or(name, |end| &name[..end]),
    }
}

/// An interface's name without its version: `shop:cart/carts`.
#[must_use]
pub fn unversioned(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

impl Interface {
    /// Why what has this interface cannot serve who uses `wanted`; empty where it can.
    #[must_use]
    pub fn misfits(&self, wanted: &Self) -> Vec<String> {
        let mut misfits = Vec::new();
        for (name, wanted) in &wanted.functions {
            match self.functions.get(name) {
                Some(own) => misfits.extend(own.misfit(wanted).map(|why| format!("{name} {why}"))),
                None => misfits.push(match self.uncallable.get(name) {
                    Some(why) => format!("{name} cannot be called: {why}"),
                    None => format!("{name} is missing"),
                }),
            }
        }
        misfits
    }

    fn of(
        engine: &Engine,
        name: &str,
        instance: &ComponentInstance,
        left: &mut usize,
    ) -> Option<Self> {
        let mut interface = Self { name: name.to_owned(), ..Self::default() };
        for (name, item) in instance.exports(engine) {
            let ComponentItem::ComponentFunc(function) = item.ty else { continue };
            match Signature::of(&function, left) {
                Ok(signature) => {
                    interface.functions.insert(name.to_owned(), signature);
                }
                Err(why) => {
                    interface.uncallable.insert(name.to_owned(), why);
                }
            }
        }
        let is_empty = interface.functions.is_empty() && interface.uncallable.is_empty();
        (!is_empty).then_some(interface)
    }
}

impl Signature {
    fn of(function: &ComponentFunc, left: &mut usize) -> Result<Self, String> {
        let params = function.params();
        let params = params.map(|(name, ty)| Ok((name.to_owned(), Shape::of(&ty, left)?)));
        Ok(Self {
            params: params.collect::<Result<_, String>>()?,
            result: function.results().next().map(|ty| Shape::of(&ty, left)).transpose()?,
            is_async: function.async_(),
        })
    }

    /// How it differs from what a caller wants. Whether the one or the other is asynchronous
    /// is no difference: the host is between them.
    fn misfit(&self, wanted: &Self) -> Option<String> {
        if self.params == wanted.params && self.result == wanted.result {
            return None;
        }
        Some(format!("is {self}, and {wanted} is wanted"))
    }
}

impl Shape {
    /// Takes from `left` as many as it is made of.
    fn of(ty: &Type, left: &mut usize) -> Result<Self, String> {
        *left = left.checked_sub(1).ok_or_else(|| {
            format!("the signatures of the component are made of more than {MAX_TYPES} types")
        })?;
        let mut boxed = |ty: &Type| Ok::<_, String>(Box::new(Self::of(ty, left)?));
        Ok(match ty {
            Type::Bool => Self::Bool,
            Type::S8 => Self::S8,
            Type::U8 => Self::U8,
            Type::S16 => Self::S16,
            Type::U16 => Self::U16,
            Type::S32 => Self::S32,
            Type::U32 => Self::U32,
            Type::S64 => Self::S64,
            Type::U64 => Self::U64,
            Type::Float32 => Self::F32,
            Type::Float64 => Self::F64,
            Type::Char => Self::Char,
            Type::String => Self::String,
            Type::List(list) => Self::List(boxed(&list.ty())?),
            Type::FixedLengthList(list) => Self::FixedLengthList(boxed(&list.ty())?, list.len()),
            Type::Map(map) => Self::Map(boxed(&map.key())?, boxed(&map.value())?),
            Type::Record(record) => {
                let fields = record.fields();
                let fields =
                    fields.map(|field| Ok((field.name.to_owned(), Self::of(&field.ty, left)?)));
                Self::Record(fields.collect::<Result<_, String>>()?)
            }
            Type::Tuple(tuple) => {
                let members = tuple.types().map(|ty| Self::of(&ty, left));
                Self::Tuple(members.collect::<Result<_, _>>()?)
            }
            Type::Variant(variant) => {
                let cases = variant.cases().map(|case| {
                    let ty = case.ty.map(|ty| Self::of(&ty, left)).transpose()?;
                    Ok((case.name.to_owned(), ty))
                });
                Self::Variant(cases.collect::<Result<_, String>>()?)
            }
            Type::Enum(cases) => Self::Enum(cases.names().map(str::to_owned).collect()),
            Type::Option(option) => Self::Option(boxed(&option.ty())?),
            Type::Result(result) => {
                let ok = result.ok().as_ref().map(&mut boxed).transpose()?;
                Self::Result(ok, result.err().as_ref().map(&mut boxed).transpose()?)
            }
            Type::Flags(flags) => Self::Flags(flags.names().map(str::to_owned).collect()),
            Type::Own(_) | Type::Borrow(_) => return Err(uncallable("a resource")),
            Type::Future(_) => return Err(uncallable("a future")),
            Type::Stream(_) => return Err(uncallable("a stream")),
            Type::ErrorContext => return Err(uncallable("an error-context")),
        })
    }
}

fn uncallable(what: &str) -> String {
    format!("it has {what} in its signature, which cannot be passed from one service to another")
}

impl LoadedComponent {
    /// The interfaces through which other services may call it.
    #[must_use]
    pub fn provides(&self) -> Vec<Interface> {
        provided(self.component())
    }

    /// The interfaces that it imports and the host has not: other services provide them.
    #[must_use]
    pub fn uses(&self) -> Vec<Interface> {
        used(self.component())
    }
}

/// What a component exports for other services.
pub(super) fn provided(component: &Component) -> Vec<Interface> {
    let (engine, ty) = (component.engine(), component.component_type());
    let mut left = MAX_TYPES;
    let of_services = ty.exports(engine).filter(|(name, _)| is_of_services(name));
    let of_services = of_services.filter(|(name, _)| !Servable::is_entry(name));
    of_services
        .filter_map(|(name, item)| match &item.ty {
            ComponentItem::ComponentInstance(it) => Interface::of(engine, name, it, &mut left),
            _ => None,
        })
        .collect()
}

/// What a component imports from other services.
pub(super) fn used(component: &Component) -> Vec<Interface> {
    let (engine, ty) = (component.engine(), component.component_type());
    let mut left = MAX_TYPES;
    let of_services = ty.imports(engine).filter(|(name, _)| is_of_services(name));
    let of_services = of_services.filter(|(name, _)| !super::imports::provides(name));
    of_services
        .filter_map(|(name, item)| match &item.ty {
            ComponentItem::ComponentInstance(it) => Interface::of(engine, name, it, &mut left),
            _ => None,
        })
        .collect()
}

/// Whether it is an interface of a package that is neither WASI's nor the host's own.
#[must_use]
pub fn is_of_services(name: &str) -> bool {
    let Some((namespace, rest)) = name.split_once(':') else { return false };
    rest.contains('/') && !matches!(namespace, "wasi" | "hotdock")
}

/// `func(id: u64) -> option<string>`
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_async = if self.is_async { "async " } else { "" };
        let params = self.params.iter();
        let params: Vec<_> = params.map(|(name, shape)| format!("{name}: {shape}")).collect();
        write!(f, "{is_async}func({})", params.join(", "))?;
        match &self.result {
            Some(result) => write!(f, " -> {result}"),
            None => Ok(()),
        }
    }
}

/// In WIT's words, shortened where nobody would read them to the end.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cut(Words(self), MAX_WORDS))
    }
}

/// The same in full.
struct Words<'a>(&'a Shape);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |f: &mut fmt::Formatter<'_>, members: &mut dyn Iterator<Item = String>| {
            f.write_str(&members.collect::<Vec<_>>().join(", "))
        };
        let maybe = |shape: &Option<Box<Shape>>| match shape {
            Some(shape) => Words(shape).to_string(),
            None => "_".to_owned(),
        };
        let word = match self.0 {
            Shape::Bool => "bool",
            Shape::S8 => "s8",
            Shape::U8 => "u8",
            Shape::S16 => "s16",
            Shape::U16 => "u16",
            Shape::S32 => "s32",
            Shape::U32 => "u32",
            Shape::S64 => "s64",
            Shape::U64 => "u64",
            Shape::F32 => "f32",
            Shape::F64 => "f64",
            Shape::Char => "char",
            Shape::String => "string",
            Shape::List(of) => return write!(f, "list<{}>", Words(of)),
            Shape::FixedLengthList(of, length) => {
                return write!(f, "list<{}, {length}>", Words(of));
            }
            Shape::Map(key, value) => return write!(f, "map<{}, {}>", Words(key), Words(value)),
            Shape::Option(of) => return write!(f, "option<{}>", Words(of)),
            Shape::Result(ok, err) => return write!(f, "result<{}, {}>", maybe(ok), maybe(err)),
            Shape::Tuple(members) => {
                f.write_str("tuple<")?;
                each(f, &mut members.iter().map(|member| Words(member).to_string()))?;
                ">"
            }
            Shape::Record(fields) => {
                f.write_str("record { ")?;
                let named = |(name, of): &(String, Shape)| format!("{name}: {}", Words(of));
                each(f, &mut fields.iter().map(named))?;
                " }"
            }
            Shape::Variant(cases) => {
                f.write_str("variant { ")?;
                let named = |(name, of): &(String, Option<Shape>)| match of {
                    Some(of) => format!("{name}({})", Words(of)),
                    None => name.clone(),
                };
                each(f, &mut cases.iter().map(named))?;
                " }"
            }
            Shape::Enum(names) => return write!(f, "enum {{ {} }}", names.join(", ")),
            Shape::Flags(names) => return write!(f, "flags {{ {} }}", names.join(", ")),
        };
        f.write_str(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_interface_have_one_key() {
        for (name, key) in [
            ("shop:cart/carts@1.0.0", "shop:cart/carts@1"),
            ("shop:cart/carts@1.12.3", "shop:cart/carts@1"),
            ("shop:cart/carts@12.0.0", "shop:cart/carts@12"),
            ("shop:cart/carts@0.2.7", "shop:cart/carts@0.2"),
            ("shop:cart/carts@0.0.7", "shop:cart/carts@0.0.7"),
            ("shop:cart/carts@1.0.0-rc.1", "shop:cart/carts@1.0.0-rc.1"),
            ("shop:cart/carts@1.0.0+build.7", "shop:cart/carts@1"),
            ("shop:cart/carts@0.0.7+b-7", "shop:cart/carts@0.0.7"),
            ("shop:cart/carts", "shop:cart/carts"),
        ] {
            assert_eq!(semver_key(name), key);
        }
        assert_eq!(unversioned("shop:cart/carts@1.0.0"), "shop:cart/carts");
    }

    type Typed<'a> = (&'a str, &'a [(&'a str, Shape)], Option<Shape>);

    fn interface(functions: &[Typed<'_>]) -> Interface {
        let functions = functions.iter().map(|(name, params, result)| {
            let params = params.iter().map(|(name, shape)| ((*name).to_owned(), shape.clone()));
            let params = params.collect();
            ((*name).to_owned(), Signature { params, result: result.clone(), is_async: false })
        });
        Interface {
            name: "shop:cart/carts@1.0.0".to_owned(),
            functions: functions.collect(),
            uncallable: BTreeMap::new(),
        }
    }

    #[test]
    fn a_provider_may_have_more_and_asynchronous_functions_but_no_other_types() {
        let item = || Shape::Record(vec![("id".to_owned(), Shape::U64)]);
        let wanted = interface(&[("get", &[("user", Shape::U64)], Some(item()))]);
        let mut provided =
            interface(&[("get", &[("user", Shape::U64)], Some(item())), ("clear", &[], None)]);
        assert_eq!(provided.misfits(&wanted), Vec::<String>::new());
        for function in provided.functions.values_mut() {
            function.is_async = true;
        }
        assert_eq!(provided.misfits(&wanted), Vec::<String>::new());
        assert_eq!(wanted.misfits(&provided), ["clear is missing"]);
        let other = interface(&[("get", &[("user", Shape::String)], Some(item()))]);
        assert_eq!(
            other.misfits(&wanted),
            ["get is func(user: string) -> record { id: u64 }, and func(user: u64) -> record { \
              id: u64 } is wanted"]
        );
    }

    #[test]
    fn interfaces_of_wasi_and_of_the_host_are_none_of_services() {
        assert!(is_of_services("shop:cart/carts@1.0.0"));
        for other in ["wasi:http/handler@0.3.0", "hotdock:events/handler@0.1.0", "run", "a:b"] {
            assert!(!is_of_services(other), "{other}");
        }
    }
}
