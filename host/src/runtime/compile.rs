//! From a component to code, and the settings that both the compiler and the host
//! have.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmparser::{Parser, Payload};
use wasmtime::{Config, Engine};

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
    let compile = |abi| {
        let mut config = compile_config(abi);
        if processor == Processor::Any {
            config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
        }
        let engine = Engine::new(&config)?;
        engine.precompile_component(component)
    };
    // Without async it is invalid where its types have any: that is found before
    // any code is made. What else is wrong with it is said by the second.
    let plain = if names_async(component) { None } else { compile(Abi::Sync).ok() };
    plain.map_or_else(|| compile(Abi::Async), Ok).map_err(CompileError)
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
