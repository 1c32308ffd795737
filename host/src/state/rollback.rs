//! `ROLLBACK` as a conflict clause: a statement that has one ends the whole transaction, which
//! is not a guest's to end.
//!
//! SQLite takes it in four places: `INSERT OR ROLLBACK` and `UPDATE OR ROLLBACK`, `ON CONFLICT
//! ROLLBACK` in a table, and `RAISE(ROLLBACK, …)` in a trigger. All are seen in a statement's
//! text, so none comes into a schema from here on; what a schema has of earlier times is seen
//! in the programs of the statements that meet it.

use rusqlite::Connection;

use super::error::{Error, SqlErrorKind};

/// What a conflict that rolls back is called in an instruction (`OE_Rollback` in SQLite).
const OE_ROLLBACK: i64 = 1;

/// What is said of it.
const REFUSED: &str = "ROLLBACK ends the whole transaction, which is the host's: use ABORT, or \
                       FAIL, which is the same here";

/// Refuses text that has such a clause.
pub(super) fn refuse_clause(sql: &str) -> Result<(), Error> {
    if has_clause(sql) { Err(Error::sql(SqlErrorKind::Denied, REFUSED)) } else { Ok(()) }
}

/// Refuses text with a NUL: for SQLite it ends there, and the rest would not be run.
pub(super) fn refuse_nul(sql: &str) -> Result<(), Error> {
    match sql.find('\0') {
        Some(at) => {
            let message = format!("the text has a NUL after {at} bytes, where it ends for SQLite");
            Err(Error::sql(SqlErrorKind::Syntax, message))
        }
        None => Ok(()),
    }
}

/// Refuses text that does not begin with a statement: SQLite prepares nothing of it, and what
/// is nothing cannot be run.
pub(super) fn refuse_nothing(sql: &str) -> Result<(), Error> {
    match Tokens(sql).next() {
        None | Some(";") => Err(Error::sql(SqlErrorKind::Syntax, "there is no statement in it")),
        Some(_) => Ok(()),
    }
}

/// Refuses a statement whose program, or a trigger's that it sets off, could roll back.
pub(super) fn refuse_program(connection: &Connection, statement: &str) -> Result<(), Error> {
    if rolls_back(connection, statement).map_err(Error::of_guest)? {
        let message = format!("{REFUSED}; a table or trigger that it meets has the clause");
        return Err(Error::sql(SqlErrorKind::Denied, message));
    }
    Ok(())
}

/// Whether anything in the schema has such a clause.
pub(super) fn is_in_schema(connection: &Connection) -> rusqlite::Result<bool> {
    let mut statement =
        connection.prepare("SELECT sql FROM sqlite_schema WHERE sql LIKE '%rollback%'")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if has_clause(&row.get::<_, String>(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn rolls_back(connection: &Connection, statement: &str) -> rusqlite::Result<bool> {
    let mut program = connection.prepare(&format!("EXPLAIN {statement}"))?;
    // Unbound parameters are NULL; nothing is run.
    let mut instructions = program.raw_query();
    while let Some(row) = instructions.next()? {
        let opcode: String = row.get(1)?;
        let (p1, p2): (i64, i64) = (row.get(2)?, row.get(3)?);
        if matches!(opcode.as_str(), "Halt" | "HaltIfNull") && p1 != 0 && p2 == OE_ROLLBACK {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a text has the clause in a place where SQLite takes it.
fn has_clause(sql: &str) -> bool {
    let word = b"rollback";
    let mut bytes = sql.as_bytes().windows(word.len());
    if !bytes.any(|window| window.eq_ignore_ascii_case(word)) {
        return false;
    }
    // The two tokens before it say what it is.
    let (mut before, mut last) = ("", "");
    for token in Tokens(sql) {
        let raises = last == "(" && before.eq_ignore_ascii_case("raise");
        let resolves = ["or", "conflict"].iter().any(|word| last.eq_ignore_ascii_case(word));
        if token.eq_ignore_ascii_case("rollback") && (raises || resolves) {
            return true;
        }
        (before, last) = (last, token);
    }
    false
}

/// A text's tokens, as SQLite's tokenizer has them, as far as it matters here: without
/// spaces and comments; a name that is quoted is no keyword and keeps its quotes.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r', '\u{feff}']);
            let skipped = match self.0.as_bytes() {
                [] => return None,
                [b'-', b'-', ..] => self.0.find('\n').unwrap_or(self.0.len()),
                [b'/', b'*', rest @ ..] => {
                    let end = rest.windows(2).position(|window| window == b"*/");
                    end.map_or(self.0.len(), |end| end + 4)
                }
                _ => break,
            };
            self.0 = &self.0[skipped..];
        }
        let length = length(self.0);
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

fn length(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let quoted = |close: char| {
        let mut rest = text[first..].char_indices().peekable();
        while let Some((at, character)) = rest.next() {
            // Doubled, it is a part of what is quoted.
            if character == close
                && (close == ']' || rest.next_if(|&(_, next)| next == close).is_none())
            {
                return first + at + 1;
            }
        }
        text.len()
    };
    match text.as_bytes()[0] {
        close @ (b'\'' | b'"' | b'`') => quoted(close.into()),
        b'[' => quoted(']'),
        b':' | b'@' | b'#' | b'$' => first + word(&text[first..]),
        _ => word(text).max(first),
    }
}

/// How long the word is that a text begins with.
fn word(text: &str) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    text.bytes().position(|byte| !is_part(&byte)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clause_is_seen_however_it_is_spelled() {
        for sql in [
            "INSERT OR ROLLBACK INTO t VALUES (1)",
            "update or/**/Rollback t SET x = 1",
            "REPLACE INTO t VALUES ('/*'); INSERT OR -- why\n rollback INTO t VALUES (1)",
            "CREATE TABLE t (x UNIQUE ON CONFLICT ROLLBACK)",
            "CREATE TABLE t (x, CHECK (x > 'a'' OR ROLLBACK') ON\tCONFLICT\nrollback)",
            "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT RAISE ( /**/ ROLLBACK, 'no'); END",
            "CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT OR \u{feff}ROLLBACK INTO t SELECT 1; END",
            "INSERT INTO t VALUES ('é'), (?1); UPDATE OR ROLLBACK t SET x = [a]",
            "INSERT OR ROLLBACK INTO t VALUES (1) /* unfinished",
        ] {
            assert!(has_clause(sql), "{sql}");
        }
    }

    #[test]
    fn what_only_looks_like_the_clause_is_taken() {
        for sql in [
            "INSERT OR ABORT INTO t VALUES ('OR ROLLBACK')",
            "SELECT rollback FROM t",
            "SELECT x OR \"rollback\", x OR [rollback], x OR `rollback`, x OR :rollback FROM t",
            "SELECT 1 -- OR ROLLBACK",
            "SELECT 1 /* OR ROLLBACK */",
            "SELECT x OR rollbacks, conflict_rollback FROM t",
            "INSERT INTO t VALUES ('it''s OR ROLLBACK')",
        ] {
            assert!(!has_clause(sql), "{sql}");
        }
    }

    #[test]
    fn a_program_that_meets_the_clause_in_its_schema_is_known() {
        let connection = Connection::open_in_memory().expect("opened");
        let schema = "
            CREATE TABLE one (x UNIQUE ON CONFLICT ROLLBACK);
            CREATE TABLE two (x NOT NULL ON CONFLICT ROLLBACK);
            CREATE TABLE three (x PRIMARY KEY ON CONFLICT ROLLBACK) WITHOUT ROWID;
            CREATE TABLE four (x INTEGER PRIMARY KEY ON CONFLICT ROLLBACK);
            CREATE TABLE five (x);
            CREATE TRIGGER raises BEFORE DELETE ON five WHEN OLD.x > 1
                BEGIN SELECT RAISE(ROLLBACK, 'no'); END;
            CREATE TRIGGER inserts AFTER UPDATE ON five
                BEGIN INSERT OR ROLLBACK INTO six VALUES (NEW.x); END;
            CREATE TABLE six (x UNIQUE);
            CREATE VIEW seven AS SELECT x FROM five;
            CREATE TRIGGER instead INSTEAD OF INSERT ON seven
                BEGIN DELETE FROM five WHERE x = NEW.x; END;";
        connection.execute_batch(schema).expect("a schema");
        assert!(is_in_schema(&connection).expect("read"));
        let rolls_back = |sql: &str| rolls_back(&connection, sql).expect("it is prepared");
        for table in ["one", "two", "three", "four"] {
            assert!(rolls_back(&format!("INSERT INTO {table} VALUES (?1)")), "{table}");
            assert!(rolls_back(&format!("UPDATE {table} SET x = ?1")), "{table}");
            assert!(!rolls_back(&format!("INSERT OR ABORT INTO {table} VALUES (1)")), "{table}");
            assert!(!rolls_back(&format!("DELETE FROM {table}")), "{table}");
        }
        for sql in ["DELETE FROM five", "UPDATE five SET x = 1", "INSERT INTO seven VALUES (1)"] {
            assert!(rolls_back(sql), "{sql}");
        }
        for sql in
            ["INSERT INTO five VALUES (1)", "INSERT INTO six VALUES (1)", "SELECT * FROM five"]
        {
            assert!(!rolls_back(sql), "{sql}");
        }
    }
}
