//! Memoryviews of any shape through the other mirror.
//!
//! Python can cast and slice a memoryview but not lay one out: a `StridedView` exports one part of a block in the shape
//! of a view of the same bytes.

use std::ffi::{CString, c_int};
use std::ops::Range;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::PyMemoryView;

use crate::python::block::buffer::Buffer;
use crate::python::block::object::{Get, MemBlock};
use crate::python::block::strided::reach;
use crate::python::ffi::exported::Elements;
use crate::python::group::raw::RawBlock;
use crate::share::wire;

/// What a memoryview or an array shows.
pub(crate) struct Contents {
    /// Addresses of all bytes that it can reach.
    pub(crate) addresses: Range<usize>,
    /// The type of its elements, if these refer to objects.
    pub(crate) objects: Option<String>,
}

/// How a buffer lies in memory.
pub(crate) struct ViewLayout {
    /// Address of the element with all indices 0.
    origin: usize,
    /// Addresses of all bytes that it can reach.
    addresses: Range<usize>,
    item_size: isize,
    format: CString,
    /// Elements in each dimension.
    shape: Vec<isize>,
    /// Bytes from one element to the next in each dimension; may be negative.
    strides: Vec<isize>,
}

impl ViewLayout {
    /// The layout of a buffer.
    pub(crate) fn of(buffer: &Buffer<'_>) -> PyResult<Self> {
        if buffer.is_indirect() {
            return Err(PyBufferError::new_err("a buffer with suboffsets is not contiguous: pass a copy"));
        }
        let (shape, strides) = (buffer.shape().to_vec(), buffer.strides().to_vec());
        let (origin, item_size) = (buffer.origin(), buffer.item_size());
        let addresses = reach(origin, item_size, &shape, &strides)
            .ok_or_else(|| PyBufferError::new_err("the buffer reaches beyond the address space"))?;
        Ok(Self { origin, addresses, item_size, format: buffer.format().to_owned(), shape, strides })
    }

    /// Rows of bytes within a block: how many and how long, where the first begins, and how far it is from one to the next.
    pub(crate) fn of_rows(block: &Bound<'_, MemBlock>, first: usize, shape: [usize; 2], distance: isize) -> Self {
        let RawBlock { address, len, .. } = block.get().raw();
        let start = address.addr().get();
        let shape = shape.map(|extent| extent as isize).to_vec();
        let strides = vec![distance, 1];
        Self {
            origin: start + first,
            addresses: start..start + len,
            item_size: 1,
            format: c"B".to_owned(),
            shape,
            strides,
        }
    }

    /// A memoryview of a block's bytes, as another process has told their layout.
    pub(crate) fn of_wire<'py>(block: Bound<'py, MemBlock>, view: wire::View) -> PyResult<Bound<'py, PyMemoryView>> {
        let RawBlock { address, len, .. } = block.get().raw();
        // As Python itself shows a block.
        if view == wire::View::of_bytes(len) {
            return PyMemoryView::from(block.as_any());
        }
        let format = CString::new(view.format)?;
        // Those of a message fit, and what they reach is within its bytes.
        let numbers = |numbers: Vec<i64>| numbers.into_iter().map(|number| number as isize).collect();
        let (shape, strides) = (numbers(view.shape), numbers(view.strides));
        let start = address.addr().get();
        let (origin, addresses) = (start + view.origin as usize, start..start + len);
        Self { origin, addresses, item_size: view.item_size as isize, format, shape, strides }.view_of(block)
    }

    /// The same as it is told to other processes.
    pub(crate) fn to_wire(&self) -> wire::View {
        let numbers = |numbers: &[isize]| numbers.iter().map(|&number| number as i64).collect();
        wire::View {
            origin: self.origin.wrapping_sub(self.addresses.start) as u64,
            item_size: self.item_size as u64,
            shape: numbers(&self.shape),
            strides: numbers(&self.strides),
            format: self.format.to_bytes().to_vec(),
        }
    }

    /// What the buffer shows.
    pub(crate) fn contents(&self) -> Contents {
        let has_objects = holds_objects(self.format.to_bytes());
        let objects = has_objects.then(|| format!("format {:?}", self.format.to_string_lossy()));
        Contents { addresses: self.addresses.clone(), objects }
    }

    /// A memoryview of this layout over a block that holds just the bytes it can reach.
    pub(crate) fn view_of<'py>(self, block: Bound<'py, MemBlock>) -> PyResult<Bound<'py, PyMemoryView>> {
        let py = block.py();
        let view = StridedView { block: block.unbind(), layout: self };
        PyMemoryView::from(Bound::new(py, view)?.as_any())
    }
}

/// Whether a format, in the notation of `struct` and PEP 3118, has elements that refer to objects.
fn holds_objects(format: &[u8]) -> bool {
    // Names of fields stand between colons.
    format.split(|&letter| letter == b':').step_by(2).any(|types| types.contains(&b'O'))
}

/// Why a view of a protected block is not to be written.
const PROTECTED: &str = "this view is protected: the group's unprotect() gives a writable one";

/// Exports a block's bytes in a layout. Only memoryviews ask it to.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct StridedView {
    block: Py<MemBlock>,
    layout: ViewLayout,
}

impl StridedView {
    pub(crate) fn block<'py>(&self, py: Python<'py>) -> Bound<'py, MemBlock> {
        self.block.bind(py).clone()
    }
}

#[pymethods]
impl StridedView {
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let Self { block, layout } = slf.get();
        let block = block.get();
        let elements = Elements {
            origin: block.raw().bytes().start.wrapping_add(layout.origin - layout.addresses.start),
            item_size: layout.item_size,
            format: &layout.format,
            shape: &layout.shape,
            strides: &layout.strides,
            read_only: block.is_protected().then_some(PROTECTED),
        };
        // SAFETY: CPython passes the buffer, and the object is frozen and owns the layout. It keeps the block, whose bytes are in
        // place for as long as it has a view.
        unsafe { elements.export(slf, view, flags, || block.add_view(slf.py())) }
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.block.get().remove_view();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.block)
    }
}
