//! Where bytes go: slot sizes, rounding, commit windows. Integers only; no unsafe, no operating system.
//!
//! Every rule that decides *where* a request lands stands here, so that it can be read, proven and fuzzed alone.

/// The most slots a group can have.
pub const MAX_SLOTS: usize = 32;

/// Size of slot 0 where the user names none: 64 KiB.
pub const DEFAULT_BASE: usize = 64 * 1024;

/// Alignment of a block where the user names none: 16 bytes, what `malloc` gives on 64-bit machines.
pub const DEFAULT_ALIGN: usize = 16;

/// The largest alignment of a block: a page, for both mirrors begin at pages and promise nothing more.
pub const MAX_ALIGN: usize = 4096;

/// No slot is larger than this (64 TiB): both its mirrors must fit in a 47-bit address space.
pub const MAX_SLOT_BYTES: usize = 1 << 46;

/// First and smallest commit window. The call costs 0.4 µs, and 2 µs each page that it finds in vain, so it begins small.
const MIN_WINDOW: usize = 16 * 1024;

/// Largest commit window. `cargo bench -- windows` says what a fresh page costs, in µs on one machine:
///
/// | | by fault | 16 KiB | 32 KiB | 64 KiB | 128 KiB | 256 KiB | 1 MiB | 8 MiB |
/// | --- | --- | --- | --- | --- | --- | --- | --- | --- |
/// | memfd | 2.15 | 2.40 | 2.38 | 2.29 | 2.25 | 2.27 | 2.27 | 2.26 |
/// | anonymous | 1.29 | 1.30 | 1.21 | 1.17 | 1.14 | 1.16 | 1.17 | 1.17 |
///
/// A page costs what finding and clearing it costs: windows are there so that running out is an error and no signal, and past
/// 128 KiB a wider one saves nothing. It only makes those wait who need the same slot's next window, and finds memory that
/// nobody may use; 256 KiB leaves room for machines whose calls cost more.
pub const MAX_WINDOW: usize = 256 * 1024;

/// Largest chunk of an owner handle, for the same reason.
const MAX_CHUNK: usize = MAX_WINDOW;

/// A slot is left for the next one only when less than this fraction of it is unused.
const NEARLY_FULL: usize = 8;

/// Number of a slot. Invariant: less than [`MAX_SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotIndex(u8);

impl SlotIndex {
    /// Of the smallest slot.
    pub(crate) const FIRST: Self = Self(0);

    /// Slot `index`, or `None` if there can be no such slot.
    pub fn new(index: usize) -> Option<Self> {
        (index < MAX_SLOTS).then_some(Self(index as u8))
    }

    /// The number as an index into a table of [`MAX_SLOTS`] entries.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// The sizes of a group's slots: slot `i` holds `base << i` bytes.
///
/// Invariants: `base` is a positive multiple of the page size; `count` slots exist, none larger than
/// [`MAX_SLOT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSizes {
    base: usize,
    count: u8,
}

impl SlotSizes {
    /// Sizes from a base in bytes, rounded up to whole pages.
    ///
    /// `None` if `base` is 0 or larger than [`MAX_SLOT_BYTES`].
    pub fn new(base: usize, page: usize) -> Option<Self> {
        if base == 0 || base > MAX_SLOT_BYTES {
            return None;
        }
        let base = align_up(base, page)?;
        // MAX_SLOT_BYTES / base >= 1, so its integer logarithm is how often base can be doubled.
        let doublings = (MAX_SLOT_BYTES / base).max(1).ilog2() as usize;
        let count = (doublings + 1).min(MAX_SLOTS) as u8;
        Some(Self { base, count })
    }

    /// Bytes in slot 0.
    pub fn base(self) -> usize {
        self.base
    }

    /// Bytes in slot `index`.
    pub fn size_of(self, index: SlotIndex) -> usize {
        self.base << index.get()
    }

    /// The slots this group may have, smallest first.
    pub fn indices(self) -> impl DoubleEndedIterator<Item = SlotIndex> {
        (0..self.count).map(SlotIndex)
    }

    /// Bytes in the last slot: no request larger than this can ever be served.
    pub fn largest(self) -> usize {
        self.base << (self.count - 1)
    }
}

/// The bytes `start..end` of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of the first byte; a multiple of the alignment asked for.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

/// Where `size` bytes aligned to `align` go in a slot of which `used` bytes are taken; `None` on overflow.
///
/// `align` must be a power of two. A request for no bytes takes one, so that every block has an address of its own.
#[inline(always)]
pub fn place(used: usize, size: usize, align: usize) -> Option<Place> {
    debug_assert!(align.is_power_of_two());
    // Wrapping is fine for the sum: used is at most MAX_SLOT_BYTES and align at most a page.
    let start = used.wrapping_add(align - 1) & !(align - 1);
    let end = start.checked_add(size.max(1))?;
    Some(Place { start, end })
}

/// `value` rounded up to a multiple of `align` (a power of two); `None` on overflow.
pub fn align_up(value: usize, align: usize) -> Option<usize> {
    debug_assert!(align.is_power_of_two());
    Some(value.checked_add(align - 1)? & !(align - 1))
}

/// How far a slot is to be committed for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whole pages that the request itself needs.
    pub needed: usize,
    /// The same and a window ahead: at least `needed`, at most the slot's capacity.
    pub ahead: usize,
}

/// How far to commit a slot that is committed up to `ready` and must become so up to `end`, in whole pages.
///
/// Windows double with what the slot already holds, from 16 KiB to [`MAX_WINDOW`], so that a small group stays small
/// and a large one commits rarely. A request larger than the window gets its own pages and nothing ahead.
pub fn commit(ready: usize, end: usize, capacity: usize, page: usize) -> Commit {
    let needed = align_up(end, page).map_or(capacity, |end| end.min(capacity));
    let window = ready.clamp(MIN_WINDOW, MAX_WINDOW);
    let ahead = align_up(ready + window, page).map_or(capacity, |end| end.min(capacity)).max(needed);
    Commit { needed, ahead }
}

/// Size of the chunk that an owner handle takes next, after `taken` bytes, from a group with slots from `base` bytes on.
///
/// Half a slot, and the other half, and on to the next slot: alone in its group, a handle fills every slot, and a small
/// group stays small. At most a mebibyte, and 32 KiB to begin with, however large the slots are.
pub fn chunk(taken: usize, base: usize) -> usize {
    let reach = taken.saturating_add(base.min(DEFAULT_BASE)).max(2);
    (1 << (reach.ilog2() - 1)).min(MAX_CHUNK)
}

/// Whether a slot is to be made of huge pages, of `size` bytes each, in a group with that limit.
///
/// Nothing smaller can be committed of it then, so neither the slot nor the limit may be small beside one: at most an eighth
/// of such a slot is committed in vain, and at most a sixty-fourth of the limit cannot be used.
pub fn is_for_huge_pages(capacity: usize, limit: Option<usize>, size: usize) -> bool {
    capacity >= size.saturating_mul(8) && limit.is_none_or(|limit| limit >= size.saturating_mul(64))
}

/// Whether so little of a slot is unused that it is to be left for the next one.
///
/// A request that is large beside the room left jumps over the slot instead: one huge object must not make all later
/// small ones follow it.
pub fn is_nearly_full(used: usize, capacity: usize) -> bool {
    capacity - used.min(capacity) < capacity / NEARLY_FULL
}

/// Whether a request is so small beside a slot that failing it means the slot is done.
pub fn is_small_for(size: usize, capacity: usize) -> bool {
    size <= capacity / NEARLY_FULL
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: usize = 4096;
    const HUGE: usize = 2 * 1024 * 1024;

    #[test]
    fn sizes_double_and_end_in_time() {
        let sizes = SlotSizes::new(DEFAULT_BASE, PAGE).unwrap();
        let all: Vec<usize> = sizes.indices().map(|index| sizes.size_of(index)).collect();
        assert_eq!(all[..3], [65_536, 131_072, 262_144]);
        assert_eq!(all.len(), 31);
        assert_eq!(*all.last().unwrap(), sizes.largest());
        assert_eq!(sizes.largest(), MAX_SLOT_BYTES);
    }

    #[test]
    fn a_page_for_a_base_gives_all_32_slots() {
        assert_eq!(SlotSizes::new(1, PAGE).unwrap().indices().count(), MAX_SLOTS);
        assert_eq!(SlotSizes::new(1, PAGE).unwrap().base(), PAGE);
    }

    #[test]
    fn absurd_bases_are_refused() {
        for base in [0, MAX_SLOT_BYTES + 1, usize::MAX] {
            assert_eq!(SlotSizes::new(base, PAGE), None);
        }
        assert_eq!(SlotSizes::new(MAX_SLOT_BYTES, PAGE).unwrap().indices().count(), 1);
    }

    #[test]
    fn nothing_takes_one_byte() {
        assert_eq!(place(0, 0, 16), Some(Place { start: 0, end: 1 }));
        assert_eq!(place(1, 0, 16), Some(Place { start: 16, end: 17 }));
    }

    #[test]
    fn a_large_request_commits_nothing_ahead() {
        let large = 3 * MAX_WINDOW;
        assert_eq!(commit(0, large, 8 * MAX_WINDOW, PAGE), Commit { needed: large, ahead: large });
    }

    #[test]
    fn chunks_fill_slot_after_slot() {
        for base in [4096, 16_384, DEFAULT_BASE] {
            let sizes = SlotSizes::new(base, PAGE).unwrap();
            let mut taken = 0;
            for size in sizes.indices().map(|index| sizes.size_of(index)).take_while(|&size| size <= 2 * MAX_CHUNK) {
                for _ in 0..2 {
                    assert_eq!(chunk(taken, base), size / 2);
                    taken += size / 2;
                }
            }
        }
        assert_eq!(chunk(0, 1 << 30), DEFAULT_BASE / 2);
        assert_eq!(chunk(usize::MAX, 1), MAX_CHUNK);
    }

    #[test]
    fn huge_pages_are_for_what_is_large_beside_them() {
        let large = |capacity, limit| is_for_huge_pages(capacity, limit, HUGE);
        assert!(large(8 * HUGE, None) && large(8 * HUGE, Some(64 * HUGE)));
        assert!(!large(8 * HUGE - 1, None) && !large(8 * HUGE, Some(64 * HUGE - 1)));
    }

    proptest! {
        #[test]
        fn sizes_hold_their_invariants(base in 1..=MAX_SLOT_BYTES) {
            let sizes = SlotSizes::new(base, PAGE).unwrap();
            prop_assert!(sizes.base() >= base && sizes.base().is_multiple_of(PAGE) && sizes.base() - base < PAGE);
            for index in sizes.indices() {
                prop_assert!(sizes.size_of(index) <= MAX_SLOT_BYTES);
                prop_assert_eq!(sizes.size_of(index) >> index.get(), sizes.base());
            }
            prop_assert!(sizes.indices().count() == MAX_SLOTS || sizes.largest() > MAX_SLOT_BYTES / 2);
        }

        #[test]
        fn places_are_aligned_and_tight(used in 0..=MAX_SLOT_BYTES, size in 0..=MAX_SLOT_BYTES, shift in 0..13u32) {
            let align = 1 << shift;
            let place = place(used, size, align).unwrap();
            prop_assert!(place.start >= used && place.start - used < align && place.start.is_multiple_of(align));
            prop_assert_eq!(place.end - place.start, size.max(1));
        }

        #[test]
        fn sizes_beyond_reason_overflow_to_none(used in 1..=MAX_SLOT_BYTES) {
            prop_assert_eq!(place(used, usize::MAX, 16), None);
        }

        #[test]
        fn commits_cover_the_request_and_little_more(
            ready in 0..1usize << 40, more in 1..1usize << 34, spare in 0..1usize << 40, is_huge in any::<bool>(),
        ) {
            let page = if is_huge { HUGE } else { PAGE };
            let ready = ready / page * page;
            let end = ready + more;
            let capacity = align_up(end + spare, PAGE).unwrap();
            let commit = commit(ready, end, capacity, page);
            prop_assert!(commit.needed >= end && commit.needed - end < page);
            prop_assert!(commit.ahead >= commit.needed && commit.ahead <= capacity);
            prop_assert!(commit.ahead == commit.needed || commit.ahead - ready <= MAX_WINDOW.max(page));
            let is_whole = |end: usize| end == capacity || end.is_multiple_of(page);
            prop_assert!(is_whole(commit.ahead) && is_whole(commit.needed));
        }
    }
}
