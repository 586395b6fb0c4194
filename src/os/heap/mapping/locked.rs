//! Bytes of secrets on their way, on the heap.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use nix::errno::Errno;

use super::Unlocked;
use crate::error::Operation;
use crate::os::{Refusal, page_size};

/// As [`os::Locked`](crate::os::Locked), with the same functions.
#[derive(Debug)]
pub(crate) struct Locked {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns its memory, as a Box does.
unsafe impl Send for Locked {}
// SAFETY: nothing is done to the memory through a shared reference.
unsafe impl Sync for Locked {}

impl Locked {
    pub(crate) fn new(len: usize) -> Result<Self, Unlocked> {
        let out_of_memory = || Unlocked::Refused(Refusal::of(Operation::Allocate)(Errno::ENOMEM));
        let layout = Layout::from_size_align(len.max(1), page_size()).map_err(|_| out_of_memory())?;
        // SAFETY: the layout has at least a byte.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(out_of_memory)?;
        Ok(Self { start, layout })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: the memory is of this layout, and nobody else has it.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
