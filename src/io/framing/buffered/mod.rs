//! Frames on their way: what was read ahead of a stream, and what the frame that has begun still lacks.
//!
//! Nothing here makes system calls or knows where bodies go. A body is what is shown of a frame. [`Frames`] says where the
//! next bytes of the stream belong, partly in a body and partly in a buffer of its own, and is told how many arrived.

use std::ops::Range;

use crate::error::Error;
use crate::fallible;
use crate::io::framing::decoder::{Decoder, Known, OutOfStep};
use crate::io::framing::description::{Extent, Format};

/// How much is read ahead behind a large body: the next is likely to be large too, and what is read ahead is copied.
const READ_BEHIND_LARGE_BYTES: usize = 4096;

/// What was read ahead begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A whole frame.
    Whole(Extent),
    /// A frame of known size, some of which is missing.
    Begun(Extent),
    /// Less than a header, or a record without its delimiter.
    Unknown,
}

/// Frames that were found at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// All of their bytes.
    pub(crate) bytes: usize,
    /// Whether the last of them is the last that is wanted.
    pub(crate) is_last: bool,
}

/// The frame that has begun and is not complete, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    Nothing,
    /// So many bytes of a header are there, which has at least `size`.
    Header {
        there: usize,
        size: usize,
    },
    /// So many bytes of a record are there, and no delimiter.
    Record {
        there: usize,
    },
    /// So many bytes of a body are.
    Body {
        there: usize,
        size: usize,
    },
    /// All of a body is, and so many bytes of a trailer.
    Trailer {
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

/// A body that has begun, and how much of it is there.
#[derive(Debug, Clone, Copy)]
struct Body {
    extent: Extent,
    there: usize,
}

impl Body {
    fn lacking(self) -> usize {
        self.extent.size() - self.there
    }

    fn trailer(self) -> usize {
        self.extent.len - self.extent.end
    }
}

/// The frames of a stream.
#[derive(Debug)]
pub(crate) struct Frames {
    decoder: Decoder,
    /// Has room for the parts of a frame that go to no body.
    buffer: Vec<u8>,
    /// How much of a stream may be read behind the frame that is wanted.
    most: usize,
    /// What was read ahead is `buffer[start..end]`; less than a trailer while there is a body.
    start: usize,
    end: usize,
    body: Option<Body>,
    /// At least so many bytes are missing before the size of the next frame is known.
    missing: usize,
    /// Size of the latest body that did not fit what was read ahead.
    latest: usize,
}

impl Frames {
    /// `most` is how many bytes may be read beyond the frame that is wanted; where that is less than a header, no more
    /// than the header is read where one is wanted.
    ///
    /// # Errors
    /// As [`fallible::reserve`]: there is no memory for so many.
    pub(crate) fn new(decoder: Decoder, most: usize) -> Result<Self, Error> {
        let buffer = fallible::filled(0, most.max(decoder.format().least_buffer()))?;
        Ok(Self { decoder, buffer, most, start: 0, end: 0, body: None, missing: 1, latest: 0 })
    }

    pub(crate) fn format(&self) -> &Format {
        self.decoder.format()
    }

    /// What was read ahead.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// What is known of the next frame. No body may have begun.
    pub(crate) fn next(&mut self) -> Result<Next, OutOfStep> {
        debug_assert!(self.body.is_none());
        Ok(match self.decoder.peek(&self.buffer[self.start..self.end])? {
            Known::Whole(extent) => Next::Whole(extent),
            Known::Begun(extent) => {
                self.missing = extent.len - self.ahead().len();
                Next::Begun(extent)
            }
            Known::Unknown(missing) => {
                self.missing = missing;
                Next::Unknown
            }
        })
    }

    /// The body of the next frame, all of which was read ahead.
    pub(crate) fn whole(&self, extent: Extent) -> &[u8] {
        &self.ahead()[extent.start..extent.end]
    }

    /// Goes on behind the next frame, all of which was read ahead.
    pub(crate) fn pass(&mut self, extent: Extent) {
        self.decoder.pass(extent);
        self.start += extent.len;
        self.latest = 0;
    }

    /// Finds the next frames all of which were read ahead: at most `most`, no more than `found` has room for, and none behind
    /// one that `is_last`. Appends where in [`ahead`](Self::ahead) their bodies are.
    ///
    /// # Errors
    /// The first is none.
    pub(crate) fn find(
        &mut self,
        most: usize,
        is_last: impl Fn(&[u8]) -> bool,
        found: &mut Vec<Range<usize>>,
    ) -> Result<Found, OutOfStep> {
        debug_assert!(self.body.is_none());
        let (ahead, mut all) = (&self.buffer[self.start..self.end], Found { bytes: 0, is_last: false });
        while found.len() < most.min(found.capacity()) && !all.is_last {
            match self.decoder.peek(&ahead[all.bytes..]) {
                Ok(Known::Whole(extent)) => {
                    let body = all.bytes + extent.start..all.bytes + extent.end;
                    all = Found { bytes: all.bytes + extent.len, is_last: is_last(&ahead[body.clone()]) };
                    found.push(body);
                    self.decoder.forget_search();
                }
                Err(misfit) if all.bytes == 0 => return Err(misfit),
                // The caller comes to it when those before it are passed.
                Ok(_) | Err(_) => break,
            }
        }
        if all.bytes > 0 {
            self.decoder.forget_search();
        }
        Ok(all)
    }

    /// Goes on behind frames that were [found](Self::find).
    pub(crate) fn pass_many(&mut self, frames: usize, found: Found) {
        self.decoder.pass_many(frames, found.bytes);
        self.start += found.bytes;
        self.latest = 0;
    }

    /// Whether the rest of a frame may be read ahead instead of straight to where it belongs: it is small.
    pub(crate) fn fits(&self, extent: Extent) -> bool {
        extent.len <= self.most
    }

    /// Begins the next body, the frame of which was not all read ahead. What was is returned: it belongs to the body's start.
    pub(crate) fn begin(&mut self, extent: Extent) -> &[u8] {
        debug_assert!(self.ahead().len() < extent.len);
        let first = self.start + extent.start;
        let there = first..self.end.min(self.start + extent.end);
        self.body = Some(Body { extent, there: there.len() });
        self.latest = extent.len;
        self.start = there.end;
        &self.buffer[there]
    }

    /// Where the next bytes of the stream belong; there is room for one at least.
    ///
    /// # Errors
    /// A record needs a longer buffer, and there is no memory for it.
    pub(crate) fn room(&mut self) -> Result<Destination<'_>, Error> {
        // What is left is a part of one frame.
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let needed = match self.body {
            Some(body) => body.trailer() - self.end,
            None => self.missing,
        };
        if self.buffer.len() - self.end < needed {
            self.grow(needed)?;
        }
        let behind = if self.latest < self.buffer.len() { self.most } else { self.most.min(READ_BEHIND_LARGE_BYTES) };
        let until = self.buffer.len().min(self.end.saturating_add(behind.max(needed)));
        let (from, lacking) = self.body.map_or((0, 0), |body| (body.there, body.lacking()));
        Ok(Destination { from, lacking, ahead: &mut self.buffer[self.end..until] })
    }

    /// Makes room for `needed` bytes behind the record that is there. Its limit is the buffer's.
    #[cold]
    fn grow(&mut self, needed: usize) -> Result<(), Error> {
        let len = (2 * self.buffer.len()).min(self.format().longest_record()).max(self.end + needed);
        fallible::reserve(&mut self.buffer, len - self.end)?;
        self.buffer.resize(len, 0);
        Ok(())
    }

    /// Notes how many bytes arrived where [`room`](Self::room) said. Whether that made the frame complete, the body of which
    /// has begun.
    pub(crate) fn arrived(&mut self, count: usize) -> bool {
        let Some(body) = &mut self.body else {
            self.end += count;
            return false;
        };
        let to_body = count.min(body.lacking());
        body.there += to_body;
        self.end += count - to_body;
        let body = *body;
        let is_complete = body.lacking() == 0 && self.end - self.start >= body.trailer();
        if is_complete {
            self.start += body.trailer();
            self.decoder.pass(body.extent);
            (self.body, self.missing) = (None, 1);
        }
        is_complete
    }

    /// Whether a body has begun and its frame is not complete.
    pub(crate) fn is_filling(&self) -> bool {
        self.body.is_some()
    }

    /// What has begun and is not complete.
    pub(crate) fn unfinished(&self) -> Unfinished {
        let there = self.end - self.start;
        match self.body {
            Some(body) if body.lacking() == 0 => Unfinished::Trailer { there, size: body.trailer() },
            Some(body) => Unfinished::Body { there: body.there, size: body.extent.size() },
            None if there == 0 => Unfinished::Nothing,
            None if self.format().is_delimited() => Unfinished::Record { there },
            None => Unfinished::Header { there, size: there + self.missing },
        }
    }

    /// How many bytes a frame lacks the body of which has begun.
    pub(crate) fn lacking(&self) -> usize {
        self.body.map_or(0, |body| body.lacking() + body.trailer() - (self.end - self.start))
    }
}

#[cfg(test)]
mod tests;
