//! Arenas: records in rows, named by index, their places used again.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Index as At, IndexMut as AtMut};

use crate::rmap::Error;
use crate::rmap::room::{make_room, put_last};

/// Place of a record in its arena. Says nothing of whether the record that is meant still lives there.
pub(in crate::rmap) struct Ix<T> {
    /// One more than the place, so that an `Option` of this is four bytes as well.
    number: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Ix<T> {
    fn new(place: usize) -> Self {
        let number = u32::try_from(place).ok().and_then(|place| NonZeroU32::MIN.checked_add(place));
        Self { number: number.unwrap_or(NonZeroU32::MAX), of: PhantomData }
    }

    #[inline]
    pub(in crate::rmap) fn get(self) -> usize {
        self.number.get() as usize - 1
    }

    /// The place as a number below 2³⁰: no arena holds more, see [`Arena::MAX_PLACES`].
    #[inline]
    pub(in crate::rmap) fn word(self) -> u32 {
        self.number.get() - 1
    }

    #[inline]
    pub(in crate::rmap) fn from_word(word: u32) -> Self {
        Self { number: NonZeroU32::MIN.saturating_add(word), of: PhantomData }
    }
}

/// A record by name: its place and how often the place was used before. Wrong for ever once the record is gone.
pub(in crate::rmap) struct Id<T> {
    ix: Ix<T>,
    generation: u32,
}

impl<T> Id<T> {
    /// Place and generation in one number. Places that were never used again give the numbers 0, 1, 2, …
    pub(in crate::rmap) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.ix.word())
    }

    pub(in crate::rmap) fn from_number(number: u64) -> Self {
        // Casts that cut: the low half is the place, the high half the generation.
        Self { ix: Ix::from_word(number as u32), generation: (number >> 32) as u32 }
    }
}

// Derived, these would ask the same of T.
macro_rules! plain {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl<T> Clone for $name<T> {
            #[inline]
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T> Copy for $name<T> {}
        impl<T> PartialEq for $name<T> {
            #[inline]
            fn eq(&self, other: &Self) -> bool {
                $(self.$field == other.$field)&&*
            }
        }
        impl<T> Eq for $name<T> {}
        impl<T> Hash for $name<T> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                $(self.$field.hash(state);)*
            }
        }
    )*};
}

plain! {
    Ix { number }
    Id { ix, generation }
}

impl<T> fmt::Debug for Ix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.word())
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number())
    }
}

/// Records of one kind. What is removed leaves its value behind, so that what it owns (vectors) serves the next one.
pub(in crate::rmap) struct Arena<T> {
    places: Vec<ArenaCell<T>>,
    /// How many places were ever taken: those after them are initialised already, and nothing more.
    used: usize,
    /// Has room for every place, so that nothing is refused its end.
    free: Vec<Ix<T>>,
}

struct ArenaCell<T> {
    value: T,
    /// Even while free, odd while in use: a change of hands is two steps.
    stamp: u32,
}

impl<T> ArenaCell<T> {
    fn is_live(&self) -> bool {
        self.stamp & 1 == 1
    }
}

impl<T: Default> Arena<T> {
    /// The most records an arena holds: page table entries have thirty bits for a page.
    pub(in crate::rmap) const MAX_PLACES: usize = 1 << 30;

    pub(in crate::rmap) fn new() -> Self {
        Self { places: Vec::new(), used: 0, free: Vec::new() }
    }

    /// How many records live.
    pub(in crate::rmap) fn len(&self) -> usize {
        self.used - self.free.len()
    }

    /// Makes sure that `more` records of `what` can be taken.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::NoMemory`].
    #[inline]
    pub(in crate::rmap) fn make_room(&mut self, more: usize, what: &'static str) -> Result<(), Error> {
        let fresh = more.saturating_sub(self.free.len());
        if fresh == 0 { Ok(()) } else { self.grow(fresh, what) }
    }

    fn grow(&mut self, fresh: usize, what: &'static str) -> Result<(), Error> {
        if fresh > Self::MAX_PLACES - self.used {
            return Err(Error::Full { what });
        }
        let places = self.used + fresh;
        let (new, to_free) = (places.saturating_sub(self.places.len()), places - self.free.len());
        make_room(&mut self.places, new)?;
        make_room(&mut self.free, to_free)
    }

    /// Makes room for records, and lets `prepare` make sure of what these records will need besides.
    pub(in crate::rmap) fn make_room_with(
        &mut self,
        more: usize,
        what: &'static str,
        mut prepare: impl FnMut(&mut T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.make_room(more, what)?;
        let again = more.min(self.free.len());
        for ix in &self.free[self.free.len() - again..] {
            prepare(&mut self.places[ix.get()].value)?;
        }
        for place in self.used..self.used + (more - again) {
            if place == self.places.len() {
                put_last(&mut self.places, ArenaCell { value: T::default(), stamp: 0 });
            }
            prepare(&mut self.places[place].value)?;
        }
        Ok(())
    }

    /// A place for a new record, with whatever the last one there left behind. There must be [room](Self::make_room).
    #[inline]
    pub(in crate::rmap) fn take(&mut self) -> Ix<T> {
        let ix = self.free.pop().unwrap_or_else(|| {
            if self.used == self.places.len() {
                put_last(&mut self.places, ArenaCell { value: T::default(), stamp: 0 });
            }
            self.used += 1;
            Ix::new(self.used - 1)
        });
        self.places[ix.get()].stamp = self.places[ix.get()].stamp.wrapping_add(1);
        ix
    }

    /// Ends a record.
    #[inline]
    pub(in crate::rmap) fn remove(&mut self, ix: Ix<T>) {
        let place = &mut self.places[ix.get()];
        debug_assert!(place.is_live());
        place.stamp = place.stamp.wrapping_add(1);
        put_last(&mut self.free, ix);
    }

    /// The name of the record that lives at a place.
    #[inline]
    pub(in crate::rmap) fn id(&self, ix: Ix<T>) -> Id<T> {
        Id { ix, generation: self.places[ix.get()].stamp >> 1 }
    }

    /// The place of a named record, if it still lives.
    #[inline]
    pub(in crate::rmap) fn find(&self, id: Id<T>) -> Option<Ix<T>> {
        let place = self.places.get(id.ix.get())?;
        (place.is_live() && place.stamp >> 1 == id.generation).then_some(id.ix)
    }

    /// What is at a place, if there is such a place; its record need not live.
    #[inline]
    pub(in crate::rmap) fn get(&self, ix: Ix<T>) -> Option<&T> {
        self.places.get(ix.get()).map(|place| &place.value)
    }

    /// Every record that lives, by place.
    pub(in crate::rmap) fn iter(&self) -> impl Iterator<Item = (Ix<T>, &T)> {
        let places = self.places.iter().enumerate();
        places.filter(|(_, place)| place.is_live()).map(|(number, place)| (Ix::new(number), &place.value))
    }

    /// How many places there are, used or not: every index is below.
    pub(in crate::rmap) fn places(&self) -> usize {
        self.used
    }
}

impl<T> At<Ix<T>> for Arena<T> {
    type Output = T;

    #[inline]
    fn index(&self, ix: Ix<T>) -> &T {
        &self.places[ix.get()].value
    }
}

impl<T> AtMut<Ix<T>> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, ix: Ix<T>) -> &mut T {
        &mut self.places[ix.get()].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_dies_with_its_record() {
        let mut arena = Arena::<u8>::new();
        arena.make_room(2, "numbers").unwrap();
        let (first, second) = (arena.take(), arena.take());
        let name = arena.id(first);
        assert_eq!((name.number(), arena.id(second).number()), (0, 1));
        assert_eq!(arena.find(name), Some(first));
        arena.remove(first);
        assert_eq!((arena.find(name), arena.len()), (None, 1));
        let third = arena.take();
        assert_eq!(third, first);
        assert_ne!(arena.id(third), name);
        assert_eq!((arena.find(name), arena.find(arena.id(third))), (None, Some(third)));
        assert_eq!(Id::from_number(arena.id(third).number()), arena.id(third));
    }

    #[test]
    fn a_name_of_nothing_is_not_found() {
        let arena = Arena::<u8>::new();
        assert_eq!(arena.find(Id::from_number(u64::MAX)), None);
        assert_eq!(arena.find(Id::from_number(0)), None);
    }

    #[test]
    fn there_is_an_end_to_places() {
        let mut arena = Arena::<u8>::new();
        assert_eq!(arena.make_room(Arena::<u8>::MAX_PLACES + 1, "numbers"), Err(Error::Full { what: "numbers" }));
        arena.make_room(3, "numbers").unwrap();
        let taken = [arena.take(), arena.take(), arena.take()];
        arena.remove(taken[1]);
        assert_eq!(arena.make_room(Arena::<u8>::MAX_PLACES - 1, "numbers"), Err(Error::Full { what: "numbers" }));
        assert_eq!((arena.len(), arena.places()), (2, 3));
    }

    #[test]
    fn places_are_initialised_before_they_are_taken() {
        let mut arena = Arena::<Vec<u8>>::new();
        arena.make_room(2, "vectors").unwrap();
        let (first, second) = (arena.take(), arena.take());
        arena.remove(first);
        let prepare = |vector: &mut Vec<u8>| make_room(vector, 8);
        arena.make_room_with(3, "vectors", prepare).unwrap();
        assert_eq!((arena.len(), arena.places(), arena.iter().count()), (1, 2, 1));
        for _ in 0..3 {
            let next = arena.take();
            assert!(next != second && arena[next].capacity() >= 8);
        }
        assert_eq!((arena.len(), arena.places()), (4, 4));
    }

    #[test]
    fn an_optional_index_is_a_word() {
        assert_eq!(size_of::<Option<Ix<u8>>>(), 4);
    }
}
