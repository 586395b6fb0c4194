//! Records that a signal handler can read: a table that grows and never moves or frees anything.

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Records in the first chunk; each further one has twice as many as the one before.
const FIRST_CHUNK_ENTRIES: usize = 64;

/// Enough for all numbers that a record can have.
const CHUNKS: usize = 26;

/// Records of atomics, found by number. No method waits for anybody: one that is interrupted, by a signal or for good
/// by a fork, keeps at most the record that it was about to hand out or to take back.
pub(super) struct Pool<T> {
    chunks: [AtomicPtr<Record<T>>; CHUNKS],
    /// How many records were ever handed out.
    claimed: AtomicU32,
    /// The first free record, its number plus 1; above it, so that nobody takes an old look for a new one, how often
    /// that changed.
    free: AtomicU64,
}

#[derive(Default)]
struct Record<T> {
    /// The next free one behind this, its number plus 1.
    next: AtomicU32,
    value: T,
}

impl<T: Default> Pool<T> {
    pub(super) const fn new() -> Self {
        let chunks = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS];
        Self { chunks, claimed: AtomicU32::new(0), free: AtomicU64::new(0) }
    }

    /// A record that is the caller's until it is [released](Self::release), with what was last in it; `None` without
    /// memory for more.
    pub(super) fn claim(&self) -> Option<u32> {
        self.claim_free().or_else(|| self.claim_new())
    }

    fn claim_free(&self) -> Option<u32> {
        // Acquire pairs with the Release in release: what the last owner wrote comes before what the next one writes.
        let mut free = self.free.load(Ordering::Acquire);
        loop {
            let number = (free as u32).checked_sub(1)?;
            let next = self.record(number)?.next.load(Ordering::Relaxed);
            match self.free.compare_exchange_weak(free, after(free, next), Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(number),
                Err(now) => free = now,
            }
        }
    }

    fn claim_new(&self) -> Option<u32> {
        let mut number = self.claimed.load(Ordering::Relaxed);
        loop {
            self.make_chunk(place(number).0)?;
            // Release pairs with the Acquire in iter: whoever sees the number sees the chunk.
            match self.claimed.compare_exchange_weak(number, number + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(number),
                Err(now) => number = now,
            }
        }
    }

    fn make_chunk(&self, index: usize) -> Option<()> {
        let chunk = self.chunks.get(index)?;
        if !chunk.load(Ordering::Acquire).is_null() {
            return Some(());
        }
        let (mut records, len) = (Vec::new(), FIRST_CHUNK_ENTRIES << index);
        records.try_reserve_exact(len).ok()?;
        records.extend((0..len).map(|_| Record::default()));
        let mine: *mut [Record<T>] = Box::into_raw(records.into_boxed_slice());
        let first = mine.cast::<Record<T>>();
        if chunk.compare_exchange(std::ptr::null_mut(), first, Ordering::Release, Ordering::Relaxed).is_err() {
            // SAFETY: another thread was first, and nobody has seen this one.
            drop(unsafe { Box::from_raw(mine) });
        }
        Some(())
    }

    /// Takes a record back from its owner.
    pub(super) fn release(&self, number: u32) {
        let Some(record) = self.record(number) else { return };
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            record.next.store(free as u32, Ordering::Relaxed);
            match self.free.compare_exchange_weak(free, after(free, number + 1), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }

    /// What is in the record of that number.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.record(number).map(|record| &record.value)
    }

    /// What is in all records that were ever handed out, those that are free now among them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.claimed.load(Ordering::Acquire)).filter_map(|number| self.get(number))
    }

    fn record(&self, number: u32) -> Option<&Record<T>> {
        let (chunk, offset) = place(number);
        let first = self.chunks.get(chunk)?.load(Ordering::Acquire);
        if first.is_null() {
            return None;
        }
        // SAFETY: chunk number c has FIRST << c records, and place says an offset below that.
        let record = unsafe { first.add(offset) };
        // SAFETY: chunks are never freed once they are there, and records are only shared.
        Some(unsafe { &*record })
    }
}

/// The word that `free` becomes when `first` is the first free record.
fn after(free: u64, first: u32) -> u64 {
    ((free >> 32).wrapping_add(1) << 32) | u64::from(first)
}

/// The chunk that a record stands in, and where in it.
fn place(number: u32) -> (usize, usize) {
    // GilChunk c begins with number FIRST * (2^c - 1): with FIRST added, the highest bit tells c, the rest is the
    // offset.
    let shifted = number as usize + FIRST_CHUNK_ENTRIES;
    let chunk = shifted.ilog2() - FIRST_CHUNK_ENTRIES.ilog2();
    (chunk as usize, shifted - (FIRST_CHUNK_ENTRIES << chunk))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn places_follow_each_other() {
        let mut expected = (0, 0);
        for number in 0..10_000 {
            assert_eq!(place(number), expected);
            expected.1 += 1;
            if expected.1 == FIRST_CHUNK_ENTRIES << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        // Where the chunks end, there is still room for a few numbers that mean something else.
        assert_eq!((place(u32::MAX - 64).0, place(u32::MAX - 63).0), (CHUNKS - 1, CHUNKS));
    }

    #[test]
    fn each_record_has_one_owner_at_a_time() {
        static POOL: Pool<AtomicUsize> = Pool::new();
        let own = |me: usize| {
            for round in 0..2000 {
                let mine: Vec<u32> = (0..round % 7).map(|_| POOL.claim().unwrap()).collect();
                for &number in &mine {
                    assert_eq!(POOL.get(number).unwrap().swap(me, Ordering::Relaxed), 0);
                }
                for &number in &mine {
                    assert_eq!(POOL.get(number).unwrap().swap(0, Ordering::Relaxed), me);
                    POOL.release(number);
                }
            }
        };
        std::thread::scope(|scope| (1..=4).for_each(|me| drop(scope.spawn(move || own(me)))));
        // No more were made than were ever in use at once.
        assert!(POOL.iter().count() <= 4 * 6);
        assert!(POOL.iter().all(|owner| owner.load(Ordering::Relaxed) == 0));
    }
}
