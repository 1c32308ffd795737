//! SQLite's temporary files, kept in memory.
//!
//! Where it may write files, SQLite sorts piece by piece, which takes little time and memory
//! at once, and puts the pieces into temporary files. These files are no files here, so that
//! no disk is filled with them: they are memory, counted as all of SQLite's is
//! (see [`super::memory`]).

use std::ffi::{c_char, c_int, c_void};
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use rusqlite::ffi;

/// Bytes that are taken at a time.
const PIECE: usize = 64 << 10;

/// Files that are temporary.
const TEMPORARY: c_int = ffi::SQLITE_OPEN_TEMP_DB
    | ffi::SQLITE_OPEN_TRANSIENT_DB
    | ffi::SQLITE_OPEN_TEMP_JOURNAL
    | ffi::SQLITE_OPEN_SUBJOURNAL;

/// How the system's files are opened.
static SYSTEM: OnceLock<System> = OnceLock::new();

struct System(NonNull<ffi::sqlite3_vfs>);

// SAFETY: it is never changed once it is there, and SQLite uses it from all threads.
#[expect(unsafe_code, reason = "a pointer to what is SQLite's own and stays")]
unsafe impl Send for System {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a pointer to what is SQLite's own and stays")]
unsafe impl Sync for System {}

/// SQLite's part of a file, and what is in it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Owned; null before it is opened and after it is closed.
    content: *mut Content,
}

/// Pieces, all of them full but the last.
#[derive(Default)]
struct Content {
    pieces: Vec<Piece>,
    size: usize,
}

/// Memory of SQLite's, zeroed.
struct Piece(NonNull<u8>);

/// There is no memory for it.
struct NoMemory;

/// Has SQLite open files so from here on. To be called once, before any file is opened.
#[expect(unsafe_code, reason = "files are opened by functions in C")]
pub(super) fn install() -> c_int {
    // SAFETY: the system's table is copied, with a function of the same kind for opening; the
    // copy is never given back, as SQLite wants it.
    unsafe {
        let Some(system) = NonNull::new(ffi::sqlite3_vfs_find(ptr::null())) else {
            return ffi::SQLITE_ERROR;
        };
        if SYSTEM.set(System(system)).is_err() {
            return ffi::SQLITE_OK;
        }
        let mut own = ptr::read(system.as_ptr());
        let size = c_int::try_from(size_of::<File>()).unwrap_or(c_int::MAX);
        own.szOsFile = own.szOsFile.max(size);
        own.zName = c"hotdock".as_ptr();
        own.pNext = ptr::null_mut();
        own.xOpen = Some(calls::open);
        ffi::sqlite3_vfs_register(Box::leak(Box::new(own)), 1)
    }
}

impl Content {
    /// Copies what is at `offset`; what is behind the end is zero. Returns whether all was
    /// there.
    fn read(&self, into: &mut [u8], offset: usize) -> bool {
        into.fill(0);
        let there = self.size.saturating_sub(offset).min(into.len());
        let mut done = 0;
        while done < there {
            let (index, start) = ((offset + done) / PIECE, (offset + done) % PIECE);
            let length = (PIECE - start).min(there - done);
            let piece =
                self.pieces.get(index).and_then(|piece| piece.bytes().get(start..start + length));
            if let (Some(piece), Some(place)) = (piece, into.get_mut(done..done + length)) {
                place.copy_from_slice(piece);
            }
            done += length;
        }
        there == into.len()
    }

    fn write(&mut self, from: &[u8], offset: usize) -> Result<(), NoMemory> {
        let end = offset.checked_add(from.len()).ok_or(NoMemory)?;
        while self.pieces.len() * PIECE < end {
            self.pieces.push(Piece::new().ok_or(NoMemory)?);
        }
        let mut done = 0;
        while done < from.len() {
            let (index, start) = ((offset + done) / PIECE, (offset + done) % PIECE);
            let length = (PIECE - start).min(from.len() - done);
            let piece = self.pieces.get_mut(index).map(Piece::bytes_mut);
            let place = piece.and_then(|piece| piece.get_mut(start..start + length));
            if let (Some(place), Some(bytes)) = (place, from.get(done..done + length)) {
                place.copy_from_slice(bytes);
            }
            done += length;
        }
        self.size = self.size.max(end);
        Ok(())
    }

    fn truncate(&mut self, size: usize) {
        if size < self.size {
            self.pieces.truncate(size.div_ceil(PIECE));
            // What is written behind it later is behind zeros.
            let rest = self.pieces.last_mut().filter(|_| !size.is_multiple_of(PIECE));
            if let Some(rest) = rest.and_then(|piece| piece.bytes_mut().get_mut(size % PIECE..)) {
                rest.fill(0);
            }
            self.size = size;
        }
    }
}

#[expect(unsafe_code, reason = "its memory is SQLite's, so that it is counted")]
impl Piece {
    fn new() -> Option<Self> {
        // SAFETY: it is given back once, when this is dropped, and zeroed before it is read.
        unsafe {
            let start = NonNull::new(ffi::sqlite3_malloc64(PIECE as u64).cast::<u8>())?;
            start.write_bytes(0, PIECE);
            Some(Self(start))
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: so many are there, and lent as long as this is.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), PIECE) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, to one at a time.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr(), PIECE) }
    }
}

impl Drop for Piece {
    #[expect(unsafe_code, reason = "its memory is SQLite's")]
    fn drop(&mut self) {
        // SAFETY: it is from there, and nobody has it any more.
        unsafe { ffi::sqlite3_free(self.0.as_ptr().cast()) }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(calls::close),
    xRead: Some(calls::read),
    xWrite: Some(calls::write),
    xTruncate: Some(calls::truncate),
    xSync: Some(calls::sync),
    xFileSize: Some(calls::file_size),
    xLock: Some(calls::lock),
    xUnlock: Some(calls::lock),
    xCheckReservedLock: Some(calls::check_reserved_lock),
    xFileControl: Some(calls::file_control),
    xSectorSize: Some(calls::sector_size),
    xDeviceCharacteristics: Some(calls::device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// What SQLite calls. A file is used by one thread at a time. Nothing in it panics.
#[expect(unsafe_code, reason = "SQLite passes files and buffers by pointers")]
mod calls {
    use super::*;

    pub(super) unsafe extern "C" fn open(
        _: *mut ffi::sqlite3_vfs,
        name: *const c_char,
        file: *mut ffi::sqlite3_file,
        flags: c_int,
        out_flags: *mut c_int,
    ) -> c_int {
        if name.is_null() || flags & TEMPORARY != 0 {
            let content = Box::into_raw(Box::default());
            // SAFETY: SQLite has made room for a file of ours.
            unsafe {
                file.cast::<File>().write(File {
                    base: ffi::sqlite3_file { pMethods: &raw const METHODS },
                    content,
                });
                if !out_flags.is_null() {
                    out_flags.write(flags);
                }
            }
            return ffi::SQLITE_OK;
        }
        let Some(System(system)) = SYSTEM.get() else { return ffi::SQLITE_CANTOPEN };
        // SAFETY: there is room for one of the system's files, too; it goes on by itself.
        unsafe {
            match system.as_ref().xOpen {
                Some(open) => open(system.as_ptr(), name, file, flags, out_flags),
                None => ffi::SQLITE_CANTOPEN,
            }
        }
    }

    /// # Safety
    /// `file` was opened by `open` as one of ours and is used by nobody else now.
    unsafe fn content<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a mut Content> {
        // SAFETY: so it is what `open` wrote.
        unsafe { (*file.cast::<File>()).content.as_mut() }
    }

    pub(super) unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
        // SAFETY: it is one of ours; what is in it was boxed there.
        unsafe {
            let content = ptr::replace(&raw mut (*file.cast::<File>()).content, ptr::null_mut());
            if !content.is_null() {
                drop(Box::from_raw(content));
            }
        }
        ffi::SQLITE_OK
    }

    pub(super) unsafe extern "C" fn read(
        file: *mut ffi::sqlite3_file,
        into: *mut c_void,
        length: c_int,
        offset: ffi::sqlite3_int64,
    ) -> c_int {
        let (Ok(length), Ok(offset)) = (usize::try_from(length), usize::try_from(offset)) else {
            return ffi::SQLITE_IOERR_READ;
        };
        // SAFETY: it is one of ours, and there is room for so much.
        let (content, into) =
            unsafe { (content(file), std::slice::from_raw_parts_mut(into.cast::<u8>(), length)) };
        match content.map(|content| content.read(into, offset)) {
            Some(true) => ffi::SQLITE_OK,
            Some(false) => ffi::SQLITE_IOERR_SHORT_READ,
            None => ffi::SQLITE_IOERR_READ,
        }
    }

    pub(super) unsafe extern "C" fn write(
        file: *mut ffi::sqlite3_file,
        from: *const c_void,
        length: c_int,
        offset: ffi::sqlite3_int64,
    ) -> c_int {
        let (Ok(length), Ok(offset)) = (usize::try_from(length), usize::try_from(offset)) else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        // SAFETY: it is one of ours, and there is so much.
        let (content, from) =
            unsafe { (content(file), std::slice::from_raw_parts(from.cast::<u8>(), length)) };
        match content.map(|content| content.write(from, offset)) {
            Some(Ok(())) => ffi::SQLITE_OK,
            Some(Err(NoMemory)) => ffi::SQLITE_IOERR_NOMEM,
            None => ffi::SQLITE_IOERR_WRITE,
        }
    }

    pub(super) unsafe extern "C" fn truncate(
        file: *mut ffi::sqlite3_file,
        size: ffi::sqlite3_int64,
    ) -> c_int {
        // SAFETY: it is one of ours.
        if let (Some(content), Ok(size)) = (unsafe { content(file) }, usize::try_from(size)) {
            content.truncate(size);
        }
        ffi::SQLITE_OK
    }

    pub(super) unsafe extern "C" fn sync(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
        ffi::SQLITE_OK
    }

    pub(super) unsafe extern "C" fn file_size(
        file: *mut ffi::sqlite3_file,
        size: *mut ffi::sqlite3_int64,
    ) -> c_int {
        // SAFETY: it is one of ours, and there is a place for its size.
        unsafe {
            let bytes = content(file).map_or(0, |content| content.size);
            size.write(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        ffi::SQLITE_OK
    }

    pub(super) unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
        ffi::SQLITE_OK
    }

    pub(super) unsafe extern "C" fn check_reserved_lock(
        _: *mut ffi::sqlite3_file,
        locked: *mut c_int,
    ) -> c_int {
        // SAFETY: there is a place for it.
        unsafe { locked.write(0) }
        ffi::SQLITE_OK
    }

    pub(super) unsafe extern "C" fn file_control(
        _: *mut ffi::sqlite3_file,
        _: c_int,
        _: *mut c_void,
    ) -> c_int {
        ffi::SQLITE_NOTFOUND
    }

    pub(super) unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
        4_096
    }

    pub(super) unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_off_is_zero() {
        super::super::memory::install();
        let mut content = Content::default();
        assert!(content.write(&[7; 3 * PIECE], 100).is_ok());
        let mut read = vec![1; PIECE];
        assert!(content.read(&mut read, PIECE - 3));
        assert!(read.iter().all(|&byte| byte == 7));
        assert!(!content.read(&mut read, 3 * PIECE), "it is behind the end");
        assert_eq!(read.iter().filter(|&&byte| byte == 7).count(), 100);
        content.truncate(PIECE + 1);
        assert!(content.write(&[9], 2 * PIECE).is_ok());
        assert!(content.read(&mut read, PIECE));
        assert_eq!((read[0], read[1], read[PIECE - 1]), (7, 0, 0));
        assert_eq!(content.size, 2 * PIECE + 1);
    }
}
