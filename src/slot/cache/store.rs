//! What is kept: by age, and found by its key.

use std::collections::{BTreeMap, BTreeSet};

use super::key::CacheKey;
use super::memory::Memory;

/// The most slots kept. Each takes, with its guards, up to five of the mappings that a process may have (65,530 as
/// Linux comes).
const MAX_SLOTS_KEPT: usize = 1024;

/// Memory in the store.
pub(super) struct Kept {
    pub(super) key: CacheKey,
    pub(super) memory: Memory,
    pub(super) group: u64,
}

/// What this process keeps.
#[derive(Default)]
pub(super) struct Store {
    /// By age, the oldest first. In boxes, because a tree that comes and goes with its only entry should be cheap to
    /// make.
    pub(super) kept: BTreeMap<u64, Box<Kept>>,
    /// The same, to find one by its key.
    shelves: BTreeSet<(CacheKey, u64)>,
    /// All extents together.
    pub(super) committed: usize,
    /// The last age given.
    age: u64,
    /// How many attempts run that warm memory must not stand in the way of.
    pub(super) suspended: usize,
}

impl Store {
    pub(super) fn take(&mut self, key: CacheKey) -> Option<(CacheKey, Memory)> {
        let (first, last) = key.of_any_name();
        let mut of_this_name = self.shelves.range((key, 0)..=(key, u64::MAX));
        let &(_, age) =
            of_this_name.next_back().or_else(|| self.shelves.range((first, 0)..=(last, u64::MAX)).next_back())?;
        self.remove(age).map(|kept| (kept.key, kept.memory))
    }

    /// Keeps memory if there is room for it. To make some, the oldest that other groups left goes; what the same group
    /// left never does, so that of a group larger than the bound the same share is warm in every round.
    pub(super) fn put(&mut self, newcomer: Kept, is_private: bool, limit: usize, given_up: &mut Vec<Kept>) {
        let mut leaving = Vec::new();
        let (mut committed, mut slots) = (self.committed + newcomer.memory.extent, self.kept.len() + 1);
        let mut others = self.kept.iter().filter(|(_, kept)| kept.group != newcomer.group);
        let mut may_stay = self.suspended == 0 && is_private;
        while may_stay && (committed > limit || slots > MAX_SLOTS_KEPT) {
            match others.next() {
                Some((&age, oldest)) => {
                    leaving.push(age);
                    (committed, slots) = (committed - oldest.memory.extent, slots - 1);
                }
                None => may_stay = false,
            }
        }
        if !may_stay {
            return given_up.push(newcomer);
        }
        given_up.extend(leaving.into_iter().filter_map(|age| self.remove(age)));
        self.age += 1;
        self.committed += newcomer.memory.extent;
        self.shelves.insert((newcomer.key, self.age));
        self.kept.insert(self.age, Box::new(newcomer));
    }

    fn remove(&mut self, age: u64) -> Option<Kept> {
        let kept = self.kept.remove(&age)?;
        self.shelves.remove(&(kept.key, age));
        self.committed -= kept.memory.extent;
        Some(*kept)
    }

    /// Gives the oldest up until no more than `limit` bytes are kept; with 0 all there is.
    pub(super) fn trim(&mut self, limit: usize, given_up: &mut Vec<Kept>) {
        while self.committed > limit
            && let Some((&oldest, _)) = self.kept.first_key_value()
        {
            given_up.extend(self.remove(oldest));
        }
    }

    /// Evicts entries whose `madvise` failed. Seldom: the kernel would have to be out of memory.
    pub(super) fn give_up_unless(&mut self, tell: impl Fn(&Memory) -> bool) {
        let deaf: Vec<u64> = self.kept.iter().filter(|(_, kept)| !tell(&kept.memory)).map(|(&age, _)| age).collect();
        deaf.into_iter().filter_map(|age| self.remove(age)).for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{Backing, Mirrors};

    const PAGE: usize = 4096;

    /// Memory that group `group` has left, all `pages` of it resident.
    fn left_by(group: u64, name: &str, pages: usize) -> Kept {
        let (backing, capacity) = (Backing::Memfd, pages * PAGE);
        let mirrors = Mirrors::open(&backing, name, capacity, false).unwrap();
        let key = CacheKey::of(&backing, name, capacity, false).unwrap();
        Kept { key, memory: Memory { resident: capacity, extent: capacity, ..Memory::fresh(mirrors) }, group }
    }

    fn address(kept: &Kept) -> usize {
        kept.memory.mirrors.read_write().addr().get()
    }

    /// Puts it in, and says what had to go: pages, by group.
    fn put(store: &mut Store, newcomer: Kept, limit: usize) -> Vec<(u64, usize)> {
        let mut given_up = Vec::new();
        store.put(newcomer, true, limit * PAGE, &mut given_up);
        check(store);
        given_up.iter().map(|kept| (kept.group, kept.memory.extent / PAGE)).collect()
    }

    fn check(store: &Store) {
        assert_eq!(store.committed, store.kept.values().map(|kept| kept.memory.extent).sum::<usize>());
        assert!(store.shelves.iter().all(|(key, age)| store.kept.get(age).is_some_and(|kept| kept.key == *key)));
        assert_eq!(store.shelves.len(), store.kept.len());
    }

    #[test]
    fn only_memory_of_the_same_size_and_backing_will_do() {
        let mut store = Store::default();
        put(&mut store, left_by(1, "name", 2), 100);
        for (backing, pages) in [(Backing::Memfd, 1), (Backing::Memfd, 4), (Backing::Anonymous, 2)] {
            assert!(store.take(CacheKey::of(&backing, "name", pages * PAGE, false).unwrap()).is_none());
        }
        assert!(store.take(CacheKey::of(&Backing::Memfd, "name", 2 * PAGE, false).unwrap()).is_some());
        assert!(store.take(CacheKey::of(&Backing::Memfd, "name", 2 * PAGE, false).unwrap()).is_none());
        check(&store);
        assert_eq!(CacheKey::of(&Backing::Directory("/tmp".into()), "name", PAGE, false), None);
    }

    #[test]
    fn the_newest_of_the_same_name_is_taken_first_and_any_other_last() {
        let mut store = Store::default();
        let mut addresses = Vec::new();
        for name in ["mine", "mine", "other"] {
            let kept = left_by(1, name, 1);
            addresses.push(address(&kept));
            put(&mut store, kept, 100);
        }
        let key = CacheKey::of(&Backing::Memfd, "mine", PAGE, false).unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| store.take(key)).collect();
        let taken_from: Vec<_> = taken.iter().map(|(_, memory)| memory.mirrors.read_write().addr().get()).collect();
        assert_eq!(taken_from, [addresses[1], addresses[0], addresses[2]]);
        // Whoever uses it, the kernel goes on showing the name that it was made with.
        assert!(taken[0].0 == key && taken[1].0 == key && taken[2].0 != key);
    }

    #[test]
    fn the_oldest_of_other_groups_go_first_and_none_of_the_same() {
        let mut store = Store::default();
        for (group, pages) in [(1, 4), (2, 2), (2, 3), (3, 1)] {
            assert_eq!(put(&mut store, left_by(group, "name", pages), 10), []);
        }
        assert_eq!(put(&mut store, left_by(3, "name", 5), 10), [(1, 4), (2, 2)]);
        // 3 pages of group 2 and 6 of its own are there: not even without the former would it fit, so they stay.
        assert_eq!(put(&mut store, left_by(3, "name", 5), 10), [(3, 5)]);
        assert_eq!(put(&mut store, left_by(3, "name", 4), 10), [(2, 3)]);
        assert_eq!(store.committed, 10 * PAGE);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes a quarter of an hour")]
    fn no_more_slots_are_kept_than_a_process_can_spare_mappings_for() {
        let mut store = Store::default();
        for group in 0..MAX_SLOTS_KEPT as u64 {
            assert_eq!(put(&mut store, left_by(group, "name", 1), usize::MAX / PAGE), []);
        }
        assert_eq!(put(&mut store, left_by(MAX_SLOTS_KEPT as u64, "name", 1), usize::MAX / PAGE), [(0, 1)]);
    }

    #[test]
    fn trimming_leaves_the_newest() {
        let mut store = Store::default();
        for (group, pages) in [(1, 4), (2, 2), (3, 3)] {
            put(&mut store, left_by(group, "name", pages), 100);
        }
        store.trim(5 * PAGE, &mut Vec::new());
        check(&store);
        assert_eq!(store.kept.values().map(|kept| kept.group).collect::<Vec<_>>(), [2, 3]);
        store.trim(0, &mut Vec::new());
        assert_eq!((store.kept.len(), store.committed), (0, 0));
    }

    #[test]
    fn nothing_is_kept_that_a_child_may_use_nor_while_somebody_needs_memory() {
        let (mut store, mut given_up) = (Store::default(), Vec::new());
        store.put(left_by(2, "name", 1), false, 100 * PAGE, &mut given_up);
        assert_eq!((store.kept.len(), given_up.len()), (0, 1));
        store.suspended = 1;
        assert_eq!(put(&mut store, left_by(2, "name", 1), 100), [(2, 1)]);
    }

    #[test]
    fn what_cannot_be_hidden_is_given_up() {
        let mut store = Store::default();
        for (group, pages) in [(1, 4), (2, 2), (3, 3)] {
            put(&mut store, left_by(group, "name", pages), 100);
        }
        store.give_up_unless(|memory| memory.extent != 2 * PAGE);
        check(&store);
        assert_eq!(store.kept.values().map(|kept| kept.group).collect::<Vec<_>>(), [1, 3]);
    }
}
