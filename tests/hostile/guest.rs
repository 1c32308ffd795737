//! Guests made in the test: a core module in WebAssembly's text format, and the
//! component that `wit-component` makes of it, as any toolchain would.
//!
//! A guest imports what its text names: `call $set` brings
//! `wasi:http/types` `[static]response-outparam.set`. See [`IMPORTS`].

use wasm_encoder::{RawSection, Section as _};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The world of the guests, with everything that they may import.
const WORLD: &str = include_str!("world.wit");

/// The name of the export that takes requests: `(param $request i32) (param $out i32)`.
pub const HANDLE: &str = "wasi:http/incoming-handler@0.2.0#handle";

const HTTP: &str = "wasi:http/types@0.2.0";
const STREAMS: &str = "wasi:io/streams@0.2.0";
const STORE: &str = "wasi:keyvalue/store@0.2.0-draft";
const BATCH: &str = "wasi:keyvalue/batch@0.2.0-draft";
const POLL: &str = "wasi:io/poll@0.2.0";

/// What a guest may import: its name in the text, the interface, the function,
/// and its type as the canonical ABI lowers it.
const IMPORTS: &[(&str, &str, &str, &str)] = &[
    ("fields", HTTP, "[constructor]fields", "(result i32)"),
    ("fields-append", HTTP, "[method]fields.append", "(param i32 i32 i32 i32 i32 i32)"),
    ("fields-clone", HTTP, "[method]fields.clone", "(param i32) (result i32)"),
    ("drop-fields", HTTP, "[resource-drop]fields", "(param i32)"),
    ("request-headers", HTTP, "[method]incoming-request.headers", "(param i32) (result i32)"),
    ("consume", HTTP, "[method]incoming-request.consume", "(param i32 i32)"),
    ("body-stream", HTTP, "[method]incoming-body.stream", "(param i32 i32)"),
    ("response", HTTP, "[constructor]outgoing-response", "(param i32) (result i32)"),
    ("drop-response", HTTP, "[resource-drop]outgoing-response", "(param i32)"),
    ("outgoing-request", HTTP, "[constructor]outgoing-request", "(param i32) (result i32)"),
    (
        "set-method",
        HTTP,
        "[method]outgoing-request.set-method",
        "(param i32 i32 i32 i32) (result i32)",
    ),
    ("status", HTTP, "[method]outgoing-response.set-status-code", "(param i32 i32) (result i32)"),
    ("response-body", HTTP, "[method]outgoing-response.body", "(param i32 i32)"),
    ("body-write", HTTP, "[method]outgoing-body.write", "(param i32 i32)"),
    ("finish", HTTP, "[static]outgoing-body.finish", "(param i32 i32 i32 i32)"),
    ("drop-body", HTTP, "[resource-drop]outgoing-body", "(param i32)"),
    ("drop-out", HTTP, "[resource-drop]response-outparam", "(param i32)"),
    // Which outparam, whether it is an error, the response or the error's
    // number, and the error's payload.
    ("set", HTTP, "[static]response-outparam.set", "(param i32 i32 i32 i32 i64 i32 i32 i32 i32)"),
    ("check-write", STREAMS, "[method]output-stream.check-write", "(param i32 i32)"),
    ("write", STREAMS, "[method]output-stream.write", "(param i32 i32 i32 i32)"),
    (
        "write-and-flush",
        STREAMS,
        "[method]output-stream.blocking-write-and-flush",
        "(param i32 i32 i32 i32)",
    ),
    (
        "write-zeroes",
        STREAMS,
        "[method]output-stream.blocking-write-zeroes-and-flush",
        "(param i32 i64 i32)",
    ),
    ("output-pollable", STREAMS, "[method]output-stream.subscribe", "(param i32) (result i32)"),
    ("drop-output", STREAMS, "[resource-drop]output-stream", "(param i32)"),
    ("read", STREAMS, "[method]input-stream.blocking-read", "(param i32 i64 i32)"),
    ("input-pollable", STREAMS, "[method]input-stream.subscribe", "(param i32) (result i32)"),
    ("block", POLL, "[method]pollable.block", "(param i32)"),
    ("poll", POLL, "poll", "(param i32 i32 i32)"),
    ("drop-pollable", POLL, "[resource-drop]pollable", "(param i32)"),
    (
        "timer",
        "wasi:clocks/monotonic-clock@0.2.0",
        "subscribe-duration",
        "(param i64) (result i32)",
    ),
    ("random", "wasi:random/random@0.2.0", "get-random-bytes", "(param i64 i32)"),
    ("environment", "wasi:cli/environment@0.2.0", "get-environment", "(param i32)"),
    ("arguments", "wasi:cli/environment@0.2.0", "get-arguments", "(param i32)"),
    ("exit", "wasi:cli/exit@0.2.0", "exit", "(param i32)"),
    ("stdin", "wasi:cli/stdin@0.2.0", "get-stdin", "(result i32)"),
    ("stdout", "wasi:cli/stdout@0.2.0", "get-stdout", "(result i32)"),
    ("bucket-open", STORE, "open", "(param i32 i32 i32)"),
    ("bucket-set", STORE, "[method]bucket.set", "(param i32 i32 i32 i32 i32 i32)"),
    ("get-many", BATCH, "get-many", "(param i32 i32 i32 i32)"),
    ("delete-many", BATCH, "delete-many", "(param i32 i32 i32 i32)"),
    ("log", "wasi:logging/logging@0.1.0-draft", "log", "(param i32 i32 i32 i32 i32)"),
];

/// Answers an empty 200: `call $answer` with the outparam.
const ANSWER: &str = "(func $answer (param $out i32)
    (call $set (local.get $out) (i32.const 0) (call $response (call $fields))
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))";

/// Answers a 200 whose body goes on: `call $begin` with the outparam gives the
/// body's output stream. The body is at 4 of the scratch memory.
const BEGIN: &str = "(func $begin (param $out i32) (result i32) (local $response i32)
    (local.set $response (call $response (call $fields)))
    (call $response-body (local.get $response) (i32.const 0))
    (call $set (local.get $out) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $body-write (i32.load (i32.const 4)) (i32.const 8))
    (i32.load (i32.const 12)))";

/// One page, the first 64 KiB of which nothing but the guest's text uses, and an
/// allocator that takes from the second on and never frees.
const MEMORY: &str = "(memory $memory (export \"memory\") 4)
  (global $next (mut i32) (i32.const 65536))
  (func (export \"cabi_realloc\") (param i32 i32 i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $bytes)))
    (block $room
      (br_if $room (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
      (drop (memory.grow
        (i32.sub (i32.shr_u (i32.add (global.get $next) (i32.const 65535)) (i32.const 16))
          (memory.size)))))
    (local.get $at))";

/// A component whose `handle` does `body`, with the parameters `$request` and
/// `$out` and the locals `$i` and `$x`.
pub fn handling(body: &str) -> Vec<u8> {
    with(&handle(body))
}

/// The same component with another one in it that has code.
pub fn beside_another(mut component: Vec<u8>) -> Vec<u8> {
    const COMPONENT_SECTION: u8 = 4;
    let other = "(component (core module $m (func)) (core instance (instantiate $m)))";
    let other = wat::parse_str(other).expect("a component");
    RawSection { id: COMPONENT_SECTION, data: &other }.append_to(&mut component);
    component
}

/// A component whose `handle` traps in a function of this name.
pub fn trapping_in(name: &str) -> Vec<u8> {
    let quoted: String = name.chars().map(|c| format!("\\u{{{:x}}}", u32::from(c))).collect();
    with(&format!("(func $\"{quoted}\" unreachable) {}", handle(&format!("(call $\"{quoted}\")"))))
}

/// A component of these items, and the usual memory and allocator.
pub fn with(items: &str) -> Vec<u8> {
    bare(&format!("{MEMORY}{items}"))
}

/// A component of these items; they bring their own memory.
pub fn bare(items: &str) -> Vec<u8> {
    encode(&module(items))
}

/// The export `handle`.
pub fn handle(body: &str) -> String {
    format!(
        "(func $handle (export \"{HANDLE}\") (param $request i32) (param $out i32)
            (local $i i32) (local $x i32)\n{body})"
    )
}

/// The body of a function that does `body` for ever.
pub fn forever(body: &str) -> String {
    format!("(loop $again {body} (br $again))")
}

/// The core module with these items, what they import, and what they call.
fn module(items: &str) -> String {
    let mut items = items.to_owned();
    for (name, definition) in [("answer", ANSWER), ("begin", BEGIN)] {
        if names(&items, name) {
            items.push_str(definition);
        }
    }
    let imports: String = IMPORTS
        .iter()
        .filter(|(name, ..)| names(&items, name))
        .map(|(name, interface, function, ty)| {
            format!("(import \"{interface}\" \"{function}\" (func ${name} {ty}))\n")
        })
        .collect();
    format!("(module {imports} {items})")
}

fn names(text: &str, name: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || "()".contains(c))
        .any(|word| word.strip_prefix('$') == Some(name))
}

/// The component around a core module.
fn encode(module: &str) -> Vec<u8> {
    let mut bytes =
        wat::parse_str(module).unwrap_or_else(|error| panic!("a module: {error}\n{module}"));
    let mut resolve = Resolve::default();
    let package = resolve.push_str("world.wit", WORLD).expect("the world");
    let world = resolve.select_world(&[package], Some("hostile")).expect("the world");
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .expect("a module with metadata");
    let mut encoder = ComponentEncoder::default();
    encoder = encoder.module(&bytes).expect("a module");
    encoder.encode().unwrap_or_else(|error| panic!("a component: {error:#}\n{module}"))
}

/// A service inside a component that first instantiates fifty core modules
/// whose start functions do nothing, and one whose start function does `start`.
pub fn nested(start: &str) -> Vec<u8> {
    let text = format!(
        "(component
            (core module $idle (func $s) (start $s))
            (core module $busy (func $s {start}) (start $s))
            {}
            (core instance (instantiate $busy))
            {})",
        "(core instance (instantiate $idle))".repeat(50),
        exporting_handle()
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("a component: {error}"))
}

/// The items of a component by hand that export a `handle` which does nothing.
pub fn exporting_handle() -> String {
    "(import \"wasi:http/types@0.2.0\" (instance $types
        (export \"incoming-request\" (type (sub resource)))
        (export \"response-outparam\" (type (sub resource)))))
    (alias export $types \"incoming-request\" (type $request))
    (alias export $types \"response-outparam\" (type $out))
    (core module $handler (func (export \"handle\") (param i32 i32)))
    (core instance $handler (instantiate $handler))
    (func $handle (param \"request\" (own $request)) (param \"response-out\" (own $out))
        (canon lift (core func $handler \"handle\")))
    (instance $exported (export \"handle\" (func $handle)))
    (export \"wasi:http/incoming-handler@0.2.0\" (instance $exported))"
        .to_owned()
}

/// A service with so many component instances in it, each of which waits for ever in a call
/// of its own (0.3) as soon as there is a request, and the service with them.
pub fn nested_waits(instances: usize) -> Vec<u8> {
    let each = |text: &dyn Fn(usize) -> String| (0..instances).map(text).collect::<String>();
    let waiting = each(&|i| {
        format!("(instance $w{i} (instantiate $waiting (with \"clock\" (instance $clock))))")
    });
    let calls = each(&|i| format!("(with \"run{i}\" (func $w{i} \"run\"))"));
    let clock = "(export \"wait-for\" (func async (param \"how-long\" u64)))";
    let text = format!(
        "(component
            (import \"wasi:clocks/monotonic-clock@0.3.0\" (instance $clock {clock}))
            (import \"wasi:io/poll@0.2.0\" (instance $poll
                (export \"pollable\" (type $pollable (sub resource)))
                (export \"[method]pollable.block\"
                    (func (param \"self\" (borrow $pollable))))))
            (alias export $poll \"pollable\" (type $pollable))
            (import \"wasi:clocks/monotonic-clock@0.2.0\" (instance $timer
                (alias outer 1 $pollable (type $outer))
                (export \"pollable\" (type $pollable (eq $outer)))
                (export \"subscribe-duration\"
                    (func (param \"when\" u64) (result (own $pollable))))))
            (import \"wasi:http/types@0.2.0\" (instance $types
                (export \"incoming-request\" (type (sub resource)))
                (export \"response-outparam\" (type (sub resource)))))
            (alias export $types \"incoming-request\" (type $request))
            (alias export $types \"response-outparam\" (type $out))
            (component $waiting
                (import \"clock\" (instance $clock {clock}))
                (core func $wait (canon lower (func $clock \"wait-for\")))
                (core module $m
                    (import \"\" \"wait\" (func $wait (param i64)))
                    (func (export \"run\") (call $wait (i64.const 3600000000000))))
                (core instance $i
                    (instantiate $m (with \"\" (instance (export \"wait\" (func $wait))))))
                (func (export \"run\") async (canon lift (core func $i \"run\"))))
            {}
            {waiting}
            (instance $handler (instantiate $handler
                (with \"request\" (type $request))
                (with \"out\" (type $out))
                (with \"pollable\" (type $pollable))
                (with \"timer\" (func $timer \"subscribe-duration\"))
                (with \"block\" (func $poll \"[method]pollable.block\"))
                {calls}))
            (instance $exported (export \"handle\" (func $handler \"handle\")))
            (export \"wasi:http/incoming-handler@0.2.0\" (instance $exported)))",
        calling(instances)
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("a component: {error}\n{text}"))
}

/// The component `$handler`, which calls each of so many and waits itself.
fn calling(instances: usize) -> String {
    let each = |text: &dyn Fn(usize) -> String| (0..instances).map(text).collect::<String>();
    let given = each(&|i| format!("(import \"run{i}\" (func $run{i} async))"));
    let lowered = each(&|i| format!("(core func $call{i} (canon lower (func $run{i}) async))"));
    let imports = each(&|i| format!("(import \"\" \"run{i}\" (func $run{i} (result i32)))"));
    let exports = each(&|i| format!("(export \"run{i}\" (func $call{i}))"));
    let calls = each(&|i| format!("(drop (call $run{i}))"));
    format!(
        "(component $handler
            (import \"request\" (type $request (sub resource)))
            (import \"out\" (type $out (sub resource)))
            (import \"pollable\" (type $pollable (sub resource)))
            (import \"timer\" (func $timer (param \"when\" u64) (result (own $pollable))))
            (import \"block\" (func $block (param \"self\" (borrow $pollable))))
            {given}
            {lowered}
            (core func $t (canon lower (func $timer)))
            (core func $b (canon lower (func $block)))
            (core module $m
                {imports}
                (import \"\" \"timer\" (func $timer (param i64) (result i32)))
                (import \"\" \"block\" (func $block (param i32)))
                (func (export \"handle\") (param i32 i32)
                    {calls}
                    (call $block (call $timer (i64.const 3600000000000)))))
            (core instance $i (instantiate $m (with \"\" (instance
                {exports}
                (export \"timer\" (func $t))
                (export \"block\" (func $b))))))
            (func (export \"handle\")
                (param \"request\" (own $request)) (param \"response-out\" (own $out))
                (canon lift (core func $i \"handle\"))))"
    )
}
