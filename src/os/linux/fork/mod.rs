//! Which process of a family of forks this is.
//!
//! Memory of a memfd is shared after `fork`: parent and child must never hand out the same bytes. So a process
//! allocates only from slots of its own *generation*. The generation is a word in a page that the kernel wipes in every
//! forked child (`MADV_WIPEONFORK`): no handler has to run, so no way of forking gets past it, and asking costs one
//! load.
//!
//! What a parent must know of its forks it learns from handlers (`pthread_atfork(3)`), which raw `clone(2)` does not
//! call.

pub(crate) mod fork_zeroed;
mod lock;
mod page;
mod per_process;

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use nix::errno::Errno;

use crate::error::Operation;
use crate::os::Refusal;
use crate::os::temporary::Descriptors;
use fork_zeroed::ForkZeroed;
use lock::ForkLock;
pub(crate) use lock::{NoFork, hold_off};
pub(crate) use per_process::{PerProcess, SharedPerProcess};

/// The word that a fork zeroes, once there is one. The page behind it is never unmapped.
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

/// The last generation given out in this process or an ancestor. A fork does not zero it.
static LAST: AtomicU32 = AtomicU32::new(0);

/// How often this process has forked. Not by raw `clone(2)`: the C library does not hear of that.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// How often this process has forked since [`establish`] was first called.
pub(crate) fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// What is to be done around a fork by the thread that forks, with all others held off: before, and afterwards in the
/// parent.
pub(crate) struct AroundForks {
    pub(crate) before: fn(),
    pub(crate) after: fn(),
}

/// Null, or what there is to do.
static AROUND: AtomicPtr<AroundForks> = AtomicPtr::new(std::ptr::null_mut());

/// Has something done around each fork from now on, instead of what was said before.
pub(crate) fn set_around(around: &'static AroundForks) {
    AROUND.store(std::ptr::from_ref(around).cast_mut(), Ordering::Release);
}

fn around() -> Option<&'static AroundForks> {
    // SAFETY: null, or a static reference.
    unsafe { AROUND.load(Ordering::Acquire).as_ref() }
}

/// What the thread that forks has between the handlers.
#[derive(Clone, Copy)]
struct Forking {
    lock: &'static ForkLock,
    descriptors: Option<&'static Descriptors>,
}

thread_local! {
    static FORKING: Cell<Option<Forking>> = const { Cell::new(None) };
}

// Two threads that come first may both register the handlers: of each kind, the second to run for one fork does
// nothing.

extern "C" fn before_fork() {
    if FORKING.get().is_none()
        && let Some(lock) = lock::begin()
    {
        FORKING.set(Some(Forking { lock, descriptors: Descriptors::get() }));
        if let Some(around) = around() {
            (around.before)();
        }
    }
}

extern "C" fn after_fork_in_parent() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    if let Some(Forking { lock, .. }) = FORKING.take() {
        if let Some(around) = around() {
            (around.after)();
        }
        lock.end();
    }
}

extern "C" fn after_fork_in_child() {
    // The lock is the parent's, which nobody here will look at again.
    if let Some(Forking { descriptors: Some(descriptors), .. }) = FORKING.take() {
        descriptors.close_those_of_others();
    }
}

/// This process's generation, or 0 if it has none yet: before the first group, and after a fork until [`establish`].
#[inline(always)]
pub(crate) fn generation() -> u32 {
    // Acquire pairs with the Release in establish: whoever sees the pointer sees the mapped page.
    let word = WORD.load(Ordering::Acquire);
    // SAFETY: WORD is null or points to a word in a page that is mapped until the process ends.
    unsafe { word.as_ref() }.map_or(0, |word| word.load(Ordering::Relaxed))
}

/// This process's generation, given out now if it had none. Never 0.
pub(crate) fn establish() -> Result<u32, Refusal> {
    let word = match NonNull::new(WORD.load(Ordering::Acquire)) {
        Some(word) => word,
        None => make_word()?,
    };
    // SAFETY: the word lies in a page that is mapped until the process ends.
    let word = unsafe { word.as_ref() };
    let mut current = word.load(Ordering::Relaxed);
    if current == 0 {
        let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        // Two threads may come here at once: the first one's number counts, the other's is never used.
        current = word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|now| now, |_| next);
    }
    Ok(current)
}

fn make_word() -> Result<NonNull<AtomicU32>, Refusal> {
    let word = ForkZeroed::<AtomicU32>::new()?;
    handle_forks()?;
    let mine = std::ptr::from_ref(word.get()).cast_mut();
    match WORD.compare_exchange(std::ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(word.leak()),
        // Another thread was first: its page stays, this one goes.
        Err(first) => Ok(NonNull::new(first).unwrap_or(NonNull::dangling())),
    }
}

/// Registers the handlers: before the word is there, so that there is no group whose forks go uncounted. Nobody waits
/// for another thread that is about to, which a fork might leave behind.
fn handle_forks() -> Result<(), Refusal> {
    static ARE_REGISTERED: AtomicBool = AtomicBool::new(false);
    if ARE_REGISTERED.load(Ordering::Acquire) {
        return Ok(());
    }
    // SAFETY: the handlers lock, allocate and make system calls: what the C library allows the thread that forks,
    // before and
    // after; in the child they take a lock that is free and close descriptors.
    let refused =
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
    if refused != 0 {
        return Err(Refusal::of(Operation::HandleForks)(Errno::from_raw(refused)));
    }
    ARE_REGISTERED.store(true, Ordering::Release);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_of_another_generation() {
        let mine = establish().unwrap();
        let forks_before = count();
        assert_eq!(generation(), mine);
        // SAFETY: the child only calls functions that neither lock nor allocate, then leaves without cleaning up.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fork_zeroed = generation() == 0;
            let other = establish().is_ok_and(|generation| generation != mine && generation != 0);
            // SAFETY: _exit never returns and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(!(fork_zeroed && other))) };
        }
        assert_eq!(exit_status(child), 0);
        assert_eq!(generation(), mine);
        assert!(count() > forks_before);
    }

    fn exit_status(child: libc::pid_t) -> libc::c_int {
        let mut status = -1;
        // SAFETY: child is this process's own, and status outlives the call.
        unsafe { libc::waitpid(child, &mut status, 0) };
        status
    }
}
