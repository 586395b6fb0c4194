//! What inspecting a list gives: one answer for each record, as a memoryview.

use std::ffi::{CStr, c_int};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::python::ffi::exported::Elements;

/// One kind of answer.
pub(crate) trait Answer: Copy + Send + Sync + Sized + 'static {
    /// In the notation of `struct`.
    const FORMAT: &CStr;

    /// In a class's own form.
    fn kept(answers: Vec<Self>) -> AnswerColumn;
}

/// The answers themselves.
pub(crate) enum AnswerColumn {
    Mask(Vec<bool>),
    Numbers(Vec<i64>),
}

impl Answer for bool {
    const FORMAT: &CStr = c"?";

    fn kept(answers: Vec<Self>) -> AnswerColumn {
        AnswerColumn::Mask(answers)
    }
}

impl Answer for i64 {
    const FORMAT: &CStr = c"q";

    fn kept(answers: Vec<Self>) -> AnswerColumn {
        AnswerColumn::Numbers(answers)
    }
}

/// Exports answers. Only memoryviews ask it to.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct Answers {
    kept: AnswerColumn,
    format: &'static CStr,
    shape: [isize; 1],
    strides: [isize; 1],
}

impl Answers {
    /// A memoryview of answers, read-only.
    pub(crate) fn view<'py, T: Answer>(py: Python<'py>, answers: Vec<T>) -> PyResult<Bound<'py, PyMemoryView>> {
        let (shape, strides) = ([answers.len() as isize], [size_of::<T>() as isize]);
        let answers = Bound::new(py, Self { kept: T::kept(answers), format: T::FORMAT, shape, strides })?;
        PyMemoryView::from(answers.as_any())
    }
}

#[pymethods]
impl Answers {
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let origin = match &this.kept {
            AnswerColumn::Mask(mask) => mask.as_ptr().cast_mut().cast(),
            AnswerColumn::Numbers(numbers) => numbers.as_ptr().cast_mut().cast(),
        };
        let elements = Elements {
            origin,
            item_size: this.strides[0],
            format: this.format,
            shape: &this.shape,
            strides: &this.strides,
            read_only: Some("the result of a search is read-only: change a copy"),
        };
        // SAFETY: CPython passes the buffer, and the object is frozen and owns the elements.
        unsafe { elements.export(slf, view, flags, || Ok(())) }
    }
}
