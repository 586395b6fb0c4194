//! The bytes of a buffer whose elements lie anywhere, in C order and without a copy.

use std::cmp::Ordering;
use std::ops::ControlFlow::{self, Break, Continue};
use std::ops::Range;

use crate::python::ffi::raw_bytes::Bytes;

/// The elements of a buffer, as far apart as they are.
///
/// Elements that lie one behind the other make a run: all runs are of one length.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    /// Of the element with all indices 0; as long as all elements together.
    origin: Bytes,
    run: usize,
    /// How many runs there are in each dimension, how far apart they begin, and where a pointer stands instead, how far
    /// behind its target: negative where none does.
    shape: &'a [isize],
    strides: &'a [isize],
    suboffsets: &'a [isize],
}

impl<'a> Strided<'a> {
    /// The three are of each dimension, as in a `Py_buffer`; `suboffsets` may be empty.
    pub(crate) fn new(
        origin: Bytes,
        item_size: usize,
        mut shape: &'a [isize],
        mut strides: &'a [isize],
        mut suboffsets: &'a [isize],
    ) -> Self {
        let mut run = item_size;
        while let (Some((&len, outer)), Some((&stride, outer_strides))) = (shape.split_last(), strides.split_last()) {
            let outer_suboffsets = match suboffsets.split_last() {
                Some((&suboffset, _)) if suboffset >= 0 => break,
                Some((_, outer)) => outer,
                None => suboffsets,
            };
            if stride != run as isize {
                break;
            }
            run *= len as usize;
            (shape, strides, suboffsets) = (outer, outer_strides, outer_suboffsets);
        }
        Self { origin, run, shape, strides, suboffsets }
    }

    /// Copies all bytes to the start of `to`.
    ///
    /// # Safety
    /// The buffer must be held, `to` mapped, writable, as long as the buffer, and none of the buffer's bytes.
    pub(crate) unsafe fn copy_to(self, to: Bytes) {
        debug_assert!(self.origin.len <= to.len);
        let to = to.part(0, self.origin.len);
        match self.run {
            // SAFETY: all runs are the one at the origin, which the held buffer has; `to` is mapped, writable, apart
            // and as long as all runs together, by contract.
            _ if self.is_one_run() => unsafe { to.repeat(Bytes::new(self.origin.start, self.run)) },
            // SAFETY: the buffer is held, and `to` mapped, writable, as long and apart, by contract.
            1 => unsafe { self.copy_runs_of::<1>(to) },
            // SAFETY: the buffer is held, and `to` mapped, writable, as long and apart, by contract.
            2 => unsafe { self.copy_runs_of::<2>(to) },
            // SAFETY: the buffer is held, and `to` mapped, writable, as long and apart, by contract.
            4 => unsafe { self.copy_runs_of::<4>(to) },
            // SAFETY: the buffer is held, and `to` mapped, writable, as long and apart, by contract.
            8 => unsafe { self.copy_runs_of::<8>(to) },
            // SAFETY: the buffer is held, and `to` mapped, writable, as long and apart, by contract.
            16 => unsafe { self.copy_runs_of::<16>(to) },
            run => {
                let mut rest = to;
                let copy = |from: *mut u8| {
                    // SAFETY: a run of the held buffer has so many bytes, and the rest of `to`, which is as long as all
                    // runs by contract, at least as many.
                    unsafe { rest.copy_from(Bytes::new(from, run)) };
                    rest = rest.tail(run);
                    Continue(())
                };
                // SAFETY: the buffer is held, by contract.
                let _whole = unsafe { self.each_run(copy) };
            }
        }
    }

    /// Whether all runs are the same one, as in what `np.broadcast_to` makes of a scalar.
    fn is_one_run(&self) -> bool {
        self.suboffsets.is_empty() && self.strides.iter().all(|&stride| stride == 0)
    }

    /// Copies all bytes to the start of `to`, by runs of a length that the compiler knows.
    ///
    /// # Safety
    /// The buffer must be held, `to` mapped, writable, as long as the buffer, and none of the buffer's bytes.
    unsafe fn copy_runs_of<const RUN: usize>(self, to: Bytes) {
        let mut at = to.start.cast::<[u8; RUN]>();
        let copy = |from: *mut u8| {
            // SAFETY: a run of the buffer begins there, and bytes are aligned. Volatile: somebody else may write there.
            let bytes = unsafe { from.cast::<[u8; RUN]>().read_volatile() };
            // SAFETY: `to` is as long as all runs together, and this is the next.
            unsafe { at.write_volatile(bytes) };
            at = at.wrapping_add(1);
            Continue(())
        };
        // SAFETY: the buffer is held, by contract.
        let _whole = unsafe { self.each_run(copy) };
    }

    /// How `bytes` compare with these, as Python's bytes do.
    ///
    /// # Safety
    /// The buffer must be held, and `bytes` mapped.
    pub(crate) unsafe fn compared_by(self, bytes: Bytes) -> Ordering {
        let mut rest = bytes;
        let mut order = Ordering::Equal;
        let compare = |run: *mut u8| {
            let len = self.run.min(rest.len);
            // SAFETY: the run has so many bytes, and so have those that are left.
            order = unsafe { rest.part(0, len).compare(Bytes::new(run, len)) };
            rest = rest.tail(len);
            if order.is_ne() || rest.len == 0 { Break(()) } else { Continue(()) }
        };
        // SAFETY: the buffer is held, by contract.
        let _cut = unsafe { self.each_run(compare) };
        order.then(bytes.len.cmp(&self.origin.len))
    }

    /// Calls `work` with the address of each run, in C order, for as long as it says so.
    ///
    /// # Safety
    /// The buffer must be held.
    unsafe fn each_run(self, mut work: impl FnMut(*mut u8) -> ControlFlow<()>) -> ControlFlow<()> {
        // SAFETY: the buffer is held, by contract, and `origin` is where its outermost dimension begins.
        unsafe { each_run(self.origin.start, self.shape, self.strides, self.suboffsets, &mut work) }
    }
}

/// Goes through what lies in some dimensions, the outermost first.
///
/// # Safety
/// They must be the inner dimensions of a buffer that is held, and `origin` where an element of the outer ones begins.
unsafe fn each_run(
    origin: *mut u8,
    shape: &[isize],
    strides: &[isize],
    suboffsets: &[isize],
    work: &mut impl FnMut(*mut u8) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let (Some((&len, shape)), Some((&stride, strides))) = (shape.split_first(), strides.split_first()) else {
        return work(origin);
    };
    let (suboffset, suboffsets) = suboffsets.split_first().map_or((-1, suboffsets), |(&first, inner)| (first, inner));
    for index in 0..len {
        let mut at = origin.wrapping_offset(index.wrapping_mul(stride));
        if suboffset >= 0 {
            // SAFETY: where a dimension has a suboffset, its elements are pointers, which need not be aligned.
            at = unsafe { at.cast::<*mut u8>().read_unaligned() }.wrapping_offset(suboffset);
        }
        if shape.is_empty() {
            work(at)?;
        } else {
            // SAFETY: an element of this dimension begins there.
            unsafe { each_run(at, shape, strides, suboffsets, work) }?;
        }
    }
    Continue(())
}

/// The addresses from the lowest to behind the highest byte; `None` if they are none.
pub(crate) fn reach(origin: usize, item_size: isize, shape: &[isize], strides: &[isize]) -> Option<Range<usize>> {
    if shape.contains(&0) {
        return Some(origin..origin);
    }
    let (mut below, mut above) = (0_isize, item_size);
    for (&extent, &stride) in shape.iter().zip(strides) {
        let span = (extent - 1).checked_mul(stride)?;
        below = below.checked_add(span.min(0))?;
        above = above.checked_add(span.max(0))?;
    }
    Some(origin.checked_add_signed(below)?..origin.checked_add_signed(above)?)
}
