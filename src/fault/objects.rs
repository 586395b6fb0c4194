//! The objects whose addresses were given out, as far as a layer above says which: a signal handler looks them up.
//!
//! A store into a read-only mirror, or a stale access, comes by an address that somebody was given. In Python that is
//! when a block becomes an exporter, and it is one for as long as it lives; so the exporters are all the objects there
//! are to be named, and neither `alloc` nor `protect` need write anything down.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use super::pool::Pool;

static OBJECTS: Pool<ObjectNote> = Pool::new();

#[derive(Default)]
struct ObjectNote {
    /// 0 while there is no object.
    start: AtomicUsize,
    len: AtomicUsize,
}

/// Writes down that an object of `len` bytes lives at that address; `None` without memory to do so.
pub(crate) fn note(start: usize, len: usize) -> Option<u32> {
    let number = OBJECTS.claim()?;
    let entry = OBJECTS.get(number)?;
    entry.len.store(len, Ordering::Relaxed);
    // Release pairs with the Acquire in look: whoever sees the start sees the length.
    entry.start.store(start, Ordering::Release);
    Some(number)
}

/// Strikes it out again.
pub(crate) fn forget(number: u32) {
    if let Some(entry) = OBJECTS.get(number) {
        entry.start.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
    }
    OBJECTS.release(number);
}

/// An object, and where in it, before it or behind it an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundObject {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) at: Relation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// So many bytes from its beginning.
    Within(usize),
    /// So many bytes before it.
    Before(usize),
    /// So many bytes behind its last; at least 1.
    Behind(usize),
}

/// How far from an object an address may be to be taken for one that was meant to be in it.
const NEAR_BYTES: usize = 4096;

/// The smallest object at an address, or else the one that ends or begins nearest to it, of those within a range. It
/// neither waits nor allocates.
pub(super) fn find(address: usize, within: &Range<usize>) -> Option<FoundObject> {
    let found = OBJECTS.iter().filter_map(ObjectNote::look);
    let found = found.filter(|&(start, len)| within.start <= start && start + len <= within.end);
    let found = found.map(|(start, len)| FoundObject { start, len, at: relation(address, start, len) });
    found.filter(|found| found.distance().0 <= NEAR_BYTES).min_by_key(FoundObject::distance)
}

impl ObjectNote {
    fn look(&self) -> Option<(usize, usize)> {
        let start = self.start.load(Ordering::Acquire);
        let len = self.len.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        (start != 0 && self.start.load(Ordering::Relaxed) == start).then_some((start, len))
    }
}

impl FoundObject {
    /// The less, the likelier it is the one that was meant.
    fn distance(&self) -> (usize, usize) {
        match self.at {
            Relation::Within(_) => (0, self.len),
            Relation::Before(by) | Relation::Behind(by) => (by, self.len),
        }
    }
}

fn relation(address: usize, start: usize, len: usize) -> Relation {
    match address.checked_sub(start) {
        None => Relation::Before(start - address),
        Some(offset) if offset < len => Relation::Within(offset),
        Some(offset) => Relation::Behind(offset - len + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_object_is_found() {
        const AT: usize = 0x7777_0000_0000; // where no other test notes anything
        let within = AT..AT + 1000;
        let notes = [(100, 50), (110, 10), (200, 20), (1000, 10)].map(|(start, len)| note(AT + start, len).unwrap());
        for (address, expected) in [
            (0, (100, 50, Relation::Before(100))),
            (99, (100, 50, Relation::Before(1))),
            (100, (100, 50, Relation::Within(0))),
            (110, (110, 10, Relation::Within(0))),
            (119, (110, 10, Relation::Within(9))),
            (120, (100, 50, Relation::Within(20))),
            (150, (100, 50, Relation::Behind(1))),
            (190, (200, 20, Relation::Before(10))),
            (999, (200, 20, Relation::Behind(780))),
        ] {
            let found = find(AT + address, &within).unwrap();
            assert_eq!((found.start - AT, found.len, found.at), expected);
        }
        notes.into_iter().for_each(forget);
        assert_eq!(find(AT + 110, &within), None);
    }
}
