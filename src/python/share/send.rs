//! `MemGroup.send`: what another process is told of an object.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::os::iovecs::Call;
use crate::python::block::buffer::Buffer;
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::arguments::type_name;
use crate::python::group::lease::Lease;
use crate::python::group::object::MemGroup;
use crate::python::list::object::MemList;
use crate::python::share::array;
use crate::python::share::waiting::Waiting;
use crate::python::view::array::Array;
use crate::python::view::locate::{block_of, moved_block};
use crate::python::view::strided_view::{Contents, ViewLayout};
use crate::share::channel::Channel;
use crate::share::list::Outgoing;
use crate::share::outbox::Sending;
use crate::share::wire::{Extent, Object};
use crate::share::{self, ShareError};
use crate::slot::Mirror;

/// Sends an object of the group.
pub(crate) fn send(slf: &Bound<'_, MemGroup>, socket: &Bound<'_, PyAny>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let Outgoing { object, files } = outgoing(slf, object)?;
    let mut waiting = Waiting::of(socket, Call::Send)?;
    let fd = waiting.fd();
    Channel::of(fd)?.send(fd, &files, &object, || waiting.wait())
}

/// What another process is told of an object of the group, and the memory that goes along.
///
/// # Errors
/// TypeError, ValueError: It is none that can be sent.
pub(crate) fn outgoing(slf: &Bound<'_, MemGroup>, object: &Bound<'_, PyAny>) -> PyResult<Outgoing> {
    let this = slf.get();
    if !this.try_with_state(slf.py(), |state| state.check_open().map(|()| state.group().is_shared()))? {
        return Err(ShareError::NotShared.into());
    }
    if let Ok(list) = object.cast::<MemList>() {
        return match list.get().belongs_to(slf.as_unbound()) {
            true => {
                list.get().share_lease().iter().for_each(Lease::note_sent);
                Ok(list.get().outgoing(slf.py())??)
            }
            false => Err(crate::Error::Foreign.into()),
        };
    }
    let (object, file) = if let Ok(block) = object.cast::<MemBlock>() {
        let (extent, file) = extent(slf, &moved_block(slf, block, Mirror::ReadOnly)?)?;
        (Object::Block(extent), file)
    } else if object.is_instance_of::<PyMemoryView>() {
        let buffer = Buffer::of(object)?;
        let layout = ViewLayout::of(&buffer)?;
        let (extent, file) = extent_of(slf, object, &layout.contents())?;
        (Object::View(extent, layout.to_wire()), file)
    } else if let Some(array) = Array::of(object)? {
        let (extent, file) = extent_of(slf, object, &array.contents()?)?;
        (Object::Array(extent, array::described(&array)?), file)
    } else {
        return Err(PyTypeError::new_err(format!(
            "send() takes a MemBlock, a MemList, a memoryview or a numpy array, not {}: group.copy(x) makes a block of bytes, \
             group.array(x) an array",
            type_name(object)
        )));
    };
    Ok(Outgoing { object, files: vec![file] })
}

fn extent_of(slf: &Bound<'_, MemGroup>, object: &Bound<'_, PyAny>, contents: &Contents) -> PyResult<(Extent, Sending)> {
    if let Some(elements) = &contents.objects {
        let kind = type_name(object);
        return Err(PyTypeError::new_err(format!(
            "cannot send a {kind} of {elements}: its elements refer to objects of this process"
        )));
    }
    extent(slf, &block_of(slf, object, contents, Mirror::ReadOnly)?)
}

/// Where a block is, for another process.
fn extent(slf: &Bound<'_, MemGroup>, block: &Bound<'_, MemBlock>) -> PyResult<(Extent, Sending)> {
    let held = block.get().held();
    if let Some(hold) = block.get().hold() {
        hold.lease().note_sent();
    }
    // Perhaps what was never touched of so many bytes has to be found.
    let found = slf.get().access(slf.py(), held, None, held.raw.len, |live| {
        let (extent, file) = share::extent(live.slot().get(), live.span().offset, held.raw.len)?;
        Ok::<_, ShareError>((extent, Sending::new(file)))
    })?;
    Ok(found?)
}
