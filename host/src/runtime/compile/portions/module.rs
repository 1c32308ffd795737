//! A core module with its bulk instructions in portions: where such an instruction was, there
//! is a call of a function behind the module's own, so that no index changes. All else is
//! copied byte for byte.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use wasm_encoder::{CodeSection, Encode, Section as _, ValType};
use wasmparser::{
    BinaryReader, BinaryReaderError, DataKind, ElementItems, FunctionBody, Operator, Parser,
    Payload, RefType, TypeRef,
};

use super::Portions;
use super::function::{Bulk, Space};

/// What a module begins with: its magic number and version.
const PREAMBLE_BYTES: usize = 8;

/// Sections of a module.
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const CODE: u8 = 10;

/// What a type section has in front of a function's type.
const FUNCTION_TYPE: u8 = 0x60;

/// The opcode of a call.
const CALL: u8 = 0x10;

/// What there is in a module.
#[derive(Default)]
struct Module<'a> {
    types: u32,
    functions: u32,
    memories: Vec<Space>,
    /// `None` where what is in a table has no name that is the same in all modules.
    tables: Vec<Option<Space>>,
    bodies: Vec<FunctionBody<'a>>,
    /// How long each passive segment is.
    data: Vec<usize>,
    elements: Vec<u32>,
}

/// An instruction to be replaced.
struct Found {
    bulk: Bulk,
    /// Where it is in the module.
    range: Range<usize>,
}

/// The functions that take the instructions' places.
#[derive(Default)]
struct Added {
    numbers: HashMap<Bulk, u32>,
    of: Vec<(Bulk, [ValType; 3])>,
}

/// The module, or what became of it.
pub(super) fn in_portions(
    module: &[u8],
    portions: Portions,
) -> Result<Cow<'_, [u8]>, BinaryReaderError> {
    let read = Module::read(module)?;
    let mut added = Added::default();
    let mut bodies = Vec::with_capacity(read.bodies.len());
    for body in &read.bodies {
        bodies.push(read.long(body, portions, &mut added)?);
    }
    if added.of.is_empty() {
        return Ok(Cow::Borrowed(module));
    }
    let code = read.code(module, &bodies, &added, portions);
    read.write(module, &added, &code).map(Cow::Owned)
}

impl<'a> Module<'a> {
    fn read(module: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut read = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        read.types += u32::try_from(group?.types().len()).unwrap_or(u32::MAX);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => read.functions += 1,
                            TypeRef::Memory(memory) => read.add_memory(memory.memory64),
                            TypeRef::Table(table) => read.add_table(table),
                            TypeRef::Global(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => read.functions += functions.count(),
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        read.add_memory(memory?.memory64);
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        read.add_table(table?.ty);
                    }
                }
                Payload::CodeSectionEntry(body) => read.bodies.push(body),
                Payload::DataSection(segments) => {
                    for segment in segments {
                        let segment = segment?;
                        let passive = matches!(segment.kind, DataKind::Passive);
                        read.data.push(if passive { segment.data.len() } else { 0 });
                    }
                }
                Payload::ElementSection(segments) => {
                    for segment in segments {
                        read.elements.push(match segment?.items {
                            ElementItems::Functions(items) => items.count(),
                            ElementItems::Expressions(_, items) => items.count(),
                        });
                    }
                }
                _ => {}
            }
        }
        Ok(read)
    }

    fn add_memory(&mut self, memory64: bool) {
        self.memories.push(Space { index: index(memory64), element: ValType::I32 });
    }

    fn add_table(&mut self, table: wasmparser::TableType) {
        let element = match table.element_type {
            RefType::FUNCREF => Some(ValType::FUNCREF),
            RefType::EXTERNREF => Some(ValType::EXTERNREF),
            _ => None,
        };
        let index = index(table.table64);
        self.tables.push(element.map(|element| Space { index, element }));
    }

    /// The instructions of a function that may take long.
    fn long(
        &self,
        body: &FunctionBody<'_>,
        portions: Portions,
        added: &mut Added,
    ) -> Result<Vec<Found>, BinaryReaderError> {
        let mut found = Vec::new();
        let mut operators = body.get_operators_reader()?;
        // What the last instruction put on the stack: how much the next goes over.
        let mut count = None;
        while !operators.eof() {
            let (operator, start) = operators.read_with_offset()?;
            let range = start..operators.original_position();
            if let Some(bulk) = self.bulk(&operator)
                && count.is_none_or(|count| count > u64::from(bulk.portion(portions)))
                && self.may_be_long(bulk, portions)
                && added.add(bulk, self)
            {
                found.push(Found { bulk, range });
            }
            count = match operator {
                Operator::I32Const { value } => Some(u64::from(value.cast_unsigned())),
                Operator::I64Const { value } => Some(value.cast_unsigned()),
                _ => None,
            };
        }
        Ok(found)
    }

    fn bulk(&self, operator: &Operator<'_>) -> Option<Bulk> {
        Some(match *operator {
            Operator::MemoryFill { mem } => Bulk::MemoryFill { memory: mem },
            Operator::MemoryCopy { dst_mem, src_mem } => {
                Bulk::MemoryCopy { to: dst_mem, from: src_mem }
            }
            Operator::MemoryInit { data_index, mem } => {
                Bulk::MemoryInit { memory: mem, data: data_index }
            }
            Operator::TableFill { table } => Bulk::TableFill { table },
            Operator::TableCopy { dst_table, src_table } => {
                Bulk::TableCopy { to: dst_table, from: src_table }
            }
            Operator::TableInit { elem_index, table } => {
                Bulk::TableInit { table, elements: elem_index }
            }
            _ => return None,
        })
    }

    /// Whether there is more than a portion to be taken from.
    fn may_be_long(&self, bulk: Bulk, portions: Portions) -> bool {
        let is_more = |length: u64| length > u64::from(bulk.portion(portions));
        match bulk {
            Bulk::MemoryInit { data, .. } => {
                self.data.get(data as usize).is_some_and(|length| is_more(*length as u64))
            }
            Bulk::TableInit { elements, .. } => {
                self.elements.get(elements as usize).is_some_and(|count| is_more((*count).into()))
            }
            _ => true,
        }
    }

    /// What its code section has in it then.
    fn code(
        &self,
        module: &[u8],
        bodies: &[Vec<Found>],
        added: &Added,
        portions: Portions,
    ) -> CodeSection {
        let mut code = CodeSection::new();
        for (body, found) in self.bodies.iter().zip(bodies) {
            let mut rewritten = Vec::with_capacity(body.as_bytes().len() + 2 * found.len());
            let mut at = body.range().start;
            for Found { bulk, range } in found {
                rewritten.extend_from_slice(&module[at..range.start]);
                rewritten.push(CALL);
                (self.functions + added.numbers[bulk]).encode(&mut rewritten);
                at = range.end;
            }
            rewritten.extend_from_slice(&module[at..body.range().end]);
            code.raw(&rewritten);
        }
        for (bulk, operands) in &added.of {
            code.function(&bulk.function(*operands, portions));
        }
        code
    }

    /// The module with this code, and the types of the added functions.
    fn write(
        &self,
        module: &[u8],
        added: &Added,
        code: &CodeSection,
    ) -> Result<Vec<u8>, BinaryReaderError> {
        let mut written = Vec::with_capacity(module.len() + code.byte_len());
        written.extend_from_slice(&module[..PREAMBLE_BYTES]);
        // Where the section's head begins: sections lie one behind the other.
        let mut at = PREAMBLE_BYTES;
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload?;
            let Some((id, range)) = payload.as_section() else { continue };
            let content = &module[range.clone()];
            match id {
                TYPES => longer(&mut written, id, content, &added.types())?,
                FUNCTIONS => longer(&mut written, id, content, &added.declarations(self.types))?,
                CODE => code.append_to(&mut written),
                _ => written.extend_from_slice(&module[at..range.end]),
            }
            at = range.end;
        }
        Ok(written)
    }

    fn operands(&self, bulk: Bulk) -> Option<[ValType; 3]> {
        bulk.operands(
            |memory| self.memories.get(memory as usize).copied(),
            |table| self.tables.get(table as usize).copied().flatten(),
        )
    }
}

impl Added {
    /// Whether there is a function that does this.
    fn add(&mut self, bulk: Bulk, module: &Module<'_>) -> bool {
        if self.numbers.contains_key(&bulk) {
            return true;
        }
        let Some(operands) = module.operands(bulk) else { return false };
        self.numbers.insert(bulk, u32::try_from(self.of.len()).unwrap_or(u32::MAX));
        self.of.push((bulk, operands));
        true
    }

    /// What they take, in the form of a type section's entries.
    fn types(&self) -> Vec<Vec<u8>> {
        let entry = |(_, operands): &(Bulk, [ValType; 3])| {
            let mut entry = vec![FUNCTION_TYPE];
            operands.as_slice().encode(&mut entry);
            // No results.
            0_u32.encode(&mut entry);
            entry
        };
        self.of.iter().map(entry).collect()
    }

    /// Which type each has: they are behind the module's own, of which there are so many.
    fn declarations(&self, types: u32) -> Vec<Vec<u8>> {
        let mut entries = vec![Vec::new(); self.of.len()];
        for (entry, index) in entries.iter_mut().zip(types..) {
            index.encode(entry);
        }
        entries
    }
}

/// Writes a section that is a list, with more entries at its end.
fn longer(
    written: &mut Vec<u8>,
    id: u8,
    content: &[u8],
    entries: &[Vec<u8>],
) -> Result<(), BinaryReaderError> {
    let mut reader = BinaryReader::new(content, 0);
    let count = reader.read_var_u32()? as usize;
    let mut longer = Vec::with_capacity(content.len() + 16 * entries.len());
    (count + entries.len()).encode(&mut longer);
    longer.extend_from_slice(&content[reader.original_position()..]);
    longer.extend(entries.iter().flatten());
    written.push(id);
    longer.encode(written);
    Ok(())
}

fn index(is_wide: bool) -> ValType {
    if is_wide { ValType::I64 } else { ValType::I32 }
}
