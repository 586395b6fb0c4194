//! What `MemGroup.frames` takes.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::io::framing::ByteOrder;
use crate::python::ffi::arguments::{integer, shown, type_name};

/// Bytes of a prefix.
#[derive(Clone, Copy)]
pub(crate) struct Prefix(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Prefix {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match integer(&object, "prefix must be an integer")? {
            width @ (1 | 2 | 4 | 8) => Ok(Self(width as usize)),
            _ => {
                let given = shown(&object);
                Err(PyValueError::new_err(format!("a prefix has 1, 2, 4 or 8 bytes, not {given}")))
            }
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for ByteOrder {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let Ok(word) = object.cast::<PyString>() else {
            let given = type_name(&object);
            return Err(PyTypeError::new_err(format!("byteorder must be \"big\" or \"little\", not {given}")));
        };
        match word.to_cow().as_deref() {
            Ok("big") => Ok(Self::Big),
            Ok("little") => Ok(Self::Little),
            _ => {
                let given = word.repr()?;
                Err(PyValueError::new_err(format!("byteorder must be \"big\" or \"little\", not {given}")))
            }
        }
    }
}

/// The most bytes to read beyond the message that is wanted.
#[derive(Clone, Copy)]
pub(crate) struct ReadAhead(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for ReadAhead {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let most = integer(&object, "read_ahead must be an integer")?;
        usize::try_from(most).map(Self).map_err(|_| {
            let given = shown(&object);
            PyValueError::new_err(format!("read_ahead must not be negative, not {given}"))
        })
    }
}
