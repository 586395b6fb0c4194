//! `MemGroup.recv`: objects of what another process has sent.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::list::ListLayout;
use crate::list::layout::Run;
use crate::os::iovecs::Call;
use crate::python::block::object::MemBlock;
use crate::python::group::object::MemGroup;
use crate::python::list::object::MemList;
use crate::python::share::array;
use crate::python::share::waiting::Waiting;
use crate::python::view::strided_view::ViewLayout;
use crate::share::ShareError;
use crate::share::arrived::Arrived;
use crate::share::channel::Channel;
use crate::share::list::{self, ArrivedRun};
use crate::share::wire::{Extent, Object};
use crate::slot::Mirror;

/// Receives an object into the group.
pub(crate) fn receive<'py>(slf: &Bound<'py, MemGroup>, socket: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    slf.get().check_open(slf.py())?;
    let mut waiting = Waiting::of(socket, Call::Receive)?;
    let fd = waiting.fd();
    let arrived = Channel::of(fd)?.receive(fd, || waiting.wait())?;
    object_of(slf, arrived)
}

/// What a message hands over, as an object of the group.
pub(super) fn object_of<'py>(slf: &Bound<'py, MemGroup>, arrived: Arrived) -> PyResult<Bound<'py, PyAny>> {
    match arrived.object {
        Object::List(..) => return list_of(slf, &arrived).map(Bound::into_any),
        Object::Memory(_) => return Err(PyValueError::new_err("the message on the socket is a parcel, not an object")),
        _ => {}
    }
    let block = block_of(slf, &arrived, &arrived.object.extent())?;
    match arrived.object {
        Object::View(_, view) => ViewLayout::of_wire(block, view).map(Bound::into_any),
        Object::Array(_, view) => array::over(block, &view),
        _ => Ok(block.into_any()),
    }
}

/// A block of bytes that are there.
fn block_of<'py>(slf: &Bound<'py, MemGroup>, arrived: &Arrived, extent: &Extent) -> PyResult<Bound<'py, MemBlock>> {
    let piece = slf.get().try_with_state(slf.py(), |state| {
        Ok(state.attach(&arrived.memory)?.map(|(slots, _)| {
            // SAFETY: the slot was just attached, and all bytes of what arrived are in its memory.
            slots
                .first()
                .map(|&slot| unsafe { state.attached_block(slot, extent.offset as usize, extent.len as usize) })
        }))
    })??;
    MemBlock::new(slf, piece.ok_or(ShareError::Unknown)?, Mirror::ReadOnly)
}

fn list_of<'py>(slf: &Bound<'py, MemGroup>, arrived: &Arrived) -> PyResult<Bound<'py, MemList>> {
    let py = slf.py();
    let (columns, runs) = py.detach(|| list::read(arrived))?;
    let (slots, epoch) = slf.get().try_with_state(py, |state| state.attach(&arrived.memory[1..]))??;
    let runs = runs.into_iter().map(|ArrivedRun { first, memory, offset }| Run { first, slot: slots[memory], offset });
    // Others have written what lies between the objects.
    let layout = ListLayout::new(columns, runs.collect()).with_foreign_gaps();
    MemList::of_parts(slf, layout, epoch, Mirror::ReadOnly, None)
}
