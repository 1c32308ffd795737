//! SQL as nobody would write it: statements of SQLite's grammar, most of them sound, over few
//! names, with values that are large and odd; and texts that are none.

use fastrand::Rng;
use serde_json::{Value, json};

use super::words::{COLUMNS, FUNCTIONS, MODULES, PRAGMAS, TABLES, TYPES, WORDS};

/// How deep expressions and queries are nested.
const DEPTH: u32 = 4;

/// Writes one statement, and what is bound to it.
pub struct Statement<'r> {
    random: &'r mut Rng,
    parameters: Vec<Value>,
}

/// A statement with its parameters.
pub fn statement(random: &mut Rng) -> (String, Vec<Value>) {
    let mut statement = Statement { random, parameters: Vec::new() };
    let text = statement.any();
    (text, statement.parameters)
}

/// Some statements that change a schema, and their rows.
pub fn migration(random: &mut Rng) -> String {
    let statements: Vec<String> = (0..random.usize(1..5))
        .map(|_| {
            let mut statement = Statement { random, parameters: Vec::new() };
            match statement.random.u32(0..4) {
                0 => statement.insert(2),
                _ => statement.schema(),
            }
        })
        .collect();
    statements.join("; ")
}

impl Statement<'_> {
    fn any(&mut self) -> String {
        let text = match self.random.u32(0..100) {
            0..22 => self.insert(DEPTH),
            22..36 => self.update(),
            36..42 => self.delete(),
            42..66 => self.select(DEPTH),
            66..84 => self.schema(),
            84..88 => self.hostile(),
            88..92 => self.control(),
            92..94 => format!("EXPLAIN {}{}", self.or(&["", "QUERY PLAN "]), self.select(2)),
            _ => self.noise(),
        };
        if self.random.u32(0..20) == 0 { self.mutated(&text) } else { text }
    }

    fn or(&mut self, choices: &[&str]) -> String {
        choices[self.random.usize(0..choices.len())].to_owned()
    }

    fn maybe(&mut self, one_in: u32, text: &str) -> String {
        if self.random.u32(0..one_in) == 0 { text.to_owned() } else { String::new() }
    }

    fn list(&mut self, most: usize, mut each: impl FnMut(&mut Self) -> String) -> String {
        let items: Vec<String> = (0..self.random.usize(1..=most)).map(|_| each(self)).collect();
        items.join(", ")
    }

    fn table(&mut self) -> String {
        match self.random.u32(0..40) {
            0 => self.or(&[
                "_kv",
                "_outbox",
                "_meta",
                "sqlite_schema",
                "sqlite_sequence",
                "sqlite_stat1",
            ]),
            1 => self.or(MODULES),
            2 => format!("main.{}", self.or(TABLES)),
            _ => self.or(TABLES),
        }
    }

    fn column(&mut self) -> String {
        match self.random.u32(0..30) {
            0 => "rowid".to_owned(),
            1 => format!("{}.{}", self.or(TABLES), self.or(COLUMNS)),
            _ => self.or(COLUMNS),
        }
    }

    /// A conflict clause after `OR` or `ON CONFLICT`.
    fn conflict(&mut self) -> String {
        self.or(&["ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"])
    }

    fn literal(&mut self) -> String {
        match self.random.u32(0..16) {
            0 => "NULL".to_owned(),
            1 => self.or(&[
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775808",
                "0",
                "-1",
            ]),
            2 => self.or(&["1e308", "-1e-308", "9e999", "0.1", "-0.0"]),
            3 => self.or(&[
                "''",
                "'a'",
                "'%'",
                "'_%_%_%_%'",
                "'\u{1f600}'",
                "'null'",
                "'[1,[2,[3]]]'",
                "'{\"a\":1}'",
            ]),
            4 => self.or(&["x''", "x'00'", "x'ff00ff'", "x'0'"]),
            5 => format!("zeroblob({})", self.size()),
            6 => format!("printf('%*c', {}, 'a')", self.size()),
            7 => format!("hex(zeroblob({}))", self.size()),
            8..11 => {
                let value = value(self.random);
                self.parameters.push(value);
                format!("?{}", self.parameters.len())
            }
            _ => self.random.i32(-3..40).to_string(),
        }
    }

    fn size(&mut self) -> u64 {
        size(self.random)
    }

    fn expression(&mut self, depth: u32) -> String {
        if depth == 0 {
            return if self.random.bool() { self.column() } else { self.literal() };
        }
        let inner = depth - 1;
        match self.random.u32(0..24) {
            0..4 => self.column(),
            4..7 => self.literal(),
            7..11 => {
                let operator = self.or(&[
                    "+",
                    "-",
                    "*",
                    "/",
                    "%",
                    "||",
                    "=",
                    "<",
                    ">=",
                    "<>",
                    "AND",
                    "OR",
                    "IS",
                    "IS NOT",
                    "&",
                    "<<",
                    ">>",
                    "->",
                    "->>",
                    "IS NOT DISTINCT FROM",
                ]);
                format!("({} {operator} {})", self.expression(inner), self.expression(inner))
            }
            11 => {
                let operator = self.or(&["LIKE", "GLOB", "NOT LIKE", "MATCH", "REGEXP"]);
                format!("({} {operator} {})", self.expression(inner), self.expression(inner))
            }
            12 => format!("({} {})", self.or(&["NOT", "-", "~", "+"]), self.expression(inner)),
            13 => format!("CAST({} AS {})", self.expression(inner), self.or(TYPES)),
            14 => format!(
                "CASE {} WHEN {} THEN {} ELSE {} END",
                self.expression(inner),
                self.expression(inner),
                self.expression(inner),
                self.expression(inner)
            ),
            15 => format!(
                "({} IN ({}))",
                self.expression(inner),
                self.list(3, |this| this.expression(inner))
            ),
            16 => format!("({} {}({}))", self.maybe(2, "NOT "), "EXISTS", self.select(inner)),
            17 => format!("({})", self.select(inner)),
            18 => format!(
                "({} BETWEEN {} AND {})",
                self.expression(inner),
                self.literal(),
                self.literal()
            ),
            19 => format!(
                "({} COLLATE {})",
                self.expression(inner),
                self.or(&["NOCASE", "BINARY", "RTRIM", "none"])
            ),
            _ => self.call(inner),
        }
    }

    fn call(&mut self, depth: u32) -> String {
        let name = self.or(FUNCTIONS);
        let arguments = match self.random.usize(0..5) {
            0 => String::new(),
            4 if self.random.bool() => "*".to_owned(),
            count => {
                let arguments: Vec<String> = (0..count).map(|_| self.expression(depth)).collect();
                format!("{}{}", self.maybe(12, "DISTINCT "), arguments.join(", "))
            }
        };
        let over = match self.random.u32(0..12) {
            0 => format!(
                " OVER (PARTITION BY {} ORDER BY {})",
                self.expression(0),
                self.expression(0)
            ),
            1 => " OVER ()".to_owned(),
            2 => format!(" FILTER (WHERE {})", self.expression(0)),
            _ => String::new(),
        };
        format!("{name}({arguments}){over}")
    }

    fn source(&mut self, depth: u32) -> String {
        match self.random.u32(0..12) {
            0 if depth > 0 => format!("({}) AS {}", self.select(depth - 1), self.or(TABLES)),
            1 => {
                let name =
                    self.or(&["json_each", "json_tree", "generate_series", "pragma_table_info"]);
                format!("{name}({}) AS {}", self.expression(1), self.or(TABLES))
            }
            2 => format!("{} INDEXED BY i{}", self.table(), self.random.u32(0..4)),
            _ => format!("{} {}", self.table(), self.maybe(4, "AS t0")),
        }
    }

    fn select(&mut self, depth: u32) -> String {
        let inner = depth.saturating_sub(1);
        let with = match self.random.u32(0..14) {
            0 => {
                // With an end, or without one.
                let last = self.or(&["", " WHERE a < 100", " WHERE a < 100000", " LIMIT 1000"]);
                let step = self.or(&["a + 1", "a * 2", "a || a", "zeroblob(a + 1000)"]);
                format!("WITH RECURSIVE t9(a) AS (SELECT 1 UNION ALL SELECT {step} FROM t9{last}) ")
            }
            1 => format!(
                "WITH t9(a) AS {}(SELECT {}) ",
                self.or(&["", "MATERIALIZED ", "NOT MATERIALIZED "]),
                self.expression(inner)
            ),
            _ => String::new(),
        };
        let mut from = self.source(inner);
        for _ in 0..self.random.usize(0..3) {
            let join = self.or(&[
                ", ",
                " JOIN ",
                " LEFT JOIN ",
                " FULL JOIN ",
                " NATURAL JOIN ",
                " CROSS JOIN ",
            ]);
            from = format!("{from}{join}{}", self.source(inner));
        }
        let columns = self.list(3, |this| match this.random.u32(0..6) {
            0 => "*".to_owned(),
            _ => this.expression(inner),
        });
        let mut text = format!("{with}SELECT {}{columns} FROM {from}", self.maybe(8, "DISTINCT "));
        if self.random.bool() {
            text = format!("{text} WHERE {}", self.expression(inner));
        }
        if self.random.u32(0..5) == 0 {
            text = format!(
                "{text} GROUP BY {} HAVING {}",
                self.expression(inner),
                self.expression(inner)
            );
        }
        if self.random.u32(0..8) == 0 {
            let operator = self.or(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
            text = format!("{text} {operator} SELECT {}", self.expression(inner));
        }
        if self.random.u32(0..3) == 0 {
            let order = self.list(2, |this| this.expression(inner));
            text = format!("{text} ORDER BY {order} {}", self.or(&["", "DESC", "NULLS LAST"]));
        }
        if self.random.u32(0..3) == 0 {
            text = format!("{text} LIMIT {} OFFSET {}", self.literal(), self.literal());
        }
        text
    }

    fn insert(&mut self, depth: u32) -> String {
        let verb = match self.random.u32(0..5) {
            0 => format!("INSERT OR {}", self.conflict()),
            1 => "REPLACE".to_owned(),
            _ => "INSERT".to_owned(),
        };
        let count = self.random.usize(1..4);
        let columns: Vec<String> = (0..count).map(|_| self.or(COLUMNS)).collect();
        let rows = match self.random.u32(0..6) {
            0 => self.select(depth.saturating_sub(1)),
            1 => "DEFAULT VALUES".to_owned(),
            2 => format!(
                "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n WHERE a < {}) SELECT {} FROM n",
                self.or(&["10", "1000", "100000", "1e18"]),
                vec!["a"; count].join(", ")
            ),
            _ => {
                let row = |this: &mut Self| {
                    let values: Vec<String> = (0..count).map(|_| this.expression(2)).collect();
                    format!("({})", values.join(", "))
                };
                format!("VALUES {}", self.list(4, row))
            }
        };
        let upsert = match self.random.u32(0..8) {
            0 => " ON CONFLICT DO NOTHING".to_owned(),
            1 => format!(
                " ON CONFLICT ({}) DO UPDATE SET {} = {}",
                self.or(COLUMNS),
                self.or(COLUMNS),
                self.expression(2)
            ),
            _ => String::new(),
        };
        let columns = self.maybe(5, &format!("({})", columns.join(", ")));
        format!("{verb} INTO {} {columns} {rows}{upsert}{}", self.table(), self.returning())
    }

    fn returning(&mut self) -> String {
        if self.random.u32(0..6) == 0 {
            format!(" RETURNING *, {}", self.expression(1))
        } else {
            String::new()
        }
    }

    fn update(&mut self) -> String {
        let or = if self.random.u32(0..4) == 0 {
            format!("OR {} ", self.conflict())
        } else {
            String::new()
        };
        let sets = self.list(2, |this| format!("{} = {}", this.or(COLUMNS), this.expression(2)));
        let table = self.table();
        let from = if self.random.u32(0..8) == 0 {
            format!(" FROM {}", self.source(1))
        } else {
            String::new()
        };
        let limit = if self.random.bool() {
            format!(" WHERE {}", self.expression(2))
        } else {
            String::new()
        };
        format!("UPDATE {or}{table} SET {sets}{from}{limit}{}", self.returning())
    }

    fn delete(&mut self) -> String {
        let limit = if self.random.bool() {
            format!(" WHERE {}", self.expression(2))
        } else {
            String::new()
        };
        format!("DELETE FROM {}{limit}{}", self.table(), self.returning())
    }

    fn definition(&mut self) -> String {
        let constraint = |this: &mut Self| match this.random.u32(0..12) {
            0 => format!("UNIQUE ON CONFLICT {}", this.conflict()),
            1 => format!("NOT NULL ON CONFLICT {}", this.conflict()),
            2 => format!("CHECK ({})", this.expression(2)),
            3 => format!("DEFAULT ({})", this.expression(1)),
            4 => format!(
                "REFERENCES {}({}) ON DELETE {} {}",
                this.table(),
                this.or(COLUMNS),
                this.or(&["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT"]),
                this.or(&["", "DEFERRABLE INITIALLY DEFERRED"])
            ),
            5 => format!(
                "GENERATED ALWAYS AS ({}) {}",
                this.expression(1),
                this.or(&["STORED", "VIRTUAL"])
            ),
            6 => this.or(&[
                "PRIMARY KEY",
                "PRIMARY KEY AUTOINCREMENT",
                "PRIMARY KEY ON CONFLICT ROLLBACK",
            ]),
            7 => "UNIQUE".to_owned(),
            _ => String::new(),
        };
        let columns: Vec<String> = COLUMNS[..self.random.usize(1..=COLUMNS.len())]
            .iter()
            .map(|name| format!("{name} {} {}", self.or(TYPES), constraint(self)))
            .collect();
        let kind = self.or(&["", "", "", "STRICT", "WITHOUT ROWID"]);
        format!("({}) {kind}", columns.join(", "))
    }

    fn schema(&mut self) -> String {
        match self.random.u32(0..20) {
            0..6 => format!(
                "CREATE TABLE {}{} {}",
                self.maybe(3, "IF NOT EXISTS "),
                self.table(),
                self.definition()
            ),
            6 => format!("CREATE TABLE {} AS {}", self.table(), self.select(2)),
            7..9 => {
                let index = self.random.u32(0..4);
                let partial = self.maybe(3, " WHERE a > 1");
                let on = self.list(2, |this| this.expression(1));
                format!(
                    "CREATE {}INDEX i{index} ON {} ({on}){partial}",
                    self.maybe(2, "UNIQUE "),
                    self.table()
                )
            }
            9 => format!("CREATE VIEW {} AS {}", self.table(), self.select(3)),
            10..13 => self.trigger(),
            13 => format!("CREATE VIRTUAL TABLE {} USING {}(a, b)", self.table(), self.or(MODULES)),
            14 => format!("ALTER TABLE {} RENAME TO {}", self.table(), self.table()),
            15 => format!(
                "ALTER TABLE {} RENAME COLUMN {} TO {}",
                self.table(),
                self.column(),
                self.or(COLUMNS)
            ),
            16 => format!(
                "ALTER TABLE {} ADD COLUMN {} {}",
                self.table(),
                self.or(COLUMNS),
                self.or(TYPES)
            ),
            17 => format!("ALTER TABLE {} DROP COLUMN {}", self.table(), self.or(COLUMNS)),
            18 => format!("DROP {} IF EXISTS {}", self.or(&["TABLE", "VIEW"]), self.table()),
            _ => format!(
                "DROP {} IF EXISTS {}{}",
                self.or(&["INDEX", "TRIGGER"]),
                self.or(&["i", "r"]),
                self.random.u32(0..4)
            ),
        }
    }

    fn trigger(&mut self) -> String {
        let steps: Vec<String> = (0..self.random.usize(1..3))
            .map(|_| match self.random.u32(0..5) {
                0 => self.update(),
                1 => self.delete(),
                2 => format!("SELECT RAISE({}, 'no')", self.or(&["ABORT", "FAIL", "ROLLBACK"])),
                3 => "SELECT RAISE(IGNORE)".to_owned(),
                _ => self.insert(1),
            })
            .collect();
        let when = if self.random.bool() {
            format!(" WHEN {}", self.expression(1))
        } else {
            String::new()
        };
        format!(
            "CREATE TRIGGER r{} {} {} ON {} FOR EACH ROW{when} BEGIN {}; END",
            self.random.u32(0..4),
            self.or(&["BEFORE", "AFTER", "INSTEAD OF"]),
            self.or(&["INSERT", "UPDATE", "DELETE"]),
            self.table(),
            steps.join("; ")
        )
    }

    /// What reaches for the host's.
    fn hostile(&mut self) -> String {
        self.or(&[
            "UPDATE sqlite_sequence SET seq = 0 WHERE name = '_outbox'",
            "CREATE TABLE t8 (x REFERENCES _outbox(nope))",
            "CREATE VIEW v8 AS SELECT * FROM _kv",
            "CREATE TRIGGER r8 AFTER INSERT ON _outbox BEGIN DELETE FROM _outbox; END",
            "ALTER TABLE t0 RENAME TO _t0",
            "INSERT INTO sqlite_stat1 VALUES ('t0', 'i0', '1 1')",
            "DELETE FROM sqlite_sequence",
            "SELECT fts3_tokenizer('simple')",
            "SELECT fts3_tokenizer('simple', x'0000000000000000')",
            "SELECT * FROM fts3tokenize WHERE input = 'a'",
            "SELECT instr(zeroblob(16000000), CAST(zeroblob(120000) || x'01' AS BLOB))",
            "SELECT a FROM t0 ORDER BY zeroblob(8000000), a",
            "SELECT load_extension('x')",
            "SELECT writefile('/tmp/x', 'x'), readfile('/etc/passwd'), edit('x')",
            "SELECT sum(length(a.value || b.value)) FROM json_each(?1) a, json_each(?1) b",
            "PRAGMA writable_schema = ON",
            "PRAGMA defer_foreign_keys = ON",
            "PRAGMA foreign_keys = OFF",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA max_page_count = 1",
            "SELECT * FROM pragma_function_list",
            "INSERT INTO _meta VALUES ('store_id', 'x')",
        ])
    }

    fn control(&mut self) -> String {
        match self.random.u32(0..3) {
            0 => format!("PRAGMA {}{}", self.or(PRAGMAS), self.maybe(2, " = 1")),
            1 => format!("PRAGMA {}({})", self.or(PRAGMAS), self.table()),
            _ => self.or(&[
                "BEGIN",
                "COMMIT",
                "ROLLBACK",
                "SAVEPOINT lease",
                "RELEASE lease",
                "RELEASE statement",
                "ROLLBACK TO lease",
                "ROLLBACK TO statement",
                "END",
                "VACUUM",
                "VACUUM INTO 'x'",
                "ANALYZE",
                "REINDEX",
                "ATTACH ':memory:' AS m",
                "DETACH main",
                "REINDEX t0",
                "ANALYZE t0",
            ]),
        }
    }

    /// Words in no order.
    fn noise(&mut self) -> String {
        let words: Vec<String> = (0..self.random.usize(0..20)).map(|_| self.or(WORDS)).collect();
        words.join(" ")
    }

    /// A statement with a part that is missing, twice there, or another.
    fn mutated(&mut self, text: &str) -> String {
        let mut words: Vec<&str> = text.split(' ').collect();
        for _ in 0..self.random.usize(1..4) {
            let at = self.random.usize(0..words.len());
            match self.random.u32(0..4) {
                0 if words.len() > 1 => drop(words.remove(at)),
                1 => words.insert(at, words[at]),
                2 => words[at] = WORDS[self.random.usize(0..WORDS.len())],
                _ => {
                    let other = self.random.usize(0..words.len());
                    words.swap(at, other);
                }
            }
        }
        words.join(" ")
    }
}

/// Most are small, a few as large as may be, and larger.
fn size(random: &mut Rng) -> u64 {
    match random.u32(0..40) {
        0 => random.u64(1 << 20..1 << 25),
        1 => u64::MAX >> random.u32(1..32),
        2..6 => random.u64(1 << 10..1 << 20),
        _ => random.u64(0..100),
    }
}

fn value(random: &mut Rng) -> Value {
    match random.u32(0..12) {
        0 => Value::Null,
        1 => json!(i64::MIN),
        2 => json!(1e308),
        3 => json!({ "zeros": size(random).min(20 << 20) }),
        4 => json!({ "repeat": "a", "times": size(random).min(20 << 20) }),
        5 => json!({ "repeat": "[", "times": random.u32(0..5_000) }),
        6 => json!("\u{0}a\u{ffff}"),
        7 => json!({ "blob": [255, 254, 0] }),
        _ => json!(random.i32(-2..50)),
    }
}
