//! Pages, page table entries, and what shared mappings show.

use super::anon_vma::AnonVma;
use super::arena::{Id, Ix};

/// A page of memory, or what is left of it in swap.
#[derive(Default)]
pub(in crate::rmap) struct Page {
    /// The address that it was first touched at. Where VMAs were moved since, these translate it ([`Vma::address_of`]).
    ///
    /// [`Vma::address_of`]: super::vma::Vma::address_of
    pub(in crate::rmap) index: u64,
    /// Where a walk begins. None for pages of shared mappings, for pages that are out, and where there is no way back.
    pub(in crate::rmap) mapping: Option<Id<AnonVma>>,
    /// How many page table entries map it.
    pub(in crate::rmap) mapped: u32,
    /// How many page table entries name its place in swap. While there are any, the page is in the swap cache.
    pub(in crate::rmap) swapped: u32,
    /// Whether one process alone has had it since it wrote it, in memory or in swap.
    pub(in crate::rmap) has_owner: bool,
    /// The shared mapping that it belongs to.
    pub(in crate::rmap) object: Option<Ix<Object>>,
}

/// What a shared mapping shows: its pages, kept for as long as a VMA shows them.
#[derive(Default)]
pub(in crate::rmap) struct Object {
    pub(in crate::rmap) vmas: u32,
    /// By index.
    pub(in crate::rmap) pages: Vec<(u64, Ix<Page>)>,
}

/// A page table entry that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rmap) enum Entry {
    /// The page of zeros that all share.
    Zero,
    Present {
        page: Ix<Page>,
        writable: bool,
    },
    Swapped {
        page: Ix<Page>,
    },
}

/// The part of a page table that covers sixteen pages in a row.
#[derive(Clone, Copy, Default)]
pub(in crate::rmap) struct Leaf {
    /// Which words hold an entry.
    filled: u16,
    /// The kind of entry in the low two bits, the page above.
    words: [u32; Leaf::SPAN as usize],
}

impl Leaf {
    /// Pages that it covers.
    pub(in crate::rmap) const SPAN: u64 = 16;

    /// Number of the leaf that covers a page address. Fits: addresses are below [`LIMIT`](crate::rmap::LIMIT), 2³⁶.
    #[inline]
    pub(in crate::rmap) fn number(page: u64) -> u32 {
        (page / Self::SPAN) as u32
    }

    /// The first page address that leaf `number` covers.
    #[inline]
    pub(in crate::rmap) fn first(number: u32) -> u64 {
        u64::from(number) * Self::SPAN
    }

    #[inline]
    fn place(page: u64) -> usize {
        (page % Self::SPAN) as usize
    }

    #[inline]
    pub(in crate::rmap) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    #[inline]
    pub(in crate::rmap) fn get(&self, page: u64) -> Option<Entry> {
        let place = Self::place(page);
        (self.filled >> place & 1 == 1).then(|| decode(self.words[place]))
    }

    #[inline]
    pub(in crate::rmap) fn set(&mut self, page: u64, entry: Entry) {
        let place = Self::place(page);
        self.filled |= 1 << place;
        self.words[place] = encode(entry);
    }

    #[inline]
    pub(in crate::rmap) fn clear(&mut self, page: u64) {
        self.filled &= !(1 << Self::place(page));
    }

    /// The entries for `start..end`, by address, of leaf `number`.
    #[inline]
    pub(in crate::rmap) fn entries(self, number: u32, start: u64, end: u64) -> impl Iterator<Item = (u64, Entry)> {
        let first = Self::first(number);
        let mut left = self.filled;
        std::iter::from_fn(move || {
            while left != 0 {
                let place = left.trailing_zeros();
                left &= left - 1;
                let page = first + u64::from(place);
                if start <= page && page < end {
                    return Some((page, decode(self.words[place as usize])));
                }
            }
            None
        })
    }
}

#[inline]
fn encode(entry: Entry) -> u32 {
    match entry {
        Entry::Zero => 0,
        Entry::Present { page, writable: false } => page.word() << 2 | 1,
        Entry::Present { page, writable: true } => page.word() << 2 | 2,
        Entry::Swapped { page } => page.word() << 2 | 3,
    }
}

#[inline]
fn decode(word: u32) -> Entry {
    let page = Ix::from_word(word >> 2);
    match word & 3 {
        0 => Entry::Zero,
        1 => Entry::Present { page, writable: false },
        2 => Entry::Present { page, writable: true },
        _ => Entry::Swapped { page },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_their_encoding() {
        for word in [0, 1, (1 << 30) - 1] {
            let page = Ix::from_word(word);
            for entry in [
                Entry::Zero,
                Entry::Present { page, writable: false },
                Entry::Present { page, writable: true },
                Entry::Swapped { page },
            ] {
                assert_eq!(decode(encode(entry)), entry);
            }
        }
    }

    #[test]
    fn a_leaf_gives_back_what_lies_in_a_range() {
        let mut leaf = Leaf::default();
        for page in [32, 35, 47] {
            leaf.set(page, Entry::Swapped { page: Ix::from_word(page as u32) });
        }
        let pages = |start, end| leaf.entries(Leaf::number(32), start, end).map(|(page, _)| page).collect::<Vec<_>>();
        assert_eq!(pages(0, u64::MAX), [32, 35, 47]);
        assert_eq!(pages(33, 47), [35]);
        leaf.clear(35);
        assert_eq!((leaf.get(35), leaf.get(47)), (None, Some(Entry::Swapped { page: Ix::from_word(47) })));
    }
}
