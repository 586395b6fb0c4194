//! Whose the gaps between the objects of a list are, and what is known of their contents.

use std::sync::atomic::AtomicBool;

/// Who owns the gaps between the objects of a list, and what is in them.
#[derive(Debug)]
pub(crate) struct Gaps {
    pub(super) are_foreign: bool,
    /// Whether nothing was written there since the memory was taken.
    pub(super) are_untouched: bool,
    /// Whether all of them were cleared.
    pub(super) are_clear: AtomicBool,
}

impl Gaps {
    /// Gaps of memory that was taken for the list.
    pub(super) fn new() -> Self {
        Self { are_foreign: false, are_untouched: true, are_clear: AtomicBool::new(false) }
    }

    /// Gaps of memory that was taken for the list, with unknown contents.
    pub(super) fn written() -> Self {
        Self { are_untouched: false, ..Self::new() }
    }

    /// Gaps of memory that shows what another list had cleared.
    pub(super) fn clear() -> Self {
        Self { are_clear: AtomicBool::new(true), ..Self::new() }
    }

    /// Gaps that belong to others.
    pub(super) fn foreign() -> Self {
        Self { are_foreign: true, ..Self::new() }
    }
}
