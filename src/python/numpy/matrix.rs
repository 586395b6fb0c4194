//! A list of one size as a matrix: a row for each block.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};

use crate::python::list::object::{MemList, Rows};
use crate::python::view::strided_view::ViewLayout;

/// What `__array__` gives: an array of bytes over the list's memory or, where the blocks lie at no one distance, over a copy in the
/// group.
pub(crate) fn array_of<'py>(
    list: &Bound<'py, MemList>,
    dtype: Option<&Bound<'py, PyAny>>,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (list.py(), list.get());
    this.check(py)?;
    let size = this.size_of_all().ok_or_else(|| {
        PyValueError::new_err(
            "only a list of blocks of one size is a matrix: use list.tolist() or pyarrow.array(list) for several sizes",
        )
    })?;
    let numpy = PyModule::import(py, "numpy")?;
    let rows = match (this.len(), size) {
        (0, _) | (_, 0) => None,
        _ => this.rows(py, size)?,
    };
    let is_empty = this.len() == 0 || size == 0;
    let matrix = match rows {
        Some(Rows { block, first, distance }) => {
            let layout = ViewLayout::of_rows(&block, first, [this.len(), size], distance);
            numpy.call_method1("asarray", (layout.view_of(block)?,))?
        }
        None if is_empty => numpy.call_method1("empty", ((this.len(), size), "u1"))?,
        None if copy == Some(false) => {
            return Err(PyValueError::new_err(
                "the blocks of the list lie at irregular distances or in several slots, so an array of them is a copy: pass copy=None",
            ));
        }
        None => {
            numpy.call_method1("frombuffer", (this.joined(py)?, "u1"))?.call_method1("reshape", (this.len(), size))?
        }
    };
    if dtype.is_none() && copy != Some(true) {
        return Ok(matrix);
    }
    let options = PyDict::new(py);
    options.set_item("dtype", dtype)?;
    if let Some(copy) = copy {
        options.set_item("copy", copy)?;
        return numpy.call_method("array", (matrix,), Some(&options));
    }
    numpy.call_method("asarray", (matrix,), Some(&options))
}
