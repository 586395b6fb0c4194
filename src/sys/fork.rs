//! Which process of a family of forks this is.
//!
//! Memory of a memfd is shared after `fork`: parent and child must never hand out the same bytes. So a process allocates
//! only from slots of its own *generation*. The generation is a word in a page that the kernel wipes in every forked child
//! (`MADV_WIPEONFORK`): no handler has to run, so no way of forking gets past it, and asking costs one load.
//!
//! What a parent must know of its forks it learns from handlers (`pthread_atfork(3)`), which raw `clone(2)` does not call.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::Refusal;
use super::wiped::Wiped;

/// The wiped word, once there is one. The page behind it is never unmapped.
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

/// The last generation given out in this process or an ancestor. Not wiped.
static LAST: AtomicU32 = AtomicU32::new(0);

/// How often this process has forked. Not by raw `clone(2)`: the C library does not hear of that.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// How often this process has forked since [`establish`] was first called.
pub(crate) fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Held while this process forks, and by whoever must not be interrupted by a fork.
static FORKING: SharedPerProcess<Mutex<()>> = SharedPerProcess::new();

/// Keeps this process from forking for as long as the result lives, and waits for a fork that is under way: one that is
/// counted then has happened, and one that is not has not begun. `None` if there is no memory to tell processes apart.
///
/// Not to be held twice by a thread, nor by one that forks or waits for another that may.
pub(crate) fn hold_off() -> Option<MutexGuard<'static, ()>> {
    Some(FORKING.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What is to be done around a fork by the thread that forks, with all others held off: before, and afterwards in the parent.
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

thread_local! {
    /// From the handler that runs before a fork to the one that runs after it, in the thread that forks.
    static HELD: Cell<Option<MutexGuard<'static, ()>>> = const { Cell::new(None) };
}

extern "C" fn before_fork() {
    let held = hold_off();
    if let Some(around) = around() {
        (around.before)();
    }
    // A thread that ends, and has no such value any more, forks without holding anybody off.
    let _ended = HELD.try_with(|place| place.set(held));
}

extern "C" fn after_fork_in_parent() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    if let Some(around) = around() {
        (around.after)();
    }
    let _ended = HELD.try_with(Cell::take);
}

extern "C" fn after_fork_in_child() {
    // It is the parent's lock, which nobody here will look at again.
    let _ended = HELD.try_with(|place| std::mem::forget(place.take()));
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
    // SAFETY: see generation().
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
    let word = Wiped::<AtomicU32>::new()?;
    handle_forks()?;
    let mine = std::ptr::from_ref(word.get()).cast_mut();
    match WORD.compare_exchange(std::ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(word.leak()),
        // Another thread was first: its page stays, this one goes.
        Err(first) => Ok(NonNull::new(first).unwrap_or(NonNull::dangling())),
    }
}

/// Registers the handlers, once: before the word is there, so that there is no group whose forks go uncounted.
fn handle_forks() -> Result<(), Refusal> {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    // SAFETY: the handlers lock, allocate and make system calls: what the C library allows the thread that forks, before and
    // after; in the child they only forget.
    let refused =
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
    if refused != 0 {
        REGISTERED.store(false, Ordering::Release);
        return Err(Refusal::of("pthread_atfork")(Errno::from_raw(refused)));
    }
    Ok(())
}

/// A value that every process of a family of forks has for itself.
///
/// A child finds a new value where it would find its parent's, so it does not matter in what state a fork caught that one:
/// half changed, or a lock held by a thread that the child does not have. The parent's value is kept, untouched, behind it.
pub(crate) struct PerProcess<T> {
    /// Never null; made by [`Box::into_raw`].
    newest: AtomicPtr<Owned<T>>,
}

struct Owned<T> {
    generation: u32,
    value: T,
    /// Null, or what the process had that this one was forked from. Made by [`Box::into_raw`].
    inherited: AtomicPtr<Owned<T>>,
}

// SAFETY: shares and sends nothing but T, by reference and by value.
unsafe impl<T: Send + Sync> Send for PerProcess<T> {}
// SAFETY: the same.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

impl<T> PerProcess<T> {
    /// `value` for this process.
    pub(crate) fn new(value: T) -> Result<Self, Refusal> {
        let owned = Owned { generation: establish()?, value, inherited: AtomicPtr::default() };
        Ok(Self { newest: AtomicPtr::new(Box::into_raw(Box::new(owned))) })
    }

    /// This process's value, if it has one already.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&T> {
        let newest = self.newest();
        (newest.generation == generation()).then_some(&newest.value)
    }

    /// This process's value, made now if it had none.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> Result<&T, Refusal> {
        let generation = establish()?;
        let newest = self.newest();
        if newest.generation == generation {
            return Ok(&newest.value);
        }
        let theirs = std::ptr::from_ref(newest).cast_mut();
        let mine = Owned { generation, value: make(), inherited: AtomicPtr::new(theirs) };
        let mine = Box::into_raw(Box::new(mine));
        if self.newest.compare_exchange(theirs, mine, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // Another thread of this child was first, and has inherited in this one's stead.
            // SAFETY: mine was made above and never shown to anyone. Dropping it leaves what it points to alone.
            drop(unsafe { Box::from_raw(mine) });
        }
        Ok(&self.newest().value)
    }

    /// The newest value and all inherited ones.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::successors(Some(self.newest()), |owned| {
            // SAFETY: null, or freed only through a unique reference to self.
            unsafe { owned.inherited.load(Ordering::Acquire).as_ref() }
        })
        .map(|owned| &owned.value)
    }

    /// The newest value, and whether it is this process's.
    pub(crate) fn newest_mut(&mut self) -> (&mut T, bool) {
        // SAFETY: never null, and the borrow is unique.
        let newest = unsafe { &mut **self.newest.get_mut() };
        (&mut newest.value, newest.generation == generation())
    }

    /// Takes the inherited values out.
    pub(crate) fn take_inherited(&mut self) -> Vec<T> {
        // SAFETY: never null, and the borrow is unique.
        let newest = unsafe { &mut **self.newest.get_mut() };
        let mut taken = Vec::new();
        let mut next = std::mem::take(newest.inherited.get_mut());
        while !next.is_null() {
            // SAFETY: made by Box::into_raw, and the only copy of the pointer was just taken.
            let mut owned = unsafe { Box::from_raw(next) };
            next = std::mem::take(owned.inherited.get_mut());
            taken.push(owned.value);
        }
        taken
    }

    #[inline(always)]
    fn newest(&self) -> &Owned<T> {
        // Acquire pairs with the exchange in get_or_make.
        let newest = self.newest.load(Ordering::Acquire);
        // SAFETY: never null, and freed only through a unique reference to self.
        unsafe { &*newest }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        self.take_inherited();
        // SAFETY: made by Box::into_raw, and this is the only place that frees it.
        drop(unsafe { Box::from_raw(*self.newest.get_mut()) });
    }
}

/// A [`PerProcess`] for a static, made at first use.
///
/// Not a OnceLock: a fork might catch another thread initialising it, and the child would wait for that thread.
pub(crate) struct SharedPerProcess<T>(AtomicPtr<PerProcess<T>>);

impl<T: Default> SharedPerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// This process's value, the default one to begin with; `None` if there is no memory to tell processes apart.
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire pairs with the exchange below: whoever sees the pointer sees what it points to.
        let mut shared = self.0.load(Ordering::Acquire);
        if shared.is_null() {
            let mine = Box::into_raw(Box::new(PerProcess::new(T::default()).ok()?));
            match self.0.compare_exchange(shared, mine, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => shared = mine,
                Err(first) => {
                    // SAFETY: mine was made above and never shown to anyone.
                    drop(unsafe { Box::from_raw(mine) });
                    shared = first;
                }
            }
        }
        // SAFETY: not null, and never freed once it is there.
        unsafe { &*shared }.get_or_make(T::default).ok()
    }
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
            let wiped = generation() == 0;
            let other = establish().is_ok_and(|generation| generation != mine && generation != 0);
            // SAFETY: _exit never returns and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(!(wiped && other))) };
        }
        assert_eq!(exit_status(child), 0);
        assert_eq!(generation(), mine);
        assert!(count() > forks_before);
    }

    #[test]
    fn a_child_finds_a_value_of_its_own_and_the_parents_behind_it() {
        let mut shared = PerProcess::new(1).unwrap();
        // SAFETY: as above, but for a small allocation, which the C library makes safe after a fork.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let was_unset = shared.get().is_none();
            let made = shared.get_or_make(|| 2).is_ok_and(|value| *value == 2) && shared.get() == Some(&2);
            let behind = shared.iter().eq(&[2, 1]) && shared.take_inherited() == [1] && shared.iter().eq(&[2]);
            // SAFETY: _exit never returns and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(!(was_unset && made && behind))) };
        }
        assert_eq!(exit_status(child), 0);
        assert_eq!(shared.get(), Some(&1));
        assert_eq!(shared.newest_mut(), (&mut 1, true));
    }

    fn exit_status(child: libc::pid_t) -> libc::c_int {
        let mut status = -1;
        // SAFETY: child is this process's own, and status outlives the call.
        unsafe { libc::waitpid(child, &mut status, 0) };
        status
    }
}
