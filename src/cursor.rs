//! How far a slot is taken and how far it is committed: the two words that make `alloc` lock-free.

use std::ops::Range;

use crate::layout;
use crate::sync::{AtomicUsize, Ordering};

/// The state of a slot: `0..used` is handed out, `0..ready` may be handed out without asking the kernel.
///
/// Invariant: `used <= ready <= capacity of the slot`, and `ready` never goes down, but for the two ends:
/// [`rewind`](Cursor::rewind), which needs the only reference, and [`close`](Cursor::close), after which nothing is handed
/// out any more. `used` goes down where the last bytes are [given back](Cursor::give_back).
///
/// The words hold offsets, never addresses, and no reference to the slot, so that they may one day live elsewhere.
#[derive(Debug)]
pub(crate) struct Cursor {
    used: AtomicUsize,
    ready: AtomicUsize,
}

impl Cursor {
    pub(crate) fn new() -> Self {
        Self { used: AtomicUsize::new(0), ready: AtomicUsize::new(0) }
    }

    /// Takes `size` bytes at `align`: the offset of the first, or `None` if what is ready cannot hold them.
    ///
    /// One atomic read-modify-write where nobody else allocates. A failed call takes nothing.
    #[inline(always)]
    pub(crate) fn bump(&self, size: usize, align: usize) -> Option<usize> {
        // Relaxed: the ranges are disjoint because each exchange starts where the one before it ended in the order of
        // this one word. Nothing else is published through it: who gets a range writes it first.
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let place = layout::place(used, size, align)?;
            // Acquire pairs with the Release in extend: the pages below ready were committed before it moved.
            if place.end > self.ready.load(Ordering::Acquire) {
                return None;
            }
            match self.used.compare_exchange_weak(used, place.end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(place.start),
                Err(now) => used = now,
            }
        }
    }

    /// Takes all that is ready, for somebody who will share it out: the offsets of the first byte and behind the last.
    pub(crate) fn take_rest(&self) -> Option<Range<usize>> {
        // The orderings are those of bump.
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let ready = self.ready.load(Ordering::Acquire);
            if used >= ready {
                return None;
            }
            match self.used.compare_exchange_weak(used, ready, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(used..ready),
                Err(now) => used = now,
            }
        }
    }

    /// Gives back the bytes from `start` to `end`, which the caller has taken and nobody else knows of. Returns whether that
    /// could be: only if nothing was taken behind them.
    ///
    /// If others took what lies behind and gave it back too, that is as good: what counts is where the taken part ends, not
    /// how it came to end there.
    pub(crate) fn give_back(&self, end: usize, start: usize) -> bool {
        debug_assert!(start <= end);
        self.used.compare_exchange(end, start, Ordering::Relaxed, Ordering::Relaxed).is_ok()
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
