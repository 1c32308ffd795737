//! The program's allocator: mimalloc, a count of what is asked of it, and a balance of
//! what each thread took and gave back.
//!
//! It counts while a [`Counting`] lives and at no other time: until then the count costs
//! an allocation four instructions, the last of them a jump that is never taken, and a
//! request about three hundred of its hundred thousand. The balance is always kept, by
//! one addition: whoever runs a guest reads in it what the host took for the guest,
//! whatever it took it for.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

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

thread_local! {
    /// Bytes that this thread took less those that it gave back.
    static BALANCE: Cell<i64> = const { Cell::new(0) };
}

/// The balance of this thread: bytes that it took less those that it gave back, since
/// [`set_balance`] was called last.
///
/// Never inlined, like all that looks at it: a guest's stack goes from thread to thread,
/// and a function that is on it must not remember where the last thread's balance was.
#[inline(never)]
#[must_use]
pub fn balance() -> i64 {
    BALANCE.get()
}

/// Begins another balance with so many bytes; returns what it was.
#[inline(never)]
pub fn set_balance(bytes: i64) -> i64 {
    BALANCE.replace(bytes)
}

/// Only to be called where it cannot become part of a function on a guest's stack.
#[inline]
fn change_balance(bytes: i64) {
    BALANCE.set(BALANCE.get().wrapping_add(bytes));
}

/// A block's size; none is larger than `isize::MAX`.
#[inline]
fn signed(bytes: usize) -> i64 {
    bytes.cast_signed() as i64
}

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

/// Whether plain `malloc` aligns a block of this layout: mimalloc aligns blocks of 16
/// bytes and more to 16, smaller ones to what they can hold.
///
/// Its functions for aligned blocks are for the rest. They look at every size that is
/// no power of two as if it were not aligned by itself, and take a larger block.
fn is_plain(layout: Layout, size: usize) -> bool {
    layout.align() <= 16 && layout.align() <= size
}

// SAFETY: every call is mimalloc's own, with what the caller passed, and blocks are
// aligned as `is_plain` says; counting allocates nothing and unwinds never. None of them
// is inlined: see `balance`.
#[expect(unsafe_code, reason = "an allocator is an unsafe trait")]
unsafe impl GlobalAlloc for Allocator {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        note(size);
        change_balance(signed(size));
        // SAFETY: the caller keeps to the trait's contract, and so to mimalloc's.
        let block = unsafe {
            if is_plain(layout, size) { mi_malloc(size) } else { mi_malloc_aligned(size, align) }
        };
        block.cast()
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        note(size);
        change_balance(signed(size));
        // SAFETY: as above.
        let block = unsafe {
            if is_plain(layout, size) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) }
        };
        block.cast()
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        change_balance(-signed(layout.size()));
        // SAFETY: as above; whatever is freed came from mimalloc.
        unsafe { mi_free(block.cast()) }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        change_balance(signed(size) - signed(layout.size()));
        let (old, align) = (block.cast(), layout.align());
        // SAFETY: as above.
        let block = unsafe {
            if is_plain(layout, size) {
                mi_realloc(old, size)
            } else {
                mi_realloc_aligned(old, size, align)
            }
        };
        block.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "it is the allocator that is tested")]
    fn the_balance_is_what_was_taken_and_not_given_back() {
        let layout = Layout::from_size_align(1_000, 8).expect("a layout");
        set_balance(5);
        // SAFETY: blocks are used within their size, and freed once.
        unsafe {
            let block = Allocator.alloc(layout);
            let zeroed = Allocator.alloc_zeroed(layout);
            assert_eq!(balance(), 2_005);
            let grown = Allocator.realloc(block, layout, 3_000);
            assert_eq!(balance(), 4_005);
            Allocator.dealloc(zeroed, layout);
            Allocator.dealloc(grown, Layout::from_size_align(3_000, 8).expect("a layout"));
        }
        assert_eq!(set_balance(0), 5);
    }

    #[test]
    #[expect(unsafe_code, reason = "it is the allocator that is tested")]
    fn every_block_is_aligned_and_grows_with_what_is_in_it() {
        for size in (1..=64).chain([72, 96, 100, 1_000, 1_025, 9_000, 70_000, 2 << 20]) {
            for align in [1, 2, 4, 8, 16, 32, 64, 4_096] {
                let layout = Layout::from_size_align(size, align).expect("a layout");
                // SAFETY: blocks are used within their size, and freed once.
                unsafe {
                    let block = Allocator.alloc(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
                    block.write_bytes(7, size);
                    let grown = Allocator.realloc(block, layout, 3 * size);
                    assert!(grown.addr().is_multiple_of(align), "{layout:?}");
                    assert!(std::slice::from_raw_parts(grown, size).iter().all(|&byte| byte == 7));
                    let layout = Layout::from_size_align(3 * size, align).expect("a layout");
                    Allocator.dealloc(grown, layout);
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert!(zeroed.addr().is_multiple_of(align), "{layout:?}");
                    assert!(
                        std::slice::from_raw_parts(zeroed, 3 * size).iter().all(|&byte| byte == 0)
                    );
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
