//! What a component exports for other services, as its bytes say it: without compiling it; and
//! what deployed services would lose if it were deployed.

use std::path::Path;

use wit_parser::{Function, Resolve, Type, TypeDefKind, WorldItem};

use super::pair::Pair;
use super::relations::{ProvidedInterface, UsedInterface, functions};
use crate::component::Interfaces;
use crate::runtime::functions::{Interface, Shape, Signature, is_of_services, semver_key};

/// The service that a component, with the manifest beside it or embedded in it, is a version of,
/// and the interfaces that other services may import from it.
///
/// # Errors
/// Every reason why it cannot be read.
pub fn exported(file: &Path) -> Result<(String, Vec<ProvidedInterface>), Vec<String>> {
    let Pair { component, manifest, .. } = Pair::read(file, None).map_err(|reason| vec![reason])?;
    let (_, manifest) = manifest?;
    let interfaces = Interfaces::read(component.as_slice())
        .map_err(|error| vec![format!("{}: {error}", file.display())])?;
    Ok((manifest.service.to_string(), provided(&interfaces)))
}

/// The interfaces that other services may import from the component.
fn provided(interfaces: &Interfaces) -> Vec<ProvidedInterface> {
    let resolve = interfaces.resolve();
    let exports = interfaces.exported().filter(|(name, _)| is_of_services(name));
    let provided = exports.filter_map(|(name, item)| {
        let WorldItem::Interface { id, .. } = item else { return None };
        let all = resolve.interfaces[*id].functions.iter();
        let callable =
            all.filter_map(|(name, function)| Some((name.clone(), signature(resolve, function)?)));
        let interface = Interface {
            name: name.to_owned(),
            functions: callable.collect(),
            ..Interface::default()
        };
        Some(ProvidedInterface { functions: functions(&interface), interface: interface.name })
    });
    provided.collect()
}

/// What a service that imports from another would lose if that exported this.
#[must_use]
pub fn lost(dependent: &str, uses: &UsedInterface, provides: &[ProvidedInterface]) -> Vec<String> {
    let key = semver_key(&uses.interface);
    let versions = provides.iter().filter(|provided| semver_key(&provided.interface) == key);
    let wanted = &uses.interface;
    let lost = versions.map(|provided| {
        let lost = uses.functions.iter().filter_map(|(name, wanted_type)| {
            match provided.functions.get(name) {
                None => Some(format!("{dependent} imports {wanted}: {name} is gone")),
                Some(found) if sync(found) == sync(wanted_type) => None,
                Some(found) => Some(format!(
                    "{dependent} imports {wanted}: {name} is {found}, and {wanted_type} is wanted"
                )),
            }
        });
        lost.collect::<Vec<_>>()
    });
    // Of several compatible versions the one that fits best.
    let least = lost.min_by_key(Vec::len);
    least.unwrap_or_else(|| vec![format!("{dependent} imports {wanted}, which is gone")])
}

/// A type in words; the host is between the two, so it may be asynchronous on one side.
fn sync(words: &str) -> &str {
    words.strip_prefix("async ").unwrap_or(words)
}

/// None where it has a type that cannot be passed from one service to another.
fn signature(resolve: &Resolve, function: &Function) -> Option<Signature> {
    let params = function.params.iter();
    let params = params.map(|param| Some((param.name.clone(), shape(resolve, &param.ty)?)));
    let result = function.result.as_ref().map(|ty| shape(resolve, ty));
    Some(Signature {
        params: params.collect::<Option<_>>()?,
        result: match result {
            Some(shape) => Some(shape?),
            None => None,
        },
        is_async: function.kind.is_async(),
    })
}

fn shape(resolve: &Resolve, ty: &Type) -> Option<Shape> {
    Some(match ty {
        Type::Bool => Shape::Bool,
        Type::U8 => Shape::U8,
        Type::U16 => Shape::U16,
        Type::U32 => Shape::U32,
        Type::U64 => Shape::U64,
        Type::S8 => Shape::S8,
        Type::S16 => Shape::S16,
        Type::S32 => Shape::S32,
        Type::S64 => Shape::S64,
        Type::F32 => Shape::F32,
        Type::F64 => Shape::F64,
        Type::Char => Shape::Char,
        Type::String => Shape::String,
        Type::ErrorContext => return None,
        Type::Id(id) => return structure(resolve, &resolve.types[*id].kind),
    })
}

fn structure(resolve: &Resolve, kind: &TypeDefKind) -> Option<Shape> {
    let of = |ty: &Type| shape(resolve, ty);
    let boxed = |ty: &Type| of(ty).map(Box::new);
    // None where there is no type, and where there is one that cannot be passed.
    let maybe = |ty: &Option<Type>| match ty {
        Some(ty) => of(ty).map(Some),
        None => Some(None),
    };
    Some(match kind {
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter();
            let fields = fields.map(|field| Some((field.name.clone(), of(&field.ty)?)));
            Shape::Record(fields.collect::<Option<_>>()?)
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter();
            let cases = cases.map(|case| Some((case.name.clone(), maybe(&case.ty)?)));
            Shape::Variant(cases.collect::<Option<_>>()?)
        }
        TypeDefKind::Enum(cases) => {
            Shape::Enum(cases.cases.iter().map(|case| case.name.clone()).collect())
        }
        TypeDefKind::Flags(flags) => {
            Shape::Flags(flags.flags.iter().map(|flag| flag.name.clone()).collect())
        }
        TypeDefKind::Tuple(tuple) => {
            Shape::Tuple(tuple.types.iter().map(of).collect::<Option<_>>()?)
        }
        TypeDefKind::Option(ty) => Shape::Option(boxed(ty)?),
        TypeDefKind::Result(result) => {
            Shape::Result(maybe(&result.ok)?.map(Box::new), maybe(&result.err)?.map(Box::new))
        }
        TypeDefKind::List(ty) => Shape::List(boxed(ty)?),
        TypeDefKind::Map(key, value) => Shape::Map(boxed(key)?, boxed(value)?),
        TypeDefKind::FixedLengthList(ty, length) => Shape::FixedLengthList(boxed(ty)?, *length),
        TypeDefKind::Type(ty) => return of(ty),
        TypeDefKind::Resource
        | TypeDefKind::Handle(_)
        | TypeDefKind::Future(_)
        | TypeDefKind::Stream(_)
        | TypeDefKind::Unknown => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn functions(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, words)| ((*name).to_owned(), (*words).to_owned())).collect()
    }

    #[test]
    fn a_dependent_loses_what_is_gone_or_has_another_type() {
        let wanted = functions(&[("add", "func(id: u64)"), ("get", "func(id: u64) -> bool")]);
        let (from, problem) = (Some("cart".to_owned()), None);
        let interface = "shop:cart/carts@1.0.0".to_owned();
        let uses = UsedInterface { interface, functions: wanted, from, problem };
        let offered = |name: &str, all: &[(&str, &str)]| ProvidedInterface {
            interface: name.to_owned(),
            functions: functions(all),
        };
        let gone = ["order imports shop:cart/carts@1.0.0, which is gone"];
        assert_eq!(lost("order", &uses, &[]), gone);
        assert_eq!(lost("order", &uses, &[offered("shop:cart/carts@2.0.0", &[])]), gone);
        let other = [("get", "func(id: string) -> bool")];
        assert_eq!(
            lost("order", &uses, &[offered("shop:cart/carts@1.1.0", &other)]),
            [
                "order imports shop:cart/carts@1.0.0: add is gone",
                "order imports shop:cart/carts@1.0.0: get is func(id: string) -> bool, and \
                 func(id: u64) -> bool is wanted",
            ]
        );
        let all = [("add", "async func(id: u64)"), ("get", "func(id: u64) -> bool")];
        let both =
            [offered("shop:cart/carts@1.1.0", &other), offered("shop:cart/carts@1.2.0", &all)];
        assert_eq!(lost("order", &uses, &both), [""; 0]);
    }
}
