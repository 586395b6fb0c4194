//! Allocators that free objects one by one, each through its interface as a global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;

use mimalloc::MiMalloc;

use crate::peers::{Memory, Peer};

/// An allocator and its live allocations, as an owner of boxes has to remember what to free.
pub struct Singly<A: Named>(A, Vec<(NonNull<u8>, Layout)>);

/// A global allocator that can be measured without being the program's.
pub trait Named: GlobalAlloc {
    /// Name in the table.
    const NAME: &'static str;

    /// The only instance.
    const THE: Self;
}

impl Named for System {
    const NAME: &'static str = "system-malloc";
    const THE: Self = Self;
}

impl Named for MiMalloc {
    const NAME: &'static str = "mimalloc";
    const THE: Self = Self;
}

impl<A: Named> Peer for Singly<A> {
    const NAME: &'static str = A::NAME;

    fn new() -> Self {
        Self(A::THE, Vec::new())
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: no layout of the benchmarks is empty (see sizes).
        let start = unsafe { self.0.alloc(layout) };
        let Some(kept) = NonNull::new(start) else { std::alloc::handle_alloc_error(layout) };
        self.1.push((kept, layout));
        start
    }

    fn reset(&mut self) {
        for (start, layout) in self.1.drain(..) {
            // SAFETY: what `alloc` of the same allocator gave for the same layout, and drained, so once.
            unsafe { self.0.dealloc(start.as_ptr(), layout) };
        }
    }
}

impl<A: Named> Drop for Singly<A> {
    fn drop(&mut self) {
        self.reset();
    }
}

// SAFETY: an allocator's memory is its caller's until `dealloc`, which waits for `reset` or drop.
unsafe impl<A: Named> Memory for Singly<A> {}
