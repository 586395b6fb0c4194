//! What [`fork`](crate::os::fork) says where nobody forks, unless a test has it look as if.

#[path = "../../linux/fork/fork_zeroed.rs"]
pub(crate) mod fork_zeroed;
#[path = "../../linux/fork/lock.rs"]
mod lock;
mod page;
#[path = "../../linux/fork/per_process.rs"]
mod per_process;

use crate::os::Refusal;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicUsize, shared};
pub(crate) use lock::{NoFork, hold_off};
pub(crate) use per_process::{PerProcess, SharedPerProcess};

pub(crate) struct AroundForks {
    pub(crate) before: fn(),
    pub(crate) after: fn(),
}

#[cfg(loom)]
shared! {
    static GENERATION: AtomicUsize = AtomicUsize::new(1);
}
#[cfg(not(loom))]
thread_local! {
    /// Of each thread: tests run side by side, and each is a process of its own here.
    static GENERATION: AtomicUsize = const { AtomicUsize::new(1) };
}
shared! {
    static FORKS: AtomicUsize = AtomicUsize::new(0);
}
shared! {
    static AROUND: std::sync::OnceLock<&'static AroundForks> = std::sync::OnceLock::new();
}

pub(crate) fn count() -> u32 {
    FORKS.load(Relaxed) as u32
}

pub(crate) fn set_around(around: &'static AroundForks) {
    let _already = AROUND.set(around);
}

pub(crate) fn generation() -> u32 {
    with_generation(|generation| generation.load(Relaxed)) as u32
}

fn with_generation<R>(work: impl FnOnce(&AtomicUsize) -> R) -> R {
    #[cfg(loom)]
    return work(&GENERATION);
    #[cfg(not(loom))]
    GENERATION.with(work)
}

pub(crate) fn establish() -> Result<u32, Refusal> {
    Ok(generation())
}

/// From now on this process is a child of what it was. Only while no other thread looks.
#[cfg(test)]
pub(crate) fn become_a_child() {
    with_generation(|generation| generation.fetch_add(1, Relaxed));
}

/// Does what a parent does around a fork.
#[cfg(test)]
pub(crate) fn act_as_parent() {
    let lock = lock::begin();
    if let Some(around) = AROUND.get() {
        (around.before)();
    }
    FORKS.fetch_add(1, Relaxed);
    if let Some(around) = AROUND.get() {
        (around.after)();
    }
    if let Some(lock) = lock {
        lock.end();
    }
}
