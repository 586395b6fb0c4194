//! The messages that carry handles: values on one side, bytes on the other. No descriptor, no memory, no system call.
//!
//! A message is a header of [`HEADER`] bytes, which alone names a block, and for everything else a body whose length
//! the header gives. All numbers are little-endian. What [`Message::decode`] returns is consistent in itself: no sum
//! overflows, no number is out of its range. Whether the memory that it names is there is for the receiver to find out.
//!
//! | header | | body | |
//! | --- | --- | --- | --- |
//! | 0 | magic `mgrp` | announced × 24 | segment, bytes in it |
//! | 4 | version | retired × 16 | segment |
//! | | | released × 24 | segment, messages |
//! | 5 | kind | a view | origin, item size, shape, strides, format |
//! | 6 | dimensions | an array | the same, with numpy's description for the format |
//! | 8 | bytes of the body | a list | objects, runs, size, stride, alignment; segments × 16 |
//! | 12 | announced, retired | memory alone | segments × 16 |
//! | 16 | segment | | |
//! | 32 | offset, length | | |
//! | 48 | released | | |
//! | 50 | 0 | | |

mod decode;
mod encode;
mod layout;
#[cfg(test)]
mod tests;

use crate::layout::MAX_SLOT_BYTES;
use crate::os::messages::MAX_DESCRIPTORS;
pub(crate) use decode::Header;
pub(crate) use layout::{Columns, View};

/// Bytes in a header.
pub(crate) const HEADER: usize = 64;

/// The most bytes in a body.
pub(crate) const MAX_BODY: usize = 32 * 1024;

/// The most segments that one message retires.
pub(crate) const MAX_RETIRED: usize = 256;

/// The most segments that one message releases.
pub(crate) const MAX_RELEASED: usize = 256;

/// The most dimensions of a view, as of numpy's arrays.
pub(crate) const MAX_DIMENSIONS: usize = 64;

/// The most bytes that describe the type of a view's elements.
pub(crate) const MAX_FORMAT: usize = 8 * 1024;

/// The most segments that one message names, a list's table aside.
pub(crate) const MAX_NAMED: usize = 1000;

/// The most segments that one socket may announce: whoever announces more without end means harm.
pub(crate) const MAX_SEGMENTS: usize = 4096;

/// Bytes that a list's table has for an object whose size is not that of all others: where it begins, and its size.
pub(crate) const OBJECT_BYTES: u64 = 16;

/// Bytes that it has for a run: the first object, the segment's number in the message, the offset.
pub(crate) const RUN_BYTES: u64 = 24;

const MAGIC: &[u8; 4] = b"mgrp";
const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const VIEW_BYTES: usize = 16;
const LIST_BYTES: usize = 40;

/// A slot's memory, as all processes know it: a random number that nobody guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct SegmentId(pub(crate) [u8; ID_BYTES]);

/// Some bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// A segment that comes with the message's next descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) segment: SegmentId,
    pub(crate) capacity: u64,
}

/// That a receiver is done with a segment: with all objects in it of the first so many messages that named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) segment: SegmentId,
    pub(crate) messages: u64,
}

/// What a message hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    Block(Extent),
    View(Extent, View),
    Array(Extent, View),
    /// The extent is the list's table.
    List(Extent, Columns),
    /// Memory whose objects are described elsewhere. None of it is no object at all.
    Memory(Vec<SegmentId>),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) announced: Vec<Announcement>,
    pub(crate) retired: Vec<SegmentId>,
    pub(crate) released: Vec<Release>,
    pub(crate) object: Object,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

impl Malformed {
    pub(crate) fn new(what: &'static str) -> Self {
        Self(what)
    }
}

type Result<T> = std::result::Result<T, Malformed>;

fn check(holds: bool, otherwise: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Malformed(otherwise)) }
}

impl Object {
    /// The bytes that the header names.
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Block(extent) | Self::View(extent, _) | Self::Array(extent, _) | Self::List(extent, _) => *extent,
            Self::Memory(_) => Extent::default(),
        }
    }

    /// All memory that is named: the extent's segment, and behind it those of a list.
    pub(crate) fn segments(&self) -> Vec<SegmentId> {
        match self {
            Self::Memory(segments) => segments.clone(),
            Self::List(extent, columns) => [&[extent.segment], &columns.segments[..]].concat(),
            _ => vec![self.extent().segment],
        }
    }

    /// How much memory is named, the extent's aside.
    pub(crate) fn named(&self) -> usize {
        match self {
            Self::Memory(segments) => segments.len(),
            Self::List(_, columns) => columns.segments.len(),
            _ => 0,
        }
    }

    /// Whether it is no object at all, of a message that only says other things.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::Memory(segments) if segments.is_empty())
    }

    fn kind(&self) -> (u8, usize) {
        match self {
            Self::Block(_) => (KIND_BLOCK, 0),
            Self::View(_, view) => (KIND_VIEW, view.shape.len()),
            Self::Array(_, view) => (KIND_ARRAY, view.shape.len()),
            Self::List(..) => (KIND_LIST, 0),
            Self::Memory(_) => (KIND_MEMORY, 0),
        }
    }
}

const KIND_BLOCK: u8 = 1;
const KIND_VIEW: u8 = 2;
const KIND_ARRAY: u8 = 3;
const KIND_LIST: u8 = 4;
const KIND_MEMORY: u8 = 5;

const TOO_LONG: &str = "it is too long";
const TOO_MANY_DIMENSIONS: &str = "it has too many dimensions";

impl Extent {
    fn is_possible(&self) -> bool {
        self.offset.checked_add(self.len).is_some_and(|end| end <= MAX_SLOT_BYTES as u64)
    }
}

const _: () = assert!(MAX_DESCRIPTORS * 24 + MAX_RETIRED * 16 + MAX_RELEASED * 24 < MAX_BODY / 2);
const _: () = assert!(LIST_BYTES + MAX_NAMED * ID_BYTES < MAX_BODY / 2);
