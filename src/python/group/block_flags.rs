//! What is known of a block beside its place, in one word: whether it ever gave out its address, and what it is to a pool.
//!
//! Of most blocks the word is 0, and nothing more is asked.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::fault::{self, objects};

/// Whether a block ever gave out its address, and if reports of crashes were on then, where that is written down; whether it is
/// of a pool, and whether it was given back to that.
pub(crate) struct BlockFlags(AtomicU32);

/// The bit that says that the block is of a pool.
const POOLED: u32 = 1 << 31;

/// The bit that says that the block was given back to its pool.
const GIVEN_BACK: u32 = 1 << 30;

/// The bits that say whether the block gave out its address. They are 0 if it did not.
const EXPORTED: u32 = GIVEN_BACK - 1;

/// It did, and nothing is written down. A number above it is that of a note, and this more.
const UNNOTED: u32 = 1;

impl BlockFlags {
    #[inline(always)]
    pub(crate) fn new(is_pooled: bool) -> Self {
        Self(AtomicU32::new(if is_pooled { POOLED } else { 0 }))
    }

    #[inline(always)]
    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the block is of no pool, and never gave out its address.
    #[inline(always)]
    pub(crate) fn are_none(&self) -> bool {
        self.get() == 0
    }

    /// Whether the block ever gave out its address.
    #[inline(always)]
    pub(crate) fn is_exporter(&self) -> bool {
        self.get() & EXPORTED != 0
    }

    #[inline(always)]
    pub(crate) fn is_pooled(&self) -> bool {
        self.get() & POOLED != 0
    }

    /// Whether the block is of a pool, was not given back, and never gave out its address.
    #[inline(always)]
    pub(crate) fn is_only_pooled(&self) -> bool {
        self.get() == POOLED
    }

    #[inline(always)]
    pub(crate) fn is_given_back(&self) -> bool {
        self.get() & GIVEN_BACK != 0
    }

    /// Notes that the block was given back to its pool.
    pub(crate) fn give_back(&self) {
        self.0.fetch_or(GIVEN_BACK, Ordering::Relaxed);
    }

    /// Notes that the block, of so many bytes from an address on, gives out that address; returns whether it did before.
    #[inline(always)]
    pub(crate) fn export(&self, start: usize, len: usize) -> bool {
        let others = self.get() & !EXPORTED;
        let did = self.0.compare_exchange(others, others | UNNOTED, Ordering::Relaxed, Ordering::Relaxed).is_err();
        if !did && fault::is_enabled() {
            self.note(start, len);
        }
        did
    }

    /// Only the thread that was the first to export comes here.
    #[cold]
    fn note(&self, start: usize, len: usize) {
        if let Some(number) = objects::note(start, len) {
            self.0.fetch_add(1 + number, Ordering::Relaxed);
        }
    }

    /// At the end of the block: whether it gave out its address. What was written down is struck out.
    #[inline(always)]
    pub(crate) fn end(self) -> bool {
        let exported = self.0.into_inner() & EXPORTED;
        if let Some(number) = exported.checked_sub(UNNOTED + 1) {
            objects::forget(number);
        }
        exported != 0
    }

    /// The flags, for those who have the block for as long as they use this.
    #[inline(always)]
    pub(crate) fn by_reference(&self) -> FlagsRef {
        FlagsRef(self)
    }
}

/// The flags of a block, or of what is none. Whoever has this has the block.
#[derive(Clone, Copy)]
pub(crate) struct FlagsRef(*const BlockFlags);

// SAFETY: what it points to is an atomic.
unsafe impl Send for FlagsRef {}
// SAFETY: as for Send.
unsafe impl Sync for FlagsRef {}

/// Of what is no block.
static NO_FLAGS: BlockFlags = BlockFlags(AtomicU32::new(0));

impl FlagsRef {
    /// Of what is no block.
    pub(crate) const NONE: Self = Self(&raw const NO_FLAGS);

    #[inline(always)]
    pub(crate) fn is_given_back(self) -> bool {
        self.get().is_given_back()
    }

    #[inline(always)]
    pub(crate) fn is_exporter(self) -> bool {
        self.get().is_exporter()
    }

    #[inline(always)]
    fn get<'a>(self) -> &'a BlockFlags {
        // SAFETY: the pointer is that of the static, or of a block, which whoever has this has.
        unsafe { &*self.0 }
    }
}
