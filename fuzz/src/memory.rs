//! How much memory a piece of work takes: an allocator that counts for its own thread.

#![expect(
    unsafe_code,
    reason = "counting allocations needs an allocator; this one only counts and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting. It has to be the program's `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

/// What one piece of work took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Allocations, growing ones among them.
    pub allocations: u64,
    /// Bytes asked for, all together.
    pub bytes: usize,
    /// The most bytes that were held at once.
    pub peak: usize,
}

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static TAKEN: Cell<Taken> = const { Cell::new(Taken { allocations: 0, bytes: 0, peak: 0 }) };
}

fn took(size: usize) {
    // A thread that ends has no counters any more.
    let held = HELD.try_with(|held| {
        held.set(held.get().saturating_add(size));
        held.get()
    });
    let _ = TAKEN.try_with(|taken| {
        let before = taken.get();
        taken.set(Taken {
            allocations: before.allocations + 1,
            bytes: before.bytes.saturating_add(size),
            peak: before.peak.max(held.unwrap_or(0)),
        });
    });
}

fn gave_back(size: usize) {
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(size)));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave_back(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        gave_back(layout.size());
        took(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Does `work` and says what this thread took for it.
pub fn taken<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    HELD.set(0);
    TAKEN.set(Taken::default());
    let done = work();
    (done, TAKEN.get())
}
