//! Components as texts: what their types are in WAT, and what is in them.

use crate::runtime::functions::Shape;

/// Where a result is that is not returned in slots.
const RESULT: usize = 1024;

/// Where an asynchronous import finds parameters that came in slots.
const PARAMETERS: usize = 512;

/// Hands on what it is given: exports `call`, which calls the imported `host` with its own
/// parameters, and returns what that returns.
pub(super) struct Echo {
    pub(super) params: Vec<Shape>,
    pub(super) result: Option<Shape>,
    /// Whether both are `async func`.
    pub(super) is_async: bool,
    /// Whether the export is asynchronous in its ABI, too, and the import: then all of it is made
    /// of `u32`, which it knows how to move.
    pub(super) lifts: bool,
    pub(super) lowers: bool,
    /// How it has its strings.
    pub(super) encoding: &'static str,
}

/// Names for those types that need one.
#[derive(Default)]
struct Types {
    text: String,
    count: usize,
}

impl Echo {
    /// Of one parameter that is returned.
    pub(super) fn of(shape: &Shape) -> Self {
        Self {
            params: vec![shape.clone()],
            result: Some(shape.clone()),
            is_async: false,
            lifts: false,
            lowers: false,
            encoding: "utf8",
        }
    }

    pub(super) fn text(&self) -> String {
        let mut types = Types::default();
        let params = self.params.iter().enumerate();
        let params: String =
            params.map(|(index, of)| format!(" (param \"p{index}\" {})", types.of(of))).collect();
        let result = self.result.as_ref().map(|of| format!(" (result {})", types.of(of)));
        let result = result.unwrap_or_default();
        let is_async = if self.is_async { "async" } else { "" };
        let options =
            format!("(memory (core memory $memory \"memory\")) string-encoding={}", self.encoding);
        let allocated = format!("{options} (realloc (core func $memory \"realloc\"))");
        let lifts = if self.lifts { "async (callback (core func $i \"callback\"))" } else { "" };
        let lowers = if self.lowers { "async" } else { "" };
        let (returns, returned) = match (self.lifts, &self.result) {
            (false, _) => (String::new(), ""),
            (true, None) => ("(core func $return (canon task.return))".to_owned(), RETURNED),
            (true, Some(_)) => {
                (format!("(core func $return (canon task.return{result} {options}))"), RETURNED)
            }
        };
        let (types, module) = (types.text, self.module());
        format!(
            r#"(component {types}
                (import "host" (func $host {is_async}{params}{result}))
                {MEMORY}
                (core instance $memory (instantiate $memory))
                (core func $lowered (canon lower (func $host) {lowers} {allocated}))
                {returns}
                {module}
                (core instance $i (instantiate $module
                    (with "memory" (instance $memory))
                    (with "host" (instance (export "host" (func $lowered)) {returned}))))
                (func (export "call") {is_async}{params}{result}
                    (canon lift (core func $i "call") {lifts} {allocated})))"#
        )
    }

    fn module(&self) -> String {
        let all: Vec<_> = self.params.iter().flat_map(slots).collect();
        let given = if all.len() > 16 { vec!["i32"] } else { all.clone() };
        let most = if self.lowers { 4 } else { 16 };
        let mut taken = if all.len() > most { vec!["i32"] } else { all.clone() };
        let result: Vec<_> = self.result.iter().flat_map(slots).collect();
        let is_in_memory = !result.is_empty() && (self.lowers || result.len() > 1);
        if is_in_memory {
            taken.push("i32");
        }
        let one = |slots: &[&str]| match slots {
            [slot] => format!("(result {slot})"),
            _ => String::new(),
        };
        let called = if self.lowers { one(&["i32"]) } else { one(&result) };
        let returned = match result.len() {
            _ if self.lifts => one(&["i32"]),
            0 | 1 => one(&result),
            _ => one(&["i32"]),
        };
        let returns = match result.len() {
            _ if !self.lifts => String::new(),
            17.. => "(import \"host\" \"return\" (func $return (param i32)))".to_owned(),
            _ => {
                format!("(import \"host\" \"return\" (func $return (param {})))", result.join(" "))
            }
        };
        let (given, taken) = (given.join(" "), taken.join(" "));
        let (moved, arguments) = self.arguments(all.len(), is_in_memory);
        let call = match self.lowers {
            // Returned at once.
            true => {
                format!("(if (i32.ne (call $host {arguments}) (i32.const 2)) (then unreachable))")
            }
            false => format!("(call $host {arguments})"),
        };
        let end = self.end(&result, is_in_memory);
        format!(
            r#"(core module $module
                (import "memory" "memory" (memory 1))
                (import "host" "host" (func $host (param {taken}) {called}))
                {returns}
                (func (export "call") (param {given}) {returned} {moved} {call} {end})
                (func (export "callback") (param i32 i32 i32) (result i32) unreachable))"#
        )
    }

    /// What is done to have the arguments for the host, and those.
    fn arguments(&self, count: usize, is_in_memory: bool) -> (String, String) {
        let (mut moved, mut arguments) = (String::new(), String::new());
        match count {
            5..=16 if self.lowers => {
                for index in 0..count {
                    let at = PARAMETERS + 4 * index;
                    moved += &format!("(i32.store (i32.const {at}) (local.get {index}))");
                }
                arguments += &format!("(i32.const {PARAMETERS})");
            }
            17.. => arguments += "(local.get 0)",
            _ => (0..count).for_each(|index| arguments += &format!("(local.get {index})")),
        }
        if is_in_memory {
            arguments += &format!("(i32.const {RESULT})");
        }
        (moved, arguments)
    }

    /// What is done with the result: it is in memory, or what the call left.
    fn end(&self, result: &[&str], is_in_memory: bool) -> String {
        let loaded = match result.len() {
            _ if !is_in_memory => String::new(),
            1..=16 if self.lifts || result.len() == 1 => (0..result.len())
                .fold(String::new(), |text, index| {
                    text + &format!("(i32.load (i32.const {}))", RESULT + 4 * index)
                }),
            _ => format!("(i32.const {RESULT})"),
        };
        if self.lifts { format!("{loaded} (call $return) (i32.const 0)") } else { loaded }
    }
}

/// Returns what was put into its memory: exports `poke`, which writes a word, and `call`, which
/// returns the value of this type that is at 1024.
pub(super) fn returns(shape: &Shape) -> String {
    let mut types = Types::default();
    let ty = types.of(shape);
    let (returned, value) = match slots(shape)[..] {
        [slot] => (slot, load(shape, slot)),
        _ => ("i32", format!("(i32.const {RESULT})")),
    };
    format!(
        r#"(component {}
            (core module $m
                (memory (export "memory") 1)
                (func (export "poke") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
                (func (export "call") (result {returned}) {value}))
            (core instance $i (instantiate $m))
            (func (export "poke") (param "at" u32) (param "word" u32)
                (canon lift (core func $i "poke")))
            (func (export "call") (result {ty})
                (canon lift (core func $i "call") (memory (core memory $i "memory")))))"#,
        types.text
    )
}

/// Returns so many lists of 64 KiB, which are all in one place.
pub(super) fn bomb(count: usize) -> String {
    let end = 8192 + 8 * count;
    format!(
        r#"(component
            (core module $m
                (memory (export "memory") 2)
                (func (export "call") (result i32) (local $at i32)
                    (local.set $at (i32.const 8192))
                    (loop $next
                        (i32.store (local.get $at) (i32.const 65536))
                        (i32.store offset=4 (local.get $at) (i32.const 65536))
                        (local.set $at (i32.add (local.get $at) (i32.const 8)))
                        (br_if $next (i32.lt_u (local.get $at) (i32.const {end}))))
                    (i32.store (i32.const {RESULT}) (i32.const 8192))
                    (i32.store offset=4 (i32.const {RESULT}) (i32.const {count}))
                    (i32.const {RESULT})))
            (core instance $i (instantiate $m))
            (func (export "call") (result (list (list u8)))
                (canon lift (core func $i "call") (memory (core memory $i "memory")))))"#
    )
}

impl Types {
    /// A type, or the name that it has from here on.
    fn of(&mut self, shape: &Shape) -> String {
        let word = match shape {
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
            Shape::List(of) => return format!("(list {})", self.of(of)),
            Shape::FixedLengthList(of, count) => return format!("(list {} {count})", self.of(of)),
            Shape::Map(key, of) => return format!("(map {} {})", self.of(key), self.of(of)),
            Shape::Option(of) => return format!("(option {})", self.of(of)),
            Shape::Tuple(of) => {
                let members: Vec<_> = of.iter().map(|of| self.of(of)).collect();
                return format!("(tuple {})", members.join(" "));
            }
            Shape::Result(ok, err) => {
                let ok = ok.as_ref().map(|of| self.of(of)).unwrap_or_default();
                let err = err.as_ref().map(|of| format!("(error {})", self.of(of)));
                return format!("(result {ok} {})", err.unwrap_or_default());
            }
            Shape::Record(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, of)| format!("(field \"{name}\" {})", self.of(of)))
                    .collect();
                return self.named(&format!("(record {})", fields.join(" ")));
            }
            Shape::Variant(cases) => {
                let cases: Vec<_> = cases
                    .iter()
                    .map(|(name, of)| {
                        let of = of.as_ref().map(|of| self.of(of)).unwrap_or_default();
                        format!("(case \"{name}\" {of})")
                    })
                    .collect();
                return self.named(&format!("(variant {})", cases.join(" ")));
            }
            Shape::Enum(names) => return self.named(&format!("(enum {})", quoted(names))),
            Shape::Flags(names) => return self.named(&format!("(flags {})", quoted(names))),
        };
        word.to_owned()
    }

    fn named(&mut self, ty: &str) -> String {
        let index = self.count;
        self.count += 1;
        self.text += &format!(
            "(type $d{index} {ty}) (import \"t{index}\" (type $t{index} (eq $d{index})))\n"
        );
        format!("$t{index}")
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(" ")
}

/// The types of core WebAssembly that a value is passed as.
fn slots(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Shape::S64 | Shape::U64 => vec!["i64"],
        Shape::F32 => vec!["f32"],
        Shape::F64 => vec!["f64"],
        Shape::String | Shape::List(_) | Shape::Map(..) => vec!["i32", "i32"],
        Shape::FixedLengthList(of, count) => slots(of).repeat(*count as usize),
        Shape::Record(fields) => fields.iter().flat_map(|(_, of)| slots(of)).collect(),
        Shape::Tuple(of) => of.iter().flat_map(slots).collect(),
        Shape::Variant(cases) => joined(cases.iter().filter_map(|(_, of)| of.as_ref())),
        Shape::Option(of) => joined([&**of].into_iter()),
        Shape::Result(ok, err) => joined([ok, err].into_iter().flatten().map(|of| &**of)),
        Shape::Flags(names) => vec!["i32"; names.len().div_ceil(32)],
        _ => vec!["i32"],
    }
}

/// Of what is one of several.
fn joined<'a>(cases: impl Iterator<Item = &'a Shape>) -> Vec<&'static str> {
    let mut joined: Vec<&str> = Vec::new();
    for case in cases {
        for (index, slot) in slots(case).into_iter().enumerate() {
            match joined.get_mut(index) {
                None => joined.push(slot),
                Some(one) if *one == slot => {}
                Some(one) => {
                    let is_small = matches!((*one, slot), ("i32", "f32") | ("f32", "i32"));
                    *one = if is_small { "i32" } else { "i64" };
                }
            }
        }
    }
    joined.insert(0, "i32");
    joined
}

/// Loads what is passed in one slot. What is smaller is loaded with what is behind it.
fn load(shape: &Shape, slot: &str) -> String {
    let load = match shape {
        Shape::Bool | Shape::U8 | Shape::Enum(_) => "i32.load8_u",
        Shape::S8 => "i32.load8_s",
        Shape::U16 => "i32.load16_u",
        Shape::S16 => "i32.load16_s",
        _ => return format!("({slot}.load (i32.const {RESULT}))"),
    };
    format!("({load} (i32.const {RESULT}))")
}

const RETURNED: &str = "(export \"return\" (func $return))";

/// A memory of 8 MiB, which is given away from its second page on and never taken back.
const MEMORY: &str = r#"(core module $memory
    (memory (export "memory") 128)
    (global $next (mut i32) (i32.const 65536))
    (func (export "realloc")
        (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
        (local $at i32)
        (if (i32.and (i32.ne (local.get $old) (i32.const 0))
                (i32.le_u (local.get $size) (local.get $was)))
            (then (return (local.get $old))))
        (local.set $at (i32.and
            (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get $align))))
        (global.set $next (i32.add (local.get $at) (local.get $size)))
        (memory.copy (local.get $at) (local.get $old) (local.get $was))
        (local.get $at)))"#;
