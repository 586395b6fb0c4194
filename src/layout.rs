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

/// First and smallest commit window. The call costs 0.4 µs, and 2 µs each page that it finds in vain, so it begins
/// small.
const MIN_WINDOW: usize = 16 * 1024;

/// Largest commit window. `cargo bench -- windows` says what a fresh page costs, in µs on one machine:
///
/// | | by fault | 16 KiB | 32 KiB | 64 KiB | 128 KiB | 256 KiB | 1 MiB | 8 MiB |
/// | --- | --- | --- | --- | --- | --- | --- | --- | --- |
/// | memfd | 2.15 | 2.40 | 2.38 | 2.29 | 2.25 | 2.27 | 2.27 | 2.26 |
/// | anonymous | 1.29 | 1.30 | 1.21 | 1.17 | 1.14 | 1.16 | 1.17 | 1.17 |
///
/// A page costs what finding and clearing it costs: windows are there so that running out is an error and no signal,
/// and past 128 KiB a wider one saves nothing. It only makes those wait who need the same slot's next window, and finds
/// memory that nobody may use; 256 KiB leaves room for machines whose calls cost more.
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
    /// Those and a window ahead: at least `needed`, at most the slot's capacity.
    pub ahead: usize,
    /// The same in whole huge pages, where those are to be had; nobody is refused anything for them.
    pub huge: Option<usize>,
}

/// How far to commit a slot that is committed up to `ready` and must become so up to `end`, in whole pages.
///
/// Windows double with what the slot already holds, from 16 KiB to [`MAX_WINDOW`], so that a small group stays small
/// and a large one commits rarely. A request larger than the window gets its own pages and nothing ahead.
pub fn commit(ready: usize, end: usize, capacity: usize, page: usize) -> Commit {
    let needed = align_up(end, page).map_or(capacity, |end| end.min(capacity));
    let window = ready.clamp(MIN_WINDOW, MAX_WINDOW);
    let ahead = align_up(ready + window, page).map_or(capacity, |end| end.min(capacity)).max(needed);
    Commit { needed, ahead, huge: None }
}

/// Huge pages that a slot may be committed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// Bytes in one, a power of two.
    pub size: usize,
    /// Bytes that may be committed ahead for the sake of huge pages, beside what is committed ahead without them.
    pub allowance: usize,
}

/// The share of what a group has handed out that may be committed for the sake of huge pages alone.
const HUGE_SHARE: usize = 8;

/// The most bytes of one block that are made huge pages as it is handed out. More is faulted in as it is touched:
/// whoever asks for that much at once may never touch most of it.
pub const MAX_HUGE_REQUEST: usize = 64 * 1024 * 1024;

/// The most huge pages that are made of small ones at once, to find out after them whether more are worth it. While the
/// kernel is at it, their bytes may be in memory twice.
pub const MAX_COLLAPSED_AT_ONCE: usize = 4;

impl HugePages {
    /// Huge pages of `size` bytes in a group that has slots from `base` bytes on, has handed out `handed_out` bytes,
    /// and in its other slots has committed `wasted` bytes for the sake of huge pages that nobody uses.
    ///
    /// An eighth of what was handed out may be wasted, or of the base, which says how large the group is going to be. A
    /// base of a huge page and more begins with one.
    pub fn new(size: usize, base: usize, handed_out: usize, wasted: usize) -> Self {
        let first = if base >= size && handed_out <= size { size } else { 0 };
        let share = handed_out.max(base) / HUGE_SHARE;
        Self { size, allowance: share.max(first).saturating_sub(wasted) }
    }

    /// The same in a group that may commit `remaining` bytes more: of them, too, an eighth may be wasted.
    pub fn within(self, remaining: usize) -> Self {
        Self { allowance: self.allowance.min(remaining / HUGE_SHARE), ..self }
    }

    /// The same commit with the end of a huge page for its end, if the allowance is enough for that.
    ///
    /// A huge page that was begun with small ones for the most part goes on so up to its end, and nothing is committed
    /// ahead beyond that, so that the next one can be whole.
    pub fn widen(self, small: Commit, ready: usize, capacity: usize) -> Commit {
        let first = first_huge_page(ready, self.size);
        if small.needed <= first {
            return Commit { ahead: small.ahead.min(first), ..small };
        }
        let whole = small.needed.next_multiple_of(self.size);
        let is_allowed = whole <= small.ahead.saturating_add(self.allowance).min(capacity);
        Commit { ahead: small.ahead.min(whole), huge: is_allowed.then_some(whole), ..small }
    }
}

/// Where the huge pages of `size` bytes begin that a slot committed up to `ready` can be committed in: small pages are
/// made one huge page later, too, while they are no more than half of it. To make more of them one costs what it saves.
pub fn first_huge_page(ready: usize, size: usize) -> usize {
    let begun = ready / size * size;
    if ready - begun <= size / 2 { begun } else { begun + size }
}

/// Size of the chunk that an owner handle takes next, after `taken` bytes, from a group with slots from `base` bytes
/// on.
///
/// Half a slot, and the other half, and on to the next slot: alone in its group, a handle fills every slot, and a small
/// group stays small. At most a mebibyte, and 32 KiB to begin with, however large the slots are.
pub fn chunk(taken: usize, base: usize) -> usize {
    let reach = taken.saturating_add(base.min(DEFAULT_BASE)).max(2);
    (1 << (reach.ilog2() - 1)).min(MAX_CHUNK)
}

/// Whether a slot is to be made of nothing but huge pages, of `size` bytes each, in a group with that limit.
///
/// Nothing smaller can be committed of it then, so neither the slot nor the limit may be small beside one: at most an
/// eighth of such a slot is committed in vain, and at most a sixty-fourth of the limit cannot be used.
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
        assert_eq!(commit(0, large, 8 * MAX_WINDOW, PAGE), Commit { needed: large, ahead: large, huge: None });
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
    fn a_small_group_commits_no_huge_page_and_a_large_one_an_eighth_ahead() {
        let widen = |handed_out, ready, end| {
            let pages = HugePages::new(HUGE, DEFAULT_BASE, handed_out, 0);
            let wide = pages.widen(commit(ready, end, 64 * HUGE, PAGE), ready, 64 * HUGE);
            wide.huge.unwrap_or(wide.ahead)
        };
        assert_eq!(widen(2 * HUGE, 0, 1), MIN_WINDOW);
        assert_eq!(widen(8 * HUGE, 0, 1), HUGE);
        assert_eq!(widen(1000 * HUGE, HUGE, HUGE + 1), 2 * HUGE);
        // What was begun with small pages goes on with them, as far as a huge page would have reached.
        assert_eq!(widen(1000 * HUGE, HUGE - PAGE, HUGE), HUGE);
        assert_eq!(widen(HUGE, HUGE - 2 * PAGE, HUGE - PAGE), HUGE);
        // Unless those are no more than half of it.
        assert_eq!(widen(HUGE, HUGE / 2, HUGE), HUGE);
        assert_eq!(widen(1000 * HUGE, HUGE / 2, HUGE / 2 + 1), HUGE);
        assert_eq!(widen(1000 * HUGE, HUGE / 2 + PAGE, HUGE / 2 + PAGE + 1), HUGE / 2 + PAGE + MAX_WINDOW);
        // Of a large request the end is small, if too much of a huge page would be left over.
        assert_eq!(widen(8 * HUGE, 0, 3 * HUGE - PAGE), 3 * HUGE);
        assert_eq!(widen(4 * HUGE, 0, 3 * HUGE + PAGE), 3 * HUGE + PAGE);
    }

    #[test]
    fn what_is_wasted_in_other_slots_counts() {
        let small = commit(0, 1, HUGE, PAGE);
        let widen = |wasted| HugePages::new(HUGE, DEFAULT_BASE, 16 * HUGE, wasted).widen(small, 0, HUGE).huge;
        assert_eq!(widen(small.ahead), Some(HUGE));
        assert_eq!(widen(HUGE + small.ahead), Some(HUGE));
        assert_eq!(widen(HUGE + small.ahead + 1), None);
        let pages = HugePages::new(HUGE, DEFAULT_BASE, 16 * HUGE, 0);
        assert_eq!(pages.within(8 * HUGE).widen(small, 0, HUGE).huge, Some(HUGE));
        assert_eq!(pages.within(7 * HUGE).widen(small, 0, HUGE).huge, None);
    }

    #[test]
    fn a_base_of_a_huge_page_begins_with_one() {
        let pages = HugePages::new(HUGE, HUGE, 0, 0);
        assert_eq!(pages.widen(commit(0, 1, HUGE, PAGE), 0, HUGE).huge, Some(HUGE));
        // It does not go on with them, unless it is eight times as large.
        let second =
            |base| HugePages::new(HUGE, base, HUGE + 1, 0).widen(commit(HUGE, HUGE + 1, base, PAGE), HUGE, base);
        assert_eq!((second(4 * HUGE).huge, second(8 * HUGE).huge), (None, Some(2 * HUGE)));
        // Nor does a huge page reach beyond the end of the slot.
        let capacity = 2 * HUGE - PAGE;
        assert_eq!(pages.widen(commit(HUGE, HUGE + 1, capacity, PAGE), HUGE, capacity).ahead, HUGE + MAX_WINDOW);
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

        #[test]
        fn huge_pages_waste_no_more_than_their_share(
            ready in 0..1usize << 34, more in 1..1usize << 34, spare in 0..1usize << 34, handed_out in 0..1usize << 40,
            wasted in 0..1usize << 37, base in 1..1usize << 24,
        ) {
            let ready = ready / PAGE * PAGE;
            let capacity = align_up(ready + more + spare, PAGE).unwrap();
            let small = commit(ready, ready + more, capacity, PAGE);
            let pages = HugePages::new(HUGE, base, handed_out, wasted);
            let wide = pages.widen(small, ready, capacity);
            prop_assert_eq!(wide.needed, small.needed);
            prop_assert!(wide.ahead >= wide.needed && wide.ahead <= small.ahead);
            let wide = wide.huge.unwrap_or(wide.ahead);
            prop_assert!(wide >= small.needed && wide <= capacity && wide.is_multiple_of(PAGE));
            prop_assert!(wide <= small.ahead + pages.allowance);
            prop_assert!(wide < small.ahead.max(small.needed + HUGE));
        }
    }
}
