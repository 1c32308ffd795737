//! Key-value pairs in the `_kv` table.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _};

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
    connection
        .prepare_cached("SELECT value FROM _kv WHERE bucket = ?1 AND key = ?2")?
        .query_row((bucket, key), |row| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)))
        .optional()
}

/// Returns whether the key is new.
pub(super) fn set(
    connection: &Connection,
    bucket: &str,
    key: &str,
    value: &[u8],
) -> rusqlite::Result<bool> {
    // Most writes are of keys that exist; a listing has to know which are not.
    let updated = connection
        .prepare_cached("UPDATE _kv SET value = ?3 WHERE bucket = ?1 AND key = ?2")?
        .execute((bucket, key, value))?;
    if updated == 0 {
        connection
            .prepare_cached("INSERT INTO _kv VALUES (?1, ?2, ?3)")?
            .execute((bucket, key, value))?;
    }
    Ok(updated == 0)
}

/// Returns whether the key was there.
pub(super) fn delete(connection: &Connection, bucket: &str, key: &str) -> rusqlite::Result<bool> {
    let deleted = connection
        .prepare_cached("DELETE FROM _kv WHERE bucket = ?1 AND key = ?2")?
        .execute((bucket, key))?;
    Ok(deleted > 0)
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
