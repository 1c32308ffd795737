//! The function that does a bulk instruction in portions.

use wasm_encoder::{BlockType, Function, InstructionSink, ValType};

use super::Portions;

/// A memory or a table: by what it is indexed, and what a table has in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) index: ValType,
    pub(super) element: ValType,
}

/// A bulk instruction, with the indices of what it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bulk {
    MemoryFill { memory: u32 },
    MemoryCopy { to: u32, from: u32 },
    MemoryInit { memory: u32, data: u32 },
    TableFill { table: u32 },
    TableCopy { to: u32, from: u32 },
    TableInit { table: u32, elements: u32 },
}

/// Parameters: where to, where from or what with, how much.
const TO: u32 = 0;
const FROM: u32 = 1;
const COUNT: u32 = 2;
/// The same as numbers of 64 bits, in which no sum is too large.
const AT: u32 = 3;
const SOURCE: u32 = 4;
const LEFT: u32 = 5;

/// Bytes of a page of memory, as a power of two.
const PAGE: i64 = 16;

impl Bulk {
    /// The types of its operands, where the spaces it names are there.
    pub(super) fn operands(
        self,
        memory: impl Fn(u32) -> Option<Space>,
        table: impl Fn(u32) -> Option<Space>,
    ) -> Option<[ValType; 3]> {
        Some(match self {
            Self::MemoryFill { memory: filled } => {
                let index = memory(filled)?.index;
                [index, ValType::I32, index]
            }
            Self::TableFill { table: filled } => {
                let Space { index, element } = table(filled)?;
                [index, element, index]
            }
            Self::MemoryInit { memory: to, .. } => [memory(to)?.index, ValType::I32, ValType::I32],
            Self::TableInit { table: to, .. } => [table(to)?.index, ValType::I32, ValType::I32],
            Self::MemoryCopy { to, from } => copy(memory(to)?, memory(from)?),
            Self::TableCopy { to, from } => copy(table(to)?, table(from)?),
        })
    }

    /// What one step goes over.
    pub(super) fn portion(self, portions: Portions) -> u32 {
        if self.is_of_memory() { portions.memory } else { portions.table }
    }

    /// A function that takes its operands and does the same.
    pub(super) fn function(self, operands: [ValType; 3], portions: Portions) -> Function {
        let mut function = Function::new([(3, ValType::I64)]);
        let portion = i64::from(self.portion(portions));
        let code = Code { bulk: self, operands, portion };
        code.write(&mut function.instructions());
        function
    }

    fn is_of_memory(self) -> bool {
        matches!(self, Self::MemoryFill { .. } | Self::MemoryCopy { .. } | Self::MemoryInit { .. })
    }

    /// Whether each portion has the same value and not a place to take it from.
    fn is_fill(self) -> bool {
        matches!(self, Self::MemoryFill { .. } | Self::TableFill { .. })
    }

    /// Where it writes to.
    fn to(self) -> u32 {
        match self {
            Self::MemoryFill { memory } | Self::MemoryInit { memory, .. } => memory,
            Self::TableFill { table } | Self::TableInit { table, .. } => table,
            Self::MemoryCopy { to, .. } | Self::TableCopy { to, .. } => to,
        }
    }
}

/// A count is as wide as the narrower of both.
fn copy(to: Space, from: Space) -> [ValType; 3] {
    let wide = to.index == ValType::I64 && from.index == ValType::I64;
    [to.index, from.index, if wide { ValType::I64 } else { ValType::I32 }]
}

/// What the function is written from.
struct Code {
    bulk: Bulk,
    operands: [ValType; 3],
    portion: i64,
}

impl Code {
    fn write(&self, sink: &mut InstructionSink<'_>) {
        self.widened(sink, COUNT);
        sink.local_tee(LEFT).i64_const(self.portion).i64_le_u().if_(BlockType::Empty);
        self.as_it_is(sink);
        sink.return_().end();
        self.widened(sink, TO);
        sink.local_set(AT);
        if !self.bulk.is_fill() {
            self.widened(sink, FROM);
            sink.local_set(SOURCE);
        }
        self.traps_where_it_leaves(sink, AT, self.bulk.to());
        if let Bulk::MemoryCopy { from, .. } | Bulk::TableCopy { from, .. } = self.bulk {
            self.traps_where_it_leaves(sink, SOURCE, from);
            // What is still to be read is never written over: from the end where it is moved
            // to higher places.
            sink.local_get(AT).local_get(SOURCE).i64_gt_u().if_(BlockType::Empty);
            self.backwards(sink);
            sink.else_();
            self.forwards(sink);
            sink.end();
        } else {
            self.forwards(sink);
        }
        self.step(sink, |sink| {
            sink.local_get(LEFT);
        });
        sink.end();
    }

    fn forwards(&self, sink: &mut InstructionSink<'_>) {
        sink.loop_(BlockType::Empty);
        self.step(sink, |sink| {
            sink.i64_const(self.portion);
        });
        self.advance(sink, AT);
        if !self.bulk.is_fill() {
            self.advance(sink, SOURCE);
        }
        sink.local_get(LEFT).i64_const(self.portion).i64_sub().local_tee(LEFT);
        sink.i64_const(self.portion).i64_gt_u().br_if(0).end();
    }

    /// The first portion is left, which lies where both places point to.
    fn backwards(&self, sink: &mut InstructionSink<'_>) {
        sink.loop_(BlockType::Empty);
        sink.local_get(LEFT).i64_const(self.portion).i64_sub().local_set(LEFT);
        for place in [AT, SOURCE] {
            sink.local_get(place).local_get(LEFT).i64_add();
            self.narrowed(sink, if place == AT { TO } else { FROM });
        }
        sink.i64_const(self.portion);
        self.narrowed(sink, COUNT);
        self.instruction(sink);
        sink.local_get(LEFT).i64_const(self.portion).i64_gt_u().br_if(0).end();
    }

    fn advance(&self, sink: &mut InstructionSink<'_>, place: u32) {
        sink.local_get(place).i64_const(self.portion).i64_add().local_set(place);
    }

    /// The instruction, at both places, over what `count` puts on the stack.
    fn step(&self, sink: &mut InstructionSink<'_>, count: impl Fn(&mut InstructionSink<'_>)) {
        sink.local_get(AT);
        self.narrowed(sink, TO);
        if self.bulk.is_fill() {
            sink.local_get(FROM);
        } else {
            sink.local_get(SOURCE);
            self.narrowed(sink, FROM);
        }
        count(sink);
        self.narrowed(sink, COUNT);
        self.instruction(sink);
    }

    /// Executes the instruction whole where it would leave the memory or table: it traps.
    fn traps_where_it_leaves(&self, sink: &mut InstructionSink<'_>, place: u32, space: u32) {
        let size = |sink: &mut InstructionSink<'_>| {
            let index = self.operands[if place == AT { TO } else { FROM } as usize];
            if self.bulk.is_of_memory() {
                sink.memory_size(space);
            } else {
                sink.table_size(space);
            }
            if index == ValType::I32 {
                sink.i64_extend_i32_u();
            }
            if self.bulk.is_of_memory() {
                sink.i64_const(PAGE).i64_shl();
            }
        };
        sink.local_get(place);
        size(sink);
        sink.i64_gt_u().local_get(LEFT);
        size(sink);
        sink.local_get(place).i64_sub().i64_gt_u().i32_or().if_(BlockType::Empty);
        self.as_it_is(sink);
        sink.return_().end();
    }

    fn as_it_is(&self, sink: &mut InstructionSink<'_>) {
        sink.local_get(TO).local_get(FROM).local_get(COUNT);
        self.instruction(sink);
    }

    fn widened(&self, sink: &mut InstructionSink<'_>, parameter: u32) {
        sink.local_get(parameter);
        if self.operands[parameter as usize] == ValType::I32 {
            sink.i64_extend_i32_u();
        }
    }

    fn narrowed(&self, sink: &mut InstructionSink<'_>, parameter: u32) {
        if self.operands[parameter as usize] == ValType::I32 {
            sink.i32_wrap_i64();
        }
    }

    fn instruction(&self, sink: &mut InstructionSink<'_>) {
        match self.bulk {
            Bulk::MemoryFill { memory } => sink.memory_fill(memory),
            Bulk::MemoryCopy { to, from } => sink.memory_copy(to, from),
            Bulk::MemoryInit { memory, data } => sink.memory_init(memory, data),
            Bulk::TableFill { table } => sink.table_fill(table),
            Bulk::TableCopy { to, from } => sink.table_copy(to, from),
            Bulk::TableInit { table, elements } => sink.table_init(table, elements),
        };
    }
}
