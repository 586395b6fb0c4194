//! Text cut into parts, each of them where it lies.

use memchr::memmem::Finder;

use super::columns::{Columns, PartsBuilder};
use crate::error::Error;

/// Bytes of a long text from the parts of which the number of all parts is guessed.
const SAMPLE_BYTES: usize = 64 << 10;

/// What parts are cut at.
pub(crate) enum Cut<'a> {
    /// The ends of lines: LF, CR, and CR LF, which are kept or not.
    Lines { keep_ends: bool },
    /// ASCII whitespace, however much of it.
    Whitespace,
    /// A separator that is not empty.
    Separator(&'a [u8]),
}

/// Cuts text from its beginning on, as far as it is asked to in one go.
pub(crate) struct Splitter<'a> {
    cut: Cut<'a>,
    finder: Finder<'a>,
    parts: PartsBuilder,
    /// Where the next part begins.
    at: usize,
    /// How many cuts may still be made.
    left: usize,
}

impl<'a> Splitter<'a> {
    /// At most `most` cuts are made.
    ///
    /// # Errors
    /// As [`crate::fallible::reserve`].
    pub(crate) fn new(cut: Cut<'a>, most: usize) -> Result<Self, Error> {
        let finder = Finder::new(if let Cut::Separator(separator) = cut { separator } else { b"" });
        Ok(Self { cut, finder, parts: PartsBuilder::new(0)?, at: 0, left: most })
    }

    /// Goes on for about so many bytes of the text, which must be as long each time; whether that was all.
    ///
    /// # Errors
    /// As [`crate::fallible::reserve`].
    pub(crate) fn run(&mut self, text: &[u8], bytes: usize) -> Result<bool, Error> {
        let stop = self.at.saturating_add(bytes);
        if self.at == 0 && text.len() > 16 * SAMPLE_BYTES {
            self.cut_up_to(text, SAMPLE_BYTES)?;
            self.reserve_for_rest(text.len());
        }
        self.cut_up_to(text, stop)
    }

    /// Makes room for as many parts as the text has if it goes on as it begins, so that the table, which may have many megabytes, is
    /// not moved as it grows. It grows all the same if there is no memory for that, or the guess is wrong.
    fn reserve_for_rest(&mut self, len: usize) {
        let rest = len - self.at.min(len);
        let parts = self.parts.len() * (rest / self.at.max(1) + 1);
        // A table as large as the text at most.
        let _no_memory = self.parts.reserve((parts + parts / 16).min(rest / 16));
    }

    fn cut_up_to(&mut self, text: &[u8], stop: usize) -> Result<bool, Error> {
        match self.cut {
            Cut::Lines { keep_ends } => self.lines(text, stop, keep_ends),
            Cut::Whitespace => self.words(text, stop),
            Cut::Separator(separator) => self.fields(text, stop, separator.len()),
        }
    }

    /// The parts, where each begins counted from the beginning of the text.
    ///
    /// # Errors
    /// As [`PartsBuilder::finish`].
    pub(crate) fn finish(self) -> Result<Columns, Error> {
        self.parts.finish(1)
    }

    fn lines(&mut self, text: &[u8], stop: usize, keep_ends: bool) -> Result<bool, Error> {
        let from = self.at;
        for hit in memchr::memchr2_iter(b'\n', b'\r', &text[from..]) {
            let hit = from + hit;
            if hit < self.at {
                continue; // the LF of a CR LF
            }
            let is_pair = text[hit] == b'\r' && text.get(hit + 1) == Some(&b'\n');
            let end = hit + 1 + usize::from(is_pair);
            self.parts.push(self.at, if keep_ends { end } else { hit } - self.at)?;
            self.at = end;
            if end >= stop {
                return Ok(false);
            }
        }
        if self.at < text.len() {
            self.parts.push(self.at, text.len() - self.at)?;
        }
        Ok(true)
    }

    fn words(&mut self, text: &[u8], stop: usize) -> Result<bool, Error> {
        let next = |from: usize, space: bool| text[from..].iter().position(|&byte| is_space(byte) == space);
        while let Some(skipped) = next(self.at, false) {
            let start = self.at + skipped;
            let len = if self.left == 0 { None } else { next(start, true) };
            let len = len.unwrap_or(text.len() - start);
            self.left = self.left.saturating_sub(1);
            self.parts.push(start, len)?;
            self.at = start + len;
            if self.at >= stop {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fields(&mut self, text: &[u8], stop: usize, width: usize) -> Result<bool, Error> {
        let from = self.at;
        for hit in self.finder.find_iter(&text[from..]) {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            self.parts.push(self.at, from + hit - self.at)?;
            self.at = from + hit + width;
            if self.at >= stop {
                return Ok(false);
            }
        }
        self.parts.push(self.at, text.len() - self.at)?;
        Ok(true)
    }
}

/// Cuts text from its end on, at most `most` times. Lines are cut from the beginning on, whatever is asked for.
///
/// # Errors
/// As [`Splitter::run`] and [`Splitter::finish`].
pub(crate) fn split_from_end(text: &[u8], separator: Option<&[u8]>, most: usize) -> Result<Columns, Error> {
    let mut reversed: Vec<(usize, usize)> = Vec::new();
    let (mut end, mut left) = (text.len(), most);
    match separator {
        Some(separator) => {
            for hit in memchr::memmem::rfind_iter(text, separator) {
                if left == 0 {
                    break;
                }
                left -= 1;
                crate::fallible::push(&mut reversed, (hit + separator.len(), end))?;
                end = hit;
            }
            crate::fallible::push(&mut reversed, (0, end))?;
        }
        None => {
            let last = |before: usize, space: bool| text[..before].iter().rposition(|&byte| is_space(byte) == space);
            while let Some(at) = last(end, false) {
                let start = if left == 0 { None } else { last(at, true) };
                let start = start.map_or(0, |space| space + 1);
                left = left.saturating_sub(1);
                crate::fallible::push(&mut reversed, (start, at + 1))?;
                end = start;
            }
        }
    }
    let mut parts = PartsBuilder::new(reversed.len())?;
    reversed.iter().rev().try_for_each(|&(start, end)| parts.push(start, end - start))?;
    parts.finish(1)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}
