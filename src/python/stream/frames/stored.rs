//! Streams whose bytes Python code stores, into buffers that are offered to it.
//!
//! The rest of an unfinished message is stored straight into its block. What is read ahead goes through a bytearray,
//! for the buffer may be kept by whoever stores into it.

use std::time::Instant;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView, PySlice};

use super::object::{FrameReader, ReaderState};
use super::offer::Offer;
use crate::io::framing::buffered::Destination;
use crate::python::block::buffer::Buffer;
use crate::python::block::object::MemBlock;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::stream::source;
use crate::slot::Mirror;

impl ReaderState {
    /// A buffer for the next bytes: at most `most` of an unfinished message, or `max_ahead` of what is read ahead.
    fn offered(
        &mut self,
        py: Python<'_>,
        group: &Bound<'_, MemGroup>,
        most: usize,
        max_ahead: usize,
    ) -> PyResult<Offer> {
        self.check_process()?;
        let Destination { from, lacking, ahead } = self.frames.room()?;
        if let Some(filling) = &self.filling
            && lacking > 0
        {
            // A block of its own, so that the message's does not become an exporter.
            let part = MemBlock::new(group, filling.raw().part(from, lacking.min(most)), Mirror::ReadWrite)?;
            return Ok(Offer { view: PyMemoryView::from(&part)?.unbind(), scratch: None });
        }
        let size = ahead.len().min(max_ahead);
        if size == 0 {
            return Err(PyRuntimeError::new_err("a complete message must be received first"));
        }
        let scratch = match &self.scratch {
            Some(scratch) if scratch.bind(py).len() >= size => scratch.bind(py).clone(),
            _ => {
                let scratch = PyByteArray::new_with(py, size, |_| Ok(()))?;
                self.scratch.insert(scratch.unbind()).bind(py).clone()
            }
        };
        let whole = PyMemoryView::from(&scratch)?;
        let view = whole.get_item(PySlice::new(py, 0, size as isize, 1))?.cast_into::<PyMemoryView>()?;
        Ok(Offer { view: view.unbind(), scratch: Some(whole.unbind()) })
    }

    /// Copies what was read ahead to where it belongs: `count` bytes were stored into the buffer.
    fn keep(&mut self, py: Python<'_>, offer: &Offer, count: usize) -> PyResult<()> {
        let Some(scratch) = &offer.scratch else { return Ok(()) };
        let scratch = Buffer::of(scratch.bind(py))?;
        let Destination { ahead, .. } = self.frames.room()?;
        let ahead = &mut ahead[..count];
        // SAFETY: the buffer holds the bytearray, which is longer than `ahead` is whole; that belongs to the reader,
        // whose receiver this is.
        unsafe { Bytes::new(ahead.as_mut_ptr(), count).copy_from(Bytes::new(scratch.bytes().start, count)) };
        Ok(())
    }
}

impl FrameReader {
    /// Has a source that is no descriptor store bytes where they belong; how many, and none at its end.
    pub(super) fn read_object(
        &self,
        py: Python<'_>,
        state: &mut ReaderState,
        most: Option<usize>,
        deadline: &mut Option<Instant>,
    ) -> PyResult<usize> {
        match *deadline {
            Some(until) if Instant::now() >= until => return Err(source::timed_out()),
            None if most.is_none() => *deadline = source::deadline(self.source.object.bind(py))?,
            _ => {}
        }
        let offer = state.offered(py, self.group.bind(py), most.unwrap_or(usize::MAX), self.source.max_ahead())?;
        let stored = self.source.store(offer.view.bind(py)).and_then(|count| {
            // The object may have forked.
            state.check_process()?;
            state.keep(py, &offer, count)?;
            Ok(count)
        });
        offer.release(py);
        stored
    }

    /// A buffer for the next bytes of the stream, which the caller stores.
    pub(super) fn offer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let mut state = self.state()?;
        let offer = state.offered(py, self.group.bind(py), usize::MAX, usize::MAX)?;
        let view = offer.view.bind(py).clone();
        state.offer = Some(offer);
        Ok(view)
    }

    /// Notes that so many bytes were stored into the buffer that was [offered](Self::offer). Whether that made a
    /// message complete, or there may be one in what was read ahead.
    pub(super) fn accept(&self, py: Python<'_>, count: usize) -> PyResult<bool> {
        let mut state = self.state()?;
        let offer = state.offer.take().ok_or_else(|| PyRuntimeError::new_err("no buffer was offered"))?;
        state.check_process()?;
        if count > offer.view.bind(py).len()? {
            return Err(PyRuntimeError::new_err(format!("{count} bytes are more than were requested")));
        }
        state.keep(py, &offer, count)?;
        let is_ahead = offer.scratch.is_some();
        offer.release(py);
        Ok(state.frames.arrived(count) || is_ahead)
    }
}
