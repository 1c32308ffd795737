//! From a component to code, and the settings that both the compiler and the host
//! have.

mod portions;

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use wasmparser::{Parser, Payload};
use wasmtime::{Config, Engine};

use crate::component::{Steps, component_instances, steps};

/// What a component's calls are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    /// No `async`, `stream` or `future` in its types.
    Sync,
    /// Those, too: all of `wasi:*` 0.3, and asynchronous exports.
    Async,
}

/// Which processors code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// This one, with all that it can do.
    This,
    /// Any of its architecture: the same code on all machines, and on one that
    /// valgrind makes believe.
    Any,
}

/// The versions of `wasi:*` that only the asynchronous engine has.
const ASYNC_VERSION: &str = "@0.3.";

/// How components are rewritten before they are compiled. Another number for another way:
/// what was compiled before is compiled anew.
const REWRITING: u32 = 1;

/// Behind a component's code: this, how many component instances it has, and its [`Steps`].
const TRAILER: &[u8] = b"hotdock component instances, steps:";
const TRAILER_BYTES: usize = TRAILER.len() + size_of::<u32>() + 1;

/// A number of component instances that is not known.
const UNKNOWN: u32 = u32::MAX;

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct CompileError(wasmtime::Error);

/// What compiled code must match to be run by this build on this machine:
/// engine version, settings and processor features, as one hexadecimal number.
/// For which of the host's engines it was made is in the code itself.
#[must_use]
pub fn compatibility_key() -> String {
    let mut hasher = DefaultHasher::new();
    TRAILER.hash(&mut hasher);
    REWRITING.hash(&mut hasher);
    for abi in [Abi::Sync, Abi::Async] {
        let engine = Engine::new(&compile_config(abi)).expect("the settings are constant");
        engine.precompile_compatibility_hash().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Compiles a component to code for this machine.
///
/// Called in a child process only: a hostile component may take any amount of
/// time or memory here.
///
/// # Errors
/// When the bytes are not a valid component.
pub fn compile(component: &[u8]) -> Result<Vec<u8>, CompileError> {
    compile_for(Processor::This, component)
}

/// The same for this processor or any.
///
/// # Errors
/// As [`compile`].
pub fn compile_for(processor: Processor, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    let rewritten = portions::in_portions(component);
    let compile = |abi| {
        let mut config = compile_config(abi);
        if processor == Processor::Any {
            config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
        }
        let engine = Engine::new(&config)?;
        engine.precompile_component(&rewritten)
    };
    // Without async it is invalid where its types have any: that is found before
    // any code is made. What else is wrong with it is said by the second.
    let plain = if names_async(component) { None } else { compile(Abi::Sync).ok() };
    let mut code = plain.map_or_else(|| compile(Abi::Async), Ok).map_err(CompileError)?;
    code.extend(trailer(component));
    Ok(code)
}

/// What the host has to know of a component besides its code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// How many component instances it has, if that is known.
    pub(super) instances: Option<u32>,
    pub(super) steps: Steps,
}

/// The same as it is behind the code: nothing in there refers to the file's end.
fn trailer(component: &[u8]) -> [u8; TRAILER_BYTES] {
    let instances = component_instances(component).ok();
    let instances = instances.map_or(UNKNOWN, |count| u32::try_from(count).unwrap_or(UNKNOWN - 1));
    let Steps { transcodes, moves, fills } = steps(component).unwrap_or_default();
    let steps = u8::from(transcodes) | u8::from(moves) << 1 | u8::from(fills) << 2;
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..TRAILER.len()].copy_from_slice(TRAILER);
    trailer[TRAILER.len()..TRAILER_BYTES - 1].copy_from_slice(&instances.to_le_bytes());
    trailer[TRAILER_BYTES - 1] = steps;
    trailer
}

/// What is known of the component of this code.
///
/// # Errors
/// When the file cannot be read, or another build made it.
pub(super) fn facts_of(compiled: &Path) -> io::Result<Facts> {
    let mut file = File::open(compiled)?;
    file.seek(SeekFrom::End(-(TRAILER_BYTES as i64)))?;
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact(&mut trailer)?;
    let (magic, facts) = trailer.split_at(TRAILER.len());
    match *facts {
        [a, b, c, d, steps] if magic == TRAILER => {
            let count = u32::from_le_bytes([a, b, c, d]);
            let [transcodes, moves, fills] = [1, 2, 4].map(|bit| steps & bit != 0);
            let instances = (count != UNKNOWN).then_some(count);
            Ok(Facts { instances, steps: Steps { transcodes, moves, fills } })
        }
        _ => Err(io::Error::other("it was made by another build")),
    }
}

/// Every setting that changes what code the compiler makes. Shared by the child
/// that compiles and the host that serves, or nothing would load.
pub(super) fn compile_config(abi: Abi) -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.concurrency_support(abi == Abi::Async);
    config.epoch_interruption(true);
    config
}

/// Whether it imports or exports anything of the asynchronous versions, not all of
/// which have async in their types.
fn names_async(component: &[u8]) -> bool {
    let mut payloads = Parser::new(0).parse_all(component);
    payloads.any(|payload| match payload {
        Ok(Payload::ComponentImportSection(imports)) => {
            imports.into_iter().flatten().any(|import| import.name.name.contains(ASYNC_VERSION))
        }
        Ok(Payload::ComponentExportSection(exports)) => {
            exports.into_iter().flatten().any(|export| export.name.name.contains(ASYNC_VERSION))
        }
        _ => false,
    })
}
