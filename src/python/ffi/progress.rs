//! Callbacks that are told how far long work is.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::arguments::described;

/// Told how far long work is.
pub(crate) struct Progress<'a, 'py> {
    pub(crate) py: Python<'py>,
    callback: Option<&'a Bound<'py, PyAny>>,
    total: usize,
}

impl<'a, 'py> Progress<'a, 'py> {
    pub(crate) fn new(py: Python<'py>, callback: Option<&'a Bound<'py, PyAny>>, total: usize) -> PyResult<Self> {
        match callback {
            Some(callback) if !callback.is_callable() => {
                Err(PyTypeError::new_err(format!("progress must be a function or None, not {}", described(callback))))
            }
            _ => Ok(Self { py, callback, total }),
        }
    }

    pub(crate) fn tell(&self, done: usize) -> PyResult<()> {
        self.callback.map_or(Ok(()), |callback| callback.call1((done, self.total)).map(drop))
    }
}
