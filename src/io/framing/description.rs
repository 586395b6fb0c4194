//! What a frame is made of, and where its parts are once its length is known. Pure arithmetic, none of which overflows.

use super::lengths::{self, ByteOrder, Length, MAX_VARINT_BYTES, Varint};

/// Bytes of the longest header, trailer or delimiter that can be described.
const MAX_PART_BYTES: usize = 4096;

/// Bytes of the largest frame that is expected unless another limit is given: what looks like a longer one is more often a
/// stream of another kind.
const DEFAULT_LIMIT: usize = 16 * 1024 * 1024;

/// A description of the frames of a stream.
///
/// A frame is a header that contains the length, a payload and a trailer. The payload has as many bytes as the length
/// says, plus [`adjust`](Self::adjust). What is shown of a frame are its header and payload from byte
/// [`skip`](Self::skip) on. The arithmetic never overflows, whatever a header announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub(super) length: Length,
    pub(super) header: Option<usize>,
    pub(super) adjust: i64,
    pub(super) skip: Option<usize>,
    pub(super) trailer: usize,
    pub(super) limit: usize,
}

/// Why a description describes no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A length has 1 to 8 bytes.
    #[error("length_size must be from 1 to 8, not {0}")]
    LengthSize(usize),
    /// A length ends behind the header that it is in.
    #[error("header={header} ends before its length does: pass header={end} or more, or another length_offset")]
    ShortHeader {
        /// Bytes of the header.
        header: usize,
        /// Where its length ends.
        end: usize,
    },
    /// What is shown would begin within or behind a varint, the size of which differs from frame to frame.
    #[error("skip must be at most {offset}, where the varint begins, not {skip}")]
    SkipsVarint {
        /// How many bytes are not to be shown.
        skip: usize,
        /// Where the varint begins.
        offset: usize,
    },
    /// A part is longer than any protocol has it.
    #[error("{part} must be at most {MAX_PART_BYTES} bytes long, not {size}")]
    LongPart {
        /// Which.
        part: &'static str,
        /// How long it was to be.
        size: usize,
    },
    /// Nothing ends no frame.
    #[error("delimiter must not be empty")]
    EmptyDelimiter,
    /// Of a varint, and of a delimiter, this says nothing.
    #[error("{0} does not apply to such messages: leave it out")]
    Meaningless(&'static str),
}

/// Why a header cannot be one. The stream is out of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The frame, as far as it is shown, would be larger than the limit.
    #[error("a frame of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes that would be shown; the largest number where there are more than it can say.
        size: u64,
        /// The limit.
        limit: usize,
    },
    /// The length is less than the bytes that it counts besides what is shown.
    #[error("a length of {length} is less than the {counted} bytes that it counts besides what is shown")]
    TooSmall {
        /// The length.
        length: u64,
        /// How many bytes it counts.
        counted: u64,
    },
    /// A varint has more than 64 bits.
    #[error("a varint of more than 64 bits is no length")]
    LongVarint,
    /// There are more bytes than the limit, and no delimiter.
    #[error("{size} bytes came without the delimiter, and the limit is {limit}")]
    NoDelimiter {
        /// How many bytes there are.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// Sizes of the parts of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where what is shown begins and ends.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Where the frame does.
    pub(crate) len: usize,
}

impl Extent {
    /// Bytes that are shown.
    pub(crate) fn size(self) -> usize {
        self.end - self.start
    }
}

/// What is known of a frame by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Known(Extent),
    /// At least so many bytes of the header are missing.
    Missing(usize),
}

impl Format {
    fn new(length: Length) -> Self {
        Self { length, header: None, adjust: 0, skip: None, trailer: 0, limit: DEFAULT_LIMIT }
    }

    /// Frames with a length of `size` bytes, from 1 to 8, at the start: unsigned, in network order.
    pub fn fixed(size: usize) -> Self {
        Self::new(Length::Fixed { offset: 0, size, order: ByteOrder::Big })
    }

    /// Frames that begin with their length as a varint: groups of 7 bits, the least significant first.
    pub fn varint() -> Self {
        Self::new(Length::Varint { offset: 0 })
    }

    /// Records that end with these bytes, which are not shown.
    pub fn delimited(delimiter: impl Into<Box<[u8]>>) -> Self {
        Self::new(Length::Delimiter(delimiter.into()))
    }

    /// How many bytes of the header come before the length.
    pub fn length_offset(mut self, bytes: usize) -> Self {
        if let Length::Fixed { offset, .. } | Length::Varint { offset } = &mut self.length {
            *offset = bytes;
        }
        self
    }

    /// The order of the bytes of a length of fixed size.
    pub fn byte_order(mut self, of: ByteOrder) -> Self {
        if let Length::Fixed { order, .. } = &mut self.length {
            *order = of;
        }
        self
    }

    /// Bytes of the header, where it does not end with its length. A varint ends it.
    pub fn header(self, bytes: usize) -> Self {
        Self { header: Some(bytes), ..self }
    }

    /// The number to add to the length to get the size of the payload: -4 if it counts its own four bytes.
    pub fn adjust(self, bytes: i64) -> Self {
        Self { adjust: bytes, ..self }
    }

    /// How many bytes of a frame are not shown: its header, unless this is called. They may reach into the payload.
    pub fn skip(self, bytes: usize) -> Self {
        Self { skip: Some(bytes), ..self }
    }

    /// Bytes behind the payload that are not shown. Where the length counts them, [`adjust`](Self::adjust) takes them off.
    pub fn trailer(self, bytes: usize) -> Self {
        Self { trailer: bytes, ..self }
    }

    /// Bytes of the largest frame, as far as it is shown.
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// Whether it describes frames.
    pub(super) fn check(&self) -> Result<(), FormatError> {
        let parts = match &self.length {
            Length::Fixed { size, .. } if !(1..=8).contains(size) => return Err(FormatError::LengthSize(*size)),
            Length::Fixed { offset, .. } | Length::Varint { offset } => [("length_offset", *offset), ("delimiter", 0)],
            Length::Delimiter(delimiter) => [("length_offset", 0), ("delimiter", delimiter.len())],
        };
        let sizes = [self.header.unwrap_or(0), self.skip.unwrap_or(0), self.trailer];
        let parts = parts.into_iter().chain(["header", "skip", "trailer"].into_iter().zip(sizes));
        if let Some((part, size)) = parts.into_iter().find(|(_, size)| *size > MAX_PART_BYTES) {
            return Err(FormatError::LongPart { part, size });
        }
        match &self.length {
            Length::Fixed { offset, size, .. } => {
                let end = offset + size;
                let header = self.header.unwrap_or(end);
                if header < end { Err(FormatError::ShortHeader { header, end }) } else { Ok(()) }
            }
            Length::Varint { .. } if self.header.is_some() => Err(FormatError::Meaningless("header")),
            Length::Varint { offset } => match self.skip {
                Some(skip) if skip > *offset => Err(FormatError::SkipsVarint { skip, offset: *offset }),
                _ => Ok(()),
            },
            Length::Delimiter(delimiter) if delimiter.is_empty() => Err(FormatError::EmptyDelimiter),
            Length::Delimiter(_) => {
                let given = [
                    ("header", self.header.is_some()),
                    ("adjust", self.adjust != 0),
                    ("skip", self.skip.is_some()),
                    ("trailer", self.trailer != 0),
                ];
                given
                    .into_iter()
                    .find(|(_, given)| *given)
                    .map_or(Ok(()), |(name, _)| Err(FormatError::Meaningless(name)))
            }
        }
    }

    /// Room for the parts of a frame that go nowhere else: the longest header, what is skipped, the trailer, a delimiter.
    pub(super) fn least_buffer(&self) -> usize {
        let front = match &self.length {
            Length::Fixed { offset, size, .. } => self.header.unwrap_or(offset + size),
            Length::Varint { offset } => offset + MAX_VARINT_BYTES,
            Length::Delimiter(delimiter) => delimiter.len(),
        };
        front.max(self.skip.unwrap_or(0)).max(self.trailer)
    }

    /// Whether frames have no length, so that nobody knows their sizes before they are there.
    pub(crate) fn is_delimited(&self) -> bool {
        matches!(self.length, Length::Delimiter(_))
    }

    /// Bytes of the longest record with its delimiter.
    pub(super) fn longest_record(&self) -> usize {
        self.limit.saturating_add(self.least_buffer())
    }

    /// The parts of a record of `size` bytes.
    pub(super) fn record(&self, size: usize, delimiter: usize) -> Result<Extent, Misfit> {
        match size <= self.limit {
            true => Ok(Extent { start: 0, end: size, len: size + delimiter }),
            false => Err(Misfit::TooLarge { size: size as u64, limit: self.limit }),
        }
    }

    /// Why a record cannot go on, if it cannot: so many bytes are none.
    pub(super) fn check_unended(&self, size: usize) -> Result<(), Misfit> {
        match size <= self.limit {
            true => Ok(()),
            false => Err(Misfit::NoDelimiter { size, limit: self.limit }),
        }
    }

    /// What a header says. `bytes` begin with it, and there is no delimiter.
    #[inline]
    pub(super) fn head(&self, bytes: &[u8]) -> Result<Head, Misfit> {
        let (header, length, first) = match self.length {
            Length::Fixed { offset, size, order } => {
                let header = self.header.unwrap_or(offset + size);
                if bytes.len() < header {
                    return Ok(Head::Missing(header - bytes.len()));
                }
                (header, lengths::fixed(&bytes[offset..], size, order), self.skip.unwrap_or(header))
            }
            Length::Varint { offset } => match bytes.get(offset..).map(lengths::varint) {
                None => return Ok(Head::Missing(offset + 1 - bytes.len())),
                Some(Varint::Missing) => return Ok(Head::Missing(1)),
                Some(Varint::TooLong) => return Err(Misfit::LongVarint),
                Some(Varint::Complete(length, size)) => {
                    let header = offset + size;
                    (header, length, self.skip.unwrap_or(header))
                }
            },
            Length::Delimiter(_) => return Ok(Head::Missing(1)),
        };
        let extent = self.extent(header, length, first)?;
        Ok(match extent.start.checked_sub(bytes.len()) {
            None | Some(0) => Head::Known(extent),
            Some(missing) => Head::Missing(missing),
        })
    }

    /// The parts of a frame with such a header, shown from its byte `start` on.
    #[inline]
    fn extent(&self, header: usize, length: u64, start: usize) -> Result<Extent, Misfit> {
        // Only where that is more than the length, and so than nothing.
        let counted = || start.saturating_sub(header) as i128 - i128::from(self.adjust);
        let too_small = || Misfit::TooSmall { length, counted: counted() as u64 };
        let payload = match self.adjust {
            less if less < 0 => Some(length.checked_sub(less.unsigned_abs()).ok_or_else(too_small)?),
            more => length.checked_add(more.unsigned_abs()),
        };
        let size = match header.checked_sub(start) {
            Some(shown) => payload.and_then(|payload| payload.checked_add(shown as u64)),
            None => {
                let shown = |payload: u64| payload.checked_sub((start - header) as u64).ok_or_else(too_small);
                payload.map(shown).transpose()?
            }
        };
        let fits = |size: &u64| *size <= self.limit as u64 && *size <= (isize::MAX as u64) / 2;
        let size = size.filter(fits).ok_or(Misfit::TooLarge { size: size.unwrap_or(u64::MAX), limit: self.limit })?;
        let end = start + size as usize;
        Ok(Extent { start, end, len: end + self.trailer })
    }
}
