//! The table of views.

use super::utf8::Utf8;
use super::windows::{Limits, Section, Windows};
use super::{ArrowError, Content, MAX_INLINE_BYTES, MAX_OFFSET, Scatter, fetch};
use crate::list::{ListLayout, Part, Run, Span};
use crate::os;
use crate::prefetch::{PREFETCH_RECORDS, prefetch};
use crate::scratch::Scratch;
use crate::slot::LiveSlots;

/// Four words at the alignment that consumers want: how many bytes the record has, and all of them and zeros; or the
/// first four, the number of the window and the offset in it.
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

/// A list of views.
#[derive(Debug)]
pub(crate) struct Views {
    /// They hold bytes of the records, short ones whole, and are as secret as these.
    pub(crate) views: Scratch<View>,
    /// What the views point into, by number.
    pub(crate) windows: Vec<Span>,
}

/// Lays some objects of a list out as views, after the gaps between them are cleared if windows show them.
///
/// # Errors
/// [`ArrowError::TooLong`], [`ArrowError::NoMemory`], [`ArrowError::Scattered`] if that is refused and, for text, [`ArrowError::NotUtf8`].
///
/// # Safety
/// The list must lie in those slots, and its objects be mapped.
pub(crate) unsafe fn views(
    live: LiveSlots<'_>,
    layout: &ListLayout,
    part: Part,
    content: Content,
    scatter: Scatter,
) -> Result<Views, ArrowError> {
    // SAFETY: the list lies in those slots and its objects are mapped, by contract.
    let shows_gaps = unsafe { layout.clear_gaps(live, part) };
    let Windows { windows, sections } = Windows::of(layout, part, Limits { reach: MAX_OFFSET, shows_gaps, scatter })?;
    // SAFETY: the list lies in those slots, by contract.
    let is_secret = unsafe { layout.is_secret(live) };
    let mut views = Scratch::new(is_secret);
    views.reserve(part.len())?;
    let places = views.spare();
    os::ask_for_huge_pages(places);
    let mut text = Utf8::new(content, is_secret)?;
    let columns = layout.columns();
    // The run and the section that the last objects were in.
    let (mut run, mut base) = (0..0, std::ptr::null_mut::<u8>());
    let (mut objects, mut section) = (0..0, Section::default());
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
        let ahead = object.wrapping_add_signed(part.step().wrapping_mul(PREFETCH_RECORDS as isize));
        if run.contains(&ahead) && index + PREFETCH_RECORDS < part.len() {
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
                return Err(ArrowError::NotUtf8 { index, byte });
            }
            continue;
        }
        // SAFETY: the objects are mapped, by contract, and this one has len bytes.
        if let Some(byte) = unsafe { text.check(bytes, len) } {
            return Err(ArrowError::NotUtf8 { index, byte });
        }
        if !objects.contains(&object) {
            let next = sections.partition_point(|section| section.first <= object);
            section = sections[next.saturating_sub(1)];
            objects = section.first..sections.get(next).map_or(usize::MAX, |next| next.first);
        }
        // SAFETY: the objects are mapped, by contract, and this one has more than four bytes.
        unsafe { fetch(&mut view.payload()[..4], bytes) };
        (view.0[2], view.0[3]) = (section.window as u32, start.wrapping_add(section.shift) as u32);
    }
    // SAFETY: reserve has made room for so many, and the loop has written each of them.
    unsafe { views.set_len(part.len()) };
    Ok(Views { views, windows })
}

#[cfg(test)]
mod tests {
    use super::super::{Content, read_only};
    use super::*;
    use crate::{List, MemGroup};
    use proptest::prelude::*;

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
        // SAFETY: the callers hold the list that the window shows part of.
        let base = unsafe { read_only(live(), window) }.unwrap();
        // SAFETY: the callers hold the list, so the bytes, which are within the window, are mapped, and nobody writes to them.
        let bytes = unsafe { std::slice::from_raw_parts(base.as_ptr().wrapping_add(offset), len) };
        assert_eq!(&bytes[..4], prefix);
        bytes.to_vec()
    }

    fn laid_out(list: &List<'_>, part: Part, content: Content) -> Result<Views, ArrowError> {
        // SAFETY: the list keeps its objects mapped while it is borrowed.
        unsafe { super::views(live(), list.layout(), part, content, Scatter::Allowed) }
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
    }
}
