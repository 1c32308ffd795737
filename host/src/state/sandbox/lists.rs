//! What a guest's SQL may name: functions, tables of SQLite's own, and PRAGMAs. What is
//! not here is refused; a test compares with all that SQLite has.

/// What a byte of a value costs in a function, in quarters of a nanosecond, at its worst:
/// measured with values of 4 MiB. See [`super::cost`].
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) cost: u32,
    /// What each argument adds.
    pub(super) cost_per_argument: u32,
}

/// Of a function whose cost grows with the square of its arguments' length: with it no value
/// may be longer than 16 KiB.
const SQUARE: u32 = 10_240;

const fn costs(name: &'static str, cost: u32) -> Function {
    Function { name, cost, cost_per_argument: 0 }
}

const fn each(name: &'static str, cost: u32, cost_per_argument: u32) -> Function {
    Function { name, cost, cost_per_argument }
}

/// The functions that a guest may call.
pub(super) const FUNCTIONS: &[Function] = &[
    costs("->", 30),
    costs("->>", 30),
    costs("abs", 11),
    costs("avg", 11),
    costs("changes", 0),
    each("char", 0, 11),
    costs("coalesce", 0),
    each("concat", 2, 1),
    each("concat_ws", 2, 4),
    costs("count", 0),
    costs("cume_dist", 0),
    costs("current_date", 0),
    costs("current_time", 0),
    costs("current_timestamp", 0),
    each("date", 5, 18),
    each("datetime", 5, 18),
    costs("dense_rank", 0),
    costs("first_value", 1),
    each("format", 55, 2),
    costs("glob", 520),
    costs("group_concat", 5),
    costs("hex", 10),
    costs("if", 11),
    costs("ifnull", 0),
    costs("iif", 11),
    costs("instr", 15),
    costs("json", 25),
    each("json_array", 5, 20),
    each("json_array_insert", 20, 10),
    costs("json_array_length", 30),
    costs("json_error_position", 25),
    each("json_extract", 20, 8),
    costs("json_group_array", 25),
    costs("json_group_object", 30),
    each("json_insert", 20, 10),
    each("json_object", 5, 20),
    costs("json_patch", SQUARE),
    costs("json_pretty", 70),
    costs("json_quote", 25),
    each("json_remove", 20, 10),
    each("json_replace", 20, 10),
    each("json_set", 20, 10),
    costs("json_type", 30),
    costs("json_valid", 35),
    costs("jsonb", 25),
    each("jsonb_array", 5, 20),
    each("jsonb_array_insert", 20, 10),
    each("jsonb_extract", 20, 8),
    costs("jsonb_group_array", 25),
    costs("jsonb_group_object", 30),
    each("jsonb_insert", 20, 10),
    each("jsonb_object", 5, 20),
    costs("jsonb_patch", SQUARE),
    each("jsonb_remove", 20, 10),
    each("jsonb_replace", 20, 10),
    each("jsonb_set", 20, 10),
    each("julianday", 5, 18),
    costs("lag", 12),
    costs("last_insert_rowid", 0),
    costs("last_value", 1),
    costs("lead", 12),
    costs("length", 4),
    costs("like", 480),
    costs("likelihood", 0),
    costs("likely", 0),
    costs("lower", 20),
    costs("ltrim", 30),
    each("max", 0, 6),
    each("min", 0, 6),
    costs("nth_value", 12),
    costs("ntile", 11),
    costs("nullif", 6),
    costs("octet_length", 1),
    costs("percent_rank", 0),
    each("printf", 55, 2),
    costs("quote", 18),
    costs("random", 0),
    costs("randomblob", 24),
    costs("rank", 0),
    costs("replace", 25),
    costs("round", 22),
    costs("row_number", 0),
    costs("rtrim", 30),
    costs("sign", 11),
    costs("soundex", 6),
    costs("sqlite_source_id", 0),
    costs("sqlite_version", 0),
    each("strftime", 70, 18),
    costs("string_agg", 5),
    costs("substr", 15),
    costs("substring", 15),
    costs("subtype", 0),
    costs("sum", 11),
    each("time", 5, 18),
    each("timediff", 5, 18),
    costs("total", 11),
    costs("total_changes", 0),
    costs("trim", 30),
    costs("typeof", 0),
    costs("unhex", SQUARE),
    costs("unicode", 1),
    costs("unistr", 8),
    costs("unistr_quote", 15),
    each("unixepoch", 5, 18),
    costs("unlikely", 0),
    costs("upper", 25),
    costs("zeroblob", 1),
];

/// What SQLite itself calls in the statements of its own that ALTER TABLE consists of; it
/// lets nobody else.
pub(super) const ALTERING: &[&str] = &[
    "sqlite_add_constraint",
    "sqlite_drop_column",
    "sqlite_drop_constraint",
    "sqlite_fail",
    "sqlite_find_constraint",
    "sqlite_rename_column",
    "sqlite_rename_quotefix",
    "sqlite_rename_table",
    "sqlite_rename_test",
];

/// Tables that are code and that a guest may read, besides one for each of [`PRAGMAS`].
pub(super) const MODULES: &[&str] = &["json_each", "json_tree"];

/// PRAGMAs that only tell about a guest's own tables.
pub(super) const PRAGMAS: &[&str] = &[
    "data_version",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// The table of all there is, by its names.
pub(super) const SCHEMA: &[&str] = &["sqlite_schema", "sqlite_master"];

/// That of temporary ones. What makes one is refused for that.
pub(super) const TEMPORARY_SCHEMA: &[&str] = &["sqlite_temp_schema", "sqlite_temp_master"];

/// The function's entry, if a guest may call it.
pub(super) fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name.eq_ignore_ascii_case(name))
}

/// Whether `name` is on the list.
pub(super) fn has(list: &[&str], name: &str) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SQLite has and no guest may call.
    const DENIED_FUNCTIONS: &[&str] = &[
        "match",      // only a virtual table gives it a meaning
        "sqlite_log", // writes to the host's log
    ];

    /// What SQLite has and no guest may read.
    const DENIED_MODULES: &[&str] = &[];

    const DENIED_PRAGMAS: &[&str] = &[
        "analysis_limit",
        "application_id",
        "auto_vacuum",
        "automatic_index",
        "busy_timeout",
        "cache_size",
        "cache_spill",
        "case_sensitive_like",
        "cell_size_check",
        "checkpoint_fullfsync",
        "collation_list",
        "count_changes",
        "database_list",
        "default_cache_size",
        "defer_foreign_keys",
        "empty_result_callbacks",
        "foreign_keys",
        "freelist_count",
        "full_column_names",
        "fullfsync",
        "function_list",
        "hard_heap_limit",
        "ignore_check_constraints",
        "incremental_vacuum",
        "integrity_check",
        "journal_mode",
        "journal_size_limit",
        "legacy_alter_table",
        "locking_mode",
        "max_page_count",
        "mmap_size",
        "module_list",
        "optimize",
        "page_count",
        "page_size",
        "pragma_list",
        "query_only",
        "quick_check",
        "read_uncommitted",
        "recursive_triggers",
        "reverse_unordered_selects",
        "schema_version",
        "secure_delete",
        "short_column_names",
        "shrink_memory",
        "soft_heap_limit",
        "synchronous",
        "temp_store",
        "temp_store_directory",
        "threads",
        "trusted_schema",
        "user_version",
        "wal_autocheckpoint",
        "wal_checkpoint",
        "writable_schema",
    ];

    fn names(sql: &str) -> Vec<String> {
        let connection = rusqlite::Connection::open_in_memory().expect("SQLite");
        let mut statement = connection.prepare(sql).expect("a statement");
        let names = statement.query_map((), |row| row.get(0)).expect("a query");
        names.collect::<Result<_, _>>().expect("names")
    }

    #[test]
    fn every_function_that_sqlite_has_is_allowed_or_denied_by_its_name() {
        let all = names("SELECT DISTINCT name FROM pragma_function_list");
        assert!(all.len() > 90, "{all:?}");
        for name in &all {
            let allowed = function(name).is_some();
            assert!(allowed != has(DENIED_FUNCTIONS, name), "{name}: decide whether it is safe");
        }
        let gone: Vec<_> = FUNCTIONS.iter().filter(|known| !has_string(&all, known.name)).collect();
        assert!(gone.is_empty(), "{:?}", gone.iter().map(|known| known.name).collect::<Vec<_>>());
    }

    #[test]
    fn every_module_that_sqlite_has_is_allowed_or_denied_by_its_name() {
        // Those of JSON and of PRAGMAs are there once they were named.
        let all = names(
            "SELECT name FROM pragma_module_list
             WHERE (SELECT count(*) FROM json_each('[]'), json_tree('[]')) = 0",
        );
        for name in &all {
            let allowed = has(MODULES, name) || name.starts_with("pragma_");
            assert!(allowed != has(DENIED_MODULES, name), "{name}: decide whether it is safe");
        }
        for known in MODULES {
            assert!(has_string(&all, known), "{known}: {all:?}");
        }
    }

    #[test]
    fn every_pragma_that_sqlite_has_is_allowed_or_denied_by_its_name() {
        let all = names("SELECT name FROM pragma_pragma_list");
        assert!(all.len() > 50, "{all:?}");
        for name in &all {
            let allowed = has(PRAGMAS, name);
            assert!(allowed != has(DENIED_PRAGMAS, name), "{name}: decide whether it is safe");
        }
    }

    fn has_string(list: &[String], name: &str) -> bool {
        list.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}
