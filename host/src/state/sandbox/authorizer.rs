//! What is decided while a guest's statement is prepared: whether it may name what it
//! names. SQLite asks for each thing, in views and triggers too.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::lists::{ALTERING, MODULES, PRAGMAS, SCHEMA, TEMPORARY_SCHEMA, function, has};

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
    pub(super) fn decide(
        &mut self,
        context: &AuthContext<'_>,
        modules: &[String],
    ) -> Authorization {
        match self.refusal(context, modules) {
            Some(reason) => {
                self.denied.get_or_insert(reason);
                Authorization::Deny
            }
            None if self.deletes(context) => Authorization::Ignore,
            None => Authorization::Allow,
        }
    }

    /// Whether it is DELETE. SQLite is then told not to empty a table in one step, which nothing
    /// ends, but row by row. (Of DROP it would be told not to drop.)
    fn deletes(&self, context: &AuthContext<'_>) -> bool {
        matches!(context.action, AuthAction::Delete { table_name } if !is_sqlites(table_name))
            && !self.changes_schema
    }

    fn refusal(&mut self, context: &AuthContext<'_>, modules: &[String]) -> Option<String> {
        use AuthAction as A;
        match context.action {
            A::Select | A::Recursive => None,
            A::Read { table_name, .. } => self.readable(table_name, modules),
            A::Insert { table_name } | A::Delete { table_name } | A::Update { table_name, .. } => {
                self.writable(table_name)
            }
            // Where it is not there yet; by its name, SQLite lets nobody else make it.
            A::CreateTable { table_name } if self.counts(table_name) => None,
            A::CreateTable { table_name }
            | A::DropTable { table_name }
            | A::AlterTable { table_name, .. }
            | A::Analyze { table_name } => {
                self.changes_schema(matches!(context.action, A::DropTable { .. }));
                self.alters |= matches!(context.action, A::AlterTable { .. });
                own(table_name)
            }
            A::CreateIndex { index_name, table_name } | A::DropIndex { index_name, table_name } => {
                self.changes_schema(matches!(context.action, A::DropIndex { .. }));
                own(table_name).or_else(|| own_index(index_name))
            }
            A::CreateTrigger { trigger_name: name, table_name }
            | A::DropTrigger { trigger_name: name, table_name } => {
                self.changes_schema(false);
                own(table_name).or_else(|| own(name))
            }
            A::CreateView { view_name } | A::DropView { view_name } => {
                self.changes_schema(false);
                own(view_name)
            }
            A::Reindex { index_name } => own_index(index_name),
            A::Function { function_name } => self.callable(function_name),
            A::Pragma { pragma_name, .. } if self.looks_at_rows(pragma_name) => self.look(),
            A::Pragma { pragma_name, pragma_value } => pragma(pragma_name, pragma_value),
            A::Transaction { .. } | A::Savepoint { .. } if self.migrates => Some(
                "transactions are the host's: all migrations of a deployment are one".to_owned(),
            ),
            A::Transaction { .. } | A::Savepoint { .. } => Some(
                "transactions are the host's: an invocation is one; end it early with \
                 hotdock:transaction"
                    .to_owned(),
            ),
            A::Attach { .. } | A::Detach { .. } => {
                Some("no other file can be reached: a service has one store".to_owned())
            }
            A::CreateTempTable { .. }
            | A::CreateTempIndex { .. }
            | A::CreateTempTrigger { .. }
            | A::CreateTempView { .. }
            | A::DropTempTable { .. }
            | A::DropTempIndex { .. }
            | A::DropTempTrigger { .. }
            | A::DropTempView { .. } => Some(
                "there is nothing temporary: the next invocation would see it; use a common \
                 table expression (WITH)"
                    .to_owned(),
            ),
            A::CreateVtable { module_name, .. } | A::DropVtable { module_name, .. } => {
                Some(format!("no virtual tables are offered, {module_name} is one"))
            }
            _ => Some("the statement is of no kind that a service may run".to_owned()),
        }
    }

    fn changes_schema(&mut self, drops: bool) {
        self.changes_schema = true;
        self.drops |= drops;
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
    /// NOT NULL.
    fn looks_at_rows(&self, pragma: &str) -> bool {
        self.alters && pragma.eq_ignore_ascii_case("quick_check")
    }

    /// How long that takes is the table's size, and what is checked is in no program that could
    /// be looked at before.
    fn look(&self) -> Option<String> {
        (!self.migrates).then(|| {
            "a column with CHECK, or a generated one that is NOT NULL, is added by a migration: \
             all rows are looked at for it"
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
