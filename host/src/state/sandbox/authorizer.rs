//! What is decided while a guest's statement is prepared: whether it may name what it
//! names. SQLite asks for each thing, in views and triggers too.

use rusqlite::ffi;

use super::lists::{ALTERING, MODULES, PRAGMAS, SCHEMA, TEMPORARY_SCHEMA, function, has};
use crate::state::raw::{Asked, Verdict};

/// What is known of the statement that is being prepared.
#[derive(Debug, Default)]
pub(super) struct Preparing {
    /// It makes, changes or drops a table, an index, a view or a trigger.
    pub(super) changes_schema: bool,
    /// It drops a table or an index.
    pub(super) drops: bool,
    /// It is ANALYZE, by its first word.
    pub(super) analyzes: bool,
    /// It is a migration's.
    pub(super) migrates: bool,
    /// It is ALTER TABLE.
    pub(super) alters: bool,
    /// Why it was refused.
    pub(super) denied: Option<String>,
}

impl Preparing {
    /// Decides about one thing. `modules` are the tables that are code.
    pub(super) fn decide(&mut self, asked: &Asked<'_>, modules: &[String]) -> Verdict {
        match self.refusal(asked, modules) {
            Some(reason) => {
                self.denied.get_or_insert(reason);
                Verdict::Deny
            }
            None if self.deletes(asked) => Verdict::Ignore,
            None => Verdict::Allow,
        }
    }

    /// Whether it is DELETE. SQLite is then told not to empty a table in one step, which nothing
    /// ends, but row by row. (Of DROP it would be told not to drop.)
    fn deletes(&self, asked: &Asked<'_>) -> bool {
        asked.action == ffi::SQLITE_DELETE
            && asked.names.0.as_deref().is_some_and(|table| !is_sqlites(table))
            && !self.changes_schema
    }

    fn refusal(&mut self, asked: &Asked<'_>, modules: &[String]) -> Option<String> {
        let Asked { action, names: (first, second), database } = asked;
        let place = match *action {
            ffi::SQLITE_ALTER_TABLE => first,
            _ => database,
        };
        // By where it is and not by the words: `CREATE TABLE temp.t` is asked about as any other table.
        if place.as_deref().is_some_and(|database| !database.eq_ignore_ascii_case("main"))
            && !self.renames(asked)
        {
            return Some(
                "there is nothing temporary: the next invocation would see it; use a common \
                 table expression (WITH)"
                    .to_owned(),
            );
        }
        match (*action, first.as_deref(), second.as_deref()) {
            (ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE, ..) => None,
            (ffi::SQLITE_READ, Some(table), _) => self.readable(table, modules),
            (ffi::SQLITE_INSERT | ffi::SQLITE_DELETE | ffi::SQLITE_UPDATE, Some(table), _) => {
                self.writable(table)
            }
            // Where it is not there yet; by its name, SQLite lets nobody else make it.
            (ffi::SQLITE_CREATE_TABLE, Some(table), _) if self.counts(table) => None,
            (ffi::SQLITE_CREATE_TABLE | ffi::SQLITE_ANALYZE, Some(table), _) => {
                self.changes_schema(false);
                own(table)
            }
            (ffi::SQLITE_DROP_TABLE, Some(table), _) => {
                self.changes_schema(true);
                own(table)
            }
            (ffi::SQLITE_ALTER_TABLE, _, Some(table)) => {
                self.changes_schema(false);
                self.alters = true;
                own(table)
            }
            (ffi::SQLITE_CREATE_INDEX | ffi::SQLITE_DROP_INDEX, Some(index), Some(table)) => {
                self.changes_schema(*action == ffi::SQLITE_DROP_INDEX);
                own(table).or_else(|| own_index(index))
            }
            (ffi::SQLITE_CREATE_TRIGGER | ffi::SQLITE_DROP_TRIGGER, Some(name), Some(table)) => {
                self.changes_schema(false);
                own(table).or_else(|| own(name))
            }
            (ffi::SQLITE_CREATE_VIEW | ffi::SQLITE_DROP_VIEW, Some(view), _) => {
                self.changes_schema(false);
                own(view)
            }
            (ffi::SQLITE_REINDEX, Some(index), _) => own_index(index),
            (ffi::SQLITE_FUNCTION, _, Some(function)) => self.callable(function),
            (ffi::SQLITE_PRAGMA, Some(name), _) if self.looks_at_rows(name) => self.look(),
            (ffi::SQLITE_PRAGMA, Some(name), value) => pragma(name, value),
            (ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT, ..) if self.migrates => Some(
                "transactions are the host's: all migrations of a deployment are one".to_owned(),
            ),
            (ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT, ..) => Some(
                "transactions are the host's: an invocation is one; end it early with \
                 hotdock:transaction"
                    .to_owned(),
            ),
            (ffi::SQLITE_ATTACH | ffi::SQLITE_DETACH, ..) => {
                Some("no other file can be reached: a service has one store".to_owned())
            }
            (ffi::SQLITE_CREATE_VTABLE | ffi::SQLITE_DROP_VTABLE, _, Some(module)) => {
                Some(format!("no virtual tables are offered, {module} is one"))
            }
            _ => Some("the statement is of no kind that a service may run".to_owned()),
        }
    }

    fn changes_schema(&mut self, drops: bool) {
        self.changes_schema = true;
        self.drops |= drops;
    }

    /// Whether it is what ALTER TABLE asks of temporary triggers and views, which might name what it
    /// renames. There are none.
    fn renames(&self, asked: &Asked<'_>) -> bool {
        self.alters && asked.names.0.as_deref().is_some_and(|table| has(TEMPORARY_SCHEMA, table))
    }

    /// The statements that make up CREATE, ALTER, DROP and ANALYZE write to SQLite's own
    /// tables; nobody else does. (`sqlite_schema` SQLite guards itself, in defensive mode.)
    fn writable(&self, table: &str) -> Option<String> {
        let itself = self.changes_schema || self.counts(table) || has(SCHEMA, table);
        if !is_sqlites(table) || itself || has(TEMPORARY_SCHEMA, table) {
            return own_or_sqlites(table);
        }
        Some(format!("{table} is SQLite's: it is written by CREATE, ALTER, DROP and ANALYZE only"))
    }

    fn readable(&self, table: &str, modules: &[String]) -> Option<String> {
        if let Some(pragma) = strip_prefix(table, "pragma_") {
            if self.looks_at_rows(pragma) {
                return self.look();
            }
            return (!has(PRAGMAS, pragma)).then(|| format!("PRAGMA {pragma} is not offered"));
        }
        if is_sqlites(table) {
            let itself = self.changes_schema || self.counts(table);
            return (!itself && !has(SCHEMA, table))
                .then(|| format!("{table} is SQLite's; sqlite_schema is what can be read of it"));
        }
        if modules.iter().any(|module| module.eq_ignore_ascii_case(table)) && !has(MODULES, table) {
            return Some(format!("the table {table}, which is code, is not offered"));
        }
        own_or_sqlites(table)
    }

    /// Whether it is what ALTER TABLE asks of the rows that are there, for a column with CHECK or
    /// NOT NULL, and for any of a STRICT table, whose types it checks.
    fn looks_at_rows(&self, pragma: &str) -> bool {
        self.alters && pragma.eq_ignore_ascii_case("quick_check")
    }

    /// How long that takes is the table's size, and what is checked is in no program that could
    /// be looked at before.
    fn look(&self) -> Option<String> {
        (!self.migrates).then(|| {
            "a column of a STRICT table, one with CHECK, or a generated one that is NOT NULL, is \
             added by a migration: all rows are looked at for it"
                .to_owned()
        })
    }

    /// Whether the table is one that ANALYZE writes, and this is that.
    fn counts(&self, table: &str) -> bool {
        self.analyzes && strip_prefix(table, "sqlite_stat").is_some()
    }

    fn callable(&self, name: &str) -> Option<String> {
        if function(name).is_some() || self.changes_schema && has(ALTERING, name) {
            return None;
        }
        Some(format!("the function {name}() is not offered"))
    }
}

fn pragma(name: &str, value: Option<&str>) -> Option<String> {
    if !has(PRAGMAS, name) {
        return Some(format!("PRAGMA {name} is not offered"));
    }
    match value {
        Some(_) if name.eq_ignore_ascii_case("encoding") => {
            Some("PRAGMA encoding cannot be set".to_owned())
        }
        Some(value) => own_index(value),
        None => None,
    }
}

/// The host's names begin with `_`, and SQLite's with `sqlite_`.
fn own(name: &str) -> Option<String> {
    if is_sqlites(name) {
        return Some(format!("{name} is SQLite's own: names that begin with sqlite_ are"));
    }
    own_or_sqlites(name)
}

fn own_or_sqlites(name: &str) -> Option<String> {
    is_hosts(name).then(|| format!("{name} is a name of the host's: those that begin with _ are"))
}

/// An index that a constraint made is named after its table.
fn own_index(name: &str) -> Option<String> {
    own_or_sqlites(strip_prefix(name, "sqlite_autoindex_").unwrap_or(name))
}

pub(super) fn is_hosts(name: &str) -> bool {
    name.starts_with('_')
}

/// Whether it is the name of a table that is code.
pub(super) fn is_code(name: &str) -> bool {
    has(MODULES, name) || strip_prefix(name, "pragma_").is_some()
}

pub(super) fn is_sqlites(name: &str) -> bool {
    strip_prefix(name, "sqlite_").is_some()
}

fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
