//! Messages from bytes: whatever is wrong with them is found here.

use super::{
    Announcement, Columns, Extent, HEADER, ID_BYTES, KIND_ARRAY, KIND_BLOCK, KIND_LIST, KIND_MEMORY, KIND_VIEW,
    LIST_BYTES, MAGIC, MAX_BODY, MAX_DIMENSIONS, MAX_FORMAT, MAX_NAMED, MAX_RELEASED, MAX_RETIRED, Malformed, Message,
    Object, Release, Result, SegmentId, TOO_LONG, TOO_MANY_DIMENSIONS, VERSION, VIEW_BYTES, View, check,
};
use crate::layout::{MAX_ALIGN, MAX_SLOT_BYTES};
use crate::os::messages::MAX_DESCRIPTORS;

const TOO_SHORT: &str = "its body is too short for what it says";

impl Message {
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
            _ => Object::Memory(rest.segments(MAX_NAMED)?),
        };
        check(rest.0.is_empty(), "it has bytes behind its end")?;
        Ok(Self { announced, retired, released, object })
    }
}

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
            "it does not begin as one: other code sent to the socket, or a part is missing",
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
        let segments = self.segments(MAX_NAMED)?;
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
