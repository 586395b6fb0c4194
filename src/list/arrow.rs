//! Lists as Arrow lays out strings: a table of views into few stretches of memory, or one stretch and a table of offsets.
//!
//! A view is 16 bytes: a length and, of up to 12 bytes, these themselves; of more, the first four, a number of a *window*
//! and where in it they begin. Lengths and offsets are 32 bits wide and have a sign, so a window reaches [`MOST`] bytes far, and
//! a slot that is larger takes several. Nothing but the tables is written here, and no byte of a record moves.

use std::ops::Range;
use std::ptr::NonNull;

use crate::error::Error;
use crate::fallible;
use crate::list::{ListLayout, Part, Run, Span};
use crate::os;
use crate::scratch::Scratch;
use crate::slot::{LiveSlots, Mirror, SlotPtr};

/// The largest length and offset there is.
pub(crate) const MOST: usize = i32::MAX as usize;

/// Bytes that a view holds itself.
const MAX_INLINE_BYTES: usize = 12;

/// So many windows are never too many.
const FEW_WINDOWS: usize = 16;

/// More windows than this are too many for consumers, which go through all of them again and again.
const MAX_WINDOWS: usize = 1024;

/// Beyond [`FEW_WINDOWS`], smaller windows than this on average cost a consumer more than a copy of the records.
const MEAN_WINDOW: usize = 4096;

/// Four words at the alignment that consumers want: how many bytes the record has, and all of them and zeros; or the first four,
/// the number of the window and the offset in it.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View([u32; 4]);

impl View {
    /// The bytes behind the length.
    #[inline(always)]
    fn payload(&mut self) -> &mut [u8; MAX_INLINE_BYTES] {
        let [_, words @ ..] = &mut self.0;
        // SAFETY: three words are twelve bytes, each of which may have any value, and are borrowed uniquely.
        unsafe { &mut *(&raw mut *words).cast() }
    }
}

/// A list cannot be laid out so: why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// The record at an index is longer than a length can say.
    TooLong { index: usize, len: usize },
    /// The record at an index is no UTF-8 from some byte on.
    NotUtf8 { index: usize, byte: usize },
    /// All records together are longer than an offset can say.
    TooMuch { nbytes: usize },
    /// The records lie in too many places for a window on each: they have to be copied together before.
    Scattered,
    /// There is no memory for a table, or for a copy of a secret group's bytes none can be locked.
    NoMemory(Error),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::NoMemory(error)
    }
}

/// A list of views.
#[derive(Debug)]
pub(crate) struct Views {
    /// They hold bytes of the records, short ones whole, and are as secret as these.
    pub(crate) views: Scratch<View>,
    /// What the views point into, by number.
    pub(crate) windows: Vec<Span>,
}

/// Whether records are to be text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    Bytes,
    Utf8,
}

/// The slots that some objects of a list are in, each once.
pub(crate) fn slots(layout: &ListLayout, part: Part) -> Vec<SlotPtr> {
    let mut slots: Vec<SlotPtr> = Vec::new();
    for run in &layout.runs()[layout.runs_of(part.reach())] {
        if !slots.contains(&run.slot) {
            slots.push(run.slot);
        }
    }
    slots
}

/// Whether records that lie in many places may be laid out all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scatter {
    Refused,
    Allowed,
}

/// Lays some objects of a list out as views, after the gaps between them are cleared if windows show them.
///
/// # Errors
/// [`Unfit::TooLong`], [`Unfit::NoMemory`], [`Unfit::Scattered`] if that is refused and, for text, [`Unfit::NotUtf8`].
///
/// # Safety
/// The list must lie in those slots, and its objects be mapped.
pub(crate) unsafe fn views(
    live: LiveSlots<'_>,
    layout: &ListLayout,
    part: Part,
    content: Content,
    scatter: Scatter,
) -> Result<Views, Unfit> {
    // SAFETY: the list lies in those slots and its objects are mapped, by contract.
    let shows_gaps = unsafe { layout.clear_gaps(live, part) };
    let Windows { windows, stretches } = Windows::of(layout, part, Limits { reach: MOST, shows_gaps, scatter })?;
    // SAFETY: the list lies in those slots, by contract.
    let is_secret = unsafe { layout.is_secret(live) };
    let mut views = Scratch::new(is_secret);
    views.reserve(part.len())?;
    let places = views.spare();
    os::ask_for_huge_pages(places);
    let mut text = Utf8::new(content, is_secret)?;
    let columns = layout.columns();
    // The run and the stretch that the last objects were in.
    let (mut run, mut base) = (0..0, std::ptr::null_mut::<u8>());
    let (mut objects, mut stretch) = (0..0, Stretch::default());
    for (index, place) in places.iter_mut().take(part.len()).enumerate() {
        let object = part.object(index);
        if !run.contains(&object) {
            let at = layout.run_of(object);
            let Run { first, slot, offset } = layout.runs()[at];
            run = first..layout.end_of(at);
            // SAFETY: the list lies in those slots, by contract.
            let slot = unsafe { live.get(slot) };
            // Through the mirror that the bytes were written by: its pages are there, those of the other may not be.
            // SAFETY: a run begins within its slot.
            let start = unsafe { slot.at(offset) };
            base = start.as_ptr().wrapping_sub(columns.start(first));
        }
        // Hardly two records are in one cache line, and they are too far apart for the processor to see it coming.
        let ahead = object.wrapping_add_signed(part.step().wrapping_mul(PREFETCH_RECORDS));
        if run.contains(&ahead) && index + (PREFETCH_RECORDS as usize) < part.len() {
            prefetch(base.wrapping_add(columns.start(ahead)));
        }
        let (len, start) = (columns.size(object), columns.start(object));
        let bytes = base.wrapping_add(start);
        // Written where it stays: no copy of a secret is left on the stack.
        let view = place.write(View([len as u32, 0, 0, 0]));
        if len <= MAX_INLINE_BYTES {
            let record = &mut view.payload()[..len];
            // SAFETY: the objects are mapped, by contract, and the record is as long as the object.
            unsafe { fetch(record, bytes) };
            if let Some(byte) = text.check_copied(record) {
                return Err(Unfit::NotUtf8 { index, byte });
            }
            continue;
        }
        // SAFETY: the objects are mapped, by contract, and this one has len bytes.
        if let Some(byte) = unsafe { text.check(bytes, len) } {
            return Err(Unfit::NotUtf8 { index, byte });
        }
        if !objects.contains(&object) {
            let next = stretches.partition_point(|stretch| stretch.first <= object);
            stretch = stretches[next.saturating_sub(1)];
            objects = stretch.first..stretches.get(next).map_or(usize::MAX, |next| next.first);
        }
        // SAFETY: the objects are mapped, by contract, and this one has more than four bytes.
        unsafe { fetch(&mut view.payload()[..4], bytes) };
        (view.0[2], view.0[3]) = (stretch.window as u32, start.wrapping_add(stretch.shift) as u32);
    }
    // SAFETY: reserve has made room for so many, and the loop has written each of them.
    unsafe { views.set_len(part.len()) };
    Ok(Views { views, windows })
}

/// So many records ahead is soon enough.
const PREFETCH_RECORDS: isize = 16;

/// Has a cache line fetched that will be read soon. The address may be any.
#[inline(always)]
fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction reads nothing, and faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(address.cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Where each of some objects begins and the last ends, as if they lay one behind the other: numbers as wide as `T`.
///
/// # Errors
/// [`Unfit::TooMuch`] and [`Unfit::NoMemory`].
pub(crate) fn offsets<T: TryFrom<usize>>(layout: &ListLayout, part: Part) -> Result<Vec<T>, Unfit> {
    let mut offsets = Vec::new();
    fallible::reserve(&mut offsets, part.len() + 1)?;
    let nbytes = nbytes(layout, part);
    // The last is the largest: if that fits, all do.
    let fits = |offset: usize| T::try_from(offset).map_err(|_| Unfit::TooMuch { nbytes });
    let mut end = 0;
    offsets.push(fits(end)?);
    for index in 0..part.len() {
        end += layout.columns().size(part.object(index));
        offsets.push(fits(end)?);
    }
    Ok(offsets)
}

/// The sum of the sizes of some objects.
pub(crate) fn nbytes(layout: &ListLayout, part: Part) -> usize {
    (0..part.len()).map(|index| layout.columns().size(part.object(index))).sum()
}

/// The bytes of some objects where they lie one behind the other in one slot, with nothing between them; `None` where they
/// do not, or have none.
pub(crate) fn adjoining(layout: &ListLayout, part: Part) -> Option<Span> {
    let mut whole: Option<Span> = None;
    for span in layout.spans(part).filter(|span| span.len > 0) {
        whole = match whole {
            None => Some(span),
            Some(before) if before.slot == span.slot && before.offset + before.len == span.offset => {
                Some(Span { len: before.len + span.len, ..before })
            }
            Some(_) => return None,
        };
    }
    whole
}

/// Says which of some objects, if any, is no UTF-8.
///
/// # Errors
/// [`Unfit::NotUtf8`] and [`Unfit::NoMemory`].
///
/// # Safety
/// As for [`views`].
pub(crate) unsafe fn check_utf8(live: LiveSlots<'_>, layout: &ListLayout, part: Part) -> Result<(), Unfit> {
    // SAFETY: the list lies in those slots, by contract.
    let mut text = Utf8::new(Content::Utf8, unsafe { layout.is_secret(live) })?;
    for (index, span) in layout.objects(part).enumerate() {
        // SAFETY: the list lies in those slots, by contract.
        let slot = unsafe { live.get(span.slot) };
        // SAFETY: the objects of a list lie within their slots.
        let bytes = unsafe { slot.at(span.offset) };
        // SAFETY: the objects are mapped, by contract, and this one has as many bytes as its span.
        if let Some(byte) = unsafe { text.check(bytes.as_ptr(), span.len) } {
            return Err(Unfit::NotUtf8 { index, byte });
        }
    }
    Ok(())
}

/// Where a window begins in memory, in the read-only mirror; `None` if its slot has none.
///
/// # Safety
/// The window must lie in one of those slots.
pub(crate) unsafe fn read_only(live: LiveSlots<'_>, window: Span) -> Option<NonNull<u8>> {
    // SAFETY: the window lies in one of those slots, by contract.
    let slot = unsafe { live.get(window.slot) };
    // SAFETY: a window lies within its slot.
    unsafe { slot.address(window.offset, Mirror::ReadOnly) }
}

/// Copies bytes that somebody else may write to meanwhile.
///
/// # Safety
/// There must be as many as `to` has room for.
#[inline(always)]
unsafe fn fetch(to: &mut [u8], from: *const u8) {
    // SAFETY: there are as many bytes as `to` has, by contract; memory of a group is never on a stack or heap of
    // Rust's, so
    // the two do not overlap.
    unsafe { libc::memcpy(to.as_mut_ptr().cast(), from.cast(), to.len()) };
}

/// The windows of some objects, and which of them each object is in.
#[derive(Debug)]
struct Windows {
    windows: Vec<Span>,
    /// By `first`.
    stretches: Vec<Stretch>,
}

/// Consecutive objects that are seen through one window.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    /// Number of the first object.
    first: usize,
    window: usize,
    /// What is to be added to where an object begins in its list for where it begins in the window.
    shift: usize,
}

/// The same before it is known which window: what lies in one slot, at most as long as a window.
struct RawBlock {
    first: usize,
    /// Where it begins in the list.
    start: usize,
    span: Span,
}

/// What windows may be.
#[derive(Clone, Copy)]
struct Limits {
    /// Bytes of the longest.
    reach: usize,
    /// Whether they may show what lies between objects.
    shows_gaps: bool,
    scatter: Scatter,
}

impl Windows {
    /// Windows that show the objects asked for, but for those that views hold.
    fn of(layout: &ListLayout, part: Part, limits: Limits) -> Result<Self, Unfit> {
        let pieces = Pieces::of(layout, part, limits)?;
        let mut by_place: Vec<usize> = Vec::new();
        let mut stretches = Vec::new();
        let mut windows: Vec<Span> = Vec::new();
        fallible::reserve(&mut by_place, pieces.len())?;
        fallible::reserve(&mut stretches, pieces.len())?;
        fallible::reserve(&mut windows, pieces.len())?;
        by_place.extend(0..pieces.len());
        by_place.sort_unstable_by_key(|&piece| (pieces[piece].span.slot, pieces[piece].span.offset));
        stretches.extend(pieces.iter().map(|piece| Stretch { first: piece.first, window: 0, shift: 0 }));
        for piece in by_place {
            let RawBlock { start, span, .. } = pieces[piece];
            let window = match windows.last_mut() {
                Some(last) if continues(*last, span, limits.reach) => {
                    last.len = last.len.max(span.offset + span.len - last.offset);
                    *last
                }
                _ => {
                    windows.push(span);
                    span
                }
            };
            stretches[piece].window = windows.len() - 1;
            stretches[piece].shift = (span.offset - window.offset).wrapping_sub(start);
        }
        Ok(Self { windows, stretches })
    }
}

/// Whether bytes that do not begin before a window begin within it or at its end, and there is room for them.
fn continues(window: Span, span: Span, reach: usize) -> bool {
    window.slot == span.slot
        && span.offset <= window.offset + window.len
        && span.offset + span.len - window.offset <= reach
}

/// Gathers the pieces of a list that views point into.
struct Pieces<'a> {
    layout: &'a ListLayout,
    limits: Limits,
    pieces: Vec<RawBlock>,
    /// Bytes of all pieces.
    nbytes: usize,
}

impl<'a> Pieces<'a> {
    /// The pieces of some objects, by the number of their first.
    fn of(layout: &'a ListLayout, part: Part, limits: Limits) -> Result<Vec<RawBlock>, Unfit> {
        let mut pieces = Self { layout, limits, pieces: Vec::new(), nbytes: 0 };
        let reach = part.reach();
        for run in layout.runs_of(reach.clone()) {
            let objects = layout.objects_of(run, &reach);
            if !limits.shows_gaps || pieces.extent(&objects) > limits.reach {
                pieces.cut(run, objects, part)?;
                continue;
            }
            let columns = layout.columns();
            let is_pointed_to = |&object: &usize| columns.size(object) > MAX_INLINE_BYTES;
            if let Some(first) = objects.clone().find(is_pointed_to) {
                let last = objects.rev().find(is_pointed_to).unwrap_or(first);
                pieces.push(run, first, last)?;
            }
        }
        Ok(pieces.pieces)
    }

    /// Cuts a run where a window would be too long or show what it may not.
    fn cut(&mut self, run: usize, objects: Range<usize>, part: Part) -> Result<(), Unfit> {
        let columns = self.layout.columns();
        // By the objects that are asked for, for those that are skipped may be as long as they like.
        let step = part.step().unsigned_abs();
        let origin = part.object(0) % step;
        let skipped = (origin + step - objects.start % step) % step;
        let mut asked = objects.skip(skipped).step_by(step).peekable();
        while let Some(first) = asked.next() {
            if columns.size(first) <= MAX_INLINE_BYTES {
                continue;
            }
            if columns.size(first) > self.limits.reach {
                let index = first.abs_diff(part.object(0)) / step;
                return Err(Unfit::TooLong { index, len: columns.size(first) });
            }
            let (mut before, mut last) = (first, first);
            while let Some(next) = asked.next_if(|&next| {
                self.extent(&(first..next + 1)) <= self.limits.reach
                    && (self.limits.shows_gaps || columns.start(next) == columns.start(before) + columns.size(before))
            }) {
                before = next;
                last = if columns.size(next) > MAX_INLINE_BYTES { next } else { last };
            }
            self.push(run, first, last)?;
        }
        Ok(())
    }

    /// Bytes from the start of the first of some objects to the end of the last.
    fn extent(&self, objects: &Range<usize>) -> usize {
        let (columns, last) = (self.layout.columns(), objects.end - 1);
        columns.start(last) + columns.size(last) - columns.start(objects.start)
    }

    fn push(&mut self, mut run: usize, first: usize, last: usize) -> Result<(), Unfit> {
        let span = Span { len: self.extent(&(first..last + 1)), ..self.layout.object_near(&mut run, first) };
        self.nbytes += span.len;
        let most = MAX_WINDOWS.min(FEW_WINDOWS + self.nbytes / MEAN_WINDOW);
        if self.limits.scatter == Scatter::Refused && self.pieces.len() >= most {
            return Err(Unfit::Scattered);
        }
        let start = self.layout.columns().start(first);
        Ok(fallible::push(&mut self.pieces, RawBlock { first, start, span })?)
    }
}

/// Looks whether records are UTF-8. They are copied into a place of its own first, a part at a time: what may change while
/// it is looked at can be nothing to the compiler.
struct Utf8(Scratch<u8>);

/// Bytes looked at in one go: what a fast cache holds.
const UTF8_CHECK_BYTES: usize = 16 * 1024;

impl Utf8 {
    /// Nothing is looked at, and no memory taken, where records may be any bytes.
    fn new(content: Content, is_secret: bool) -> Result<Self, Error> {
        let looked_at = if content == Content::Utf8 { UTF8_CHECK_BYTES } else { 0 };
        Scratch::zeroed(is_secret, looked_at).map(Self)
    }

    /// Where a record that was copied stops being UTF-8; nothing if that is not asked for.
    #[inline(always)]
    fn check_copied(&self, record: &[u8]) -> Option<usize> {
        if self.0.is_empty() { None } else { std::str::from_utf8(record).err().map(|error| error.valid_up_to()) }
    }

    /// The same of one in a group.
    ///
    /// # Safety
    /// There must be `len` bytes at `from`.
    #[inline(always)]
    unsafe fn check(&mut self, from: *const u8, len: usize) -> Option<usize> {
        // SAFETY: there are len bytes, by contract.
        if self.0.is_empty() { None } else { unsafe { self.look(from, len) } }
    }

    /// # Safety
    /// As for `check`.
    unsafe fn look(&mut self, from: *const u8, len: usize) -> Option<usize> {
        let place = &mut self.0[..];
        // Of a character that the last part had no end of, so many bytes stand at the beginning of the place.
        let (mut at, mut carried) = (0, 0);
        while at < len {
            let many = (len - at).min(place.len() - carried);
            // SAFETY: there are many bytes left.
            unsafe { fetch(&mut place[carried..carried + many], from.wrapping_add(at)) };
            let there = carried + many;
            at += many;
            carried = match std::str::from_utf8(&place[..there]) {
                Ok(_) => 0,
                Err(error) if error.error_len().is_none() && at < len => {
                    place.copy_within(error.valid_up_to()..there, 0);
                    there - error.valid_up_to()
                }
                Err(error) => return Some(at - there + error.valid_up_to()),
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Columns;
    use crate::list::layout::Run;
    use crate::{List, MemGroup};
    use proptest::prelude::*;

    fn slot(number: usize) -> SlotPtr {
        SlotPtr::new(std::ptr::without_provenance_mut(number << 12)).unwrap()
    }

    /// The slots of lists that are borrowed.
    fn live<'a>() -> LiveSlots<'a> {
        // SAFETY: the tests use it while they hold the group.
        unsafe { LiveSlots::new() }
    }

    fn bytes_of(view: &View, windows: &[Span]) -> Vec<u8> {
        let View([len, rest @ ..]) = view;
        let (len, bytes) = (*len as usize, rest.map(u32::to_ne_bytes).concat());
        if len <= MAX_INLINE_BYTES {
            assert!(bytes[len..].iter().all(|&byte| byte == 0));
            return bytes[..len].to_vec();
        }
        let number = |word: u32| usize::try_from(word.cast_signed()).unwrap();
        let (prefix, window, offset) = (&bytes[..4], windows[number(rest[1])], number(rest[2]));
        assert!(offset + len <= window.len);
        // SAFETY: the callers hold the list.
        let base = unsafe { read_only(live(), window) }.unwrap();
        // SAFETY: the same; they are within the window, and nobody writes to them.
        let bytes = unsafe { std::slice::from_raw_parts(base.as_ptr().wrapping_add(offset), len) };
        assert_eq!(&bytes[..4], prefix);
        bytes.to_vec()
    }

    fn laid_out(list: &List<'_>, part: Part, content: Content) -> Result<Views, Unfit> {
        // SAFETY: a list is there while it is borrowed.
        unsafe { super::views(live(), list.layout(), part, content, Scatter::Allowed) }
    }

    fn checked(list: &List<'_>, part: Part) -> Result<(), Unfit> {
        // SAFETY: as for laid_out.
        unsafe { check_utf8(live(), list.layout(), part) }
    }

    fn filled<'g>(group: &'g MemGroup, sizes: &[usize]) -> List<'g> {
        let mut list = group.alloc_many(sizes).unwrap();
        for (number, bytes) in list.iter_mut().enumerate() {
            bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (number * 31 + at) as u8);
        }
        list
    }

    proptest! {
        #[test]
        fn views_show_the_records(
            sizes in prop::collection::vec(prop_oneof![0..30usize, 4000..70_000usize], 0..40),
            start in any::<prop::sample::Index>(), step in prop_oneof![1..4isize, -3..0isize], most in 0..40usize,
        ) {
            let group = MemGroup::with_base(8192).unwrap();
            let list = filled(&group, &sizes);
            let mut part = Part::all(sizes.len());
            let mut expected: Vec<usize> = (0..sizes.len()).collect();
            if !sizes.is_empty() {
                let start = start.index(sizes.len()) as isize;
                let objects = (0..most as isize).map(|n| start + n * step);
                let objects = objects.take_while(|at| (0..sizes.len() as isize).contains(at));
                expected = objects.map(|at| at as usize).collect();
                part = part.part(start as usize, step, expected.len());
            }
            let Views { views, windows } = laid_out(&list, part, Content::Bytes).unwrap();
            let shown: Vec<_> = views.iter().map(|view| bytes_of(view, &windows)).collect();
            let expected: Vec<_> = expected.into_iter().map(|object| list[object].to_vec()).collect();
            prop_assert_eq!(shown, expected);
            prop_assert!(!part.is_dense() || windows.len() <= list.layout().runs().len());
        }

        #[test]
        fn windows_reach_no_further_than_they_may(
            sizes in prop::collection::vec((0..90usize, any::<bool>(), 0..3usize), 1..40),
            start in any::<prop::sample::Index>(), step in prop_oneof![1..4isize, -3..0isize], shows_gaps: bool,
        ) {
            const MOST: usize = 100;
            let mut builder = crate::list::Builder::new(16, 1 << 20);
            sizes.iter().for_each(|size| builder.push(size.0).unwrap());
            let columns = builder.finish();
            // A run begins wherever the flag says, in one of a few slots.
            let runs = sizes.iter().enumerate().filter(|(object, size)| *object == 0 || size.1);
            let runs = runs.map(|(first, size)| Run { first, slot: slot(size.2 + 1), offset: 200 * first }).collect();
            let layout = ListLayout::new(columns, runs);
            let start = start.index(sizes.len());
            let many = if step > 0 { (sizes.len() - 1 - start) / step as usize } else { start / step.unsigned_abs() } + 1;
            let part = Part::all(sizes.len()).part(start, step, many);
            let shows_gaps = shows_gaps && part.is_dense();
            let limits = Limits { reach: MOST, shows_gaps, scatter: Scatter::Allowed };
            let Windows { windows, stretches } = Windows::of(&layout, part, limits).unwrap();
            let asked: Vec<Span> = layout.objects(part).collect();
            for window in &windows {
                let ends = [window.offset, window.offset + window.len - 1];
                let shown = if shows_gaps { ends[0]..=ends[0] } else { ends[0]..=ends[1] };
                for byte in shown.chain([ends[1]]) {
                    let holds = |span: &Span| span.slot == window.slot && (span.offset..span.offset + span.len).contains(&byte);
                    prop_assert!(asked.iter().any(holds), "byte {} of {:?} is nobody's", byte, window);
                }
            }
            prop_assert!(windows.iter().all(|window| window.len <= MOST));
            prop_assert!(stretches.is_sorted_by_key(|stretch| stretch.first));
            for index in 0..part.len() {
                let object = part.object(index);
                if layout.columns().size(object) <= MAX_INLINE_BYTES {
                    continue;
                }
                let stretch = stretches.iter().rfind(|stretch| stretch.first <= object).unwrap();
                let window = windows[stretch.window];
                let offset = layout.columns().start(object).wrapping_add(stretch.shift);
                let really = layout.object(object);
                prop_assert_eq!((window.slot, window.offset + offset), (really.slot, really.offset));
                prop_assert!(offset + really.len <= window.len);
            }
        }

        #[test]
        fn text_is_what_std_takes_for_text(
            records in prop::collection::vec(
                prop_oneof![any::<String>().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..20)], 1..20,
            ),
        ) {
            let group = MemGroup::new().unwrap();
            let sizes: Vec<_> = records.iter().map(Vec::len).collect();
            let mut list = group.alloc_many(&sizes).unwrap();
            list.fill_from(&records.concat()).unwrap();
            let bad = records.iter().enumerate().find_map(|(index, record)| {
                Some(Unfit::NotUtf8 { index, byte: std::str::from_utf8(record).err()?.valid_up_to() })
            });
            let part = Part::all(sizes.len());
            prop_assert_eq!(laid_out(&list, part, Content::Utf8).err(), bad.clone());
            prop_assert_eq!(checked(&list, part).err(), bad);
        }
    }

    #[test]
    fn a_long_text_is_looked_at_across_the_parts() {
        let group = MemGroup::new().unwrap();
        let text = "a€".repeat(2 * UTF8_CHECK_BYTES); // each part ends within a character
        let mut list = group.alloc_many(&[text.len()]).unwrap();
        list[0].copy_from_slice(text.as_bytes());
        let part = Part::all(1);
        assert_eq!(checked(&list, part), Ok(()));
        for byte in [text.len() - 1, UTF8_CHECK_BYTES, UTF8_CHECK_BYTES + 1, 3 * UTF8_CHECK_BYTES - 1, 0] {
            list[0].copy_from_slice(text.as_bytes());
            list[0][byte] = 0xff;
            let expected = std::str::from_utf8(&list[0]).unwrap_err().valid_up_to();
            let found = checked(&list, part);
            assert_eq!(found, Err(Unfit::NotUtf8 { index: 0, byte: expected }));
        }
    }

    #[test]
    fn what_is_longer_than_a_window_is_named() {
        let columns = Columns::uniform(5, 200, 16, 1 << 20).unwrap();
        let layout = ListLayout::new(columns, Box::new([Run { first: 0, slot: slot(1), offset: 0 }]));
        let limits = |reach| Limits { reach, shows_gaps: true, scatter: Scatter::Refused };
        let found = Windows::of(&layout, Part::all(5).part(3, -2, 2), limits(100));
        assert_eq!(found.err(), Some(Unfit::TooLong { index: 1, len: 200 }));
        assert!(Windows::of(&layout, Part::all(5), limits(208)).unwrap().windows.len() == 5);
    }

    #[test]
    fn records_in_more_places_than_windows_may_be_are_scattered() {
        let layout = |size| {
            let columns = Columns::uniform(2 * MAX_WINDOWS + 2, size, 16, 1 << 20).unwrap();
            ListLayout::new(columns, Box::new([Run { first: 0, slot: slot(1), offset: 0 }]))
        };
        let windows = |size, many, scatter| {
            let part = Part::all(2 * MAX_WINDOWS + 2).part(0, 2, many);
            Windows::of(&layout(size), part, Limits { reach: MOST, shows_gaps: false, scatter })
                .map(|one| one.windows.len())
        };
        assert_eq!(windows(100, FEW_WINDOWS, Scatter::Refused), Ok(FEW_WINDOWS));
        assert_eq!(windows(100, 2 * FEW_WINDOWS, Scatter::Refused), Err(Unfit::Scattered));
        assert_eq!(windows(100, 2 * FEW_WINDOWS, Scatter::Allowed), Ok(2 * FEW_WINDOWS));
        assert_eq!(windows(2 * MEAN_WINDOW, MAX_WINDOWS, Scatter::Refused), Ok(MAX_WINDOWS));
        assert_eq!(windows(2 * MEAN_WINDOW, MAX_WINDOWS + 1, Scatter::Refused), Err(Unfit::Scattered));
        assert_eq!(windows(MAX_INLINE_BYTES, MAX_WINDOWS + 1, Scatter::Refused), Ok(0));
    }

    #[test]
    fn what_adjoins_is_one_stretch_and_what_does_not_is_none() {
        let group = MemGroup::new().unwrap();
        let adjoin = |sizes: &[usize], step: isize| {
            let list = group.alloc_many(sizes).unwrap();
            let len = sizes.len();
            let part = Part::all(len).part(if step < 0 { len - 1 } else { 0 }, step, len.div_ceil(step.unsigned_abs()));
            adjoining(list.layout(), part).map(|span| span.len)
        };
        assert_eq!(adjoin(&[16, 32, 48], 1), Some(96));
        assert_eq!(adjoin(&[16, 32, 47], 1), Some(95));
        assert_eq!(adjoin(&[16, 31, 48], 1), None);
        assert_eq!(adjoin(&[16, 32, 48], -1), None);
        assert_eq!(adjoin(&[16, 32, 48], 2), None);
        assert_eq!(adjoin(&[0, 0], 1), None);
        assert_eq!(adjoin(&[16, 0], 1), Some(16));
    }
}
