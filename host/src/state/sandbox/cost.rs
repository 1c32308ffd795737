//! How large a value may be in a statement.
//!
//! SQLite looks at the clock where a program of its own jumps back, and nowhere inside one
//! of its operations. So what it does from one look to the next is bounded instead: the
//! more operations that read their whole operand a statement has, the smaller the values
//! that it may handle. An ordinary statement has few, and takes the largest there are.

use rusqlite::{Connection, Statement};

use super::lists::{ALTERING, function, has};

/// What all operations of a statement together may cost a byte of the largest value
/// (4 MiB), in quarters of a nanosecond, so that they take some 40 ms at most.
const MAX_COST: u64 = 40;

/// The largest value that any statement handles, in bytes.
pub(in crate::state) const MAX_VALUE_BYTES: usize = 4 << 20;

/// That of a statement whose operations are not known, or of no end.
const MIN_VALUE_BYTES: usize = 1 << 10;

/// More operations than this (triggers have theirs) are not looked at.
const MAX_OPERATIONS: usize = 30_000;

/// Arithmetic on text, which is read as a number first.
const NUMBER: u64 = 11;

/// What is known of a guest's statement before it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::state) struct Plan {
    /// The bytes that a value may have in it.
    pub(in crate::state) value_bytes: usize,
    /// It counts a table's rows in one step, which only another thread ends.
    pub(in crate::state) counts: bool,
    /// It makes, changes or drops a table, an index, a view or a trigger.
    pub(in crate::state) changes_schema: bool,
    /// It drops a table or an index.
    pub(in crate::state) drops: bool,
    /// It sorts rows.
    pub(in crate::state) sorts: bool,
}

/// What is added up over a statement's operations.
#[derive(Default)]
struct Operations {
    number: usize,
    cost: u64,
    /// It is ALTER TABLE: what it calculates is text of the schema, and rows are copied.
    alters: bool,
    plan: Plan,
}

impl Plan {
    /// Of the guest's `statement`, from what SQLite explains of it. What `preparing` returns is
    /// held while that is prepared.
    pub(super) fn of<P>(
        connection: &Connection,
        statement: &str,
        preparing: impl FnOnce() -> P,
    ) -> Self {
        let mut operations = Operations::default();
        let explain = format!("EXPLAIN {statement}");
        let prepared = {
            let _preparing = preparing();
            connection.prepare(&explain)
        };
        let known = prepared.and_then(|prepared| operations.add_all(prepared)).is_ok();
        let value_bytes = if operations.alters {
            MAX_VALUE_BYTES
        } else if known && operations.number <= MAX_OPERATIONS {
            let all = u64::try_from(MAX_VALUE_BYTES).unwrap_or(u64::MAX);
            let bytes = all * MAX_COST / operations.cost.max(MAX_COST);
            usize::try_from(bytes).unwrap_or(MAX_VALUE_BYTES).max(MIN_VALUE_BYTES)
        } else {
            MIN_VALUE_BYTES
        };
        Self { value_bytes, ..operations.plan }
    }
}

impl Operations {
    fn add_all(&mut self, mut prepared: Statement<'_>) -> rusqlite::Result<()> {
        // Without parameters; nothing is run.
        let mut rows = prepared.raw_query();
        while let Some(row) = rows.next()? {
            self.number += 1;
            if self.number > MAX_OPERATIONS {
                break;
            }
            let operation = row.get_ref(1)?.as_str()?;
            let p4 = row.get_ref(5)?.as_str_or_null()?.unwrap_or_default();
            self.cost += operation_cost(operation, p4, row.get(6)?);
            self.alters |= p4.split('(').next().is_some_and(|name| has(ALTERING, name));
            match operation {
                "Count" => self.plan.counts = true,
                "SetCookie" | "ParseSchema" => self.plan.changes_schema = true,
                "SorterOpen" => self.plan.sorts = true,
                "DropTable" | "DropIndex" => self.plan.drops = true,
                _ => {}
            }
        }
        Ok(())
    }
}

fn operation_cost(operation: &str, p4: &str, p5: i64) -> u64 {
    match operation {
        "Function" | "PureFunc" | "AggStep" | "AggStep1" | "AggInverse" | "AggValue"
        | "AggFinal" => function_cost(p4),
        "Add" | "Subtract" | "Multiply" | "Divide" | "Remainder" | "BitAnd" | "BitOr"
        | "ShiftLeft" | "ShiftRight" => 2 * NUMBER,
        "BitNot" | "Cast" | "If" | "IfNot" | "Not" | "And" | "Or" | "IsTrue" | "MustBeInt"
        | "IfPos" | "OffsetLimit" => NUMBER,
        // As it is kept in a column of numbers.
        "Affinity" | "MakeRecord" | "TypeCheck" => {
            let numeric = p4.bytes().filter(|affinity| matches!(affinity, b'C'..=b'F')).count();
            2 + 2 * u64::try_from(numeric).unwrap_or_default()
        }
        "Eq" | "Ne" | "Lt" | "Le" | "Gt" | "Ge" => {
            // With a number's affinity (0x43 and more), text is read as one.
            if p5 & 0x47 >= 0x43 { NUMBER } else { comparison_cost(p4) }
        }
        "Compare" => comparison_cost(p4),
        "Found" | "NotFound" | "NoConflict" | "IfNoHope" | "SeekGE" | "SeekGT" | "SeekLE"
        | "SeekLT" | "IdxGE" | "IdxGT" | "IdxLE" | "IdxLT" | "IdxInsert" | "IdxDelete"
        | "SorterCompare" => 4,
        "VFilter" => 40,
        "VColumn" => 20,
        "Concat" | "Column" | "Copy" | "Insert" | "SorterInsert" | "RowData" => 1,
        _ => 0,
    }
}

/// Text is compared byte by byte where its collation is not BINARY.
fn comparison_cost(p4: &str) -> u64 {
    if p4.contains("NOCASE") || p4.contains("RTRIM") { 6 } else { 1 }
}

/// `p4` is the function's name and how many arguments it has: `upper(1)`.
fn function_cost(p4: &str) -> u64 {
    let (name, arguments) = p4.split_once('(').unwrap_or((p4, ""));
    let arguments = arguments.trim_end_matches(')').parse().unwrap_or(0_u64);
    // Only the characters that it ignores make it slow.
    if name == "unhex" && arguments == 1 {
        return 10;
    }
    // Those that SQLite calls by itself (for ALTER TABLE, ANALYZE) have no entry.
    function(name).map_or(10, |function| {
        u64::from(function.cost) + u64::from(function.cost_per_argument) * arguments
    })
}
