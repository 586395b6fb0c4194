//! Vectors that grow with what a caller passes: where there is no memory for one, that is an error.
//!
//! The allocator refuses where address space is used up. It never refuses for lack of memory: the kernel promises that,
//! and kills when it is touched. So the machine and the cgroups are asked before a large vector is made.

use std::ffi::CStr;

use crate::error::Error;
use crate::os::headroom::{self, Terms};

/// The allocator has the kernel account for what it maps.
const TERMS: Terms = Terms { may_swap: true, is_accounted: true };

/// Says whether so many bytes, which are about to be allocated and touched, can be had.
///
/// # Errors
/// [`Error::Headroom`] or [`Error::Cgroup`].
pub(crate) fn check(bytes: usize) -> Result<(), Error> {
    headroom::check(bytes, TERMS).map_err(|shortage| shortage.refusing(bytes))
}

/// Makes room for `more` elements: for no others where the vector has none yet, else for half as many again at least,
/// so that elements which come one by one are seldom moved.
///
/// # Errors
/// [`Error::Table`], or as [`check`].
#[inline]
pub(crate) fn reserve<T>(vector: &mut Vec<T>, more: usize) -> Result<(), Error> {
    if more <= vector.capacity() - vector.len() {
        return Ok(());
    }
    let more = more.max(vector.len() / 2);
    let objects = vector.len().saturating_add(more);
    check(more.saturating_mul(size_of::<T>()))?;
    vector.try_reserve_exact(more).map_err(|_| Error::Table { objects, bytes: size_of::<T>() })
}

/// Adds an element.
///
/// # Errors
/// As [`reserve`].
#[inline]
pub(crate) fn push<T>(vector: &mut Vec<T>, element: T) -> Result<(), Error> {
    /// Room that an empty vector gets.
    const FIRST: usize = 8;

    if vector.len() == vector.capacity() {
        reserve(vector, FIRST)?;
    }
    vector.push(element);
    Ok(())
}

/// Adds elements.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn extend<T>(vector: &mut Vec<T>, elements: impl IntoIterator<Item = T>) -> Result<(), Error> {
    let elements = elements.into_iter();
    reserve(vector, elements.size_hint().0)?;
    elements.into_iter().try_for_each(|element| push(vector, element))
}

/// The elements in a vector.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn collect<T>(elements: impl IntoIterator<Item = T>) -> Result<Vec<T>, Error> {
    let mut vector = Vec::new();
    extend(&mut vector, elements)?;
    Ok(vector)
}

/// So many elements that are all alike.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn filled<T: Clone>(element: T, len: usize) -> Result<Vec<T>, Error> {
    let mut vector = Vec::new();
    reserve(&mut vector, len)?;
    vector.resize(len, element);
    Ok(vector)
}

/// Many C strings, in two vectors.
#[derive(Debug, Default)]
pub(crate) struct CStrings {
    /// One behind the other, each with its NUL.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl CStrings {
    /// Adds a string, up to its first NUL if it has one.
    ///
    /// # Errors
    /// As [`reserve`].
    pub(crate) fn push(&mut self, string: &[u8]) -> Result<(), Error> {
        let string = string.split(|&byte| byte == 0).next().unwrap_or_default();
        extend(&mut self.bytes, string.iter().copied().chain([0]))?;
        push(&mut self.ends, self.bytes.len())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The string at an index, which must be less than the length.
    pub(crate) fn get(&self, index: usize) -> &CStr {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        CStr::from_bytes_with_nul(&self.bytes[start..self.ends[index]]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_number_gets_room_for_just_as_many() {
        assert_eq!(collect(0..1000).unwrap().capacity(), 1000);
        assert_eq!(filled(7, 3).unwrap(), [7, 7, 7]);
    }

    #[test]
    fn elements_that_come_one_by_one_are_seldom_moved() {
        let (mut vector, mut moves) = (Vec::new(), 0);
        for element in 0..100_000 {
            let before = vector.capacity();
            push(&mut vector, element).unwrap();
            moves += usize::from(vector.capacity() != before);
        }
        assert!(vector.into_iter().eq(0..100_000));
        assert!(moves < 40, "{moves}");
    }

    #[test]
    fn more_than_there_is_is_an_error() {
        let mut vector = vec![1_u64];
        for more in [usize::MAX, usize::MAX / 8, 1 << 50] {
            assert!(reserve(&mut vector, more).is_err(), "{more}");
        }
        assert_eq!(vector, [1]);
    }

    #[test]
    fn strings_come_back_as_they_were() {
        let mut strings = CStrings::default();
        let words = [&b"/one"[..], b"", b"/other/\xff", b"cut\0off"];
        words.iter().for_each(|word| strings.push(word).unwrap());
        assert_eq!(strings.len(), 4);
        let back: Vec<_> = (0..4).map(|index| strings.get(index).to_bytes()).collect();
        assert_eq!(back, [&b"/one"[..], b"", b"/other/\xff", b"cut"]);
    }
}
