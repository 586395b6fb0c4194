//! The peers of the group, and the group itself, behind one trait, so that all run through the same loops.

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use blink_alloc::{BlinkAlloc, SyncBlinkAlloc};
use bump_scope::alloc::Allocator as _;
use bumpalo::Bump;
use memgroup::{Backing, MemGroup, Options};

use crate::outcome::or_exit;

/// An allocator that hands out memory and takes all of it back at once.
pub trait Peer {
    /// Name in the table, and in the filter given to `cargo bench`.
    const NAME: &'static str;

    /// An empty one, made as its documentation recommends, without a hint of how much will be requested.
    fn new() -> Self;

    /// Address of the first byte of a request.
    fn alloc(&mut self, layout: Layout) -> *mut u8;

    /// Takes everything back and keeps the memory, as its documentation recommends.
    fn reset(&mut self);
}

/// A peer with memory behind the addresses.
///
/// # Safety
/// `layout.size()` bytes at what `alloc` returns are valid for writes until `reset` or drop.
pub unsafe trait Memory: Peer {}

/// The shared group by [`MemGroup::alloc`].
pub struct GroupAlloc(MemGroup);

impl Peer for GroupAlloc {
    const NAME: &'static str = "memgroup-alloc";

    fn new() -> Self {
        Self(or_exit(MemGroup::new()))
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        or_exit(self.0.alloc(layout.size())).as_mut_ptr()
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

// SAFETY: a block owns its bytes for as long as the group is neither reset nor dropped.
unsafe impl Memory for GroupAlloc {}

/// The shared group by [`MemGroup::alloc_layout`].
pub struct GroupLayout(MemGroup);

impl Peer for GroupLayout {
    const NAME: &'static str = "memgroup-alloc_layout";

    fn new() -> Self {
        Self(or_exit(MemGroup::new()))
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        or_exit(self.0.alloc_layout(layout)).as_mut_ptr()
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// A group without read-only mirrors: the cost without protection.
pub struct AnonymousGroup(GroupAlloc);

impl Peer for AnonymousGroup {
    const NAME: &'static str = "memgroup-anonymous";

    fn new() -> Self {
        Self(GroupAlloc(or_exit(Options::new().backing(Backing::Anonymous).open())))
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.0.alloc(layout)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

// SAFETY: a group owns what it hands out until it is reset or dropped.
unsafe impl Memory for AnonymousGroup {}

/// Arenas of other crates.
macro_rules! arenas {
    ($($arena:ty, $name:literal => |$this:ident, $layout:ident| $alloc:expr;)*) => {$(
        impl Peer for $arena {
            const NAME: &'static str = $name;

            fn new() -> Self {
                Self::new()
            }

            #[inline(always)]
            fn alloc(&mut self, $layout: Layout) -> *mut u8 {
                let $this = self;
                or_exit($alloc).as_ptr().cast()
            }

            fn reset(&mut self) {
                self.reset();
            }
        }

        // SAFETY: an arena owns what it hands out until it is reset or dropped.
        unsafe impl Memory for $arena {}
    )*};
}

arenas! {
    Bump, "bumpalo" => |arena, layout| arena.try_alloc_layout(layout);
    bump_scope::Bump, "bump-scope" => |arena, layout| (*arena).allocate(layout);
    BlinkAlloc, "blink-local" => |arena, layout| arena.allocate(layout);
    SyncBlinkAlloc, "blink-sync" => |arena, layout| arena.allocate(layout);
}

/// A box for every request. The owner has to remember all boxes to free them, so that is part of the cost.
pub struct Boxes(Vec<Box<[MaybeUninit<u8>]>>);

impl Peer for Boxes {
    const NAME: &'static str = "box";

    fn new() -> Self {
        Self(Vec::new())
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.0.push(Box::new_uninit_slice(layout.size()));
        // Taken after the push, because moving a box invalidates earlier pointers into it.
        self.0.last_mut().map_or(ptr::null_mut(), |bytes| bytes.as_mut_ptr().cast())
    }

    fn reset(&mut self) {
        self.0.clear();
    }
}

// SAFETY: the last box is the one just pushed; it owns its bytes until the vector is cleared or dropped.
unsafe impl Memory for Boxes {}

/// An integer that is rounded up and added to: a bump allocator without limits, threads and memory.
pub struct Integer(usize);

impl Peer for Integer {
    const NAME: &'static str = "bare-integer";

    fn new() -> Self {
        Self(0)
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let start = (self.0 + layout.align() - 1) & !(layout.align() - 1);
        self.0 = start + layout.size();
        ptr::without_provenance_mut(start)
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// An atomic integer that is only added to: the minimum that threads can share.
pub struct FetchAdd(AtomicUsize);

impl Peer for FetchAdd {
    const NAME: &'static str = "bare-fetch_add";

    fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        ptr::without_provenance_mut(self.0.fetch_add(layout.size(), Ordering::Relaxed))
    }

    fn reset(&mut self) {
        self.0 = AtomicUsize::new(0);
    }
}
