//! Which slots there are and where their mirrors lie, for a signal handler to look up.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use super::pool::Pool;
use crate::layout::SlotIndex;
use crate::sys::{MAX_NAME, Mirrors, fork};

static PLACES: Pool<Entry> = Pool::new();

const WORDS: usize = MAX_NAME.div_ceil(8);

/// What is known of one slot. Written by one thread at a time, whoever has the slot's memory; read at any time.
#[derive(Default)]
struct Entry {
    /// Odd while the rest is being written; grows with each change.
    version: AtomicU32,
    /// A [`State`], by itself: it may change without the rest.
    state: AtomicU32,
    /// Of the process that keeps the memory.
    generation: AtomicU32,
    start: AtomicUsize,
    end: AtomicUsize,
    read_write: AtomicUsize,
    /// 0 without one.
    read_only: AtomicUsize,
    capacity: AtomicUsize,
    index: AtomicUsize,
    name_len: AtomicUsize,
    name: [AtomicU64; WORDS],
}

/// What became of the memory of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum State {
    /// A group has it, or exporters of a group that has ended gently.
    InUse = 1,
    /// It is given back, and its addresses are reserved.
    Freed,
    /// It is kept for another group.
    Kept,
}

/// The record of a slot's memory: it lasts as long as the addresses are reserved.
#[derive(Debug)]
pub(crate) struct Place(Option<u32>);

impl Place {
    /// Where these mirrors are.
    pub(crate) fn of(mirrors: &Mirrors) -> Self {
        let place = Self(PLACES.claim());
        let Range { start, end } = mirrors.addresses();
        place.write(|entry| {
            for (word, value) in [
                (&entry.start, start),
                (&entry.end, end),
                (&entry.read_write, mirrors.read_write().addr().get()),
                (&entry.read_only, mirrors.read_only().map_or(0, |base| base.addr().get())),
                (&entry.capacity, mirrors.len()),
            ] {
                word.store(value, Ordering::Relaxed);
            }
        });
        place
    }

    /// The memory is now slot `index` of a group of that name.
    pub(crate) fn belongs_to(&self, name: &str, index: SlotIndex) {
        self.write(|entry| {
            entry.index.store(index.get(), Ordering::Relaxed);
            entry.name_len.store(name.len().min(MAX_NAME), Ordering::Relaxed);
            for (word, part) in entry.name.iter().zip(name.as_bytes().chunks(8)) {
                let mut bytes = [0; 8];
                bytes[..part.len()].copy_from_slice(part);
                word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            }
        });
        self.set(State::InUse);
    }

    /// The memory is about to be given back, and the addresses stay.
    pub(crate) fn is_freed(&self) {
        self.set(State::Freed);
    }

    /// The memory is kept for another group of this process.
    pub(crate) fn is_kept(&self) {
        if let Some(entry) = self.entry() {
            entry.generation.store(fork::generation(), Ordering::Relaxed);
        }
        self.set(State::Kept);
    }

    fn set(&self, state: State) {
        if let Some(entry) = self.entry() {
            entry.state.store(state as u32, Ordering::Relaxed);
        }
    }

    fn write(&self, change: impl FnOnce(&Entry)) {
        if let Some(entry) = self.entry() {
            let version = entry.version.load(Ordering::Relaxed);
            entry.version.store(version.wrapping_add(1), Ordering::Relaxed);
            // A seqlock: no store below may be seen without the one above, nor the last without all before it.
            fence(Ordering::Release);
            change(entry);
            entry.version.store(version.wrapping_add(2), Ordering::Release);
        }
    }

    fn entry(&self) -> Option<&'static Entry> {
        PLACES.get(self.0?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (Some(number), Some(entry)) = (self.0, self.entry()) else { return };
        entry.state.store(0, Ordering::Relaxed);
        self.write(|entry| {
            entry.start.store(0, Ordering::Relaxed);
            entry.end.store(0, Ordering::Relaxed);
        });
        PLACES.release(number);
    }
}

/// What is known of a slot, at one moment. Small: it lives on a signal stack.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    pub(super) state: State,
    pub(super) read_write: usize,
    pub(super) read_only: Option<usize>,
    pub(super) capacity: usize,
    pub(super) index: usize,
    entry: &'static Entry,
    version: u32,
}

/// Room for a name.
pub(super) type Name = [u8; WORDS * 8];

impl Sight {
    /// The name of the group, unless it has changed since.
    pub(super) fn name(self, room: &mut Name) -> &str {
        for (bytes, word) in room.chunks_exact_mut(8).zip(&self.entry.name) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        let len = self.entry.name_len.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_whole = self.entry.version.load(Ordering::Relaxed) == self.version;
        let name = room.get(..len).filter(|_| is_whole).and_then(|name| std::str::from_utf8(name).ok());
        name.unwrap_or("?")
    }
}

/// The slot whose reserved addresses hold that one. It neither waits nor allocates.
pub(super) fn find(address: usize) -> Option<Sight> {
    PLACES.iter().find_map(|entry| entry.see(address))
}

impl Entry {
    fn see(&'static self, address: usize) -> Option<Sight> {
        // An owner that is writing is opening or dropping a slot, which takes nanoseconds; but it may be the very thread
        // that was interrupted, so nobody waits for it.
        for _ in 0..100 {
            // Acquire pairs with the last store of write.
            let version = self.version.load(Ordering::Acquire);
            let sight = self.look(address, version);
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return sight;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// As it is now, perhaps half changed.
    fn look(&'static self, address: usize, version: u32) -> Option<Sight> {
        let get = |word: &AtomicUsize| word.load(Ordering::Relaxed);
        if !(get(&self.start)..get(&self.end)).contains(&address) {
            return None;
        }
        let state = match self.state.load(Ordering::Relaxed) {
            state if state == State::InUse as u32 => State::InUse,
            state if state == State::Freed as u32 => State::Freed,
            // Where it was kept when the process forked, the child does not have it.
            state if state == State::Kept as u32 && self.generation.load(Ordering::Relaxed) == fork::generation() => {
                State::Kept
            }
            _ => return None,
        };
        Some(Sight {
            state,
            read_write: get(&self.read_write),
            read_only: Some(get(&self.read_only)).filter(|&base| base != 0),
            capacity: get(&self.capacity),
            index: get(&self.index),
            entry: self,
            version,
        })
    }
}
