//! Length-prefixed frames: where in a stream one ends and the next begins.
//!
//! Nothing here makes system calls or knows where bodies go. [`Frames`] says where the next bytes of the stream belong,
//! partly in a body and partly in a buffer of its own, and is told how many arrived.

use crate::error::Error;
use crate::fallible;

/// How much is read ahead behind a large body: the next is likely to be large too, and what is read ahead is copied.
const READ_BEHIND_LARGE_BYTES: usize = 4096;

/// The order of a prefix's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Big,
    Little,
}

/// How frames are told apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// Bytes of a prefix, from 1 to 8.
    pub(crate) width: usize,
    pub(crate) order: ByteOrder,
    /// Whether a length counts its own prefix.
    pub(crate) counts_prefix: bool,
    /// Bytes of the largest body.
    pub(crate) limit: usize,
}

/// Why a prefix cannot be one. The stream is out of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// A body of this size is larger than the limit.
    TooLarge { size: u64 },
    /// A length counts its own prefix, and is less than that.
    TooSmall { length: u64 },
}

impl Format {
    /// Size of the body behind a prefix.
    fn size(self, prefix: &[u8]) -> Result<usize, Misfit> {
        let join = |length: u64, byte: &u8| length << 8 | u64::from(*byte);
        let length = match self.order {
            ByteOrder::Big => prefix.iter().fold(0, join),
            ByteOrder::Little => prefix.iter().rev().fold(0, join),
        };
        let counted = if self.counts_prefix { self.width as u64 } else { 0 };
        let size = length.checked_sub(counted).ok_or(Misfit::TooSmall { length })?;
        usize::try_from(size).ok().filter(|&size| size <= self.limit).ok_or(Misfit::TooLarge { size })
    }
}

/// The frame that has begun and is not complete, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    Nothing,
    /// So many bytes of a prefix are there.
    Prefix {
        there: usize,
    },
    /// So many bytes of a body are.
    Body {
        there: usize,
        size: usize,
    },
}

/// Where the next bytes of the stream belong: first what a body still lacks, then what may be read ahead.
pub(crate) struct Destination<'a> {
    /// Where in the body it lacks something.
    pub(crate) from: usize,
    /// How much. Nothing where no body has begun.
    pub(crate) lacking: usize,
    pub(crate) ahead: &'a mut [u8],
}

/// The frames of a stream.
#[derive(Debug)]
pub(crate) struct Frames {
    format: Format,
    /// At least a prefix long.
    buffer: Vec<u8>,
    /// How much of a stream may be read behind the frame that is wanted.
    most: usize,
    /// What was read ahead is `buffer[start..end]`; nothing while there is a body.
    start: usize,
    end: usize,
    /// How much of the body is there, and its size, which is more.
    body: Option<(usize, usize)>,
    /// Size of the latest body that did not fit what was read ahead.
    latest: usize,
}

impl Frames {
    /// `most` is how many bytes may be read beyond the frame that is wanted; where that is less than a prefix, no more
    /// than the prefix is read where one is wanted.
    ///
    /// # Errors
    /// As [`fallible::reserve`]: there is no memory for so many.
    pub(crate) fn new(format: Format, most: usize) -> Result<Self, Error> {
        let buffer = fallible::filled(0, most.max(format.width))?;
        Ok(Self { format, buffer, most, start: 0, end: 0, body: None, latest: 0 })
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// What was read ahead.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Size of the next body, if its prefix is there. No body may have begun.
    pub(crate) fn next_size(&self) -> Result<Option<usize>, Misfit> {
        debug_assert!(self.body.is_none());
        self.ahead().get(..self.format.width).map(|prefix| self.format.size(prefix)).transpose()
    }

    /// The next body, if all of it was read ahead.
    pub(crate) fn whole(&self, size: usize) -> Option<&[u8]> {
        let body = self.ahead().get(self.format.width..)?;
        body.get(..size)
    }

    /// Goes on behind the next body, all of which was read ahead.
    pub(crate) fn pass(&mut self, size: usize) {
        debug_assert!(self.whole(size).is_some());
        self.start += self.format.width + size;
        self.latest = 0;
    }

    /// Begins the next body, not all of which was read ahead. What was is returned: it belongs to the body's start.
    pub(crate) fn begin(&mut self, size: usize) -> &[u8] {
        debug_assert!(self.whole(size).is_none());
        let there = self.start + self.format.width..self.end;
        self.body = Some((there.len(), size));
        self.latest = size;
        (self.start, self.end) = (0, 0);
        &self.buffer[there]
    }

    /// Where the next bytes of the stream belong; there is room for one at least.
    pub(crate) fn room(&mut self) -> Destination<'_> {
        let (from, size) = self.body.unwrap_or_default();
        // What is left is less than a prefix.
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        // A prefix may have to be read to its end in any case; what comes behind it is read ahead.
        let until = match self.body {
            _ if self.most >= self.format.width && self.latest < self.buffer.len() => self.buffer.len(),
            _ if self.most >= self.format.width => READ_BEHIND_LARGE_BYTES.clamp(self.format.width, self.buffer.len()),
            Some(_) => self.most,
            None => self.format.width,
        };
        Destination { from, lacking: size - from, ahead: &mut self.buffer[self.end..until] }
    }

    /// Notes how many bytes arrived where [`room`](Self::room) said. Whether that made the body complete.
    pub(crate) fn arrived(&mut self, count: usize) -> bool {
        let Some((there, size)) = self.body else {
            self.end += count;
            return false;
        };
        let to_body = count.min(size - there);
        self.end += count - to_body;
        let is_complete = there + to_body == size;
        self.body = if is_complete { None } else { Some((there + to_body, size)) };
        is_complete
    }

    /// What has begun and is not complete.
    pub(crate) fn unfinished(&self) -> Unfinished {
        match (self.body, self.end - self.start) {
            (Some((there, size)), _) => Unfinished::Body { there, size },
            (None, 0) => Unfinished::Nothing,
            (None, there) => Unfinished::Prefix { there },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(format: Format, size: usize) -> Vec<u8> {
        let length = size + if format.counts_prefix { format.width } else { 0 };
        let bytes = (length as u64).to_be_bytes()[8 - format.width..].to_vec();
        match format.order {
            ByteOrder::Big => bytes,
            ByteOrder::Little => bytes.into_iter().rev().collect(),
        }
    }

    fn formats() -> impl Strategy<Value = Format> {
        (prop::sample::select(vec![1, 2, 4, 8]), any::<bool>(), any::<bool>()).prop_map(
            |(width, big, counts_prefix)| {
                let order = if big { ByteOrder::Big } else { ByteOrder::Little };
                Format { width, order, counts_prefix, limit: 200 }
            },
        )
    }

    /// A reader that stores bodies in vectors.
    struct Reader {
        frames: Frames,
        body: Vec<u8>,
    }

    impl Reader {
        /// The next body that is there.
        fn take(&mut self) -> Option<Vec<u8>> {
            if self.frames.body.is_some() {
                return None;
            }
            let size = self.frames.next_size().unwrap()?;
            if let Some(whole) = self.frames.whole(size) {
                let whole = whole.to_vec();
                self.frames.pass(size);
                return Some(whole);
            }
            self.body = vec![0; size];
            let begun = self.frames.begin(size);
            self.body[..begun.len()].copy_from_slice(begun);
            None
        }

        /// Reads at most so many bytes of a stream, as `readv` would; a body that this made complete.
        fn read(&mut self, stream: &mut &[u8], most: usize) -> Option<Vec<u8>> {
            let Destination { from, lacking, ahead } = self.frames.room();
            let count = most.min(lacking + ahead.len()).min(stream.len());
            assert!(lacking + ahead.len() > 0);
            let (now, later) = stream.split_at(count);
            let (to_body, to_ahead) = now.split_at(count.min(lacking));
            self.body[from..from + to_body.len()].copy_from_slice(to_body);
            ahead[..to_ahead.len()].copy_from_slice(to_ahead);
            *stream = later;
            self.frames.arrived(count).then(|| std::mem::take(&mut self.body))
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_split(
            format in formats(),
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            ahead in prop_oneof![Just(0), 1..9usize, 1..40usize, Just(5000)],
            reads in prop::collection::vec(1..300usize, 1..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let stream: Vec<u8> =
                bodies.iter().flat_map(|body| [prefix(format, body.len()), body.clone()].concat()).collect();
            let end = cut.index(stream.len() + 1);
            let mut rest = &stream[..end];
            let mut reader = Reader { frames: Frames::new(format, ahead).unwrap(), body: Vec::new() };
            let mut found = Vec::new();
            let mut behind = 0;
            for most in reads.iter().cycle() {
                while let Some(body) = reader.take() {
                    behind += format.width + body.len();
                    prop_assert!(end - rest.len() <= behind + ahead);
                    found.push(body);
                }
                if rest.is_empty() {
                    break;
                }
                if let Some(body) = reader.read(&mut rest, *most) {
                    behind += format.width + body.len();
                    // Nothing beyond the frame was touched unless it was allowed.
                    prop_assert!(end - rest.len() <= behind + ahead);
                    found.push(body);
                }
            }
            prop_assert_eq!(&found[..], &bodies[..found.len()]);
            // What is left of the stream is what is unfinished.
            let left = match reader.frames.unfinished() {
                Unfinished::Nothing => 0,
                Unfinished::Prefix { there } => {
                    prop_assert!(there < format.width);
                    prop_assert_eq!(reader.frames.ahead(), &stream[behind..end]);
                    there
                }
                Unfinished::Body { there, size } => {
                    prop_assert!(there < size);
                    prop_assert_eq!(size, bodies[found.len()].len());
                    prop_assert_eq!(&reader.body[..there], &stream[behind + format.width..end]);
                    format.width + there
                }
            };
            prop_assert_eq!(behind + left, end);
        }

        #[test]
        fn a_prefix_that_cannot_be_one_is_told_and_stays(format in formats(), length in any::<u64>()) {
            let length = length >> (64 - 8 * format.width);
            let bytes = match format.order {
                ByteOrder::Big => length.to_be_bytes()[8 - format.width..].to_vec(),
                ByteOrder::Little => length.to_le_bytes()[..format.width].to_vec(),
            };
            let mut frames = Frames::new(format, 64).unwrap();
            frames.room().ahead[..format.width].copy_from_slice(&bytes);
            frames.arrived(format.width);
            let counted = if format.counts_prefix { format.width as u64 } else { 0 };
            let expected = match length.checked_sub(counted) {
                None => Err(Misfit::TooSmall { length }),
                Some(size) if size > 200 => Err(Misfit::TooLarge { size }),
                Some(size) => Ok(Some(size as usize)),
            };
            prop_assert_eq!(frames.next_size(), expected);
            prop_assert_eq!(frames.ahead(), bytes);
        }
    }

    #[test]
    fn little_is_read_behind_a_large_body() {
        let format = Format { width: 4, order: ByteOrder::Big, counts_prefix: false, limit: usize::MAX };
        let mut frames = Frames::new(format, 65536).unwrap();
        assert_eq!(frames.room().ahead.len(), 65536);
        frames.room().ahead[..4].copy_from_slice(&100_000_u32.to_be_bytes());
        frames.arrived(4);
        assert_eq!(frames.begin(100_000), b"");
        let Destination { from, lacking, ahead } = frames.room();
        assert_eq!((from, lacking, ahead.len()), (0, 100_000, READ_BEHIND_LARGE_BYTES));
        assert!(frames.arrived(100_000));
        assert_eq!(frames.room().ahead.len(), READ_BEHIND_LARGE_BYTES);
        // A small one behind it, and all is as before.
        frames.room().ahead[..4].copy_from_slice(&0_u32.to_be_bytes());
        frames.arrived(4);
        frames.pass(0);
        assert_eq!(frames.room().ahead.len(), 65536);
    }
}
