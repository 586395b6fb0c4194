//! Results as columns, for whoever makes tables of them.

use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use super::scan::{Line, Summary};
use super::turns::Chunk;
use super::{Format, Problem};

/// Bytes of results that are handed on at once.
const MAX_ROWS_BYTES: usize = 4 << 20;

/// Lines that match, as columns.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// The paths of the files, each once.
    pub(crate) paths: Vec<Box<[u8]>>,
    /// Of each line, which of the paths is its file's.
    pub(crate) files: Vec<u32>,
    /// Where in the file it begins.
    pub(crate) offsets: Vec<u64>,
    /// Its number, from 1 on; 0 where a file is binary and its line not shown.
    pub(crate) numbers: Vec<u64>,
    /// Where its bytes end; each begins where the one before ends.
    pub(crate) ends: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
}

impl Rows {
    fn push(&mut self, path: &[u8], line: &Line<'_>) {
        if self.paths.last().is_none_or(|last| **last != *path) {
            self.paths.push(path.into());
        }
        self.files.push(self.paths.len() as u32 - 1);
        self.offsets.push(line.offset);
        self.numbers.push(line.number);
        self.bytes.extend_from_slice(line.bytes);
        self.ends.push(self.bytes.len() as u64);
    }

    fn append(&mut self, mut other: Self) {
        let (paths, bytes) = (self.paths.len() as u32, self.bytes.len() as u64);
        self.paths.append(&mut other.paths);
        self.files.extend(other.files.iter().map(|file| file + paths));
        self.offsets.append(&mut other.offsets);
        self.numbers.append(&mut other.numbers);
        self.ends.extend(other.ends.iter().map(|end| end + bytes));
        self.bytes.append(&mut other.bytes);
    }
}

impl Chunk for Rows {
    fn len(&self) -> usize {
        self.bytes.len() + self.files.len() * 28
    }
}

/// Hands rows on, some thousands at a time.
pub(crate) struct Table {
    pending: Mutex<Rows>,
    receiver: SyncSender<Rows>,
    /// What was wrong with which files.
    problems: Mutex<Vec<(Box<[u8]>, Problem)>>,
}

impl Table {
    pub(crate) fn new(receiver: SyncSender<Rows>) -> Self {
        Self { pending: Mutex::default(), receiver, problems: Mutex::default() }
    }

    /// Hands on what is left; returns what was wrong.
    pub(crate) fn finish(self) -> Vec<(Box<[u8]>, Problem)> {
        let rest = self.pending.into_inner().unwrap_or_else(PoisonError::into_inner);
        if rest.len() > 0 {
            // Where nobody receives any more, nobody misses it.
            let _unreceived = self.receiver.send(rest);
        }
        self.problems.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Format for Table {
    type Chunk = Rows;

    fn line(&self, chunk: &mut Rows, path: &[u8], line: &Line<'_>) {
        chunk.push(path, line);
    }

    fn begin_long_line(&self, _: &mut Rows, _: &[u8], _: &Line<'_>) -> bool {
        false
    }

    fn more(&self, _: &mut Rows, _: &[u8]) {}

    fn file(&self, chunk: &mut Rows, path: &[u8], summary: &Summary) {
        if let Some(offset) = summary.binary_match {
            chunk.push(path, &Line { number: 0, offset, bytes: &[] });
        }
    }

    fn complain(&self, path: &[u8], problem: &Problem) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.push((path.into(), problem.clone()));
    }

    fn write(&self, chunk: Rows) -> Result<(), i32> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.append(chunk);
        if pending.len() < MAX_ROWS_BYTES {
            return Ok(());
        }
        self.receiver.send(std::mem::take(&mut pending)).map_err(|_| libc::EPIPE)
    }
}
