//! Values that every process of a family of forks has for itself.

use super::{establish, generation};
use crate::os::Refusal;
use crate::sync::{self, AtomicPtr, Ordering};

/// A value that every process of a family of forks has for itself.
///
/// A child finds a new value where it would find its parent's, so it does not matter in what state a fork caught that
/// one: half changed, or a lock held by a thread that the child does not have. The parent's value is kept, untouched,
/// behind it.
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
// SAFETY: a shared value only lends its T, which is Sync, and may make one, which is Send.
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
        // Acquire pairs with the exchange below. The pointer itself is passed on: one made from a reference could not
        // be freed.
        let theirs = self.newest.load(Ordering::Acquire);
        // SAFETY: never null, and freed only through a unique reference to self.
        let newest = unsafe { &*theirs };
        if newest.generation == generation {
            return Ok(&newest.value);
        }
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
        let newest = unsafe { &mut *self.newest.load(Ordering::Relaxed) };
        (&mut newest.value, newest.generation == generation())
    }

    /// Takes the inherited values out.
    pub(crate) fn take_inherited(&mut self) -> Vec<T> {
        // SAFETY: never null, and the borrow is unique.
        let newest = unsafe { &mut *self.newest.load(Ordering::Relaxed) };
        let mut taken = Vec::new();
        let mut next = sync::take(&mut newest.inherited);
        while !next.is_null() {
            // SAFETY: made by Box::into_raw, and the only copy of the pointer was just taken.
            let mut owned = unsafe { Box::from_raw(next) };
            next = sync::take(&mut owned.inherited);
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
        drop(unsafe { Box::from_raw(sync::take(&mut self.newest)) });
    }
}

/// A [`PerProcess`] for a static, made at first use.
///
/// Not a OnceLock: a fork might catch another thread initialising it, and the child would wait for that thread.
#[cfg(not(loom))]
pub(crate) struct SharedPerProcess<T>(AtomicPtr<PerProcess<T>>);

#[cfg(not(loom))]
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

/// A value that is shared so, where each of loom's executions must find a new one.
#[cfg(loom)]
pub(crate) struct SharedPerProcess<T: 'static>(loom::lazy_static::Lazy<PerProcess<T>>);

#[cfg(loom)]
impl<T: Default> SharedPerProcess<T> {
    pub(crate) const fn new() -> Self {
        let init = || PerProcess::new(T::default()).unwrap_or_else(|_| unreachable!("the stand-in refuses nothing"));
        Self(loom::lazy_static::Lazy { init, _p: std::marker::PhantomData })
    }

    pub(crate) fn get(&'static self) -> Option<&'static T> {
        self.0.get().get_or_make(T::default).ok()
    }
}

#[cfg(all(test, heap, not(loom)))]
mod heap_tests {
    use super::*;
    use crate::os::fork::become_a_child;

    #[test]
    fn values_dropped_in_a_child_are_freed_with_the_inherited_ones() {
        let mut shared = PerProcess::new(Box::new(1)).unwrap();
        for value in 2..5 {
            become_a_child();
            assert_eq!(shared.get_or_make(|| Box::new(value)).map(|value| **value), Ok(value));
        }
        assert!(shared.iter().map(|value| **value).eq([4, 3, 2, 1]));
        assert!(shared.take_inherited().into_iter().eq([3, 2, 1].map(Box::new)));
        become_a_child();
        assert_eq!(shared.get_or_make(|| Box::new(5)).map(|value| **value), Ok(5));
        drop(shared);
    }
}

#[cfg(all(test, not(heap)))]
mod tests {
    use super::*;

    #[test]
    fn a_child_finds_a_value_of_its_own_and_the_parents_behind_it() {
        let mut shared = PerProcess::new(1).unwrap();
        // SAFETY: the child makes a small allocation, which the C library makes safe after a fork, and leaves without
        // cleaning up.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let was_unset = shared.get().is_none();
            let made = shared.get_or_make(|| 2).is_ok_and(|value| *value == 2) && shared.get() == Some(&2);
            let behind = shared.iter().eq(&[2, 1]) && shared.take_inherited() == [1] && shared.iter().eq(&[2]);
            // SAFETY: _exit never returns and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(!(was_unset && made && behind))) };
        }
        let mut status = -1;
        // SAFETY: child is this process's own, and status outlives the call.
        unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(shared.get(), Some(&1));
        assert_eq!(shared.newest_mut(), (&mut 1, true));
    }
}
