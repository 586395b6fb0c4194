//! Where the next frame lies in the bytes that have arrived.

use std::ops::Range;

use super::description::{Extent, Format, FormatError, Head, Misfit};
use super::lengths::{self, Length};

/// Finds the frames of a stream, one after the other, in the bytes that its caller has.
#[derive(Debug, Clone)]
pub struct Decoder {
    format: Format,
    /// How many bytes of the next frame are known to have no delimiter.
    searched: usize,
    /// Where the next frame begins in the stream, and how many came before it.
    offset: u64,
    frame: u64,
}

/// A frame that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The part that is shown.
    pub shown: Range<usize>,
    /// All of its bytes: where the next frame begins.
    pub len: usize,
}

/// What the next bytes of a stream are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A whole frame. The next call goes on behind it.
    Frame(Frame),
    /// A part of one, which needs at least so many more bytes. The next call begins at its first byte again.
    Missing(usize),
}

/// A header that cannot be one, and where it is. No frame can be found behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{misfit}: frame {frame}, at byte {offset} of the stream")]
pub struct OutOfStep {
    /// Where in the stream the frame begins, by the bytes that frames before it had.
    pub offset: u64,
    /// How many frames came before it.
    pub frame: u64,
    /// Why it is refused.
    pub misfit: Misfit,
}

/// What is known of the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Whole(Extent),
    /// Its header is there, and some of the rest is not.
    Begun(Extent),
    /// Its size is not known before at least so many bytes have come.
    Unknown(usize),
}

impl Decoder {
    /// A decoder at the start of a stream.
    ///
    /// # Errors
    /// The format describes no frames.
    pub fn new(format: Format) -> Result<Self, FormatError> {
        format.check()?;
        Ok(Self { format, searched: 0, offset: 0, frame: 0 })
    }

    /// The next frame of the stream, if all of it is there. `bytes` begin behind the frame that was found before.
    ///
    /// # Errors
    /// They cannot be a frame of this format. Every later call says so too.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Step, OutOfStep> {
        Ok(match self.peek(bytes)? {
            Known::Whole(extent) => {
                self.pass(extent);
                Step::Frame(Frame { shown: extent.start..extent.end, len: extent.len })
            }
            Known::Begun(extent) => Step::Missing(extent.len - bytes.len()),
            Known::Unknown(missing) => Step::Missing(missing),
        })
    }

    /// Where the next frame begins in the stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many frames were found.
    pub fn frames(&self) -> u64 {
        self.frame
    }

    /// The description of the frames.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// What is known of the next frame, with which `bytes` begin.
    #[inline]
    pub(super) fn peek(&mut self, bytes: &[u8]) -> Result<Known, OutOfStep> {
        let known = match &self.format.length {
            Length::Delimiter(_) => self.find(bytes),
            _ => self.format.head(bytes).map(|head| match head {
                Head::Known(extent) if extent.len <= bytes.len() => Known::Whole(extent),
                Head::Known(extent) => Known::Begun(extent),
                Head::Missing(missing) => Known::Unknown(missing),
            }),
        };
        known.map_err(|misfit| OutOfStep { offset: self.offset, frame: self.frame, misfit })
    }

    /// A record with its delimiter.
    fn find(&mut self, bytes: &[u8]) -> Result<Known, Misfit> {
        let Length::Delimiter(delimiter) = &self.format.length else { return Ok(Known::Unknown(1)) };
        if let Some(size) = lengths::delimiter(bytes, delimiter, self.searched) {
            return self.format.record(size, delimiter.len()).map(Known::Whole);
        }
        self.searched = bytes.len();
        // The last bytes may be the start of a delimiter.
        self.format.check_unended((bytes.len() + 1).saturating_sub(delimiter.len()))?;
        Ok(Known::Unknown(1))
    }

    /// Goes on behind the next frame.
    #[inline]
    pub(super) fn pass(&mut self, extent: Extent) {
        self.searched = 0;
        self.offset = self.offset.wrapping_add(extent.len as u64);
        self.frame = self.frame.wrapping_add(1);
    }

    /// Goes on behind so many frames of so many bytes.
    pub(super) fn pass_many(&mut self, frames: usize, bytes: usize) {
        self.searched = 0;
        self.offset = self.offset.wrapping_add(bytes as u64);
        self.frame = self.frame.wrapping_add(frames as u64);
    }

    /// The next call looks at another frame than the last.
    #[inline]
    pub(super) fn forget_search(&mut self) {
        self.searched = 0;
    }
}
