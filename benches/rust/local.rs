//! The owner handle as a peer.

use std::alloc::Layout;
use std::ptr::NonNull;

use memgroup::{Local, MemGroup};

use crate::outcome::or_exit;
use crate::peers::{Memory, Peer};

/// The owner handle by [`Local::alloc_layout`], and the group it is a handle on.
pub struct LocalLayout {
    /// `None` only while the group is reset or dropped.
    local: Option<Local<'static>>,
    /// Made by [`Box::into_raw`].
    group: NonNull<MemGroup>,
}

impl LocalLayout {
    fn open(&mut self) {
        // SAFETY: the group lives until drop, which closes the handle first, as reset does before it needs the group alone.
        self.local = Some(or_exit(unsafe { self.group.as_ref() }.local()));
    }
}

impl Peer for LocalLayout {
    const NAME: &'static str = "memgroup-local";

    fn new() -> Self {
        let group = NonNull::from(Box::leak(Box::new(or_exit(MemGroup::new()))));
        let mut peer = Self { local: None, group };
        peer.open();
        peer
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: open was called last by new or reset.
        let local = unsafe { self.local.as_ref().unwrap_unchecked() };
        or_exit(local.alloc_layout(layout)).as_mut_ptr()
    }

    fn reset(&mut self) {
        self.local = None;
        // SAFETY: the handle is gone, and no code uses a block any more.
        unsafe { self.group.as_mut() }.reset();
        self.open();
    }
}

impl Drop for LocalLayout {
    fn drop(&mut self) {
        self.local = None;
        // SAFETY: made by Box::into_raw in new, and the handle on it is gone.
        drop(unsafe { Box::from_raw(self.group.as_ptr()) });
    }
}

// SAFETY: a block owns its bytes for as long as the group is neither reset nor dropped.
unsafe impl Memory for LocalLayout {}
