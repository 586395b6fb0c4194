//! Lists as Arrow lays out strings: a table of views into few stretches of memory, or one stretch and a table of
//! offsets.
//!
//! A view is 16 bytes: a length and, of up to 12 bytes, these themselves; of more, the first four, a number of a
//! *window* and where in it they begin. Lengths and offsets are 32 bits wide and have a sign, so a window reaches
//! [`MAX_OFFSET`] bytes far, and a slot that is larger takes several. Nothing but the tables is written here, and no
//! byte of a record moves.

pub(crate) mod offsets;
pub(crate) mod utf8;
pub(crate) mod views;
mod windows;

use std::ptr::NonNull;

use crate::error::Error;
use crate::list::{ListLayout, Part, Span};
use crate::slot::{LiveSlots, Mirror, SlotPtr};

/// The largest length and offset there is.
pub(crate) const MAX_OFFSET: usize = i32::MAX as usize;

/// Bytes that a view holds itself.
const MAX_INLINE_BYTES: usize = 12;

/// A list cannot be laid out so: why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArrowError {
    /// The record at an index is longer than a length can say.
    TooLong { index: usize, len: usize },
    /// The record at an index is no UTF-8 from some byte on.
    NotUtf8 { index: usize, byte: usize },
    /// All records together are longer than an offset can say.
    TooMuch { nbytes: usize },
    /// The records lie in too many places for a window on each: they have to be copied together before.
    Scattered,
    /// There is no memory for a table, or for a copy of a secret group's bytes none can be locked.
    NoMemory(Error),
}

impl From<Error> for ArrowError {
    fn from(error: Error) -> Self {
        Self::NoMemory(error)
    }
}

/// Whether records are to be text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    Bytes,
    Utf8,
}

/// Whether records that lie in many places may be laid out all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scatter {
    Refused,
    Allowed,
}

/// The slots that some objects of a list are in, each once.
pub(crate) fn slots(layout: &ListLayout, part: Part) -> Vec<SlotPtr> {
    let mut slots: Vec<SlotPtr> = Vec::new();
    for run in &layout.runs()[layout.runs_of(part.reach())] {
        if !slots.contains(&run.slot) {
            slots.push(run.slot);
        }
    }
    slots
}

/// Where a window begins in memory, in the read-only mirror; `None` if its slot has none.
///
/// # Safety
/// The window must lie in one of those slots.
pub(crate) unsafe fn read_only(live: LiveSlots<'_>, window: Span) -> Option<NonNull<u8>> {
    // SAFETY: the window lies in one of those slots, by contract.
    let slot = unsafe { live.get(window.slot) };
    // SAFETY: a window lies within its slot.
    unsafe { slot.address(window.offset, Mirror::ReadOnly) }
}

/// Copies bytes that somebody else may write to meanwhile.
///
/// # Safety
/// There must be as many as `to` has room for.
#[inline(always)]
unsafe fn fetch(to: &mut [u8], from: *const u8) {
    // SAFETY: there are as many bytes as `to` has, by contract; memory of a group is never on a stack or heap of
    // Rust's, so the two do not overlap.
    unsafe { libc::memcpy(to.as_mut_ptr().cast(), from.cast(), to.len()) };
}
