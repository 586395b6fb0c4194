//! Warm memory: what groups leave behind, kept for those that come after them.
//!
//! A page that was used before costs a tenth of one that the kernel has yet to find and clear, and unmapping costs as
//! much again. So the mirrors of a slot that ends go to a store that all groups of the process share, up to a bound,
//! and the next slot with the same key is opened on them: no system call, no fault.
//!
//! What is kept belongs to nobody: a slot comes here when its last reference goes, so no exporter shows its bytes any
//! more.

mod key;
pub(crate) mod limit;
mod memory;
mod store;

use std::sync::PoisonError;

use crate::error::Error;
use crate::os::fork::{self, AroundForks, SharedPerProcess};
use crate::sync::{Mutex, MutexGuard};
pub(crate) use key::CacheKey;
use limit::{limit, set_limit};
pub(crate) use memory::Memory;
use store::{Kept, Store};

/// What this process keeps warm for the next groups; see [`warm_memory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmMemory {
    /// The most bytes that are kept; see [`set_warm_limit`].
    pub limit: usize,
    /// Bytes kept: the committed part of the slots.
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
    set_limit(bytes);
    in_store(|store, given_up| store.trim(bytes, given_up));
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
        memory.settle(committed);
        memory.place.is_kept();
        // No fork is under way in there, so all that there were have been counted.
        in_store(|store, given_up| {
            store.put(Kept { key, memory, group }, forks == fork::count(), limit(), given_up);
        });
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
