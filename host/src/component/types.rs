//! Types in WIT's words, and whether those of two components are the same.

use std::collections::HashMap;

use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind, TypeId, TypeOwner};

/// How much of a type is worth reading.
const MAX_WORDS_CHARS: usize = 300;

/// `func(id: u64) -> option<item>`
pub(super) fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters = function.params.iter();
    let parameters: Vec<String> = parameters
        .map(|parameter| format!("{}: {}", parameter.name, name(resolve, &parameter.ty)))
        .collect();
    let prefix = if function.kind.is_async() { "async " } else { "" };
    let result = function.result.as_ref().map(|ty| format!(" -> {}", name(resolve, ty)));
    shortened(format!("{prefix}func({}){}", parameters.join(", "), result.unwrap_or_default()))
}

/// `record { id: u64, name: string }`
pub(super) fn definition(resolve: &Resolve, id: TypeId) -> String {
    shortened(structure(resolve, &resolve.types[id].kind))
}

/// A type by its name, or by its structure where it has none.
fn name(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::S8 => "s8".to_owned(),
        Type::S16 => "s16".to_owned(),
        Type::S32 => "s32".to_owned(),
        Type::S64 => "s64".to_owned(),
        Type::F32 => "f32".to_owned(),
        Type::F64 => "f64".to_owned(),
        Type::Char => "char".to_owned(),
        Type::String => "string".to_owned(),
        Type::ErrorContext => "error-context".to_owned(),
        Type::Id(id) => match &resolve.types[*id] {
            named if named.name.is_some() => named.name.clone().unwrap_or_default(),
            anonymous => structure(resolve, &anonymous.kind),
        },
    }
}

fn structure(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let name = |ty: &Type| name(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), name);
    let listed = |word: &str, members: Vec<String>| format!("{word} {{ {} }}", members.join(", "));
    match kind {
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter();
            let fields = fields.map(|field| format!("{}: {}", field.name, name(&field.ty)));
            listed("record", fields.collect())
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|case| match &case.ty {
                Some(ty) => format!("{}({})", case.name, name(ty)),
                None => case.name.clone(),
            });
            listed("variant", cases.collect())
        }
        TypeDefKind::Enum(cases) => {
            listed("enum", cases.cases.iter().map(|case| case.name.clone()).collect())
        }
        TypeDefKind::Flags(flags) => {
            listed("flags", flags.flags.iter().map(|flag| flag.name.clone()).collect())
        }
        TypeDefKind::Resource => "resource".to_owned(),
        TypeDefKind::Handle(Handle::Own(id)) => name(&Type::Id(*id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", name(&Type::Id(*id))),
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", tuple.types.iter().map(name).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Option(ty) => format!("option<{}>", name(ty)),
        TypeDefKind::Result(result) => {
            format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err))
        }
        TypeDefKind::List(ty) => format!("list<{}>", name(ty)),
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", name(key), name(value)),
        TypeDefKind::FixedLengthList(ty, length) => format!("list<{}, {length}>", name(ty)),
        TypeDefKind::Future(ty) => format!("future<{}>", maybe(ty)),
        TypeDefKind::Stream(ty) => format!("stream<{}>", maybe(ty)),
        TypeDefKind::Type(ty) => name(ty),
        TypeDefKind::Unknown => "unknown".to_owned(),
    }
}

fn shortened(text: String) -> String {
    if text.chars().count() <= MAX_WORDS_CHARS {
        return text;
    }
    text.chars().take(MAX_WORDS_CHARS - 1).chain(['…']).collect()
}

/// Compares types of two components by their structure: names of types don't
/// count, those of fields, cases, parameters and resources do. That is what the
/// component model asks of an import and what it is given (Component Model,
/// "Subtyping").
pub(super) struct Comparison<'a> {
    old: &'a Resolve,
    new: &'a Resolve,
    /// What was compared before: types may be named by many others.
    known: HashMap<(TypeId, TypeId), bool>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(old: &'a Resolve, new: &'a Resolve) -> Self {
        Self { old, new, known: HashMap::new() }
    }

    pub(super) fn same_functions(&mut self, old: &Function, new: &Function) -> bool {
        old.kind.is_async() == new.kind.is_async()
            && old.params.len() == new.params.len()
            && old
                .params
                .iter()
                .zip(&new.params)
                .all(|(old, new)| old.name == new.name && self.same(&old.ty, &new.ty))
            && self.same_or_none(old.result.as_ref(), new.result.as_ref())
    }

    pub(super) fn same(&mut self, old: &Type, new: &Type) -> bool {
        match (unaliased(self.old, *old), unaliased(self.new, *new)) {
            (Type::Id(old), Type::Id(new)) => {
                if let Some(same) = self.known.get(&(old, new)) {
                    return *same;
                }
                let same = self.same_kinds(old, new);
                self.known.insert((old, new), same);
                same
            }
            (old, new) => old == new,
        }
    }

    fn same_or_none(&mut self, old: Option<&Type>, new: Option<&Type>) -> bool {
        match (old, new) {
            (Some(old), Some(new)) => self.same(old, new),
            (old, new) => old.is_none() && new.is_none(),
        }
    }

    fn same_kinds(&mut self, old: TypeId, new: TypeId) -> bool {
        use TypeDefKind as Kind;
        let (before, after) = (self.old, self.new);
        match (&before.types[old].kind, &after.types[new].kind) {
            (Kind::Record(old), Kind::Record(new)) => {
                old.fields.len() == new.fields.len()
                    && old
                        .fields
                        .iter()
                        .zip(&new.fields)
                        .all(|(old, new)| old.name == new.name && self.same(&old.ty, &new.ty))
            }
            (Kind::Variant(old), Kind::Variant(new)) => {
                old.cases.len() == new.cases.len()
                    && old.cases.iter().zip(&new.cases).all(|(old, new)| {
                        old.name == new.name && self.same_or_none(old.ty.as_ref(), new.ty.as_ref())
                    })
            }
            (Kind::Enum(old), Kind::Enum(new)) => {
                let names = |cases: &[wit_parser::EnumCase]| {
                    cases.iter().map(|case| case.name.clone()).collect::<Vec<_>>()
                };
                names(&old.cases) == names(&new.cases)
            }
            (Kind::Flags(old), Kind::Flags(new)) => {
                let names = |flags: &[wit_parser::Flag]| {
                    flags.iter().map(|flag| flag.name.clone()).collect::<Vec<_>>()
                };
                names(&old.flags) == names(&new.flags)
            }
            (Kind::Tuple(old), Kind::Tuple(new)) => {
                old.types.len() == new.types.len()
                    && old.types.iter().zip(&new.types).all(|(old, new)| self.same(old, new))
            }
            (Kind::Option(old), Kind::Option(new)) | (Kind::List(old), Kind::List(new)) => {
                self.same(old, new)
            }
            (Kind::Result(old), Kind::Result(new)) => {
                self.same_or_none(old.ok.as_ref(), new.ok.as_ref())
                    && self.same_or_none(old.err.as_ref(), new.err.as_ref())
            }
            (Kind::Map(old_key, old), Kind::Map(new_key, new)) => {
                self.same(old_key, new_key) && self.same(old, new)
            }
            (Kind::FixedLengthList(old, old_length), Kind::FixedLengthList(new, new_length)) => {
                old_length == new_length && self.same(old, new)
            }
            (Kind::Future(old), Kind::Future(new)) | (Kind::Stream(old), Kind::Stream(new)) => {
                self.same_or_none(old.as_ref(), new.as_ref())
            }
            (Kind::Handle(Handle::Own(old)), Kind::Handle(Handle::Own(new)))
            | (Kind::Handle(Handle::Borrow(old)), Kind::Handle(Handle::Borrow(new))) => {
                self.same(&Type::Id(*old), &Type::Id(*new))
            }
            (Kind::Resource, Kind::Resource) => resource(before, old) == resource(after, new),
            _ => false,
        }
    }
}

/// What a type is an alias of, in the end.
fn unaliased(resolve: &Resolve, mut ty: Type) -> Type {
    while let Type::Id(id) = ty
        && let TypeDefKind::Type(aliased) = resolve.types[id].kind
    {
        ty = aliased;
    }
    ty
}

/// A resource is whose it is and what that calls it.
fn resource(resolve: &Resolve, id: TypeId) -> (Option<String>, Option<String>) {
    let ty = &resolve.types[id];
    let owner = match ty.owner {
        TypeOwner::Interface(id) => {
            let named = resolve.interfaces[id].package.is_some();
            if named { resolve.canonicalized_id_of(id) } else { None }
        }
        TypeOwner::World(_) | TypeOwner::None => None,
    };
    (owner, ty.name.clone())
}
