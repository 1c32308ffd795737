//! The program's allocator: mimalloc, and a count of what is asked of it.
//!
//! It counts while a [`Counting`] lives and at no other time: until then the count costs
//! an allocation four instructions, the last of them a jump that is never taken, and a
//! request about three hundred of its hundred thousand.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mimalloc::MiMalloc;

/// A request makes a hundred allocations and more, of which many are freed by another
/// thread: mimalloc takes half as long for them as the C library's allocator.
pub struct Allocator;

/// What was asked of the allocator, by all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// How often memory was asked for; more for what is there counts, too.
    pub count: u64,
    /// How many bytes were asked for.
    pub bytes: u64,
}

static COUNTS: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Counts from here on until the guard is dropped. There is one count, so whoever
/// measures does so alone.
#[must_use = "it counts for as long as this lives"]
pub fn counted() -> Counting {
    COUNTS.store(true, Ordering::Relaxed);
    Counting
}

/// For as long as it lives, allocations are counted.
pub struct Counting;

impl Counting {
    /// What was counted since the program's start.
    #[must_use]
    pub fn so_far(&self) -> Allocated {
        Allocated { count: COUNT.load(Ordering::Relaxed), bytes: BYTES.load(Ordering::Relaxed) }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        COUNTS.store(false, Ordering::Relaxed);
    }
}

impl Allocated {
    /// What came since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { count: self.count - before.count, bytes: self.bytes - before.bytes }
    }
}

#[inline]
fn note(bytes: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        add(bytes);
    }
}

#[cold]
fn add(bytes: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every call is mimalloc's own, with what the caller passed; counting
// allocates nothing and unwinds never.
#[expect(unsafe_code, reason = "an allocator is an unsafe trait")]
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps to the trait's contract, and so to mimalloc's.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; whatever is freed came from mimalloc.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}
