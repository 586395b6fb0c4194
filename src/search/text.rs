//! Results as text, as grep prints them.

use std::io::IsTerminal;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use super::json;
use super::matcher::Matcher;
use super::scan::{Line, Summary, Wanted};
use super::{Format, Problem};
use crate::os::tree;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Lines: `path:line:text`, in colour or not.
    Lines { colour: bool },
    /// `path:count` of every file.
    Counts { colour: bool },
    /// The paths of the files that match.
    Files { colour: bool },
    /// The same as JSON, an object in each line, of what is wanted.
    Json(Wanted),
    /// Nothing.
    Quiet,
}

impl Style {
    /// What has to be known of each file.
    pub(crate) fn wanted(self) -> Wanted {
        match self {
            Self::Lines { .. } => Wanted::Lines,
            Self::Counts { .. } => Wanted::Count,
            Self::Files { .. } | Self::Quiet => Wanted::First,
            Self::Json(wanted) => wanted,
        }
    }
}

/// Prints to a descriptor, and what is wrong to another.
pub(crate) struct Printer<'a> {
    pub(crate) output: BorrowedFd<'a>,
    /// Where it says what is wrong.
    pub(crate) errors: BorrowedFd<'a>,
    pub(crate) style: Style,
    /// Whether lines begin with the path.
    pub(crate) has_paths: bool,
    /// Whether lines begin with their number.
    pub(crate) has_numbers: bool,
    pub(crate) matcher: &'a Matcher,
    /// What is kept until there is more to write at once; nothing where somebody waits for each line.
    pending: Option<Mutex<Vec<u8>>>,
}

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 << 10;

impl<'a> Printer<'a> {
    /// Prints in a style; at once where the output is a terminal.
    pub(crate) fn new(output: BorrowedFd<'a>, errors: BorrowedFd<'a>, style: Style, matcher: &'a Matcher) -> Self {
        let pending = (!output.is_terminal()).then(Mutex::default);
        Self { output, errors, style, has_paths: true, has_numbers: true, matcher, pending }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// The code of the error.
    pub(crate) fn finish(self) -> Result<(), i32> {
        let pending = self.pending.map(|pending| pending.into_inner().unwrap_or_else(PoisonError::into_inner));
        pending.map_or(Ok(()), |pending| tree::write_all(self.output, &pending))
    }
}

/// The colours of grep, and what ends them.
const PATH: &[u8] = b"\x1b[35m\x1b[K";
const NUMBER: &[u8] = b"\x1b[32m\x1b[K";
const SEPARATOR: &[u8] = b"\x1b[36m\x1b[K";
const MATCH: &[u8] = b"\x1b[01;31m\x1b[K";
const END: &[u8] = b"\x1b[m\x1b[K";

fn push(chunk: &mut Vec<u8>, colour: Option<&[u8]>, bytes: &[u8]) {
    match colour {
        Some(colour) => [colour, bytes, END].iter().for_each(|part| chunk.extend_from_slice(part)),
        None => chunk.extend_from_slice(bytes),
    }
}

impl Printer<'_> {
    /// What stands before a line.
    fn head(&self, chunk: &mut Vec<u8>, path: &[u8], line: &Line<'_>, colour: bool) {
        let of = |colours| colour.then_some(colours);
        if self.has_paths {
            push(chunk, of(PATH), path);
            push(chunk, of(SEPARATOR), b":");
        }
        if self.has_numbers {
            push_number(chunk, of(NUMBER), line.number);
            push(chunk, of(SEPARATOR), b":");
        }
    }

    /// Prints a message about a file, as one line in one call.
    fn say(&self, path: &[u8], words: &str) {
        let message = [b"memgroup: ", path, b": ", words.as_bytes(), b"\n"].concat();
        // Where nobody listens, the exit status tells.
        let _unheard = tree::write_all(self.errors, &message);
    }

    fn coloured(&self, chunk: &mut Vec<u8>, line: &[u8]) {
        let mut at = 0;
        for found in self.matcher.matches(line) {
            chunk.extend_from_slice(&line[at..found.start]);
            push(chunk, Some(MATCH), &line[found.clone()]);
            at = found.end;
        }
        chunk.extend_from_slice(&line[at..]);
    }
}

fn push_number(chunk: &mut Vec<u8>, colour: Option<&[u8]>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    push(chunk, colour, &digits[at..]);
}

impl Format for Printer<'_> {
    type Chunk = Vec<u8>;

    fn line(&self, chunk: &mut Vec<u8>, path: &[u8], line: &Line<'_>) {
        match self.style {
            Style::Lines { colour } => {
                self.head(chunk, path, line, colour);
                match colour {
                    true => self.coloured(chunk, line.bytes),
                    false => chunk.extend_from_slice(line.bytes),
                }
                chunk.push(b'\n');
            }
            Style::Json(_) => json::line(chunk, path, line, self.matcher),
            _ => {}
        }
    }

    fn begin_long_line(&self, chunk: &mut Vec<u8>, path: &[u8], line: &Line<'_>) -> bool {
        let Style::Lines { colour } = self.style else { return false };
        self.head(chunk, path, line, colour);
        true
    }

    fn more(&self, chunk: &mut Vec<u8>, bytes: &[u8]) {
        chunk.extend_from_slice(bytes);
    }

    fn file(&self, chunk: &mut Vec<u8>, path: &[u8], summary: &Summary) {
        match self.style {
            Style::Lines { .. } if summary.binary_match.is_some() => self.say(path, "binary file matches"),
            Style::Counts { colour } => {
                if self.has_paths {
                    push(chunk, colour.then_some(PATH), path);
                    push(chunk, colour.then_some(SEPARATOR), b":");
                }
                push_number(chunk, None, summary.matches);
                chunk.push(b'\n');
            }
            Style::Files { colour } if summary.matches > 0 => {
                push(chunk, colour.then_some(PATH), path);
                chunk.push(b'\n');
            }
            Style::Json(wanted) => json::file(chunk, path, summary, wanted),
            _ => {}
        }
    }

    fn complain(&self, path: &[u8], problem: &Problem) {
        self.say(path, &problem.to_string());
    }

    fn write(&self, chunk: Vec<u8>) -> Result<(), i32> {
        let Some(pending) = &self.pending else { return tree::write_all(self.output, &chunk) };
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.extend_from_slice(&chunk);
        if pending.len() < WRITE_BYTES {
            return Ok(());
        }
        let written = tree::write_all(self.output, &pending);
        pending.clear();
        written
    }
}
