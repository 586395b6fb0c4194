//! Memory for bytes on their way to or from a group: of the heap or, for those of a secret group, [locked](Locked).

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use crate::error::Error;
use crate::fallible;
use crate::os::Locked;

/// A vector of plain values, which leaves none of them behind in memory if they are secret.
#[derive(Debug)]
pub(crate) enum Scratch<T> {
    Heap(Vec<T>),
    Locked(LockedVec<T>),
}

impl<T: Copy> Scratch<T> {
    /// No values yet, and no memory.
    pub(crate) fn new(is_secret: bool) -> Self {
        match is_secret {
            false => Self::Heap(Vec::new()),
            true => Self::Locked(LockedVec { pages: None, len: 0, values: PhantomData }),
        }
    }

    /// Bytes, all zero.
    pub(crate) fn zeroed(is_secret: bool, len: usize) -> Result<Self, Error>
    where
        T: Default,
    {
        let mut scratch = Self::new(is_secret);
        scratch.reserve(len)?;
        for place in scratch.spare().iter_mut().take(len) {
            place.write(T::default());
        }
        // SAFETY: so many values were just written, for which reserve has made room.
        unsafe { scratch.set_len(len) };
        Ok(scratch)
    }

    /// Makes room for so many more values.
    ///
    /// # Errors
    /// As [`fallible::reserve`]; also [`Error::Unlocked`] where no more memory can be locked.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), Error> {
        match self {
            Self::Heap(values) => fallible::reserve(values, more),
            Self::Locked(values) => values.reserve(more),
        }
    }

    /// What is reserved and has no values yet.
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<T>] {
        match self {
            Self::Heap(values) => values.spare_capacity_mut(),
            Self::Locked(values) => values.spare(),
        }
    }

    /// # Safety
    /// So many values must be there and written.
    pub(crate) unsafe fn set_len(&mut self, len: usize) {
        match self {
            // SAFETY: so many values are there and written, by contract.
            Self::Heap(values) => unsafe { values.set_len(len) },
            Self::Locked(values) => values.len = len,
        }
    }

    /// Adds values.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve), and nothing is added then.
    pub(crate) fn extend(&mut self, more: &[T]) -> Result<(), Error> {
        self.reserve(more.len())?;
        for (place, &value) in self.spare().iter_mut().zip(more) {
            place.write(value);
        }
        let len = self.len() + more.len();
        // SAFETY: so many values were just written behind those that were there, for which reserve has made room.
        unsafe { self.set_len(len) };
        Ok(())
    }
}

impl<T> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Heap(values) => values,
            // SAFETY: the first len values are there and written, by the contract of set_len, and self is borrowed.
            Self::Locked(values) => unsafe { slice::from_raw_parts(values.start().as_ptr(), values.len) },
        }
    }
}

impl<T> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Heap(values) => values,
            // SAFETY: the first len values are there and written, by the contract of set_len, and self is borrowed
            // uniquely.
            Self::Locked(values) => unsafe { slice::from_raw_parts_mut(values.start().as_ptr(), values.len) },
        }
    }
}

/// Values in locked pages. What it outgrows is overwritten.
#[derive(Debug)]
pub(crate) struct LockedVec<T> {
    pages: Option<Locked>,
    len: usize,
    values: PhantomData<T>,
}

impl<T> LockedVec<T> {
    /// Where the first value is; pages are aligned for any.
    fn start(&self) -> NonNull<T> {
        self.pages.as_ref().map_or(NonNull::dangling(), |pages| pages.start().cast())
    }

    fn capacity(&self) -> usize {
        self.pages.as_ref().map_or(0, |pages| pages.len() / size_of::<T>().max(1))
    }

    fn reserve(&mut self, more: usize) -> Result<(), Error> {
        let wanted = self.len.saturating_add(more);
        if wanted <= self.capacity() {
            return Ok(());
        }
        // Doubled, so that values are moved few times, but only as far as the first request knew no better.
        let wanted = if self.len == 0 { wanted } else { wanted.max(2 * self.capacity()) };
        let bytes = wanted.saturating_mul(size_of::<T>());
        fallible::check(bytes)?;
        let pages = Locked::new(bytes)
            .map_err(|unlocked| unlocked.error(bytes, || format!("locking {bytes} bytes on their way in memory")))?;
        // SAFETY: the new pages hold more values than there are, and nobody else has them.
        unsafe { pages.start().cast::<T>().copy_from_nonoverlapping(self.start(), self.len) };
        self.pages = Some(pages);
        Ok(())
    }

    fn spare(&mut self) -> &mut [MaybeUninit<T>] {
        let room = self.capacity() - self.len;
        // SAFETY: the pages hold len values and as many more as there is room for.
        let first = unsafe { self.start().add(self.len) };
        // SAFETY: that memory is self's, borrowed uniquely, and may be uninitialised.
        unsafe { slice::from_raw_parts_mut(first.as_ptr().cast(), room) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_as_both_kinds_grow() {
        for is_secret in [false, true] {
            let mut scratch = Scratch::new(is_secret);
            let mut expected = Vec::new();
            for round in 0..200_u16 {
                let more: Vec<u16> = (0..round).collect();
                match scratch.extend(&more) {
                    Err(Error::Unlocked { .. }) => return eprintln!("skipped: nothing more can be locked"),
                    extended => extended.unwrap(),
                }
                expected.extend(more);
                assert_eq!(*scratch, *expected);
            }
            scratch[3] = 7;
            assert_eq!(scratch[3], 7);
        }
    }
}
