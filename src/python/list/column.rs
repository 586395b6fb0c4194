//! The columns of a list for Python: memoryviews of unsigned 64-bit integers, of the very table that the list is held as.

use std::ffi::c_int;
use std::sync::Arc;

use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::list::{ListLayout, Part};

/// Bytes of an element.
const WIDTH: isize = size_of::<usize>() as isize;

/// Exports a column. Only memoryviews ask it to.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct Column {
    numbers: Numbers,
    /// Where the first element stands among the numbers.
    first: usize,
    shape: [isize; 1],
    strides: [isize; 1],
}

enum Numbers {
    Starts(Arc<ListLayout>),
    Sizes(Arc<ListLayout>),
    /// One number, for all elements, or one for each.
    Own(Vec<usize>),
}

impl Column {
    /// The sizes of some objects of a list.
    pub(crate) fn sizes<'py>(
        py: Python<'py>,
        layout: &Arc<ListLayout>,
        part: Part,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        if layout.columns().table().is_some() {
            return Self::of_table(Numbers::Sizes(Arc::clone(layout)), part).view(py);
        }
        let size = if part.len() == 0 { Vec::new() } else { vec![layout.columns().size(part.object(0))] };
        Self { numbers: Numbers::Own(size), first: 0, shape: [part.len() as isize], strides: [0] }.view(py)
    }

    /// Where some objects of a list begin.
    ///
    /// # Errors
    /// MemoryError: the list has no table, and there is no memory for one.
    pub(crate) fn starts<'py>(
        py: Python<'py>,
        layout: &Arc<ListLayout>,
        part: Part,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        if layout.columns().table().is_some() {
            return Self::of_table(Numbers::Starts(Arc::clone(layout)), part).view(py);
        }
        let mut starts = Vec::new();
        let len = part.len();
        let no_memory = |_| {
            PyMemoryError::new_err(format!("no memory for {len} offsets: compute them, for they are a constant apart"))
        };
        starts.try_reserve_exact(len).map_err(no_memory)?;
        starts.extend((0..len).map(|index| layout.columns().start(part.object(index))));
        Self { numbers: Numbers::Own(starts), first: 0, shape: [len as isize], strides: [WIDTH] }.view(py)
    }

    fn of_table(numbers: Numbers, part: Part) -> Self {
        let first = if part.len() == 0 { 0 } else { part.object(0) };
        Self { numbers, first, shape: [part.len() as isize], strides: [part.step() * WIDTH] }
    }

    fn view(self, py: Python<'_>) -> PyResult<Bound<'_, PyMemoryView>> {
        PyMemoryView::from(Bound::new(py, self)?.as_any())
    }

    fn numbers(&self) -> &[usize] {
        match &self.numbers {
            Numbers::Starts(layout) => layout.columns().table().map_or(&[], |(starts, _)| starts),
            Numbers::Sizes(layout) => layout.columns().table().map_or(&[], |(_, sizes)| sizes),
            Numbers::Own(numbers) => numbers,
        }
    }
}

#[pymethods]
impl Column {
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        // SAFETY: CPython passes a Py_buffer to be filled, and nobody else has it yet.
        let view = unsafe { &mut *view };
        view.obj = std::ptr::null_mut();
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("the columns of a list are read-only: change a copy"));
        }
        if flags & ffi::PyBUF_FULL_RO != ffi::PyBUF_FULL_RO {
            return Err(PyBufferError::new_err("ask for memoryview(object), which can lay numbers out in any order"));
        }
        view.buf = this.numbers().as_ptr().wrapping_add(this.first).cast_mut().cast();
        view.obj = slf.clone().into_ptr();
        view.len = this.shape[0] * WIDTH;
        view.itemsize = WIDTH;
        view.readonly = 1;
        view.ndim = 1;
        // CPython does not write to these, and they live as long as obj.
        view.format = c"Q".as_ptr().cast_mut();
        view.shape = this.shape.as_ptr().cast_mut();
        view.strides = this.strides.as_ptr().cast_mut();
        view.suboffsets = std::ptr::null_mut();
        view.internal = std::ptr::null_mut();
        Ok(())
    }
}
