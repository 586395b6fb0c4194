//! One file: its lines that match. What counts as a line, and as binary, is what GNU grep makes of it.
//!
//! A file is read block by block behind the beginning of a line that is not complete. Its complete lines are searched as a
//! whole; lines are looked for around matches only, and counted up to them. A file with a zero byte is binary, from the block
//! with the first on: the lines of such a file end at zero bytes too, and that one matches is all that is told. A matching line
//! that is not in the character set of the locale is not shown, but told of in the same way.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use memchr::{memchr, memchr_iter, memrchr};

use super::matcher::Matcher;
use super::window::{READ, Window};
use super::{Job, Problem};
use crate::os::tree::{self, Facts, FileType};

/// What is wanted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Every line that matches.
    Lines,
    /// How many lines match.
    Count,
    /// Whether a line matches.
    First,
}

/// A line that matches.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// From 1 on.
    pub(crate) number: u64,
    /// Where in the file it begins.
    pub(crate) offset: u64,
    /// Without its line feed; nothing where they follow later.
    pub(crate) bytes: &'a [u8],
}

/// What came of a file.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Summary {
    /// Bytes read.
    pub(crate) nbytes: u64,
    /// Lines that match; no more than one of a binary file where lines are wanted.
    pub(crate) matches: u64,
    /// Where the first line begins that matches and is not shown.
    pub(crate) binary_match: Option<u64>,
}

/// What takes the lines.
pub(super) trait Records {
    fn line(&mut self, path: &[u8], line: &Line<'_>);

    /// Whether a line can be taken in pieces, which follow.
    fn begin_long_line(&mut self, path: &[u8], line: &Line<'_>) -> bool;

    fn more(&mut self, bytes: &[u8]);
}

/// A file under search.
pub(super) struct Scan<'a> {
    file: &'a OwnedFd,
    facts: &'a Facts,
    path: &'a [u8],
    /// Whether any part of it can be read again: a regular file that announces its size, read from its beginning on.
    is_stored: bool,
    /// Where in the file the window begins.
    offset: u64,
    /// Line feeds before the byte `counted` of the file.
    lines: u64,
    counted: u64,
    is_binary: bool,
    /// Nothing more is wanted of the file.
    is_done: bool,
    summary: Summary,
}

impl<'a> Scan<'a> {
    pub(super) fn new(file: &'a OwnedFd, facts: &'a Facts, path: &'a [u8], is_input: bool) -> Self {
        Self {
            file,
            facts,
            path,
            is_stored: !is_input && facts.kind == FileType::Regular && facts.size > 0,
            offset: 0,
            lines: 0,
            counted: 0,
            is_binary: false,
            is_done: false,
            summary: Summary::default(),
        }
    }

    pub(super) fn into_summary(self) -> Summary {
        self.summary
    }

    /// Whether a file that announces its size has been read so far.
    fn is_read(&self) -> bool {
        self.is_stored && self.summary.nbytes == self.facts.size
    }

    /// Notes a line that matches and is not shown. Of a binary file no more is wanted.
    fn hide(&mut self, offset: u64) {
        self.summary.binary_match.get_or_insert(offset);
        self.is_done = self.is_binary;
    }

    /// Moves the window on to its byte `by`. Lines that are not counted by then are read again if a line behind them matches.
    fn advance(&mut self, window: &[u8], by: usize, counts: bool) {
        let is_up_to_date = self.counted >= self.offset;
        if counts && is_up_to_date && (self.summary.matches > 0 || !self.is_stored) {
            self.count_to(window, by);
        }
        self.offset += by as u64;
    }

    /// Counts the lines up to a byte of the window, where all before the window are counted.
    fn count_to(&mut self, window: &[u8], end: usize) {
        let from = self.counted.saturating_sub(self.offset) as usize;
        self.lines += count(window.get(from..end).unwrap_or_default());
        self.counted = self.offset + end as u64;
    }

    /// The number of a line that begins at a byte of the window.
    fn number(&mut self, window: &[u8], start: usize) -> Result<u64, Problem> {
        self.number_at(self.offset)?;
        self.count_to(window, start);
        Ok(self.lines + 1)
    }

    /// The number of a line that begins at a byte of the file, none of the lines before which is in the window.
    fn number_at(&mut self, start: u64) -> Result<u64, Problem> {
        if self.counted < start {
            let mut lines = 0;
            read_pieces(self.file, self.counted..start, |piece| lines += count(piece))?;
            self.lines += lines;
            self.counted = start;
        }
        Ok(self.lines + 1)
    }
}

fn count(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// Ends lines at zero bytes, too.
fn end_lines_at_zeros(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'\n');
}

/// Searches one file after another in one window.
pub(super) struct Scanner<'g> {
    window: Window<'g>,
    matcher: &'g Matcher,
    job: &'g Job,
    is_stopped: &'g AtomicBool,
}

/// What one read has brought.
struct Block {
    /// Bytes before it, of a line that has no end yet.
    kept: usize,
    /// All bytes in the window.
    filled: usize,
    /// Whether the file ends with it.
    is_last: bool,
}

impl<'g> Scanner<'g> {
    pub(super) fn new(window: Window<'g>, matcher: &'g Matcher, job: &'g Job, is_stopped: &'g AtomicBool) -> Self {
        Self { window, matcher, job, is_stopped }
    }

    /// Searches a file to its end, or as far as is wanted.
    pub(super) fn scan(&mut self, scan: &mut Scan<'_>, records: &mut impl Records) -> Result<(), Problem> {
        let mut kept = 0;
        loop {
            if self.window.make_room(kept).is_err() {
                self.long_line(scan, kept, records)?;
                if scan.is_done {
                    return Ok(());
                }
                kept = 0;
            }
            let block = self.read(scan, kept)?;
            self.check_for_zeros(scan, &block);
            let end = self.search(scan, &block, records)?;
            if scan.is_done || block.is_last || self.is_stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            let window = self.window.bytes();
            scan.advance(window, end, self.job.wanted == Wanted::Lines);
            window.copy_within(end..block.filled, 0);
            kept = block.filled - end;
        }
    }

    /// Reads once, behind what is kept.
    fn read(&mut self, scan: &mut Scan<'_>, kept: usize) -> Result<Block, Problem> {
        let is_stopped = || self.is_stopped.load(Ordering::Relaxed);
        let window = self.window.bytes();
        let read = tree::read(scan.file, &mut window[kept..kept + READ], is_stopped).map_err(Problem::Os)?;
        scan.summary.nbytes += read as u64;
        let is_last = read == 0 || (read < READ && scan.is_read());
        Ok(Block { kept, filled: kept + read, is_last })
    }

    /// Looks for zero bytes in a block that others follow; in the last one that is done once a line matches.
    fn check_for_zeros(&mut self, scan: &mut Scan<'_>, block: &Block) {
        if scan.is_binary {
            end_lines_at_zeros(&mut self.window.bytes()[block.kept..block.filled]);
        } else if !block.is_last && !self.job.as_text {
            let is_first = scan.offset == 0 && block.kept == 0 && block.filled == READ;
            if !self.finds_zeros(scan, block) && is_first && scan.is_stored {
                scan.is_binary = tree::has_hole_behind(scan.file, READ as u64, scan.facts.size);
            }
        }
    }

    /// Whether the file turns out to be binary.
    fn finds_zeros(&mut self, scan: &mut Scan<'_>, block: &Block) -> bool {
        let read = &mut self.window.bytes()[block.kept..block.filled];
        if let Some(first) = memchr(0, read) {
            end_lines_at_zeros(&mut read[first..]);
            scan.is_binary = true;
        }
        scan.is_binary
    }

    /// Searches the lines that are complete; returns where they end.
    fn search(&mut self, scan: &mut Scan<'_>, block: &Block, records: &mut impl Records) -> Result<usize, Problem> {
        let mut is_checked = !block.is_last || self.job.as_text || scan.is_binary;
        let mut end = self.end_of_lines(block);
        let mut at = 0;
        while at < end {
            let window = self.window.bytes();
            let Some(found) = self.matcher.find(&window[..end], at).filter(|found| found.start < end) else { break };
            if !is_checked {
                is_checked = true;
                if self.finds_zeros(scan, block) {
                    // The lines are others now.
                    end = self.end_of_lines(block);
                    continue;
                }
            }
            let window = self.window.bytes();
            let start = memrchr(b'\n', &window[at..found.start]).map_or(at, |before| at + before + 1);
            let behind = memchr(b'\n', &window[found.start..end]).map_or(end, |feed| found.start + feed);
            at = behind + 1;
            scan.summary.matches += 1;
            self.take(scan, start..behind, records)?;
            if scan.is_done {
                break;
            }
        }
        Ok(end)
    }

    /// Where the last complete line of the window ends. The last of a file gets a line feed if it has none.
    fn end_of_lines(&mut self, block: &Block) -> usize {
        let window = self.window.bytes();
        let end = memrchr(b'\n', &window[..block.filled]).map_or(0, |feed| feed + 1);
        if !block.is_last || end == block.filled {
            return end;
        }
        window[block.filled] = b'\n';
        block.filled + 1
    }

    /// Does with a line that matches what is wanted of it.
    fn take(&mut self, scan: &mut Scan<'_>, line: Range<usize>, records: &mut impl Records) -> Result<(), Problem> {
        let offset = scan.offset + line.start as u64;
        match self.job.wanted {
            Wanted::Count => {}
            Wanted::First => scan.is_done = true,
            Wanted::Lines => {
                let is_encoding_checked = self.is_encoding_checked();
                let window = self.window.bytes();
                let bytes = &window[line.clone()];
                if scan.is_binary || (is_encoding_checked && std::str::from_utf8(bytes).is_err()) {
                    scan.hide(offset);
                } else {
                    let number = scan.number(window, line.start)?;
                    records.line(scan.path, &Line { number, offset, bytes });
                }
            }
        }
        Ok(())
    }

    /// Whether a line that is no UTF-8 makes a file binary.
    fn is_encoding_checked(&self) -> bool {
        self.job.is_utf8 && !self.job.as_text
    }

    /// Searches a line that no window holds, the first `kept` bytes of which are there, and goes to the one behind it.
    fn long_line(&mut self, scan: &mut Scan<'_>, kept: usize, records: &mut impl Records) -> Result<(), Problem> {
        let too_long = Problem::LongLine(kept);
        let room = self.window.bytes().len() - READ;
        let overlap = match self.matcher.longest() {
            Some(longest) if scan.is_stored && longest < room => longest.saturating_sub(1),
            _ => return Err(too_long),
        };
        let start = scan.offset;
        let mut is_match = self.matcher.find(&self.window.bytes()[..kept], 0).is_some();
        let mut held = kept;
        let end = loop {
            let before = overlap.min(held);
            self.window.bytes().copy_within(held - before..held, 0);
            scan.offset += (held - before) as u64;
            let block = self.read(scan, before)?;
            self.check_for_zeros(scan, &block);
            let window = self.window.bytes();
            let feed = memchr(b'\n', &window[before..block.filled]).map(|feed| before + feed);
            let end = feed.or(block.is_last.then_some(block.filled));
            is_match = is_match || self.matcher.find(&window[..end.unwrap_or(block.filled)], 0).is_some();
            if self.is_stopped.load(Ordering::Relaxed) {
                scan.is_done = true;
                return Ok(());
            }
            match end {
                Some(end) => break scan.offset + end as u64,
                None => held = block.filled,
            }
        };
        // What was read behind it is read again, as the beginning of a line.
        tree::seek(scan.file, end + 1).map_err(Problem::Os)?;
        scan.summary.nbytes = scan.summary.nbytes.min(end + 1);
        scan.offset = end + 1;
        if is_match {
            scan.summary.matches += 1;
            self.take_long(scan, start..end, records)?;
        }
        Ok(())
    }

    /// Does with a line that lies in the file alone what is wanted of it.
    fn take_long(&mut self, scan: &mut Scan<'_>, line: Range<u64>, records: &mut impl Records) -> Result<(), Problem> {
        match self.job.wanted {
            Wanted::Count => {}
            Wanted::First => scan.is_done = true,
            Wanted::Lines => {
                let file = scan.file;
                if scan.is_binary || (self.is_encoding_checked() && !is_utf8(file, line.clone())?) {
                    scan.hide(line.start);
                    return Ok(());
                }
                let number = scan.number_at(line.start)?;
                if records.begin_long_line(scan.path, &Line { number, offset: line.start, bytes: &[] }) {
                    read_pieces(file, line, |piece| records.more(piece))?;
                    records.more(b"\n");
                } else {
                    return Err(Problem::LongLine(usize::try_from(line.end - line.start).unwrap_or(usize::MAX)));
                }
            }
        }
        Ok(())
    }
}

/// Reads a part of a file, piece by piece.
fn read_pieces(file: &OwnedFd, part: Range<u64>, mut each: impl FnMut(&[u8])) -> Result<(), Problem> {
    let mut piece = vec![0; READ];
    let mut at = part.start;
    while at < part.end {
        let wanted = piece.len().min(usize::try_from(part.end - at).unwrap_or(usize::MAX));
        match tree::read_at(file, &mut piece[..wanted], at).map_err(Problem::Os)? {
            0 => break,
            read => {
                each(&piece[..read]);
                at += read as u64;
            }
        }
    }
    Ok(())
}

/// Whether a part of a file is UTF-8.
fn is_utf8(file: &OwnedFd, part: Range<u64>) -> Result<bool, Problem> {
    let mut is_utf8 = true;
    // The beginning of a character that the next piece ends.
    let mut text = Vec::new();
    read_pieces(file, part, |piece| {
        text.extend_from_slice(piece);
        let valid = match std::str::from_utf8(&text) {
            Ok(valid) => valid.len(),
            Err(error) => {
                is_utf8 = is_utf8 && error.error_len().is_none();
                error.valid_up_to()
            }
        };
        text.drain(..valid);
    })?;
    Ok(is_utf8 && text.is_empty())
}
