//! Values, slices and strings.

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::Local;
use crate::error::Error;

impl<'g> Local<'g> {
    /// Moves `value` into the group. It is never dropped: memory that it owns elsewhere is not freed.
    ///
    /// # Errors
    /// As [`alloc_layout`](Self::alloc_layout). The value is dropped then; [`alloc_value_with`](Self::alloc_value_with)
    /// makes it only when there is room.
    #[inline]
    pub fn alloc_value<T>(&self, value: T) -> Result<&'g mut T, Error> {
        self.alloc_value_with(|| value)
    }

    /// Moves the value that `make` returns into the group. It is never dropped.
    ///
    /// # Errors
    /// As [`alloc_layout`](Self::alloc_layout); `make` is not called then.
    #[inline]
    pub fn alloc_value_with<T>(&self, make: impl FnOnce() -> T) -> Result<&'g mut T, Error> {
        let mut filling = PartlyFilled::new(self, 1)?;
        filling.push(make());
        // SAFETY: one was pushed, which is all there is room for.
        Ok(unsafe { &mut *filling.finish().cast::<T>() })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// As [`alloc_layout`](Self::alloc_layout).
    #[inline]
    pub fn alloc_slice_copy<T: Copy>(&self, values: &[T]) -> Result<&'g mut [T], Error> {
        let start = self.room_for::<T>(values.len())?;
        // SAFETY: the room was just taken, so it cannot overlap values, and is for as many.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
        // SAFETY: so many were just copied there, and nobody else knows of them.
        Ok(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), values.len()) })
    }

    /// A copy of `text`.
    ///
    /// # Errors
    /// As [`alloc_layout`](Self::alloc_layout).
    #[inline]
    pub fn alloc_str(&self, text: &str) -> Result<&'g mut str, Error> {
        let bytes = self.alloc_slice_copy(text.as_bytes())?;
        // SAFETY: they are the bytes of a str.
        Ok(unsafe { std::str::from_utf8_unchecked_mut(bytes) })
    }

    /// Clones of `values`. They are never dropped, unless a clone panics: then those made so far are.
    ///
    /// # Errors
    /// As [`alloc_layout`](Self::alloc_layout); nothing is cloned then.
    #[inline]
    pub fn alloc_slice_clone<T: Clone>(&self, values: &[T]) -> Result<&'g mut [T], Error> {
        self.alloc_slice_fill_with(values.len(), |index| values[index].clone())
    }

    /// `len` times `value`.
    ///
    /// # Errors
    /// As [`alloc_layout`](Self::alloc_layout), and [`Error::TooLarge`] if there can be no slice of that length.
    #[inline]
    pub fn alloc_slice_fill_copy<T: Copy>(&self, len: usize, value: T) -> Result<&'g mut [T], Error> {
        self.alloc_slice_fill_with(len, |_| value)
    }

    /// `len` values that `make` returns for the indices from 0. They are never dropped, unless `make` panics: then
    /// those made so far are.
    ///
    /// # Errors
    /// As [`alloc_layout`](Self::alloc_layout), and [`Error::TooLarge`] if there can be no slice of that length; `make`
    /// is not called then.
    #[inline]
    pub fn alloc_slice_fill_with<T>(&self, len: usize, mut make: impl FnMut(usize) -> T) -> Result<&'g mut [T], Error> {
        let mut filling = PartlyFilled::new(self, len)?;
        for index in 0..len {
            filling.push(make(index));
        }
        // SAFETY: as many values were pushed as there is room for, so all are initialised, and the room is the caller's
        // for 'g.
        Ok(unsafe { &mut *filling.finish() })
    }

    /// Room for so many values; for no bytes, none is taken.
    #[inline]
    fn room_for<T>(&self, len: usize) -> Result<NonNull<T>, Error> {
        let Ok(layout) = Layout::array::<T>(len) else {
            let largest = self.group.largest();
            return Err(Error::TooLarge { size: len.saturating_mul(size_of::<T>()), largest });
        };
        if layout.size() == 0 {
            return Ok(NonNull::dangling());
        }
        Ok(self.alloc_raw(layout)?.address.cast())
    }
}

/// Room that is being filled. Dropped before it is full, it drops what was pushed, and the room is free again if
/// nothing was taken behind it.
struct PartlyFilled<'l, 'g, T> {
    local: &'l Local<'g>,
    start: NonNull<T>,
    len: usize,
    room: usize,
}

impl<'l, 'g, T> PartlyFilled<'l, 'g, T> {
    #[inline]
    fn new(local: &'l Local<'g>, room: usize) -> Result<Self, Error> {
        Ok(Self { local, start: local.room_for::<T>(room)?, len: 0, room })
    }

    /// Adds a value; there must be room.
    #[inline]
    fn push(&mut self, value: T) {
        debug_assert!(self.len < self.room);
        // SAFETY: below room, so it is within what was taken.
        let place = unsafe { self.start.add(self.len) };
        // SAFETY: the place was taken for a T, is aligned for one, and is nobody else's.
        unsafe { place.write(value) };
        self.len += 1;
    }

    /// The values, from now on the caller's for 'g.
    #[inline]
    fn finish(self) -> *mut [T] {
        let filled = ManuallyDrop::new(self);
        std::ptr::slice_from_raw_parts_mut(filled.start.as_ptr(), filled.len)
    }
}

impl<T> Drop for PartlyFilled<'_, '_, T> {
    #[cold]
    fn drop(&mut self) {
        let bytes = self.room * size_of::<T>();
        let made = NonNull::slice_from_raw_parts(self.start, self.len);
        // SAFETY: the first len were pushed, and nobody else knows of them.
        unsafe { made.drop_in_place() };
        if self.local.is_last(self.start.cast(), bytes) {
            // SAFETY: it is the last, and nothing in it is alive any more. It can always become smaller.
            unsafe { self.local.resize_last(self.start.cast(), 0) };
        }
    }
}
