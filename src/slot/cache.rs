//! Warm memory: what groups leave behind, kept for those that come after them.
//!
//! A page that was used before costs a tenth of one that the kernel has yet to find and clear, and unmapping costs as
//! much again. So the mirrors of a slot that ends go to a store that all groups of the process share, up to a bound,
//! and the next slot with the same key is opened on them: no system call, no fault.
//!
//! What is kept belongs to nobody: a slot comes here when its last reference goes, so no exporter shows its bytes any
//! more.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::PoisonError;

use crate::error::Error;
use crate::fault::SlotRegistration;
use crate::os::fork::{self, AroundForks, SharedPerProcess};
use crate::os::{self, Backing, Mirrors};
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering, shared};

/// The bound where nobody sets one: this, or a share of the memory that the machine and its cgroups allow if that is
/// less.
const DEFAULT_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// The share.
const DEFAULT_SHARE: usize = 16;

/// The most slots kept. Each takes, with its guards, up to five of the mappings that a process may have (65,530 as
/// Linux comes).
const MAX_SLOTS_KEPT: usize = 1024;

/// The environment variable that sets the bound, in bytes, for programs that cannot be changed.
pub(crate) const VARIABLE: &str = "MEMGROUP_WARM_LIMIT";

/// What this process keeps warm for the next groups; see [`warm_memory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmMemory {
    /// The most bytes that are kept; see [`set_warm_limit`].
    pub limit: usize,
    /// Bytes kept: up to where the slots were committed.
    pub committed: usize,
    /// How many slots are kept.
    pub slots: usize,
}

/// What this process keeps of groups that have ended, for those that come.
///
/// ```
/// memgroup::set_warm_limit(64 << 20);
/// memgroup::MemGroup::new()?.alloc(1000)?.fill(1);
/// assert!(memgroup::warm_memory().committed >= 1000); // the group is gone, its memory is kept
/// memgroup::set_warm_limit(0);
/// assert_eq!(memgroup::warm_memory().committed, 0); // given back to the kernel
/// # Ok::<(), memgroup::Error>(())
/// ```
pub fn warm_memory() -> WarmMemory {
    let (committed, slots) = in_store(|store, _| (store.committed, store.kept.len())).unwrap_or_default();
    WarmMemory { limit: limit(), committed, slots }
}

/// Sets the most bytes that are kept warm; 0 keeps none. What is more than that goes back to the kernel at once, the
/// oldest first.
///
/// As the program begins, the bound is what the environment variable `MEMGROUP_WARM_LIMIT` says, a number of bytes, or
/// else 256 MiB or a sixteenth of the memory that the machine and its cgroups allow, whichever is less.
pub fn set_warm_limit(bytes: usize) {
    // Whoever adds to the store after it was trimmed sees the new limit: both hold its lock.
    LIMIT.store(bytes.min(UNSET - 1), Ordering::Relaxed);
    in_store(|store, given_up| store.trim(bytes, given_up));
}

/// What decides which slot may reuse the memory of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CacheKey {
    is_anonymous: bool,
    wants_huge_pages: bool,
    capacity: usize,
    /// The name that the kernel shows of the memory, hashed. The last to be compared, because any name will do.
    name: u64,
}

impl CacheKey {
    /// The key of slots of that size; `None` for those that are never kept: files are for data that memory cannot hold.
    pub(crate) fn of(backing: &Backing, name: &str, capacity: usize, wants_huge_pages: bool) -> Option<Self> {
        let (is_anonymous, name) = match backing {
            Backing::Memfd => (false, hash(name)),
            Backing::Anonymous => (true, 0),
            Backing::Directory(_) => return None,
        };
        Some(Self { is_anonymous, wants_huge_pages, capacity, name })
    }

    /// The same with the first and the last name there can be.
    fn of_any_name(self) -> (Self, Self) {
        (Self { name: 0, ..self }, Self { name: u64::MAX, ..self })
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// The memory of a slot, and how much of it is there.
///
/// Invariants: every page below `resident` is in memory (or swapped out), none beyond `extent` is; `resident <= extent <= capacity`.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Before the mirrors: what is unmapped must not be written down any more.
    pub(crate) place: SlotRegistration,
    pub(crate) mirrors: Mirrors,
    pub(crate) resident: usize,
    pub(crate) extent: usize,
}

impl Memory {
    /// Memory that nobody has used.
    pub(crate) fn fresh(mirrors: Mirrors) -> Self {
        Self { place: SlotRegistration::of(&mirrors), mirrors, resident: 0, extent: 0 }
    }
}

/// Memory in the store.
struct Kept {
    key: CacheKey,
    memory: Memory,
    group: u64,
}

#[derive(Default)]
struct Store {
    /// By age, the oldest first. In boxes, because a tree that comes and goes with its only entry should be cheap to
    /// make.
    kept: BTreeMap<u64, Box<Kept>>,
    /// The same, to find one by its key.
    shelves: BTreeSet<(CacheKey, u64)>,
    /// All extents together.
    committed: usize,
    /// The last age given.
    age: u64,
    /// How many attempts run that warm memory must not stand in the way of.
    suspended: usize,
}

/// The newest memory with that key that the store has, of the same name if there is one, and its own key.
pub(crate) fn take(key: CacheKey) -> Option<(CacheKey, Memory)> {
    in_store(|store, _| store.take(key))?
}

/// Keeps memory for another group, or gives it back to the kernel. `committed` is how far the slot was committed,
/// `forks` how often the process had forked when it was opened.
///
/// Nobody may use the memory any more.
pub(crate) fn keep(key: CacheKey, mut memory: Memory, committed: usize, group: u64, forks: u32) {
    memory.extent = memory.extent.max(committed);
    // Before the slow part: how much is there may have to be asked.
    if (1..=limit()).contains(&memory.extent) {
        settle(&mut memory, committed);
        memory.place.is_kept();
        // No fork is under way in there, so all that there were have been counted.
        in_store(|store, given_up| {
            store.put(Kept { key, memory, group }, forks == fork::count(), limit(), given_up);
        });
    }
}

/// Finds out how far memory is there, and strikes it out of the ledger of promises.
///
/// What was promised to a group is not promised to anybody once the group is gone. The next one has it accounted for
/// again: all that lies beyond `resident` is asked of the machine as if it were new, and promised if it is not
/// populated. So a kept slot neither hides memory that is still to be found (what is below `resident` the kernel has
/// already counted) nor holds back any that nobody will touch.
fn settle(memory: &mut Memory, committed: usize) {
    if committed > memory.resident {
        memory.resident = match memory.mirrors.settle() {
            true => memory.resident + memory.mirrors.resident_from(memory.resident, committed),
            // All of it was populated as it was committed.
            false => committed,
        };
    }
}

/// Makes an attempt, and if the machine refuses while memory is kept, gives all that back and makes it once more, with
/// nothing kept meanwhile: warm memory must never be why somebody is refused.
pub(crate) fn retry_after_eviction<T>(attempt: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    match attempt() {
        Err(error @ (Error::Headroom { .. } | Error::CommitLimit { .. } | Error::Cgroup { .. } | Error::Os { .. })) => {
            match Suspended::begin() {
                Some(_suspended) => attempt(),
                None => Err(error),
            }
        }
        result => result,
    }
}

/// While it lives, nothing is kept.
struct Suspended;

impl Suspended {
    /// `None` if nothing was kept, and so nothing can be won.
    fn begin() -> Option<Self> {
        in_store(|store, given_up| {
            let stood_in_the_way = store.suspended > 0 || !store.kept.is_empty();
            store.trim(0, given_up);
            stood_in_the_way.then(|| store.suspended += 1).map(|()| Self)
        })?
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        in_store(|store, _| store.suspended = store.suspended.saturating_sub(1));
    }
}

static STORE: SharedPerProcess<Mutex<Store>> = SharedPerProcess::new();

/// Works on this process's store, under its lock, and while no fork is under way. What the work gives up is unmapped
/// when the lock is free again, for that takes long; a fork has to wait for the kernel to unmap in any case.
fn in_store<R>(work: impl FnOnce(&mut Store, &mut Vec<Kept>) -> R) -> Option<R> {
    static AROUND_FORKS: AroundForks = AroundForks { before: hide, after: show };

    let mut given_up = Vec::new();
    let no_fork = fork::hold_off()?;
    fork::set_around(&AROUND_FORKS);
    let mut store = lock()?;
    let result = work(&mut store, &mut given_up);
    drop(store);
    drop(given_up);
    drop(no_fork);
    Some(result)
}

fn lock() -> Option<MutexGuard<'static, Store>> {
    Some(STORE.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

// What is kept is nobody's, and no child's either: it is hidden from the child while the process forks. Else each child
// would hold on to what was kept at the time for as long as it lives, and see what the parent's next groups write
// there. The child begins with an empty store and never looks at its copy of this one, whose addresses are free there.

/// Before a fork.
fn hide() {
    if let Some(mut store) = lock() {
        store.give_up_unless(|memory| memory.mirrors.set_inherited(false));
    }
}

/// After it, in the parent: what comes out of the store again is to be inherited as all slots are.
fn show() {
    if let Some(mut store) = lock() {
        store.give_up_unless(|memory| memory.mirrors.set_inherited(true));
    }
}

impl Store {
    fn take(&mut self, key: CacheKey) -> Option<(CacheKey, Memory)> {
        let (first, last) = key.of_any_name();
        let mut of_this_name = self.shelves.range((key, 0)..=(key, u64::MAX));
        let &(_, age) =
            of_this_name.next_back().or_else(|| self.shelves.range((first, 0)..=(last, u64::MAX)).next_back())?;
        self.remove(age).map(|kept| (kept.key, kept.memory))
    }

    /// Keeps memory if there is room for it. To make some, the oldest that other groups left goes; what the same group
    /// left never does, so that of a group larger than the bound the same share is warm in every round.
    fn put(&mut self, newcomer: Kept, is_private: bool, limit: usize, given_up: &mut Vec<Kept>) {
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
    fn trim(&mut self, limit: usize, given_up: &mut Vec<Kept>) {
        while self.committed > limit
            && let Some((&oldest, _)) = self.kept.first_key_value()
        {
            given_up.extend(self.remove(oldest));
        }
    }

    /// Evicts entries whose `madvise` failed. Seldom: the kernel would have to be out of memory.
    fn give_up_unless(&mut self, tell: impl Fn(&Memory) -> bool) {
        let deaf: Vec<u64> = self.kept.iter().filter(|(_, kept)| !tell(&kept.memory)).map(|(&age, _)| age).collect();
        deaf.into_iter().filter_map(|age| self.remove(age)).for_each(drop);
    }
}

/// No limit was set, and the environment was not looked at.
const UNSET: usize = usize::MAX;

shared! {
    /// Not in the store: a child has its parent's limit.
    static LIMIT: AtomicUsize = AtomicUsize::new(UNSET);
}

fn limit() -> usize {
    match LIMIT.load(Ordering::Relaxed) {
        UNSET => {
            let first = first_limit();
            // Whoever was quicker has set what counts.
            LIMIT.compare_exchange(UNSET, first, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|set| set, |_| first)
        }
        limit => limit,
    }
}

/// Whether a layer above shows users what is wrong with the environment; else standard error hears of it.
static IS_SHOWN_ELSEWHERE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Leaves it to the caller to show what [`limit_in_environment`] complains of.
pub(crate) fn leave_complaints_to_caller() {
    IS_SHOWN_ELSEWHERE.store(true, Ordering::Relaxed);
}

fn first_limit() -> usize {
    let default = DEFAULT_LIMIT_BYTES.min(os::headroom::most_memory() / DEFAULT_SHARE);
    match limit_in_environment() {
        Ok(limit) => limit.unwrap_or(default).min(UNSET - 1),
        Err(complaint) => {
            if !IS_SHOWN_ELSEWHERE.load(Ordering::Relaxed) {
                let _nobody_listens = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{complaint}\n"));
            }
            default
        }
    }
}

/// The limit that the environment sets, if it does; where it says something else, a complaint. A program that cannot be
/// changed must not fail for that.
pub(crate) fn limit_in_environment() -> Result<Option<usize>, String> {
    std::env::var_os(VARIABLE).map_or(Ok(None), |value| parse(&value))
}

/// Nothing means nothing was set, as an empty variable does elsewhere.
fn parse(value: &OsStr) -> Result<Option<usize>, String> {
    let text = value.to_str().map_or("?", str::trim);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!("memgroup: {VARIABLE} must be a number of bytes (0 keeps nothing warm), not {value:?}: it is ignored")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    #[cfg_attr(heap, ignore = "asks the kernel")]
    fn what_was_promised_counts_as_warm_as_far_as_it_was_touched() {
        const LEN: usize = 64 * PAGE;
        let mirrors = Mirrors::open(&Backing::Memfd, "promised", LEN, false).unwrap();
        mirrors.commit(0, 8 * PAGE, true).unwrap();
        mirrors.commit(8 * PAGE, LEN, false).unwrap();
        for touched in (8..16).chain(20..24) {
            let page = mirrors.read_write().as_ptr().wrapping_add(touched * PAGE);
            // SAFETY: it is one of LEN / PAGE pages that nobody else knows of.
            unsafe { page.write_volatile(1) };
        }
        let mut memory = Memory::fresh(mirrors);
        settle(&mut memory, LEN);
        assert_eq!(memory.resident, 16 * PAGE);
        // Nothing is promised any more: what is committed from now on was populated.
        settle(&mut memory, 32 * PAGE);
        assert_eq!(memory.resident, 32 * PAGE);
        settle(&mut memory, 4 * PAGE);
        assert_eq!(memory.resident, 32 * PAGE);
    }

    #[test]
    fn the_environment_names_bytes_or_nothing() {
        let parsed = |value: &str| parse(OsStr::new(value));
        assert_eq!(parsed("0"), Ok(Some(0)));
        assert_eq!(parsed(" 1048576\n"), Ok(Some(1 << 20)));
        assert_eq!(parsed(""), Ok(None));
        for nonsense in ["64M", "-1", "1e9", "99999999999999999999999", "\u{fffd}"] {
            assert!(parsed(nonsense).unwrap_err().contains(VARIABLE), "{nonsense}");
        }
    }
}
