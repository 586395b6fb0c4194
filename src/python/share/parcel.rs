//! Parcels: the memory of many objects in one message. The objects are described by handles, which travel by other ways.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::os::ReceivedFile;
use crate::os::iovecs::Call;
use crate::python::group::object::MemGroup;
use crate::python::share::handle::{decoded, outgoing_of_shared};
use crate::python::share::receive::object_of;
use crate::python::share::waiting::Waiting;
use crate::share::ShareError;
use crate::share::arrived::Arrived;
use crate::share::channel::Channel;
use crate::share::outbox::Sending;
use crate::share::wire::{Message, Object, SegmentId};

/// The memory of objects that will be sent.
#[pyclass(module = "memgroup._memgroup", frozen)]
#[derive(Default)]
pub(crate) struct Parcel {
    files: Mutex<Vec<Sending>>,
}

#[pymethods]
impl Parcel {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Return the handle of an object of a shared group, and add its memory to the parcel.
    ///
    /// None for any other object.
    fn add<'py>(&self, obj: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(outgoing) = outgoing_of_shared(obj)? else { return Ok(None) };
        let message =
            Message { announced: Vec::new(), retired: Vec::new(), released: Vec::new(), object: outgoing.object };
        let handle = message.encode().map_err(ShareError::from)?;
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for file in outgoing.files {
            if files.iter().all(|known| known.id() != file.id()) {
                files.push(file);
            }
        }
        Ok(Some(PyBytes::new(obj.py(), &handle)))
    }

    /// Send the memory.
    fn send(&self, sock: &Bound<'_, PyAny>) -> PyResult<()> {
        let files = std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner));
        let mut waiting = Waiting::of(sock, Call::Send)?;
        let fd = waiting.fd();
        let object = Object::Memory(files.iter().map(Sending::id).collect());
        Channel::of(fd)?.send(fd, &files, &object, || waiting.wait())
    }
}

/// A parcel that was received.
#[pyclass(module = "memgroup._memgroup", frozen)]
pub(crate) struct ReceivedParcel {
    memory: HashMap<SegmentId, Arc<ReceivedFile>>,
}

#[pymethods]
impl ReceivedParcel {
    /// Return the object of a handle, borrowed by `group`.
    ///
    /// Raises:
    ///     ValueError: The handle is refused.
    fn take<'py>(&self, group: &Bound<'py, MemGroup>, handle: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let object = decoded(handle)?.object;
        let find = |segment| self.memory.get(&segment).cloned().ok_or(ShareError::Unknown);
        let memory = object.segments().into_iter().map(find).collect::<Result<Vec<_>, _>>()?;
        object_of(group, Arrived::checked(object, memory)?)
    }
}

/// Receive a parcel.
///
/// Raises:
///     EOFError: The other end was closed.
///     OSError: The socket raised it.
///     ValueError: The parcel is refused.
#[pyfunction]
pub(crate) fn recv_parcel(sock: &Bound<'_, PyAny>) -> PyResult<ReceivedParcel> {
    let mut waiting = Waiting::of(sock, Call::Receive)?;
    let fd = waiting.fd();
    let Arrived { object, memory } = Channel::of(fd)?.receive(fd, || waiting.wait())?;
    match object {
        Object::Memory(segments) => Ok(ReceivedParcel { memory: segments.into_iter().zip(memory).collect() }),
        _ => Err(PyValueError::new_err("the message on the socket is an object, not a parcel")),
    }
}
