//! Which slots there are and where their mirrors lie, for a signal handler to look up.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use super::pool::Pool;
use crate::layout::SlotIndex;
use crate::os::{MAX_NAME, Mirrors, fork};

static REGISTRY: Pool<SlotRecord> = Pool::new();

const WORDS: usize = MAX_NAME.div_ceil(8);

/// What is known of one slot. Written by one thread at a time, whoever has the slot's memory; read at any time.
#[derive(Debug, Default)]
struct SlotRecord {
    /// Odd while the rest is being written; grows with each change.
    version: AtomicU32,
    /// A [`SlotState`], by itself: it may change without the rest.
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
pub(super) enum SlotState {
    /// A group has it, or exporters of a group that has ended.
    InUse = 1,
    /// It is given back, and its addresses are reserved.
    Freed,
    /// It is kept for another group.
    Kept,
    /// A group shows it, and somebody else owns it.
    Borrowed,
    /// The same of another process, whose group the name is of.
    Received,
    /// A group has it, and nobody can write to it any more.
    Frozen,
}

impl SlotState {
    const ALL: [Self; 6] = [Self::InUse, Self::Freed, Self::Kept, Self::Borrowed, Self::Received, Self::Frozen];

    /// Whether somebody else owns the memory.
    pub(super) fn is_borrowed(self) -> bool {
        matches!(self, Self::Borrowed | Self::Received)
    }
}

/// The record of a slot's memory: it lasts as long as the addresses are reserved.
#[derive(Debug)]
pub(crate) struct SlotRegistration(Option<(u32, &'static SlotRecord)>);

impl SlotRegistration {
    /// Where these mirrors are.
    pub(crate) fn of(mirrors: &Mirrors) -> Self {
        let read_only = mirrors.read_only().map_or(0, |base| base.addr().get());
        Self::of_addresses(mirrors.addresses(), mirrors.read_write().addr().get(), read_only, mirrors.len())
    }

    /// Where the memory is that a group of that name has borrowed.
    pub(crate) fn of_borrowed(start: usize, len: usize, group: &str) -> Self {
        let place = Self::of_addresses(start..start + len, start, 0, len);
        place.belongs_to(group, SlotIndex::FIRST);
        place.set(SlotState::Borrowed);
        place
    }

    fn of_addresses(addresses: Range<usize>, read_write: usize, read_only: usize, capacity: usize) -> Self {
        let place = Self(REGISTRY.claim().and_then(|number| Some((number, REGISTRY.get(number)?))));
        place.write(|entry| {
            for (word, value) in [
                (&entry.start, addresses.start),
                (&entry.end, addresses.end),
                (&entry.read_write, read_write),
                (&entry.read_only, read_only),
                (&entry.capacity, capacity),
            ] {
                word.store(value, Ordering::Relaxed);
            }
        });
        place
    }

    /// The memory is now slot `index` of a group of that name.
    pub(crate) fn belongs_to(&self, name: &str, index: SlotIndex) {
        let Some((_, entry)) = self.0 else { return };
        // Warm memory mostly comes back to where it was.
        if entry.index.load(Ordering::Relaxed) != index.get() || !entry.is_named(name) {
            self.write(|entry| {
                entry.index.store(index.get(), Ordering::Relaxed);
                entry.name_len.store(name.len(), Ordering::Relaxed);
                for (word, part) in entry.name.iter().zip(words(name)) {
                    word.store(part, Ordering::Relaxed);
                }
            });
        }
        self.set(SlotState::InUse);
    }

    /// The memory is another process's, of a group of the name that was given.
    pub(crate) fn is_received(&self) {
        self.set(SlotState::Received);
    }

    /// Nobody can write to the memory any more.
    pub(crate) fn is_frozen(&self) {
        self.set(SlotState::Frozen);
    }

    /// The memory is about to be given back, and the addresses stay.
    pub(crate) fn is_freed(&self) {
        self.set(SlotState::Freed);
    }

    /// The memory is kept for another group of this process.
    pub(crate) fn is_kept(&self) {
        if let Some((_, entry)) = self.0 {
            entry.generation.store(fork::generation(), Ordering::Relaxed);
        }
        self.set(SlotState::Kept);
    }

    fn set(&self, state: SlotState) {
        if let Some((_, entry)) = self.0 {
            entry.state.store(state as u32, Ordering::Relaxed);
        }
    }

    fn write(&self, change: impl FnOnce(&SlotRecord)) {
        if let Some((_, entry)) = self.0 {
            let version = entry.version.load(Ordering::Relaxed);
            entry.version.store(version.wrapping_add(1), Ordering::Relaxed);
            // A seqlock: no store below may be seen without the one above, nor the last without all before it.
            fence(Ordering::Release);
            change(entry);
            entry.version.store(version.wrapping_add(2), Ordering::Release);
        }
    }
}

/// A name in words, the last filled up with zeros.
fn words(name: &str) -> impl Iterator<Item = u64> {
    name.as_bytes().chunks(8).map(|part| {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        u64::from_ne_bytes(bytes)
    })
}

impl Drop for SlotRegistration {
    fn drop(&mut self) {
        let Some((number, entry)) = self.0 else { return };
        entry.state.store(0, Ordering::Relaxed);
        self.write(|entry| {
            entry.start.store(0, Ordering::Relaxed);
            entry.end.store(0, Ordering::Relaxed);
        });
        REGISTRY.release(number);
    }
}

/// What is known of a slot, at one moment. Small: it lives on a signal stack.
#[derive(Clone, Copy)]
pub(super) struct SlotSnapshot {
    pub(super) state: SlotState,
    pub(super) read_write: usize,
    pub(super) read_only: Option<usize>,
    pub(super) capacity: usize,
    pub(super) index: usize,
    entry: &'static SlotRecord,
    version: u32,
}

/// Room for a name.
pub(super) type Name = [u8; WORDS * 8];

impl SlotSnapshot {
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

/// The slot whose reserved addresses hold that one, its owner's rather than one that shows it. It neither waits nor
/// allocates.
pub(super) fn find(address: usize) -> Option<SlotSnapshot> {
    let mut borrowed = None;
    let mut found = REGISTRY.iter().filter_map(|entry| entry.read_snapshot(address));
    found
        .find(|snapshot| {
            let is_borrowed = snapshot.state.is_borrowed();
            borrowed = borrowed.or(is_borrowed.then_some(*snapshot));
            !is_borrowed
        })
        .or(borrowed)
}

impl SlotRecord {
    /// Whether that is the name that its owner wrote last.
    fn is_named(&self, name: &str) -> bool {
        self.name_len.load(Ordering::Relaxed) == name.len()
            && self.name.iter().zip(words(name)).all(|(word, part)| word.load(Ordering::Relaxed) == part)
    }

    fn read_snapshot(&'static self, address: usize) -> Option<SlotSnapshot> {
        // An owner that is writing is opening or dropping a slot, which takes nanoseconds; but it may be the very
        // thread that was interrupted, so nobody waits for it.
        for _ in 0..100 {
            // Acquire pairs with the last store of write.
            let version = self.version.load(Ordering::Acquire);
            let snapshot = self.look(address, version);
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return snapshot;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// As it is now, perhaps half changed.
    fn look(&'static self, address: usize, version: u32) -> Option<SlotSnapshot> {
        let get = |word: &AtomicUsize| word.load(Ordering::Relaxed);
        if !(get(&self.start)..get(&self.end)).contains(&address) {
            return None;
        }
        let number = self.state.load(Ordering::Relaxed);
        let state = SlotState::ALL.into_iter().find(|&state| state as u32 == number)?;
        // Where it was kept when the process forked, the child does not have it.
        if state == SlotState::Kept && self.generation.load(Ordering::Relaxed) != fork::generation() {
            return None;
        }
        Some(SlotSnapshot {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::os::Backing;

    fn mirrors() -> Mirrors {
        Mirrors::open(&Backing::Memfd, "place", 4096, false).unwrap()
    }

    fn index(number: usize) -> SlotIndex {
        SlotIndex::new(number).unwrap()
    }

    fn seen(address: usize) -> Option<(SlotState, usize, String)> {
        find(address)
            .map(|snapshot| (snapshot.state, snapshot.index, snapshot.name(&mut [0; size_of::<Name>()]).to_owned()))
    }

    #[test]
    fn a_place_is_found_by_each_of_its_addresses_for_as_long_as_it_lasts() {
        let mirrors = mirrors();
        let place = SlotRegistration::of(&mirrors);
        let Range { start, end } = mirrors.addresses();
        assert_eq!(seen(start), None); // nobody's yet
        for (name, number) in [("", 0), ("short", 3), ("exactly8", 31), ("longer than a word", 1), ("x", 1)] {
            place.belongs_to(name, index(number));
            for address in
                [start, mirrors.read_write().addr().get(), mirrors.read_only().unwrap().addr().get(), end - 1]
            {
                assert_eq!(seen(address), Some((SlotState::InUse, number, name.to_owned())));
            }
        }
        assert!(
            seen(start - 1).is_none_or(|(_, _, name)| name != "x") && seen(end).is_none_or(|(_, _, name)| name != "x")
        );
        place.is_kept();
        assert_eq!(seen(start).unwrap().0, SlotState::Kept);
        place.is_freed();
        assert_eq!(seen(start).unwrap().0, SlotState::Freed);
        drop(place);
        assert_eq!(seen(start), None);
    }

    #[test]
    fn borrowed_memory_is_found_unless_its_owner_is_a_group() {
        let mirrors = mirrors();
        let start = mirrors.read_write().addr().get();
        let borrowed = SlotRegistration::of_borrowed(start, 100, "borrower");
        assert_eq!(seen(start + 99), Some((SlotState::Borrowed, 0, "borrower".into())));
        assert_eq!(seen(start + 100), None);
        let place = SlotRegistration::of(&mirrors);
        place.belongs_to("owner", index(2));
        assert_eq!(seen(start + 99), Some((SlotState::InUse, 2, "owner".into())));
        drop(place);
        drop(borrowed);
        assert_eq!(seen(start), None);
    }

    #[test]
    fn what_is_seen_was_written_at_one_time() {
        let (mirrors, done) = (mirrors(), AtomicBool::new(false));
        let place = SlotRegistration::of(&mirrors);
        let address = mirrors.read_write().addr().get();
        place.belongs_to("0", index(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..20_000 {
                    // The name says the number, as often as there is room.
                    let number = round % 32;
                    place.belongs_to(&format!("{number:02}").repeat(100)[..2 + 198 * (round % 2)], index(number));
                }
                done.store(true, Ordering::Release);
            });
            let mut looks = 0;
            while !done.load(Ordering::Acquire) || looks == 0 {
                let Some((_, number, name)) = seen(address) else { continue };
                // Changed between the one look and the other, it is not shown.
                assert!(name == "?" || name == "0" || name == format!("{number:02}").repeat(name.len() / 2), "{name}");
                looks += 1;
            }
        });
    }

    #[test]
    #[cfg_attr(heap, ignore = "forks")]
    fn what_was_kept_when_the_process_forked_is_not_the_childs() {
        let mirrors = mirrors();
        let place = SlotRegistration::of(&mirrors);
        let address = mirrors.read_write().addr().get();
        place.belongs_to("mine", index(0));
        fork::establish().unwrap();
        place.is_kept();
        // SAFETY: the child only looks, and leaves without cleaning up.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: _exit never returns and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(find(address).is_some())) };
        }
        let mut status = -1;
        // SAFETY: child is this process's own, and status outlives the call.
        unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!((status, find(address).is_some()), (0, true));
    }
}
