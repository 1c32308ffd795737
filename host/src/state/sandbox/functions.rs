//! Functions of SQLite's in whose place the host puts its own (see [`super::text`]), on
//! each connection on which guests' statements run.

use std::ffi::{CStr, c_int};
use std::{ptr, slice};

use rusqlite::Connection;
use rusqlite::ffi;

use super::text::{self, Ends};

type Function =
    unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

const FUNCTIONS: &[(&CStr, c_int, Function)] = &[
    (c"instr", 2, instr),
    (c"replace", 3, replace),
    (c"trim", 1, trim),
    (c"trim", 2, trim),
    (c"ltrim", 1, trim_left),
    (c"ltrim", 2, trim_left),
    (c"rtrim", 1, trim_right),
    (c"rtrim", 2, trim_right),
];

/// As SQLite's are: of the same result for the same arguments, and without an effect.
const FLAGS: c_int = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;

pub(super) fn install(connection: &Connection) -> rusqlite::Result<()> {
    for &(name, arguments, function) in FUNCTIONS {
        // SAFETY: the connection is open, the name ends with a NUL, and the function keeps
        // to what SQLite asks of one.
        #[expect(unsafe_code, reason = "a value's text is to be had from SQLite's C calls only")]
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                connection.handle(),
                name.as_ptr(),
                arguments,
                FLAGS,
                ptr::null_mut(),
                Some(function),
                None,
                None,
                None,
            )
        };
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
    }
    Ok(())
}

use calls::{instr, replace, trim, trim_left, trim_right};

/// What SQLite calls, and how the arguments are had from it. Nothing in it panics.
#[expect(unsafe_code, reason = "SQLite passes arguments and takes results by pointers")]
mod calls {
    use super::*;

    /// A call's arguments and the place of its result.
    struct Call {
        context: *mut ffi::sqlite3_context,
        arguments: Vec<*mut ffi::sqlite3_value>,
    }

    impl Call {
        /// # Safety
        /// These are what SQLite called the function with, which has not returned.
        unsafe fn new(
            context: *mut ffi::sqlite3_context,
            count: c_int,
            arguments: *mut *mut ffi::sqlite3_value,
        ) -> Self {
            let count = usize::try_from(count).unwrap_or(0);
            // SAFETY: there are `count` of them (and none where the pointer may be null).
            let arguments = match count {
                0 => Vec::new(),
                _ => unsafe { slice::from_raw_parts(arguments, count) }.to_vec(),
            };
            Self { context, arguments }
        }

        fn kind(&self, index: usize) -> c_int {
            match self.arguments.get(index) {
                // SAFETY: it is one of the call's arguments.
                Some(&argument) => unsafe { ffi::sqlite3_value_type(argument) },
                None => ffi::SQLITE_NULL,
            }
        }

        /// The argument's bytes, of a BLOB as it is and of all else as text; `None` for NULL,
        /// or where there is no memory. They are there until the call's end, as no argument
        /// is asked for in two ways.
        fn bytes(&self, index: usize) -> Option<&[u8]> {
            let kind = self.kind(index);
            let &argument = self.arguments.get(index)?;
            if kind == ffi::SQLITE_NULL {
                return None;
            }
            // SAFETY: as above; the text is asked for before its length, which it may change.
            unsafe {
                let start: *const u8 = if kind == ffi::SQLITE_BLOB {
                    ffi::sqlite3_value_blob(argument).cast()
                } else {
                    ffi::sqlite3_value_text(argument).cast()
                };
                let length = usize::try_from(ffi::sqlite3_value_bytes(argument)).ok()?;
                match length {
                    // An empty BLOB is at no place.
                    0 if kind == ffi::SQLITE_BLOB || !start.is_null() => Some(&[]),
                    _ if start.is_null() => None,
                    _ => Some(slice::from_raw_parts(start, length)),
                }
            }
        }

        fn return_text(&self, text: &[u8]) {
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let utf8 = ffi::SQLITE_UTF8 as u8;
            // SAFETY: SQLite copies the text before it returns, and takes an empty one from
            // wherever it is.
            unsafe {
                ffi::sqlite3_result_text64(
                    self.context,
                    text.as_ptr().cast(),
                    length,
                    ffi::SQLITE_TRANSIENT(),
                    utf8,
                );
            }
        }

        fn return_number(&self, number: usize) {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            // SAFETY: the call's own context.
            unsafe { ffi::sqlite3_result_int64(self.context, number) }
        }

        fn return_too_big(&self) {
            // SAFETY: the call's own context.
            unsafe { ffi::sqlite3_result_error_toobig(self.context) }
        }

        /// How many bytes a value may have now.
        fn value_bytes(&self) -> usize {
            // SAFETY: the context's connection; a negative limit changes nothing.
            let limit = unsafe {
                let db = ffi::sqlite3_context_db_handle(self.context);
                ffi::sqlite3_limit(db, ffi::SQLITE_LIMIT_LENGTH, -1)
            };
            usize::try_from(limit).unwrap_or(0)
        }
    }

    pub(super) unsafe extern "C" fn instr(
        context: *mut ffi::sqlite3_context,
        count: c_int,
        arguments: *mut *mut ffi::sqlite3_value,
    ) {
        // SAFETY: SQLite calls it with these.
        let call = unsafe { Call::new(context, count, arguments) };
        let (Some(haystack), Some(needle)) = (call.bytes(0), call.bytes(1)) else { return };
        let blobs = call.kind(0) == ffi::SQLITE_BLOB && call.kind(1) == ffi::SQLITE_BLOB;
        call.return_number(if needle.is_empty() {
            1
        } else if blobs {
            text::position_of_bytes(haystack, needle)
        } else {
            text::position_of_text(haystack, needle)
        });
    }

    pub(super) unsafe extern "C" fn replace(
        context: *mut ffi::sqlite3_context,
        count: c_int,
        arguments: *mut *mut ffi::sqlite3_value,
    ) {
        // SAFETY: SQLite calls it with these.
        let call = unsafe { Call::new(context, count, arguments) };
        let (Some(text), Some(pattern)) = (call.bytes(0), call.bytes(1)) else { return };
        if matches!(pattern.first(), None | Some(0)) {
            return call.return_text(text);
        }
        let Some(replacement) = call.bytes(2) else { return };
        match text::replaced(text, pattern, replacement, call.value_bytes()) {
            Some(replaced) => call.return_text(&replaced),
            None => call.return_too_big(),
        }
    }

    fn trim_ends(call: &Call, ends: Ends) {
        let Some(text) = call.bytes(0) else { return };
        let characters = match call.arguments.len() {
            1 => Some(&b" "[..]),
            _ => call.bytes(1),
        };
        if let Some(characters) = characters {
            call.return_text(text::trimmed(text, characters, ends));
        }
    }

    pub(super) unsafe extern "C" fn trim(
        context: *mut ffi::sqlite3_context,
        count: c_int,
        arguments: *mut *mut ffi::sqlite3_value,
    ) {
        // SAFETY: SQLite calls it with these.
        let call = unsafe { Call::new(context, count, arguments) };
        trim_ends(&call, Ends { left: true, right: true });
    }

    pub(super) unsafe extern "C" fn trim_left(
        context: *mut ffi::sqlite3_context,
        count: c_int,
        arguments: *mut *mut ffi::sqlite3_value,
    ) {
        // SAFETY: SQLite calls it with these.
        let call = unsafe { Call::new(context, count, arguments) };
        trim_ends(&call, Ends { left: true, right: false });
    }

    pub(super) unsafe extern "C" fn trim_right(
        context: *mut ffi::sqlite3_context,
        count: c_int,
        arguments: *mut *mut ffi::sqlite3_value,
    ) {
        // SAFETY: SQLite calls it with these.
        let call = unsafe { Call::new(context, count, arguments) };
        trim_ends(&call, Ends { left: false, right: true });
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::*;

    /// Pieces that are no UTF-8 among them.
    const PIECES: [&[u8]; 14] = [
        b"a",
        b"b",
        b"ab",
        b" ",
        b"  ",
        b"\xc3\xa9",
        b"\xe2\x82\xac",
        b"\xc3",
        b"\xa9",
        b"\xff",
        b"\0",
        b"",
        b"aaa",
        b"\xf0\x9f\x98\x80",
    ];

    fn argument(random: &mut fastrand::Rng) -> Value {
        let bytes: Vec<u8> = (0..random.usize(0..6))
            .flat_map(|_| PIECES[random.usize(..PIECES.len())])
            .copied()
            .collect();
        match random.u8(..10) {
            0 => Value::Null,
            1 => Value::Integer(random.i64(-20..200)),
            2 => Value::Real(f64::from(random.i8(..)) / 7.0),
            3..5 => Value::Blob(bytes),
            _ => Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    #[test]
    fn the_hosts_functions_do_what_sqlites_do() {
        let (theirs, ours) = (Connection::open_in_memory(), Connection::open_in_memory());
        let (theirs, ours) = (theirs.expect("SQLite"), ours.expect("SQLite"));
        install(&ours).expect("installed");
        let mut random = fastrand::Rng::with_seed(7);
        let calls = [
            "instr(?1, ?2)",
            "replace(?1, ?2, ?3)",
            "trim(?1, ?2)",
            "ltrim(?1, ?2)",
            "rtrim(?1, ?2)",
            "trim(?1)",
            "ltrim(?1)",
            "rtrim(?1)",
            "instr(CAST(?1 AS TEXT), CAST(?2 AS TEXT))",
            "trim(CAST(?1 AS TEXT), CAST(?2 AS TEXT))",
        ];
        for call in calls {
            let sql = format!("SELECT x, typeof(x) FROM (SELECT {call} AS x, ?1, ?2, ?3)");
            let ask = |connection: &Connection, arguments: &[Value; 3]| -> (Value, String) {
                let mut statement = connection.prepare_cached(&sql).expect("a statement");
                let read = |row: &rusqlite::Row<'_>| {
                    // As bytes, where it is no UTF-8.
                    let value = match row.get_ref(0)? {
                        rusqlite::types::ValueRef::Text(text) => Value::Blob(text.to_vec()),
                        value => value.try_into()?,
                    };
                    Ok((value, row.get(1)?))
                };
                statement.query_row(rusqlite::params_from_iter(arguments), read).expect("a row")
            };
            for _ in 0..3_000 {
                let arguments = [(); 3].map(|()| argument(&mut random));
                let (theirs, ours) = (ask(&theirs, &arguments), ask(&ours, &arguments));
                assert_eq!(theirs, ours, "{call} of {arguments:?}");
            }
        }
    }
}
