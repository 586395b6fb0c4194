//! Results in the order of the files, though many threads find them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Format;
use super::scan::{Line, Records, Summary};

/// Bytes of results that a thread keeps before it waits for its turn.
const MAX_PENDING: usize = 64 << 10;

/// How far a thread may be ahead of the one whose turn it is, in files.
const MAX_AHEAD: u64 = 64;

/// Results that are written at once.
pub(crate) trait Chunk: Default + Send {
    /// Bytes in it.
    fn len(&self) -> usize;
}

impl Chunk for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }
}

/// Whose turn it is, and the results of those that were done before their turn came.
pub(super) struct Turns<C> {
    state: Mutex<State<C>>,
    changed: Condvar,
}

struct State<C> {
    current: u64,
    done: BTreeMap<u64, C>,
    /// Threads that wait for it to change.
    waiting: usize,
}

impl<C> Default for Turns<C> {
    fn default() -> Self {
        Self { state: Mutex::new(State { current: 0, done: BTreeMap::new(), waiting: 0 }), changed: Condvar::new() }
    }
}

impl<C> Turns<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is so, or the work has been stopped.
    fn wait_until(&self, mut state: MutexGuard<'_, State<C>>, is_stopped: &AtomicBool, is_so: impl Fn(u64) -> bool) {
        state.waiting += 1;
        while !is_so(state.current) && !is_stopped.load(Ordering::Relaxed) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }

    /// Has those that wait look whether the work has been stopped.
    pub(super) fn wake(&self) {
        // Under the lock, so that nobody is between looking and waiting.
        let _state = self.lock();
        self.changed.notify_all();
    }
}

/// The results of one file.
pub(super) struct Turn<'a, F: Format> {
    turns: &'a Turns<F::Chunk>,
    format: &'a F,
    number: u64,
    is_stopped: &'a AtomicBool,
    chunk: F::Chunk,
    failed: Option<i32>,
}

impl<'a, F: Format> Turn<'a, F> {
    pub(super) fn new(turns: &'a Turns<F::Chunk>, format: &'a F, number: u64, is_stopped: &'a AtomicBool) -> Self {
        Self { turns, format, number, is_stopped, chunk: F::Chunk::default(), failed: None }
    }

    /// Adds what is said of the file at its end.
    pub(super) fn file(&mut self, path: &[u8], summary: &Summary) {
        self.format.file(&mut self.chunk, path, summary);
    }

    /// Writes now what there is, once it is the file's turn.
    fn flush(&mut self) {
        let number = self.number;
        self.turns.wait_until(self.turns.lock(), self.is_stopped, |current| current == number);
        let chunk = std::mem::take(&mut self.chunk);
        if !self.is_stopped.load(Ordering::Relaxed) && self.failed.is_none() {
            self.failed = self.format.write(chunk).err();
        }
    }

    fn flush_if_full(&mut self) {
        if self.chunk.len() > MAX_PENDING {
            self.flush();
        }
    }

    /// Ends the turn: writes the rest, now or when those before are done.
    ///
    /// # Errors
    /// The code of the error in writing.
    pub(super) fn finish(mut self) -> Result<(), i32> {
        if let Some(code) = self.failed {
            return Err(code);
        }
        let turns = self.turns;
        let mut state = turns.lock();
        if state.current != self.number {
            state.done.insert(self.number, std::mem::take(&mut self.chunk));
            let number = self.number;
            turns.wait_until(state, self.is_stopped, |current| number <= current + MAX_AHEAD);
            return Ok(());
        }
        let mut next = Some(std::mem::take(&mut self.chunk));
        while let Some(chunk) = next {
            if chunk.len() > 0 {
                self.format.write(chunk)?;
            }
            state.current += 1;
            let current = state.current;
            next = state.done.remove(&current);
        }
        if state.waiting > 0 {
            turns.changed.notify_all();
        }
        Ok(())
    }
}

impl<F: Format> Records for Turn<'_, F> {
    fn line(&mut self, path: &[u8], line: &Line<'_>) {
        self.format.line(&mut self.chunk, path, line);
        self.flush_if_full();
    }

    fn begin_long_line(&mut self, path: &[u8], line: &Line<'_>) -> bool {
        self.format.begin_long_line(&mut self.chunk, path, line)
    }

    fn more(&mut self, bytes: &[u8]) {
        self.format.more(&mut self.chunk, bytes);
        self.flush_if_full();
    }
}
