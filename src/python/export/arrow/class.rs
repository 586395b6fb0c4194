//! The class `ArrowArray`: a list in an Arrow type of the caller's choice.

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::PyTuple;

use super::export::export_list;
use super::interface::schema_capsule;
use super::types::Type;
use crate::python::list::object::MemList;

/// A list as Arrow sees it, in a type of the caller's choice.
///
/// Any library that accepts the Arrow PyCapsule interface accepts it.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct ArrowArray {
    list: Py<MemList>,
    kind: Type,
}

#[pymethods]
impl ArrowArray {
    /// The type of the array, by pyarrow's name, as in "binary_view".
    #[getter]
    fn r#type(&self) -> &'static str {
        self.kind.name()
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.list.get().check(py)?;
        Ok(self.list.get().len())
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        schema_capsule(py, self.kind.format())
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        export_list(self.list.bind(py), self.kind, requested_schema)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<ArrowArray, {}, of {}>", self.kind.name(), self.list.bind(py).repr()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.list)
    }
}

impl ArrowArray {
    pub(crate) fn new(list: &Bound<'_, MemList>, kind: Type) -> Self {
        Self { list: list.clone().unbind(), kind }
    }
}
