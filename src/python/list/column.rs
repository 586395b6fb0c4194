//! The columns of a list for Python: memoryviews of unsigned 64-bit integers.
//!
//! They show copies. By the table itself every access to the list is bounded, and there are consumers that write to
//! what is said to be read-only.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::fallible;
use crate::list::{ListLayout, Part};
use crate::python::ffi::exported::Elements;

/// Bytes of an element.
const WIDTH: isize = size_of::<usize>() as isize;

/// Exports a column. Only memoryviews ask it to.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct Column {
    /// One number for each element, or one for all.
    numbers: Vec<usize>,
    shape: [isize; 1],
    strides: [isize; 1],
}

impl Column {
    /// The sizes of some objects of a list.
    ///
    /// # Errors
    /// MemoryError: there is no memory for a copy.
    pub(crate) fn sizes<'py>(py: Python<'py>, layout: &ListLayout, part: Part) -> PyResult<Bound<'py, Self>> {
        let columns = layout.columns();
        let many = if columns.uniform_sizes().is_some() { part.len().min(1) } else { part.len() };
        Self::of(py, part, many, |object| columns.size(object))
    }

    /// Where some objects of a list begin.
    ///
    /// # Errors
    /// As for [`sizes`](Self::sizes).
    pub(crate) fn starts<'py>(py: Python<'py>, layout: &ListLayout, part: Part) -> PyResult<Bound<'py, Self>> {
        Self::of(py, part, part.len(), |object| layout.columns().start(object))
    }

    /// The numbers of the first `many` objects: all of them, or one that stands for all.
    fn of(py: Python<'_>, part: Part, many: usize, number: impl Fn(usize) -> usize) -> PyResult<Bound<'_, Self>> {
        let numbers = fallible::collect((0..many).map(|index| number(part.object(index))))?;
        let strides = [if many == part.len() { WIDTH } else { 0 }];
        Bound::new(py, Self { numbers, shape: [part.len() as isize], strides })
    }

    pub(crate) fn view<'py>(column: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(column.as_any())
    }
}

#[pymethods]
impl Column {
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let elements = Elements {
            origin: this.numbers.as_ptr().cast_mut().cast(),
            item_size: WIDTH,
            format: c"Q",
            shape: &this.shape,
            strides: &this.strides,
            read_only: Some("the columns of a list are read-only: change a copy"),
        };
        // SAFETY: CPython passes the buffer, and the object is frozen and owns the numbers.
        unsafe { elements.export(slf, view, flags, || Ok(())) }
    }
}
