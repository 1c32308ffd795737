//! Key-value pairs in the `_kv` table, and large values in `_kv_large`.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _};

/// A value of more bytes is not in its key's entry. With a short key such an entry fits into
/// the part of a page that SQLite gives it (1 002 bytes), and is compared where it is.
const INLINE_BYTES: usize = 768;

/// Values that an upgrade moves at once.
const MOVED_AT_ONCE: usize = 1_000;

/// One page of a bucket's keys, in their order as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<String>,
    /// The key after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

pub(super) fn get(
    connection: &Connection,
    bucket: &str,
    key: &str,
) -> rusqlite::Result<Option<Bytes>> {
    let found = connection
        .prepare_cached("SELECT value, large FROM _kv WHERE bucket = ?1 AND key = ?2")?
        .query_row((bucket, key), |row| {
            Ok(match row.get(1)? {
                Some(id) => Found::Large(id),
                None => Found::Here(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)),
            })
        })
        .optional()?;
    match found {
        None => Ok(None),
        Some(Found::Here(value)) => Ok(Some(value)),
        Some(Found::Large(id)) => connection
            .prepare_cached("SELECT value FROM _kv_large WHERE id = ?1")?
            .query_row([id], |row| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)))
            .map(Some),
    }
}

/// Where a key's value is.
enum Found {
    Here(Bytes),
    Large(i64),
}

/// Returns whether the key is new.
pub(super) fn set(
    connection: &Connection,
    bucket: &str,
    key: &str,
    value: &[u8],
) -> rusqlite::Result<bool> {
    let is_large = value.len() > INLINE_BYTES;
    if !is_large {
        // Most writes are small ones of keys that exist; a listing has to know which are not.
        let updated = connection
            .prepare_cached(
                "UPDATE _kv SET value = ?3 WHERE bucket = ?1 AND key = ?2 AND large IS NULL",
            )?
            .execute((bucket, key, value))?;
        if updated > 0 {
            return Ok(false);
        }
    }
    let before = entry(connection, bucket, key)?;
    let large = match before {
        Some(Some(id)) if is_large => {
            connection
                .prepare_cached("UPDATE _kv_large SET value = ?2 WHERE id = ?1")?
                .execute((id, value))?;
            return Ok(false);
        }
        Some(Some(id)) => {
            delete_large(connection, id)?;
            None
        }
        _ if is_large => Some(insert_large(connection, value)?),
        _ => None,
    };
    let here = if is_large { &[] } else { value };
    let statement = match before {
        None => "INSERT INTO _kv VALUES (?1, ?2, ?3, ?4)",
        Some(_) => "UPDATE _kv SET value = ?3, large = ?4 WHERE bucket = ?1 AND key = ?2",
    };
    connection.prepare_cached(statement)?.execute((bucket, key, here, large))?;
    Ok(before.is_none())
}

/// Returns whether the key was there.
pub(super) fn delete(connection: &Connection, bucket: &str, key: &str) -> rusqlite::Result<bool> {
    let Some(large) = entry(connection, bucket, key)? else { return Ok(false) };
    if let Some(id) = large {
        delete_large(connection, id)?;
    }
    connection
        .prepare_cached("DELETE FROM _kv WHERE bucket = ?1 AND key = ?2")?
        .execute((bucket, key))?;
    Ok(true)
}

/// Moves large values out of their keys' entries, where an older host has put them.
pub(super) fn move_large(connection: &Connection) -> rusqlite::Result<()> {
    let (mut bucket, mut key) = (String::new(), String::new());
    loop {
        let found: Vec<(String, String)> = connection
            .prepare_cached(
                "SELECT bucket, key FROM _kv
                 WHERE (bucket, key) > (?1, ?2) AND length(value) > ?3
                 ORDER BY bucket, key LIMIT ?4",
            )?
            .query_map((&bucket, &key, INLINE_BYTES, MOVED_AT_ONCE), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        for (bucket, key) in &found {
            let value = get(connection, bucket, key)?.unwrap_or_default();
            set(connection, bucket, key, &value)?;
        }
        match found.into_iter().last() {
            Some(last) => (bucket, key) = last,
            None => return Ok(()),
        }
    }
}

/// The key's entry, if there is one, and which large value is its.
fn entry(
    connection: &Connection,
    bucket: &str,
    key: &str,
) -> rusqlite::Result<Option<Option<i64>>> {
    connection
        .prepare_cached("SELECT large FROM _kv WHERE bucket = ?1 AND key = ?2")?
        .query_row((bucket, key), |row| row.get(0))
        .optional()
}

fn insert_large(connection: &Connection, value: &[u8]) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("INSERT INTO _kv_large (value) VALUES (?1) RETURNING id")?
        .query_row([value], |row| row.get(0))
}

fn delete_large(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM _kv_large WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Up to `limit` keys after `after`.
pub(super) fn list(
    connection: &Connection,
    bucket: &str,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<String>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT key FROM _kv WHERE bucket = ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key LIMIT ?3",
        )?
        .query_map((bucket, after, limit), |row| row.get(0))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Connection {
        let connection = Connection::open_in_memory().expect("opened");
        let tables = "CREATE TABLE _kv (
                bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, large INTEGER,
                PRIMARY KEY (bucket, key)
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE _kv_large (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;";
        connection.execute_batch(tables).expect("tables");
        connection
    }

    fn large(connection: &Connection) -> i64 {
        let count = "SELECT count(*) FROM _kv_large";
        connection.query_row(count, (), |row| row.get(0)).expect("a count")
    }

    #[test]
    fn a_value_grows_and_shrinks_and_leaves_nothing_behind() {
        let connection = tables();
        let sizes = [0, INLINE_BYTES, INLINE_BYTES + 1, 5_000_000, INLINE_BYTES + 1, 1];
        for (step, &size) in sizes.iter().enumerate() {
            let value = vec![7; size];
            let is_new = set(&connection, "b", "k", &value).expect("set");
            assert_eq!(is_new, step == 0);
            let found = get(&connection, "b", "k").expect("read").expect("a value");
            assert!(found == value, "{size}");
            assert_eq!(large(&connection), i64::from(size > INLINE_BYTES));
        }
        assert!(set(&connection, "b", "l", &[1; 10_000]).expect("set"));
        assert!(delete(&connection, "b", "l").expect("deleted"));
        assert!(!delete(&connection, "b", "l").expect("deleted"));
        assert_eq!((large(&connection), get(&connection, "b", "l").expect("read")), (0, None));
    }

    #[test]
    fn an_upgrade_moves_what_is_large() {
        let connection = tables();
        let sizes: Vec<usize> = (0..MOVED_AT_ONCE + 50).map(|number| number % 3 * 500).collect();
        for (number, size) in sizes.iter().enumerate() {
            let row = (["a", "b"][number % 2], number.to_string(), vec![7_u8; *size]);
            connection.execute("INSERT INTO _kv VALUES (?1, ?2, ?3, NULL)", row).expect("a row");
        }
        move_large(&connection).expect("moved");
        let moved = sizes.iter().filter(|&&size| size > INLINE_BYTES).count();
        assert_eq!(large(&connection), i64::try_from(moved).expect("few"));
        for (number, size) in sizes.iter().enumerate() {
            let bucket = ["a", "b"][number % 2];
            let value = get(&connection, bucket, &number.to_string()).expect("read");
            assert_eq!(value.expect("a value").len(), *size);
        }
    }
}
