//! What is rewritten does what it did, in steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::{Config, Engine, Instance, Module, Store, UpdateDeadline};

use super::{Portions, module, of_component};

const SMALL: Portions = Portions { memory: 16, table: 4 };

/// Two memories of one page, two tables and segments, and a function for each instruction.
const ALL: &str = r#"(module
    (memory (export "m") 1 1)
    (memory $n (export "n") 1 1)
    (memory $wide (export "w") i64 1 1)
    (table $t (export "t") 100 100 funcref)
    (table $u 100 100 funcref)
    (data $d "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    (data $short "abcdefgh")
    (elem $e func $f $f $f $f $f $f $f $f $f $f)
    (func $f)
    (func (export "fill") (param i32 i32 i32)
        (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "over") (param i32 i32 i32)
        (memory.copy $n 0 (local.get 0) (local.get 1) (local.get 2))
        (memory.copy 0 $n (local.get 1) (local.get 0) (local.get 2)))
    (func (export "init") (param i32 i32 i32)
        (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
    (func (export "short") (param i32 i32 i32)
        (memory.init $short (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wide") (param i32 i32 i32)
        (memory.fill $wide (i64.extend_i32_u (local.get 0)) (local.get 1) (i64.extend_i32_u (local.get 2)))
        (memory.copy $wide 0 (i64.extend_i32_u (local.get 0)) (local.get 1) (local.get 2)))
    (func (export "table") (param i32 i32 i32)
        (table.fill $t (local.get 0) (ref.func $f) (local.get 2))
        (table.copy $u $t (local.get 1) (local.get 0) (local.get 2))
        (table.copy $t $t (local.get 1) (local.get 0) (local.get 2)))
    (func (export "elements") (param i32 i32 i32)
        (table.init $t $e (local.get 0) (local.get 1) (local.get 2)))
    (func (export "constant") (param i32 i32 i32)
        (memory.fill (local.get 0) (local.get 1) (i32.const 16)))
    (func (export "filled") (param i32) (result i32)
        (ref.is_null (table.get $t (local.get 0)))))"#;

const FUNCTIONS: [&str; 9] =
    ["fill", "copy", "over", "init", "short", "wide", "table", "elements", "constant"];

/// A module that was compiled.
struct Program {
    engine: Engine,
    module: Module,
}

struct Ran {
    store: Store<()>,
    instance: Instance,
    /// How often an epoch was looked at.
    looks: Arc<AtomicUsize>,
}

impl Program {
    fn new(module: &[u8]) -> Self {
        let mut config = Config::new();
        config.epoch_interruption(true).wasm_multi_memory(true).wasm_memory64(true);
        let engine = Engine::new(&config).expect("it works here");
        let module = Module::new(&engine, module).expect("it is valid");
        Self { engine, module }
    }

    fn start(&self) -> Ran {
        let mut store = Store::new(&self.engine, ());
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        store.epoch_deadline_callback(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(UpdateDeadline::Continue(0))
        });
        store.set_epoch_deadline(0);
        let instance = Instance::new(&mut store, &self.module, &[]).expect("nothing is imported");
        Ran { store, instance, looks }
    }
}

impl Ran {
    fn call(&mut self, function: &str, operands: (u32, u32, u32)) -> Result<(), String> {
        let called = self.instance.get_typed_func::<(u32, u32, u32), ()>(&mut self.store, function);
        let called = called.expect("it is there");
        called.call(&mut self.store, operands).map_err(|error| error.root_cause().to_string())
    }

    /// All that there is in memories and in the table.
    fn state(&mut self) -> Vec<u8> {
        let mut state = Vec::new();
        for memory in ["m", "n", "w"] {
            let memory = self.instance.get_memory(&mut self.store, memory).expect("it is there");
            state.extend_from_slice(memory.data(&self.store));
        }
        let filled = self.instance.get_typed_func::<u32, u32>(&mut self.store, "filled");
        let filled = filled.expect("it is there");
        for element in 0..100 {
            state.push(
                filled.call(&mut self.store, element).expect("it is within").to_le_bytes()[0],
            );
        }
        state
    }
}

/// All of it as it is, and in portions.
fn both() -> [Program; 2] {
    let module = wat::parse_str(ALL).expect("it is a module");
    let rewritten = module::in_portions(&module, SMALL).expect("it is readable").into_owned();
    assert_ne!(module, rewritten);
    [Program::new(&module), Program::new(&rewritten)]
}

#[test]
fn bulk_instructions_in_portions_do_what_they_did_and_trap_where_they_did() {
    let programs = both();
    let [mut before, mut after] = programs.each_ref().map(Program::start);
    let mut random = fastrand::Rng::with_seed(7);
    let mut trapped = 0;
    for round in 0..4_000 {
        let function = FUNCTIONS[random.usize(..FUNCTIONS.len())];
        let edge = if matches!(function, "table" | "elements") { 100 } else { 65_536 };
        let mut place = || match random.u32(0..8) {
            0 => edge - random.u32(0..40),
            1 => u32::MAX - random.u32(0..40),
            _ => random.u32(0..60),
        };
        let (to, from) = (place(), place());
        let count = match random.u32(0..10) {
            0 => u32::MAX - random.u32(0..40),
            1 => random.u32(0..edge),
            _ => random.u32(0..70),
        };
        let operands = (to, from, count);
        let [was, is] = [&mut before, &mut after].map(|ran| ran.call(function, operands));
        trapped += usize::from(is.is_err());
        assert_eq!(was, is, "round {round}: {function} {operands:?}");
        // What a trap leaves nobody sees: its store is gone.
        if is.is_err() {
            [before, after] = programs.each_ref().map(Program::start);
        } else if round % 8 == 0 {
            assert!(before.state() == after.state(), "round {round}: {function} {operands:?}");
        }
    }
    assert!((100..3_900).contains(&trapped), "{trapped} trapped");
}

#[test]
fn an_epoch_is_looked_at_for_each_portion() {
    let programs = both();
    for function in ["fill", "copy", "wide"] {
        let looks = programs.each_ref().map(|program| {
            let mut ran = program.start();
            ran.looks.store(0, Ordering::Relaxed);
            ran.call(function, (0, 0, 1600)).expect("it is within");
            ran.looks.load(Ordering::Relaxed)
        });
        assert!(looks[0] < 5 && looks[1] >= 100, "{function}: {looks:?} looks");
    }
}

#[test]
fn a_module_without_long_instructions_stays_as_it_is() {
    let text = r#"(module (memory 1) (data $short "abc")
        (func (memory.fill (i32.const 0) (i32.const 1) (i32.const 16)))
        (func (param i32) (memory.init $short (i32.const 0) (i32.const 0) (local.get 0))))"#;
    let module = wat::parse_str(text).expect("it is a module");
    assert_eq!(module::in_portions(&module, SMALL).expect("it is readable"), module);
}

#[test]
fn modules_in_nested_components_are_rewritten_and_all_else_is_kept() {
    let inner = "(core module (memory 1) (func (param i32)
        (memory.fill (i32.const 0) (i32.const 1) (local.get 0))))";
    let text = format!(
        r#"(component (@custom "here" "kept")
            (component (component {inner}) {inner} (@custom "there" "kept, too"))
            (core module (func (export "f"))) (import "a" (func)))"#
    );
    let component = wat::parse_str(text).expect("it is a component");
    let rewritten = of_component(&component, SMALL).expect("it is readable");
    wasmparser_accepts(&rewritten);
    let has = |wanted: &[u8]| rewritten.windows(wanted.len()).any(|bytes| bytes == wanted);
    assert!(has(b"kept") && has(b"kept, too"));
    let again = of_component(&rewritten, SMALL).expect("it is readable");
    assert!(again.len() > rewritten.len() && rewritten.len() > component.len());
}

fn wasmparser_accepts(component: &[u8]) {
    wasmtime::component::Component::new(&Engine::default(), component).expect("it is valid");
}
