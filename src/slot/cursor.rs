//! How far a slot is taken and how far it is committed: the words that make `alloc` lock-free.

use std::ops::Range;
use std::sync::atomic;

use crate::layout;
use crate::sync::{AtomicUsize, Ordering};

/// The state of a slot: `0..used` is handed out, `0..ready` may be handed out without asking the kernel.
///
/// Invariant: `used <= ready <= capacity of the slot`, and neither goes down, but for
/// [`give_back`](Cursor::give_back), by which the owner of the last range returns its end, and for the two ends:
/// [`rewind`](Cursor::rewind), which needs the only reference, and [`close`](Cursor::close), after which nothing is handed
/// out any more.
///
/// The words hold offsets, never addresses, and no reference to the slot, so that they may one day live elsewhere.
#[derive(Debug)]
pub(crate) struct Cursor {
    used: AtomicUsize,
    ready: AtomicUsize,
    /// What `used` was after the last [`bump`](Cursor::bump), perhaps: from there the next one begins.
    ///
    /// A load of `used` waits until the exchange before it has reached the cache, a load of a word that was plainly stored
    /// does not: that makes a bump take as long as a bare atomic addition (on Zen 4 2.6 ns instead of 3.2). Any value will
    /// do, for the exchange compares it with `used`; so loom, whose word this is not, need not try each value that it had.
    guess: atomic::AtomicUsize,
}

impl Cursor {
    pub(crate) fn new() -> Self {
        Self { used: AtomicUsize::new(0), ready: AtomicUsize::new(0), guess: atomic::AtomicUsize::new(0) }
    }

    /// Takes `size` bytes at `align`: the offset of the first, or `None` if what is ready cannot hold them.
    ///
    /// One atomic read-modify-write where nobody else allocates. A failed call takes nothing.
    #[inline(always)]
    pub(crate) fn bump(&self, size: usize, align: usize) -> Option<usize> {
        self.bump_offsets(size, align).map(|(_, start)| start)
    }

    /// The same, and before it where the cursor stood: to there the bytes may be [given back](Self::give_back).
    #[inline(always)]
    pub(crate) fn bump_offsets(&self, size: usize, align: usize) -> Option<(usize, usize)> {
        let guess = self.guess.load(Ordering::Relaxed);
        if let Some(Ok(start)) = self.bump_from(guess, size, align) {
            return Some((guess, start));
        }
        let mut used = self.used();
        loop {
            match self.bump_from(used, size, align)? {
                Ok(start) => return Some((used, start)),
                Err(now) => used = now,
            }
        }
    }

    /// Takes bytes if the cursor stands at `used`: the offset of the first, or else where it stands; `None` if what is ready
    /// behind `used` cannot hold them.
    #[inline(always)]
    fn bump_from(&self, used: usize, size: usize, align: usize) -> Option<Result<usize, usize>> {
        let place = layout::place(used, size, align)?;
        // Acquire pairs with the Release in extend: the pages below ready were committed before it moved.
        if place.end > self.ready.load(Ordering::Acquire) {
            return None;
        }
        // Acquire pairs with the Release in give_back: whoever wrote to the range before is done with it. Otherwise Relaxed:
        // the ranges are disjoint because each exchange starts where the one before it ended in the order of this one word.
        Some(match self.used.compare_exchange_weak(used, place.end, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {
                self.guess.store(place.end, Ordering::Relaxed);
                Ok(place.start)
            }
            Err(now) => Err(now),
        })
    }

    /// Takes all that is ready, for somebody who will share it out: the offsets of the first byte and behind the last.
    pub(crate) fn bump_rest(&self) -> Option<Range<usize>> {
        // The orderings are those of bump_from.
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let ready = self.ready.load(Ordering::Acquire);
            if used >= ready {
                return None;
            }
            match self.used.compare_exchange_weak(used, ready, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(used..ready),
                Err(now) => used = now,
            }
        }
    }

    /// Takes a range back from its owner; false, and nothing happens, if something behind it is taken.
    ///
    /// That `used` may have left the range's end and come back meanwhile is harmless: all that it says is what is taken
    /// *now*, and then nothing behind the end is, while the range is the caller's until the exchange. For the same
    /// reason a bump that looked before and exchanges after it takes what is free.
    pub(crate) fn give_back(&self, taken: Range<usize>) -> bool {
        debug_assert!(taken.start <= taken.end);
        self.used.compare_exchange(taken.end, taken.start, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Makes a range longer for its owner, up to `to`, which must be ready; false, and nothing happens, if something
    /// behind it is taken.
    pub(crate) fn grow(&self, taken: Range<usize>, to: usize) -> bool {
        debug_assert!(taken.end <= to && to <= self.ready());
        // Acquire as in bump: what lies behind the range may have been somebody's.
        self.used.compare_exchange(taken.end, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Bytes handed out, gaps for alignment among them.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes committed.
    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::Acquire)
    }

    /// Lets `bump` hand out everything below `to`. The caller has committed it, and is the only one that extends.
    pub(crate) fn extend(&self, to: usize) {
        self.ready.store(to, Ordering::Release);
    }

    /// Hands out nothing from now on: how much was ready, once.
    pub(crate) fn close(&self) -> usize {
        self.ready.swap(0, Ordering::AcqRel)
    }

    /// Takes every range back. What is committed stays committed.
    pub(crate) fn rewind(&mut self) {
        self.used = AtomicUsize::new(0);
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::Cursor;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Mutex};

    /// Three threads bump, and each extends under a lock when that fails: no two ranges overlap, and none lies beyond
    /// what was committed.
    #[test]
    fn ranges_never_overlap() {
        loom::model(|| {
            const CAPACITY: usize = 64;
            let shared = Arc::new((Cursor::new(), Mutex::new(())));
            let threads: Vec<_> = [24usize, 16]
                .into_iter()
                .map(|size| {
                    let shared = Arc::clone(&shared);
                    loom::thread::spawn(move || take(&shared.0, &shared.1, size, CAPACITY))
                })
                .collect();
            let mine = take(&shared.0, &shared.1, 8, CAPACITY);
            let mut ranges: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
            ranges.extend(mine);
            ranges.sort_unstable();
            assert_eq!(ranges.len(), 3);
            assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            assert!(ranges.iter().all(|range| range.1 <= shared.0.ready()));
        });
    }

    /// Two threads bump, write, and give an end back, which others may take meanwhile: every byte has one owner at a
    /// time, and who gets it next sees that the last one is done with it.
    #[test]
    fn what_is_given_back_has_one_owner_again() {
        loom::model(|| {
            let cursor = Cursor::new();
            cursor.extend(32);
            let bytes = (0..4).map(|_| UnsafeCell::new(0)).collect::<Vec<_>>();
            let shared = Arc::new((cursor, bytes));
            let threads: Vec<_> = (1..=2)
                .map(|owner| {
                    let shared = Arc::clone(&shared);
                    loom::thread::spawn(move || {
                        let (cursor, bytes) = &*shared;
                        let (Some(first), Some(second)) = (cursor.bump(8, 8), cursor.bump(8, 8)) else {
                            panic!("there was room for all");
                        };
                        for offset in [first, second] {
                            own(&bytes[offset / 8], owner);
                        }
                        cursor.give_back(second..second + 8);
                        own(&bytes[first / 8], owner);
                        cursor.used()
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() <= 32));
            // Who gave back while nothing was behind got rid of it; two firsts are always there.
            assert!((16..=32).contains(&shared.0.used()));
        });
    }

    /// Writes a byte. Loom ends the test if another thread's write is not known to be over.
    fn own(byte: &UnsafeCell<u8>, owner: u8) {
        // SAFETY: whoever calls has just been given the byte; that this is enough is what the test is for.
        byte.with_mut(|byte| unsafe { *byte = owner });
    }

    fn take(cursor: &Cursor, lock: &Mutex<()>, size: usize, capacity: usize) -> Option<(usize, usize)> {
        if let Some(start) = cursor.bump(size, 8) {
            return Some((start, start + size));
        }
        let _only_one = lock.lock().unwrap();
        loop {
            if let Some(start) = cursor.bump(size, 8) {
                return Some((start, start + size));
            }
            let end = cursor.used() + size;
            if end > capacity {
                return None;
            }
            cursor.extend(end);
        }
    }
}
