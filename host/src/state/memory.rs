//! What SQLite's memory is counted against.
//!
//! SQLite takes and gives back memory here. What it takes while it runs a service's
//! statement is counted against that service's account, wherever it is given back,
//! and is refused beyond the account's limit, or where all accounts together have
//! as much as the process allows them. SQLite takes a refusal well: the statement
//! fails. What the host's own statements take is theirs and never refused.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Once, PoisonError};

use libmimalloc_sys::{mi_free, mi_malloc, mi_realloc};
use rusqlite::ffi;

use super::temporary;

/// Bytes that the SQL of all services may have at once: the last line, behind the limit
/// of each.
const MAX_TOTAL_BYTES: usize = 512 << 20;

/// In front of each block. As large as blocks are aligned.
const HEADER: usize = 16;

/// The same of all accounts.
static TOTAL: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static CURRENT: Cell<Option<Charge>> = const { Cell::new(None) };
    static PREPARING: RefCell<Option<Arc<dyn Over>>> = const { RefCell::new(None) };
}

/// Knows whether this thread's statement has to end.
pub(super) trait Over: Send + Sync {
    /// Whether it has to.
    fn is_over(&self) -> bool;
}

/// What a service's SQL has of the process's memory.
#[derive(Debug, Default)]
pub(super) struct Account {
    used: AtomicUsize,
    refused: AtomicU64,
}

/// Who pays for what this thread takes now.
#[derive(Clone, Copy)]
struct Charge {
    account: &'static Account,
    limit: usize,
    /// Beyond it what it still gets until it is ended, where that can be done.
    overdraft: usize,
    refused: Option<Refused>,
}

/// Why memory was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The account has as much as it may.
    Account,
    /// All accounts together have.
    Total,
}

/// While it lives, what this thread takes is charged.
pub(super) struct Charged(());

/// While it lives, this thread's statement is being prepared: it gets no more memory once it
/// has to end.
pub(super) struct Preparing(());

/// What is before each block.
struct Header {
    /// `None` where it is the host's.
    account: Option<&'static Account>,
    size: usize,
}

/// Has SQLite take its memory here, and put its temporary files there. To be called before any file is opened; a process in
/// which one was opened before goes on with the C library's.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let methods = METHODS;
        // SAFETY: SQLite copies the table, and its functions do what SQLite asks of such.
        #[expect(unsafe_code, reason = "SQLite has its allocator set by a C call")]
        let set = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
        if set != ffi::SQLITE_OK {
            tracing::warn!("SQLite was in use before its memory could be counted");
        }
        if temporary::install() != ffi::SQLITE_OK {
            tracing::warn!("SQLite keeps its temporary files on disk");
        }
    });
}

impl Account {
    /// The account of the store at `path`. One that was made is never unmade, since blocks
    /// name it: there are as many as there were stores.
    pub(super) fn of(path: &Path) -> &'static Self {
        static ACCOUNTS: LazyLock<Mutex<HashMap<PathBuf, &'static Account>>> =
            LazyLock::new(Mutex::default);
        let mut accounts = ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.entry(path.to_owned()).or_insert_with(|| Box::leak(Box::default()))
    }

    /// Bytes that it has.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How often it was refused more.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Charges what this thread takes to this account, until dropped. Where something ends the
    /// statement as soon as [`is_overdrawn`], it gets `overdraft` more until then.
    pub(super) fn charge(&'static self, limit: usize, overdraft: usize) -> Charged {
        CURRENT.set(Some(Charge { account: self, limit, overdraft, refused: None }));
        Charged(())
    }
}

/// A statement of who pays now is being prepared, until dropped. SQLite looks at nothing
/// meanwhile for as long as its text is large, but takes memory all the time; that it gets none
/// ends it, and nothing else: none of the transaction's work is under way.
pub(super) fn preparing(over: Arc<dyn Over>) -> Preparing {
    PREPARING.set(Some(over));
    Preparing(())
}

impl Drop for Preparing {
    fn drop(&mut self) {
        PREPARING.take();
    }
}

impl Charged {
    /// Whether anything was refused meanwhile.
    pub(super) fn refused(&self) -> Option<Refused> {
        CURRENT.get().and_then(|charge| charge.refused)
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Charge {
    /// Takes `bytes` more for its account, where it may. Returns what it is over.
    fn take(self, bytes: usize) -> Result<Option<Refused>, Refused> {
        let used = self.account.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = TOTAL.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let over = |more: usize| {
            if used > self.limit.saturating_add(more) {
                Some(Refused::Account)
            } else if total > MAX_TOTAL_BYTES + more {
                Some(Refused::Total)
            } else {
                None
            }
        };
        let Some(refused) = over(self.overdraft) else { return Ok(over(0)) };
        give_back(self.account, bytes);
        Err(refused)
    }
}

/// Charges `bytes` to whoever pays now. `Err` where they are refused.
fn charge(bytes: usize) -> Result<Option<&'static Account>, ()> {
    let Some(mut charge) = CURRENT.get() else { return Ok(None) };
    let is_over = |over: &Option<Arc<dyn Over>>| over.as_ref().is_some_and(|over| over.is_over());
    // There is none where the thread is at its end.
    if PREPARING.try_with(|over| is_over(&over.borrow())).unwrap_or(false) {
        return Err(());
    }
    let taken = charge.take(bytes);
    if let Err(refused) | Ok(Some(refused)) = taken
        && (taken.is_err() || charge.refused.is_none())
    {
        charge.account.refused.fetch_add(1, Ordering::Relaxed);
        charge.refused = Some(refused);
        CURRENT.set(Some(charge));
    }
    taken.map(|_| Some(charge.account)).map_err(|_| ())
}

/// Whether this thread's statement has taken more than it may, and is to be ended.
pub(super) fn is_overdrawn() -> bool {
    CURRENT.get().is_some_and(|charge| charge.overdraft > 0 && charge.refused.is_some())
}

/// Charges `bytes` more of a block to its account, which pays for it whoever asks; only what
/// its own statement asks for is refused.
fn charge_more(account: &'static Account, bytes: usize) -> Result<(), ()> {
    match CURRENT.get() {
        Some(current) if ptr::eq(current.account, account) => charge(bytes).map(drop),
        _ => {
            account.used.fetch_add(bytes, Ordering::Relaxed);
            TOTAL.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        }
    }
}

fn give_back(account: &Account, bytes: usize) {
    account.used.fetch_sub(bytes, Ordering::Relaxed);
    TOTAL.fetch_sub(bytes, Ordering::Relaxed);
}

const METHODS: ffi::sqlite3_mem_methods = ffi::sqlite3_mem_methods {
    xMalloc: Some(take),
    xFree: Some(free),
    xRealloc: Some(resize),
    xSize: Some(size),
    xRoundup: Some(round_up),
    xInit: Some(begin),
    xShutdown: Some(end),
    pAppData: ptr::null_mut(),
};

#[expect(unsafe_code, reason = "an allocator hands out memory that is not initialized")]
mod blocks {
    use super::*;

    /// Where a block's header is.
    ///
    /// # Safety
    /// `block` came from `take` or `resize` and was not given back.
    unsafe fn header(block: NonNull<c_void>) -> NonNull<Header> {
        // SAFETY: each of those blocks has its header right before it.
        unsafe { block.byte_sub(HEADER).cast() }
    }

    /// A block for SQLite; null where it gets none.
    pub(super) unsafe extern "C" fn take(bytes: c_int) -> *mut c_void {
        let Ok(size) = usize::try_from(bytes) else { return ptr::null_mut() };
        let whole = size.saturating_add(HEADER);
        let Ok(account) = charge(whole) else { return ptr::null_mut() };
        // Not by the program's allocator, which counts for others. Blocks of its size are
        // aligned as a header is.
        // SAFETY: any size can be asked for.
        match NonNull::new(unsafe { mi_malloc(whole) }) {
            Some(start) => {
                // SAFETY: the header fits in front and is aligned, the block is behind it.
                unsafe {
                    start.cast::<Header>().write(Header { account, size });
                    start.byte_add(HEADER).as_ptr().cast()
                }
            }
            None => {
                if let Some(account) = account {
                    give_back(account, whole);
                }
                ptr::null_mut()
            }
        }
    }

    /// Gives a block back.
    pub(super) unsafe extern "C" fn free(block: *mut c_void) {
        let Some(block) = NonNull::new(block) else { return };
        // SAFETY: SQLite gives back what it was given, once.
        unsafe {
            let header = header(block);
            let Header { account, size } = header.read();
            mi_free(header.as_ptr().cast());
            if let Some(account) = account {
                give_back(account, size + HEADER);
            }
        }
    }

    /// A larger or smaller block with the same in it; null where there is none, and the
    /// old one stays.
    pub(super) unsafe extern "C" fn resize(block: *mut c_void, bytes: c_int) -> *mut c_void {
        let Some(block) = NonNull::new(block) else {
            // SAFETY: as above.
            return unsafe { take(bytes) };
        };
        let Ok(new) = usize::try_from(bytes) else { return ptr::null_mut() };
        // SAFETY: the block is SQLite's until this returns one in its place; the header
        // moves with it.
        unsafe {
            let mut header = header(block);
            let Header { account, size } = header.read();
            let more = new.saturating_sub(size);
            // One that the host took stays the host's.
            if let Some(account) = account
                && charge_more(account, more).is_err()
            {
                return ptr::null_mut();
            }
            let moved = mi_realloc(header.as_ptr().cast(), new.saturating_add(HEADER));
            let Some(moved) = NonNull::new(moved) else {
                if let Some(account) = account {
                    give_back(account, more);
                }
                return ptr::null_mut();
            };
            if let Some(account) = account {
                give_back(account, size.saturating_sub(new));
            }
            header = moved.cast();
            header.as_mut().size = new;
            header.byte_add(HEADER).as_ptr().cast()
        }
    }

    /// A block's size.
    pub(super) unsafe extern "C" fn size(block: *mut c_void) -> c_int {
        let Some(block) = NonNull::new(block) else { return 0 };
        // SAFETY: as above.
        let size = unsafe { header(block).as_ref().size };
        c_int::try_from(size).unwrap_or(c_int::MAX)
    }

    pub(super) unsafe extern "C" fn round_up(bytes: c_int) -> c_int {
        bytes.saturating_add(7) & !7
    }

    pub(super) unsafe extern "C" fn begin(_: *mut c_void) -> c_int {
        ffi::SQLITE_OK
    }

    pub(super) unsafe extern "C" fn end(_: *mut c_void) {}
}

use blocks::{begin, end, free, resize, round_up, size, take};
