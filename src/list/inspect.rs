//! Lists inspected as a whole: what occurs in which record, and lists of some records of another.
//!
//! A search runs over stretches of memory, many records at a time; what it finds is then placed in its record. So what occurs in few
//! records costs one search over all bytes. An occurrence that reaches beyond its record is none.

use std::ops::Range;

use memchr::memmem::Finder;

use super::layout::{ListLayout, Part, Span};
use super::layout_builder::LayoutBuilder;
use super::{List, ProtectedList};
use crate::error::Error;
use crate::fallible;
use crate::slot::{LiveSlots, Mirror};
use crate::sync::shared_bytes;

/// Records that are searched in one go, if little lies between them.
const STRETCH_RECORDS: usize = 1024;

/// Bytes between two records that are searched along with them: what alignment leaves at most as a rule.
const PADDING_BYTES: usize = 64;

/// The memory of some records of a list, for as long as its slots are there.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    slots: LiveSlots<'a>,
    layout: &'a ListLayout,
    part: Part,
    mirror: Mirror,
}

/// Consecutive records, and the bytes from the beginning of the first to the end of the last.
struct Stretch<'a> {
    objects: Range<usize>,
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// # Safety
    /// The list must lie in those slots, be mapped, and have that mirror.
    pub(crate) unsafe fn new(slots: LiveSlots<'a>, layout: &'a ListLayout, part: Part, mirror: Mirror) -> Self {
        Self { slots, layout, part, mirror }
    }

    /// Which of the records at some indices the needle occurs in.
    pub(crate) fn contains(self, indices: Range<usize>, needle: &[u8], mask: &mut [bool]) {
        if needle.is_empty() {
            return mask.fill(true);
        }
        self.search(indices, needle, |at, _| {
            mask[at] = true;
            false
        });
    }

    /// The offset in each record where the needle occurs first: what is passed is called with those that have one.
    pub(crate) fn find(self, indices: Range<usize>, needle: &[u8], mut found: impl FnMut(usize, usize)) {
        if needle.is_empty() {
            return (0..indices.len()).for_each(|at| found(at, 0));
        }
        self.search(indices, needle, |at, offset| {
            found(at, offset);
            false
        });
    }

    /// How often the needle occurs in each record without overlapping itself; the counts are added to.
    pub(crate) fn count<N: Copy + From<u8> + std::ops::AddAssign>(
        self,
        indices: Range<usize>,
        needle: &[u8],
        counts: &mut [N],
        number: impl Fn(usize) -> N,
    ) {
        match needle {
            [] => self.each(indices, |at, record| counts[at] += number(record.len() + 1)),
            // What may be frequent is counted faster than found.
            &[byte] => self.each(indices, |at, record| counts[at] += number(memchr::memchr_iter(byte, record).count())),
            needle => self.search(indices, needle, |at, _| {
                counts[at] += N::from(1);
                true
            }),
        }
    }

    /// Works on the bytes of each record, with how many came before it.
    pub(crate) fn each(self, indices: Range<usize>, mut work: impl FnMut(usize, &[u8])) {
        let mut run = 0;
        for (at, index) in indices.enumerate() {
            let span = self.layout.object_near(&mut run, self.part.object(index));
            // SAFETY: the span is an object's.
            work(at, unsafe { self.bytes(span) });
        }
    }

    /// Goes through the occurrences of a needle that is not empty: `found` is called with how many records came before, and with the
    /// offset in the record, and says whether to go on in the same one.
    fn search(self, indices: Range<usize>, needle: &[u8], mut found: impl FnMut(usize, usize) -> bool) {
        let finder = Finder::new(needle);
        let (mut run, mut index) = (0, indices.start);
        while index < indices.end {
            let stretch = self.stretch(index..indices.end, &mut run);
            let (before, first) = (index - indices.start, stretch.objects.start);
            index += stretch.objects.len();
            self.search_stretch(&stretch, &finder, |object, offset| found(before + object - first, offset));
        }
    }

    fn search_stretch(self, stretch: &Stretch<'_>, finder: &Finder<'_>, mut found: impl FnMut(usize, usize) -> bool) {
        let (columns, width) = (self.layout.columns(), finder.needle().len());
        let Range { start: mut object, end } = stretch.objects;
        let origin = columns.start(object);
        let mut at = 0;
        while let Some(hit) = stretch.bytes.get(at..).and_then(|rest| finder.find(rest)) {
            let hit = at + hit;
            object = columns.last_starting_by(object..end, origin + hit, origin + stretch.bytes.len());
            let start = columns.start(object) - origin;
            let is_within = hit + width <= start + columns.size(object);
            if is_within && found(object, hit - start) {
                at = hit + width;
                continue;
            }
            // There is no other in this record, or none is asked for.
            object += 1;
            if object == end {
                break;
            }
            at = columns.start(object) - origin;
        }
    }

    /// The records from the first index on that are searched in one go.
    fn stretch(self, indices: Range<usize>, run: &mut usize) -> Stretch<'a> {
        let columns = self.layout.columns();
        let first = self.part.object(indices.start);
        let span = self.layout.object_near(run, first);
        let last = self.layout.end_of(*run).min(first + indices.len().min(STRETCH_RECORDS)) - 1;
        let mut len = span.len;
        let mut objects = first..first + 1;
        if self.part.step() == 1 && last > first {
            let extent = columns.start(last) + columns.size(last) - columns.start(first);
            // Where little lies between the records of the whole list, the sizes of these need not be read.
            let is_dense = is_dense(columns.extent(), columns.nbytes(), columns.len())
                || is_dense(extent, columns.sum_of_sizes(first..last + 1), last - first);
            if is_dense {
                (objects, len) = (first..last + 1, extent);
            }
        }
        // SAFETY: consecutive objects of a run lie one behind the other in its slot.
        Stretch { objects, bytes: unsafe { self.bytes(Span { len, ..span }) } }
    }

    /// # Safety
    /// The span must be of the list.
    unsafe fn bytes(self, span: Span) -> &'a [u8] {
        // SAFETY: the list lies in these slots, by the contract of `new`.
        let slot = unsafe { self.slots.get(span.slot) };
        // SAFETY: a span of a list ends within its slot.
        let Some(address) = (unsafe { slot.address(span.offset, self.mirror) }) else { return &[] };
        // SAFETY: so many bytes are mapped there while the slots are, by the contract of `new`.
        unsafe { shared_bytes(address, span.len) }
    }
}

/// Whether records have about as many bytes as lie between them, padding apart: else what lies there, which may be anybody's, is
/// not searched along with them.
fn is_dense(extent: usize, nbytes: usize, records: usize) -> bool {
    extent <= 2 * nbytes + records * PADDING_BYTES
}

/// Places some objects of a part, in whatever order, as a list over the same bytes. `indices` must be within the part.
///
/// # Errors
/// [`Error::Table`]: there is no memory for the columns.
pub(crate) fn taken(
    layout: &ListLayout,
    part: Part,
    indices: impl ExactSizeIterator<Item = usize>,
) -> Result<ListLayout, Error> {
    let mut builder = LayoutBuilder::new(indices.len())?;
    let mut near = 0;
    for index in indices {
        builder.push(layout.object_near(&mut near, part.object(index)))?;
    }
    builder.finish(layout.columns().align())
}

/// The methods that both kinds of list have.
macro_rules! inspected {
    ($list:ident, $mirror:expr) => {
        impl $list<'_> {
            /// Whether a needle occurs in each allocation.
            ///
            /// # Errors
            /// [`Error::Table`]: there is no memory for the answers, as of the other methods that inspect a list.
            ///
            /// ```
            /// let group = memgroup::MemGroup::new()?;
            /// let mut list = group.alloc_many(&[3, 2, 3])?;
            /// list.fill_from(b"abcdebcd")?;
            /// assert_eq!(list.contains(b"bc")?, [true, false, true]);
            /// assert_eq!(list.find(b"bc")?, [Some(1), None, Some(0)]);
            /// # Ok::<(), memgroup::Error>(())
            /// ```
            pub fn contains(&self, needle: &[u8]) -> Result<Vec<bool>, Error> {
                let mut mask = fallible::filled(false, self.len())?;
                self.records().contains(0..self.len(), needle, &mut mask);
                Ok(mask)
            }

            /// Whether each allocation begins with a needle.
            ///
            /// # Errors
            /// As [`contains`](Self::contains).
            pub fn starts_with(&self, needle: &[u8]) -> Result<Vec<bool>, Error> {
                fallible::collect(self.iter().map(|bytes| bytes.starts_with(needle)))
            }

            /// Whether each allocation ends with a needle.
            ///
            /// # Errors
            /// As [`contains`](Self::contains).
            pub fn ends_with(&self, needle: &[u8]) -> Result<Vec<bool>, Error> {
                fallible::collect(self.iter().map(|bytes| bytes.ends_with(needle)))
            }

            /// Where in each allocation a needle occurs first.
            ///
            /// # Errors
            /// As [`contains`](Self::contains).
            pub fn find(&self, needle: &[u8]) -> Result<Vec<Option<usize>>, Error> {
                let mut offsets = fallible::filled(None, self.len())?;
                self.records().find(0..self.len(), needle, |at, offset| offsets[at] = Some(offset));
                Ok(offsets)
            }

            /// How often a needle occurs in each allocation without overlapping itself.
            ///
            /// # Errors
            /// As [`contains`](Self::contains).
            pub fn count_in(&self, needle: &[u8]) -> Result<Vec<usize>, Error> {
                let mut counts = fallible::filled(0, self.len())?;
                self.records().count(0..self.len(), needle, &mut counts, |count| count);
                Ok(counts)
            }

            fn records(&self) -> Records<'_> {
                // SAFETY: the list lies in the slots of its group, which is borrowed, and has the mirror of its kind; nobody
                // writes to it while it is borrowed.
                unsafe { Records::new(self.live_slots(), self.layout(), Part::all(self.len()), $mirror) }
            }
        }
    };
}

inspected!(List, Mirror::ReadWrite);
inspected!(ProtectedList, Mirror::ReadOnly);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemGroup;
    use proptest::prelude::*;

    fn letters(most: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..most)
    }

    proptest! {
        #[test]
        fn each_record_is_answered_for_as_if_it_were_searched_alone(
            records in prop::collection::vec(letters(9), 0..60),
            needle in letters(4),
            base in prop::sample::select(vec![1, 4096, 1 << 16]),
            step in prop::sample::select(vec![1_isize, 2, -1]),
        ) {
            let group = MemGroup::with_base(base).unwrap();
            let mut list = group.alloc_many(&records.iter().map(Vec::len).collect::<Vec<_>>()).unwrap();
            list.fill_from(&records.concat()).unwrap();
            let occurrences = |record: &[u8]| memchr::memmem::find_iter(record, &needle).count();
            let first = |record: &[u8]| memchr::memmem::find(record, &needle);
            prop_assert_eq!(list.contains(&needle).unwrap(), records.iter().map(|it| first(it).is_some()).collect::<Vec<_>>());
            prop_assert_eq!(list.find(&needle).unwrap(), records.iter().map(|it| first(it)).collect::<Vec<_>>());
            prop_assert_eq!(list.count_in(&needle).unwrap(), records.iter().map(|it| occurrences(it)).collect::<Vec<_>>());
            prop_assert_eq!(list.starts_with(&needle).unwrap(), records.iter().map(|it| it.starts_with(&needle)).collect::<Vec<_>>());
            prop_assert_eq!(list.ends_with(&needle).unwrap(), records.iter().map(|it| it.ends_with(&needle)).collect::<Vec<_>>());

            // Parts of a list, and lists of some of its records.
            let start = if step < 0 { records.len().saturating_sub(1) } else { 0 };
            let part = Part::all(list.len()).part(start, step, list.len().div_ceil(step.unsigned_abs()));
            let chosen: Vec<usize> = (0..part.len()).map(|index| part.object(index)).collect();
            let layout = taken(list.layout(), Part::all(list.len()), chosen.iter().copied()).unwrap();
            for (layout, part) in [(list.layout(), part), (&layout, Part::all(part.len()))] {
                // SAFETY: the list, and what was made of it, lie in the group's slots.
                let places = unsafe { Records::new(list.live_slots(), layout, part, Mirror::ReadOnly) };
                let mut mask = vec![false; part.len()];
                places.contains(0..part.len(), &needle, &mut mask);
                prop_assert_eq!(mask, chosen.iter().map(|&at| first(&records[at]).is_some()).collect::<Vec<_>>());
                let mut back = Vec::new();
                places.each(0..part.len(), |_, record| back.push(record.to_vec()));
                prop_assert_eq!(back, chosen.iter().map(|&at| records[at].clone()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn records_can_be_taken_in_any_order_and_again(picked in prop::collection::vec(0..50_usize, 0..80)) {
            let group = MemGroup::with_base(4096).unwrap();
            let mut list = group.alloc_many(&(0..50).map(|size| size * 7 % 190).collect::<Vec<_>>()).unwrap();
            list.iter_mut().enumerate().for_each(|(at, bytes)| bytes.fill(at as u8));
            let layout = taken(list.layout(), Part::all(50), picked.iter().copied()).unwrap();
            let spans: Vec<Span> = layout.objects(Part::all(picked.len())).collect();
            prop_assert_eq!(spans, picked.iter().map(|&at| list.layout().object(at)).collect::<Vec<_>>());
        }
    }
}
