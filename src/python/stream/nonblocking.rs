//! As much of a list as a stream takes or gives right now, for `memgroup.aio`.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::io::{Rest, Stop, Transfer};
use crate::os::iovecs::{self, Call};
use crate::python::list::object::MemList;
use crate::python::stream::pinned::Pinned;
use crate::python::stream::source;
use crate::python::stream::transfer::stopped;

/// Where a transfer stands: number of a block, a byte in it, and how many bytes the last call moved.
type Position = (usize, usize, usize);

/// Read the available bytes into the blocks from `index` on, past `offset` of the first: at most `most`.
///
/// Returns the index and the offset to continue with, and how many bytes were read.
#[pyfunction]
pub(crate) fn read_nonblocking(
    blocks: &Bound<'_, MemList>,
    source: &Bound<'_, PyAny>,
    index: usize,
    offset: usize,
    most: usize,
) -> PyResult<Position> {
    move_at_once(blocks, source, index, offset, most, [Call::Receive, Call::Read])
}

/// Write the bytes of the blocks from `index` on, past `offset` of the first, as far as there is room.
///
/// At most `most` bytes.
///
/// Returns the index and the offset to continue with, and how many bytes were written.
#[pyfunction]
pub(crate) fn write_nonblocking(
    blocks: &Bound<'_, MemList>,
    source: &Bound<'_, PyAny>,
    index: usize,
    offset: usize,
    most: usize,
) -> PyResult<Position> {
    move_at_once(blocks, source, index, offset, most, [Call::Send, Call::Write])
}

/// Return the descriptor of a non-blocking stream of bytes.
#[pyfunction]
pub(crate) fn non_blocking(source: &Bound<'_, PyAny>) -> PyResult<i32> {
    source::non_blocking_descriptor(source)
}

/// `calls` are for sockets and for anything else.
fn move_at_once(
    blocks: &Bound<'_, MemList>,
    stream: &Bound<'_, PyAny>,
    index: usize,
    offset: usize,
    most: usize,
    calls: [Call; 2],
) -> PyResult<Position> {
    let (py, list) = (blocks.py(), blocks.get());
    list.check(py)?;
    let [of_socket, of_other] = calls;
    if of_other.is_input() {
        list.check_writable(py)?;
    }
    let descriptor = source::descriptor(stream)?;
    source::check_non_blocking(descriptor)?;
    let (index, offset) = list.advanced(index, offset, 0);
    if index == list.len() {
        return Ok((index, offset, 0));
    }
    let call = if iovecs::has_messages(descriptor).is_ok() { of_socket } else { of_other };
    let pinned = Pinned::of(py, list)?;
    let rest = Rest::new(Arc::clone(list.layout()), list.part(), list.mirror()).at(index, offset).up_to(most);
    let mut transfer = Transfer::new(descriptor, call, rest, None).map_err(|code| source::os_error(code, None))?;
    loop {
        // SAFETY: the slots are pinned, and this layer makes no Rust reference into group memory.
        let stop = py.detach(|| unsafe { transfer.run(&pinned) });
        let moved = transfer.moved();
        match stop {
            // What stops it now will do so again.
            _ if moved > 0 => {
                let (index, offset) = list.advanced(index, offset, moved);
                return Ok((index, offset, moved));
            }
            Stop::Done => return Ok((index, offset, 0)),
            Stop::Pause => py.check_signals()?,
            stop => return Err(stopped(py, list, stop, call)),
        }
        pinned.renew();
    }
}
