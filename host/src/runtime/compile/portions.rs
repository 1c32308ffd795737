//! Bulk instructions in portions. `memory.fill` and its like go over as much as there is in
//! one step that no epoch ends: it would hold its thread past the guest's turn, CPU budget and
//! deadline. So a component is rewritten before it is compiled: such an instruction becomes a
//! call of a function that does the same in portions, in a loop, where epochs are looked at.
//!
//! What the guest sees is what it saw. An instruction that would leave the memory or table is
//! executed as it is, and traps before it has done anything; one whose length is a small
//! constant stays, too. Bytes that cannot be read are left to the compiler, who says so.

mod function;
mod module;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use wasm_encoder::Encode;
use wasmparser::{BinaryReaderError, Chunk, Parser, Payload};

/// Bytes that one step goes over: some ten microseconds, or a hundred where no page of them
/// was touched before.
const MEMORY_PORTION: u32 = 256 << 10;

/// Table elements that one step goes over.
const TABLE_PORTION: u32 = 16 << 10;

/// How much one step goes over.
#[derive(Clone, Copy, Debug)]
struct Portions {
    memory: u32,
    table: u32,
}

/// Sections of a component that are modules and components themselves.
const MODULE: u8 = 1;
const COMPONENT: u8 = 4;

/// The component with its bulk instructions in portions.
pub(super) fn in_portions(component: &[u8]) -> Cow<'_, [u8]> {
    let portions = Portions { memory: MEMORY_PORTION, table: TABLE_PORTION };
    match of_component(component, portions) {
        Ok(rewritten) => Cow::Owned(rewritten),
        Err(_the_compiler_says_what_it_is) => Cow::Borrowed(component),
    }
}

fn of_component(component: &[u8], portions: Portions) -> Result<Vec<u8>, BinaryReaderError> {
    let mut rewritten = Vec::with_capacity(component.len());
    let mut parser = Parser::new(0);
    let mut rest = component;
    while !rest.is_empty() {
        let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else { break };
        let (section, behind) = rest.split_at(consumed);
        rest = behind;
        let (id, nested) = match payload {
            Payload::ModuleSection { unchecked_range, .. } => (MODULE, unchecked_range.len()),
            Payload::ComponentSection { unchecked_range, .. } => (COMPONENT, unchecked_range.len()),
            _ => {
                rewritten.extend_from_slice(section);
                continue;
            }
        };
        // Shorter than it says where it is damaged.
        let (nested, behind) = rest.split_at(nested.min(rest.len()));
        rest = behind;
        let nested = match id {
            MODULE => module::in_portions(nested, portions)?,
            _ => Cow::Owned(of_component(nested, portions)?),
        };
        rewritten.push(id);
        nested.encode(&mut rewritten);
    }
    Ok(rewritten)
}
