//! What a guest's schema may be, looked at after each statement that changed it, before
//! anyone sees the change.
//!
//! The authorizer does not see all: not what a foreign key refers to, nor what a table is
//! renamed to, nor what is in a view or a trigger before it is used.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::authorizer::{is_code, is_hosts, is_sqlites};
use super::{Bounds, Sandbox};
use crate::state::schema::TABLES;

/// Tables, indices, views and triggers that a store may have, the host's included. SQLite
/// reads them all whenever a connection is opened.
pub(in crate::state) const MAX_OBJECTS: i32 = 1_000;

/// Bytes of the text of them all. Each connection has what SQLite makes of it, which is some
/// times as much.
const MAX_SCHEMA_BYTES: u64 = 1 << 20;

/// Uses of views that a view may come to, with those in the views that it uses.
const MAX_VIEW_USES: usize = 200;

/// How long all views and triggers may take to be prepared once. Views of views can take
/// for ever.
const USE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a schema is refused, or that it could not be read.
#[derive(Debug)]
pub(in crate::state) enum Broken {
    Rule(String),
    /// It takes more to be looked at than a statement may.
    TooLarge(String),
    Unreadable(rusqlite::Error),
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OutOfMemory | ErrorCode::TooBig) => Self::TooLarge(
                "the schema is too large to be looked at: give a table fewer columns and foreign \
                 keys, or the store fewer tables, indexes, views and triggers"
                    .to_owned(),
            ),
            _ => Self::Unreadable(error),
        }
    }
}

/// The host's own part of the schema, as text.
pub(super) fn hosts_part(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row(
        "SELECT coalesce(group_concat(type || ' ' || name || ' ' || tbl_name || ' '
             || coalesce(sql, ''), char(10) ORDER BY type, name), '')
         FROM sqlite_schema WHERE tbl_name GLOB '_*'",
        (),
        |row| row.get(0),
    )
}

/// Looks whether the schema keeps to the rules. `hosts` is what the host's part has to be;
/// what a guest could use is prepared as the guest would, within `bounds`.
pub(super) fn check(
    sandbox: &Sandbox,
    connection: &Connection,
    hosts: &str,
    bounds: &Bounds,
) -> Result<(), Broken> {
    let rule = |reason: String| Err(Broken::Rule(reason));
    if let Some(reason) = foreign_name(connection)? {
        return rule(reason);
    }
    let bytes: u64 = connection.query_row(
        "SELECT coalesce(sum(length(CAST(sql AS BLOB))), 0) FROM sqlite_schema",
        (),
        |row| row.get(0),
    )?;
    if bytes > MAX_SCHEMA_BYTES {
        return Err(Broken::TooLarge(format!(
            "the schema's text has {bytes} bytes, {MAX_SCHEMA_BYTES} are taken: keep data in \
             rows and not in its tables, indexes, views and triggers"
        )));
    }
    if hosts_part(connection)? != hosts {
        return rule("it changes a table of the host's".to_owned());
    }
    if let Some(reason) = large_view(connection)? {
        return rule(reason);
    }
    if let Some((table, parent)) = foreign_key(connection)? {
        let whose = if is_hosts(&parent) { "the host's" } else { "SQLite's" };
        return rule(format!("a foreign key of {table} refers to {parent}, a table of {whose}"));
    }
    let soon = Instant::now() + USE_TIMEOUT;
    let mut bounds = bounds.clone();
    bounds.watched.deadline = bounds.watched.deadline.min(soon);
    for (name, statements) in uses(connection)? {
        for statement in statements {
            if let Some(reason) = sandbox.refusal(connection, &statement, &bounds) {
                return rule(format!("{name} cannot be used: {reason}"));
            }
        }
    }
    Ok(())
}

/// A name that renaming makes and nobody may: one like the host's that is not, or that of a
/// table that is code, in whose place it would be read.
fn foreign_name(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let names = names(connection, "SELECT name FROM sqlite_schema")?;
    Ok(names.into_iter().find_map(|name| {
        if is_hosts(&name) && !TABLES.contains(&name.as_str()) {
            Some(format!("{name} is a name of the host's: those that begin with _ are"))
        } else if is_code(&name) {
            Some(format!("{name} is a table of SQLite's that is code: take another name"))
        } else {
            None
        }
    }))
}

/// A view that uses so many others, and they again, that preparing it takes as long as there
/// are uses; or one with a name that cannot be told in the text of another.
fn large_view(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut statement =
        connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'view'")?;
    let views: HashMap<String, String> = statement
        .query_map((), |row| Ok((row.get::<_, String>(0)?.to_ascii_lowercase(), row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let is_plain = |character: char| character.is_alphanumeric() || character == '_';
    if let Some(name) = views.keys().find(|name| !name.chars().all(is_plain)) {
        return Ok(Some(format!("the view {name} needs a name of letters, digits and _")));
    }
    // How often each is used in each, itself aside; more often where a column has its name.
    let uses: HashMap<&str, Vec<&str>> = views
        .iter()
        .map(|(name, sql)| {
            let words = sql.split(|character| !is_plain(character));
            let used = words.filter_map(|word| {
                let (used, _) = views.get_key_value(&word.to_ascii_lowercase())?;
                (used != name).then_some(used.as_str())
            });
            (name.as_str(), used.collect())
        })
        .collect();
    let large = uses.keys().find(|name| {
        let mut left = MAX_VIEW_USES;
        let mut open = vec![**name];
        while let Some(view) = open.pop() {
            let Some(rest) = left.checked_sub(1) else { return true };
            left = rest;
            open.extend(uses.get(view).into_iter().flatten().take(MAX_VIEW_USES));
        }
        false
    });
    Ok(large
        .map(|name| format!("the view {name} comes to more than {MAX_VIEW_USES} uses of views")))
}

/// A guest's table with a foreign key that refers to what is not a guest's.
fn foreign_key(connection: &Connection) -> rusqlite::Result<Option<(String, String)>> {
    for table in names(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'")? {
        let mut keys =
            connection.prepare(&format!("PRAGMA main.foreign_key_list({})", quoted(&table)))?;
        let mut keys = keys.query(())?;
        while let Some(row) = keys.next()? {
            let parent: String = row.get("table")?;
            if is_hosts(&parent) || is_sqlites(&parent) {
                return Ok(Some((table, parent)));
            }
        }
    }
    Ok(None)
}

/// Views and tables with triggers, and statements that use all that is in them when they
/// are prepared. Others were looked at when they were made.
fn uses(connection: &Connection) -> rusqlite::Result<Vec<(String, Vec<String>)>> {
    let mut found = Vec::new();
    for view in names(connection, "SELECT name FROM sqlite_schema WHERE type = 'view'")? {
        let statement = format!("SELECT * FROM {}", quoted(&view));
        found.push((format!("the view {view}"), vec![statement]));
    }
    let triggered = "SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'trigger'";
    for table in names(connection, triggered)? {
        let columns = columns(connection, &table);
        let name = quoted(&table);
        let mut statements = vec![format!("DELETE FROM {name}")];
        if !columns.is_empty() {
            let all = columns.join(", ");
            let nulls = vec!["NULL"; columns.len()].join(", ");
            statements.push(format!("INSERT INTO {name} ({all}) VALUES ({nulls})"));
            let set: Vec<_> = columns.iter().map(|column| format!("{column} = NULL")).collect();
            statements.push(format!("UPDATE {name} SET {}", set.join(", ")));
        }
        found.push((format!("a trigger of {table}"), statements));
    }
    Ok(found)
}

fn names(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map((), |row| row.get(0))?.collect()
}

/// The columns of a table or view that can be written; none where it cannot be read, as a
/// view of what is not there.
fn columns(connection: &Connection, table: &str) -> Vec<String> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut columns =
            connection.prepare(&format!("PRAGMA main.table_xinfo({})", quoted(table)))?;
        let mut rows = columns.query(())?;
        let mut names = Vec::new();
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>("hidden")? == 0 {
                names.push(quoted(&row.get::<_, String>("name")?));
            }
        }
        Ok(names)
    };
    read().unwrap_or_default()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
