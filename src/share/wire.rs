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

use crate::layout::{MAX_ALIGN, MAX_SLOT_BYTES};
use crate::os::messages::MAX_DESCRIPTORS;

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

/// The most segments that one list lies in.
pub(crate) const MAX_LIST_SEGMENTS: usize = 512;

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

/// How the elements of a view lie in its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Offset in the bytes of the element with all indices 0.
    pub(crate) origin: u64,
    pub(crate) item_size: u64,
    pub(crate) shape: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    /// What an element is: of a view in the notation of `struct`, of an array as numpy describes it.
    pub(crate) format: Vec<u8>,
}

/// How the objects of a list lie in their segments. The rest is in the table that the message names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) objects: u64,
    pub(crate) runs: u64,
    /// Size and distance, where all are of one size: then the table has none.
    pub(crate) uniform: Option<(u64, u64)>,
    pub(crate) align: u64,
    /// Those that the runs count in.
    pub(crate) segments: Vec<SegmentId>,
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

impl Message {
    /// The bytes of the message, the first [`HEADER`] of which are the header.
    ///
    /// # Errors
    /// It is too long, or not what its reader would take: too many dimensions, a format beyond [`MAX_FORMAT`].
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; HEADER];
        for Announcement { segment, capacity } in &self.announced {
            bytes.extend_from_slice(&segment.0);
            bytes.extend_from_slice(&capacity.to_le_bytes());
        }
        self.retired.iter().for_each(|segment| bytes.extend_from_slice(&segment.0));
        for Release { segment, messages } in &self.released {
            bytes.extend_from_slice(&segment.0);
            bytes.extend_from_slice(&messages.to_le_bytes());
        }
        match &self.object {
            Object::Block(_) => {}
            Object::Memory(segments) => segments.iter().for_each(|segment| bytes.extend_from_slice(&segment.0)),
            Object::View(_, view) | Object::Array(_, view) => view.encode(&mut bytes),
            Object::List(_, columns) => columns.encode(&mut bytes),
        }
        let (kind, dimensions) = self.object.kind();
        let Extent { segment, offset, len } = self.object.extent();
        let body = bytes.len() - HEADER;
        bytes[..4].copy_from_slice(MAGIC);
        (bytes[4], bytes[5]) = (VERSION, kind);
        bytes[6] = u8::try_from(dimensions).map_err(|_| Malformed(TOO_MANY_DIMENSIONS))?;
        bytes[8..12].copy_from_slice(&u32::try_from(body).map_err(|_| Malformed(TOO_LONG))?.to_le_bytes());
        for (at, count) in [(12, self.announced.len()), (14, self.retired.len()), (48, self.released.len())] {
            bytes[at..at + 2].copy_from_slice(&u16::try_from(count).map_err(|_| Malformed(TOO_LONG))?.to_le_bytes());
        }
        bytes[16..32].copy_from_slice(&segment.0);
        bytes[32..40].copy_from_slice(&offset.to_le_bytes());
        bytes[40..48].copy_from_slice(&len.to_le_bytes());
        // What the other end would refuse is refused here.
        Self::decode(&bytes).map(|_| bytes)
    }

    /// The message that these bytes are.
    ///
    /// # Errors
    /// They are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (header, body) = bytes.split_first_chunk().ok_or(Malformed("it is shorter than a header"))?;
        let header = Header::decode(header)?;
        check(body.len() == header.body, "its length is not what its header says")?;
        header.check()?;
        let mut rest = Reader(body);
        let announced = (0..header.announced).map(|_| rest.announcement()).collect::<Result<_>>()?;
        let retired = (0..header.retired).map(|_| rest.segment()).collect::<Result<_>>()?;
        let released = (0..header.released).map(|_| rest.release()).collect::<Result<_>>()?;
        let object = match header.kind {
            KIND_BLOCK => Object::Block(header.extent),
            KIND_VIEW => Object::View(header.extent, rest.view(&header)?),
            KIND_ARRAY => Object::Array(header.extent, rest.view(&header)?),
            KIND_LIST => Object::List(header.extent, rest.columns(&header)?),
            _ => Object::Memory(rest.segments(MAX_LIST_SEGMENTS)?),
        };
        check(rest.0.is_empty(), "there are bytes behind its end")?;
        Ok(Self { announced, retired, released, object })
    }
}

const TOO_LONG: &str = "it is too long";
const TOO_MANY_DIMENSIONS: &str = "it has too many dimensions";
const TOO_SHORT: &str = "its body is too short for what it says";

/// The beginning of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    kind: u8,
    dimensions: usize,
    /// Bytes behind the header.
    pub(crate) body: usize,
    announced: usize,
    retired: usize,
    released: usize,
    extent: Extent,
}

impl Header {
    /// The header that these bytes are, as far as it says where the message ends.
    ///
    /// # Errors
    /// They are none.
    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Result<Self> {
        check(
            bytes.starts_with(MAGIC),
            "it is not memgroup's: something else was sent over the socket, or a part is missing",
        )?;
        check(bytes[4] == VERSION, "it is of another version of memgroup")?;
        let mut rest = Reader(&bytes[5..]);
        let [kind, dimensions, _] = rest.take()?;
        let (body, announced, retired) = (rest.u32()? as usize, rest.u16()?, rest.u16()?);
        let extent = Extent { segment: rest.segment()?, offset: rest.u64()?, len: rest.u64()? };
        let released = rest.u16()?;
        check(body <= MAX_BODY, TOO_LONG)?;
        Ok(Self { kind, dimensions: dimensions.into(), body, announced, retired, released, extent })
    }

    /// Finds what is wrong with the rest, which does not say where the message ends.
    fn check(&self) -> Result<()> {
        let &Self { kind, dimensions, announced, retired, released, extent, .. } = self;
        check((KIND_BLOCK..=KIND_MEMORY).contains(&kind), "it is of an unknown kind")?;
        check(announced <= MAX_DESCRIPTORS, "it announces more memory than a message carries descriptors")?;
        check(retired <= MAX_RETIRED, "it retires too much memory at once")?;
        check(released <= MAX_RELEASED, "it releases too much memory at once")?;
        check(dimensions <= MAX_DIMENSIONS, TOO_MANY_DIMENSIONS)?;
        check(extent.is_possible(), "its bytes are beyond the end of any slot")
    }
}

impl Extent {
    fn is_possible(&self) -> bool {
        self.offset.checked_add(self.len).is_some_and(|end| end <= MAX_SLOT_BYTES as u64)
    }
}

impl View {
    /// A row of so many bytes.
    pub(crate) fn of_bytes(len: usize) -> Self {
        Self { origin: 0, item_size: 1, shape: vec![len as i64], strides: vec![1], format: b"B".to_vec() }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        for number in [self.origin, self.item_size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in self.shape.iter().chain(&self.strides) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.format);
    }

    /// Whether all elements lie within `len` bytes, and their count and size are numbers that a buffer can have.
    fn fits(&self, len: u64) -> bool {
        let (mut first, mut last) = (i128::from(self.origin), i128::from(self.origin));
        let mut bytes = i128::from(self.item_size);
        for (&extent, &stride) in self.shape.iter().zip(&self.strides) {
            if extent < 0 {
                return false;
            }
            let reach = i128::from(extent.saturating_sub(1).max(0)) * i128::from(stride);
            (first, last) = (first + reach.min(0), last + reach.max(0));
            // An array of none may have other extents as large as it likes, but numpy multiplies those too.
            bytes = bytes.saturating_mul(i128::from(extent.max(1)));
        }
        let is_empty = self.shape.contains(&0);
        let is_within = match is_empty {
            true => i128::from(self.origin) <= i128::from(len),
            false => first >= 0 && last + i128::from(self.item_size) <= i128::from(len),
        };
        is_within && bytes <= i128::from(i64::MAX)
    }
}

impl Columns {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let (size, stride) = self.uniform.unwrap_or_default();
        for number in [self.objects, self.runs, size, stride, self.align] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.segments.iter().for_each(|segment| bytes.extend_from_slice(&segment.0));
    }

    /// Bytes in the table of such a list; `None` where there can be no such table.
    pub(crate) fn table_bytes(&self) -> Option<u64> {
        let objects = if self.uniform.is_some() { 0 } else { self.objects.checked_mul(OBJECT_BYTES)? };
        self.runs.checked_mul(RUN_BYTES)?.checked_add(objects)
    }
}

/// What is left of a body.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed(TOO_SHORT))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<usize> {
        self.take().map(|bytes| u16::from_le_bytes(bytes).into())
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn segment(&mut self) -> Result<SegmentId> {
        self.take().map(SegmentId)
    }

    fn announcement(&mut self) -> Result<Announcement> {
        let announcement = Announcement { segment: self.segment()?, capacity: self.u64()? };
        let is_possible = (1..=MAX_SLOT_BYTES as u64).contains(&announcement.capacity);
        check(is_possible, "it announces memory of a size that no slot has").map(|()| announcement)
    }

    fn release(&mut self) -> Result<Release> {
        Ok(Release { segment: self.segment()?, messages: self.u64()? })
    }

    /// All that is left, which is at most so many segments.
    fn segments(&mut self, most: usize) -> Result<Vec<SegmentId>> {
        check(self.0.len() <= most * ID_BYTES, TOO_LONG)?;
        let mut segments = Vec::with_capacity(self.0.len() / ID_BYTES);
        while !self.0.is_empty() {
            segments.push(self.segment()?);
        }
        Ok(segments)
    }

    fn view(&mut self, header: &Header) -> Result<View> {
        check(self.0.len() >= VIEW_BYTES + 16 * header.dimensions, TOO_SHORT)?;
        let (origin, item_size) = (self.u64()?, self.u64()?);
        let mut numbers =
            || (0..header.dimensions).map(|_| self.u64().map(u64::cast_signed)).collect::<Result<Vec<_>>>();
        let (shape, strides) = (numbers()?, numbers()?);
        let format = std::mem::take(&mut self.0).to_vec();
        check(format.len() <= MAX_FORMAT && format.is_ascii() && !format.contains(&0), "its format is none")?;
        let view = View { origin, item_size, shape, strides, format };
        check(view.fits(header.extent.len), "its elements are not all within its bytes").map(|()| view)
    }

    fn columns(&mut self, header: &Header) -> Result<Columns> {
        check(self.0.len() >= LIST_BYTES, TOO_SHORT)?;
        let [objects, runs, size, stride, align] = [self.u64()?, self.u64()?, self.u64()?, self.u64()?, self.u64()?];
        let segments = self.segments(MAX_LIST_SEGMENTS)?;
        check(align.is_power_of_two() && align <= MAX_ALIGN as u64, "its objects are aligned to no power of two")?;
        check(runs <= objects && (runs == 0) == (objects == 0), "its runs are not those of its objects")?;
        let uniform = (stride > 0).then_some((size, stride));
        check(uniform.is_none_or(|(size, stride)| size.max(1) <= stride), "its objects overlap")?;
        check(uniform.is_some() || size == 0, "its objects have no distance")?;
        let columns = Columns { objects, runs, uniform, align, segments };
        check(
            columns.table_bytes() == Some(header.extent.len),
            "its table is not as long as its objects and runs say",
        )?;
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(len: u64) -> Extent {
        Extent { segment: SegmentId([7; 16]), offset: 4096, len }
    }

    fn ids() -> impl Strategy<Value = SegmentId> {
        any::<[u8; 16]>().prop_map(SegmentId)
    }

    fn objects() -> impl Strategy<Value = Object> {
        let view = (0..500u64, 0..9u64, prop::collection::vec((0..5i64, -20..20i64), 0..4), "[a-zA-Z<>=:]{0,9}")
            .prop_map(|(origin, item_size, dimensions, format)| {
                let (shape, strides) = dimensions.into_iter().unzip();
                View { origin, item_size, shape, strides, format: format.into_bytes() }
            });
        let list = (0..900u64, 0..5u64, prop::option::of((0..30u64, 1..40u64)), prop::collection::vec(ids(), 0..5))
            .prop_map(|(objects, runs, uniform, segments)| {
                let runs = if objects == 0 { 0 } else { runs.clamp(1, objects) };
                let uniform = uniform.map(|(size, stride)| (size, stride.max(size)));
                Columns { objects, runs, uniform, align: 16, segments }
            });
        prop_oneof![
            (0..1u64 << 40).prop_map(|len| Object::Block(extent(len))),
            view.clone().prop_map(|view| Object::View(extent(1000), view)),
            view.prop_map(|view| Object::Array(extent(1000), view)),
            list.prop_map(|columns| Object::List(extent(columns.table_bytes().unwrap()), columns)),
            prop::collection::vec(ids(), 0..9).prop_map(Object::Memory),
        ]
    }

    fn messages() -> impl Strategy<Value = Message> {
        let announcement = (ids(), 1..1u64 << 46).prop_map(|(segment, capacity)| Announcement { segment, capacity });
        let release = (ids(), any::<u64>()).prop_map(|(segment, messages)| Release { segment, messages });
        let some = |segments| prop::collection::vec(segments, 0..9);
        (some(ids()), prop::collection::vec(announcement, 0..9), prop::collection::vec(release, 0..9), objects())
            .prop_map(|(retired, announced, released, object)| Message { announced, retired, released, object })
    }

    #[test]
    fn a_block_is_a_header() {
        let message = Message {
            announced: Vec::new(),
            retired: Vec::new(),
            released: Vec::new(),
            object: Object::Block(extent(5)),
        };
        assert_eq!(message.encode().unwrap().len(), HEADER);
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        let block = |offset, len| Object::Block(Extent { offset, len, ..extent(0) });
        for object in [block(u64::MAX, 1), block(1, u64::MAX), block(0, (1 << 46) + 1), block(1 << 46, 1)] {
            let message = Message { announced: Vec::new(), retired: Vec::new(), released: Vec::new(), object };
            assert_eq!(message.encode(), Err(Malformed("its bytes are beyond the end of any slot")));
        }
        let view = |origin, item_size, shape: &[i64], strides: &[i64]| {
            let view =
                View { origin, item_size, shape: shape.to_vec(), strides: strides.to_vec(), format: b"B".to_vec() };
            Message {
                announced: Vec::new(),
                retired: Vec::new(),
                released: Vec::new(),
                object: Object::View(extent(100), view),
            }
            .encode()
        };
        assert!(view(99, 1, &[], &[]).is_ok() && view(100, 1, &[], &[]).is_err());
        assert!(view(99, 1, &[100], &[-1]).is_ok() && view(98, 1, &[100], &[-1]).is_err());
        assert!(view(0, 1, &[100], &[1]).is_ok() && view(0, 1, &[101], &[1]).is_err());
        assert!(view(0, 8, &[i64::MAX], &[0]).is_err() && view(0, 1, &[i64::MAX], &[i64::MIN]).is_err());
        assert!(view(0, 1, &[i64::MAX, i64::MAX, 0], &[1, 1, 1]).is_err());
        assert!(view(0, u64::MAX, &[], &[]).is_err() && view(0, 1, &[-1], &[1]).is_err());
        assert!(view(100, 8, &[0], &[8]).is_ok() && view(101, 8, &[0], &[8]).is_err());
    }

    /// As many messages as the environment variable says, or a quick ten thousand.
    fn cases() -> u32 {
        std::env::var("MEMGROUP_FUZZ_MESSAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

        #[test]
        fn a_message_comes_back_as_it_was(message in messages()) {
            if let Ok(bytes) = message.encode() {
                prop_assert_eq!(Message::decode(&bytes), Ok(message));
            }
        }

        #[test]
        fn damaged_messages_are_refused_or_consistent(
            message in messages(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
        ) {
            let Ok(mut bytes) = message.encode() else { return Ok(()) };
            for (index, byte) in damage {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            check_consistent(&bytes)?;
        }

        #[test]
        fn any_bytes_are_refused_or_consistent(head in any::<[u8; 64]>(), body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = [&head[..], &body[..]].concat();
            bytes[..4].copy_from_slice(MAGIC);
            (bytes[4], bytes[5]) = (VERSION, 1 + bytes[5] % 5);
            bytes[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
            (bytes[13], bytes[15], bytes[49]) = (0, 0, 0);
            check_consistent(&bytes)?;
        }
    }

    /// What is decoded is encoded to the same bytes, but for those that mean nothing, and stays within its bounds.
    fn check_consistent(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
        let Ok(message) = Message::decode(bytes) else { return Ok(()) };
        let again = message.encode().unwrap();
        prop_assert_eq!(again.len(), bytes.len());
        prop_assert_eq!(Message::decode(&again), Ok(message.clone()));
        let extent = message.object.extent();
        prop_assert!(extent.offset + extent.len <= MAX_SLOT_BYTES as u64);
        if let Object::View(_, view) | Object::Array(_, view) = &message.object {
            prop_assert!(view.fits(extent.len));
        }
        Ok(())
    }
}
