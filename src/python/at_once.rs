//! As much of a list as a stream takes or gives right now, for `memgroup.aio`.

use pyo3::prelude::*;

use super::list::MemList;
use super::raw::Bytes;
use super::source;
use crate::sys::stream::{self, Stretch};

/// Where a transfer stands: number of a block, a byte in it, and how many bytes the last call moved.
type Position = (usize, usize, usize);

/// Reads once, at most so many bytes into the blocks from `index` on, the first of which has `offset`.
///
/// Returns the index and the offset to go on with, and how many bytes came.
#[pyfunction]
pub(super) fn read_at_once(
    blocks: &Bound<'_, MemList>,
    source: &Bound<'_, PyAny>,
    index: usize,
    offset: usize,
    most: usize,
) -> PyResult<Position> {
    blocks.get().check_writable(blocks.py())?;
    move_at_once(blocks, source, index, offset, most, |descriptor, stretches| {
        // SAFETY: the list is there, writable, and Python's own to overwrite.
        unsafe { stream::read(descriptor, stretches) }
    })
}

/// Writes once, at most so many bytes from the blocks from `index` on, past `offset` of the first.
///
/// Returns the index and the offset to go on with, and how many bytes were taken.
#[pyfunction]
pub(super) fn write_at_once(
    blocks: &Bound<'_, MemList>,
    source: &Bound<'_, PyAny>,
    index: usize,
    offset: usize,
    most: usize,
) -> PyResult<Position> {
    move_at_once(blocks, source, index, offset, most, stream::write)
}

/// The descriptor of a non-blocking stream of bytes.
#[pyfunction]
pub(super) fn non_blocking(source: &Bound<'_, PyAny>) -> PyResult<i32> {
    source::non_blocking_descriptor(source)
}

fn move_at_once(
    blocks: &Bound<'_, MemList>,
    source: &Bound<'_, PyAny>,
    index: usize,
    offset: usize,
    most: usize,
    call: impl Fn(i32, &[Stretch]) -> Result<usize, stream::Error> + Sync,
) -> PyResult<Position> {
    let (py, list) = (blocks.py(), blocks.get());
    let (index, offset) = list.advanced(index, offset, 0);
    loop {
        let descriptor = source::descriptor(source)?;
        // The group cannot be freed during the call, so that must not take long.
        source::check_non_blocking(py, descriptor)?;
        let moved = list.with_bytes_from(py, index, |spans| {
            let (mut skipped, mut left) = (offset, most);
            let mut stretches = [Stretch::new(std::ptr::dangling_mut(), 0); stream::MOST];
            let mut count = 0;
            for (stretch, Bytes { start, len }) in stretches.iter_mut().zip(spans.filter(|bytes| bytes.len > 0)) {
                let skip = std::mem::take(&mut skipped).min(len);
                *stretch = Stretch::new(start.wrapping_add(skip), left.min(len - skip));
                left -= stretch.len();
                count += 1;
                if left == 0 {
                    break;
                }
            }
            // Nothing to be moved is not the end of the stream.
            if count == 0 { Ok(0) } else { call(descriptor, &stretches[..count]) }
        })?;
        match moved {
            Ok(moved) => {
                let (index, offset) = list.advanced(index, offset, moved);
                return Ok((index, offset, moved));
            }
            Err(refused) if refused.is_interruption() => py.check_signals()?,
            Err(refused) => return Err(source::error(py, refused)),
        }
    }
}
