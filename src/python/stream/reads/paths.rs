//! Paths as users pass them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::python::ffi::arguments::{described, type_name};

/// The paths as users passed them.
pub(super) fn names<'py>(paths: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let no_paths = || {
        PyTypeError::new_err(format!(
            "paths must be an iterable of paths, not {}: pass [path] for one",
            type_name(paths)
        ))
    };
    if paths.is_instance_of::<PyString>() || paths.is_instance_of::<PyBytes>() {
        return Err(no_paths());
    }
    let iterator = paths.try_iter().map_err(|error| match error.is_instance_of::<PyTypeError>(paths.py()) {
        true => no_paths(),
        false => error,
    })?;
    let names = PyList::empty(paths.py());
    iterator.into_iter().try_for_each(|name| names.append(name?))?;
    Ok(names)
}

/// Whether an object is a str, bytes or an os.PathLike.
pub(super) fn is_path(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyBytes>()
        || object.get_type().hasattr("__fspath__")?)
}

/// A path as the kernel takes it: bytes without NUL. An error names it as `name` does.
pub(super) fn encoded<'py>(path: &Bound<'py, PyAny>, name: impl Fn() -> String) -> PyResult<Bound<'py, PyBytes>> {
    if !is_path(path)? {
        let (name, path) = (name(), described(path));
        return Err(PyTypeError::new_err(format!("{name} must be a path (str, bytes or os.PathLike), not {path}")));
    }
    let with_nul =
        || PyValueError::new_err(format!("{} contains NUL, which no path does: {}", name(), described(path)));
    let mut encoded: *mut ffi::PyObject = std::ptr::null_mut();
    // SAFETY: the object is alive, and the place for the result outlives the call.
    let converted = unsafe { ffi::PyUnicode_FSConverter(path.as_ptr(), (&raw mut encoded).cast()) };
    if converted == 0 {
        let error = PyErr::fetch(path.py());
        // Of a str that cannot be encoded Python says so itself.
        return Err(if error.get_type(path.py()).is(path.py().get_type::<PyValueError>()) {
            with_nul()
        } else {
            error
        });
    }
    // SAFETY: it is a new reference to bytes.
    let encoded = unsafe { Bound::from_owned_ptr_or_err(path.py(), encoded) }?.cast_into::<PyBytes>()?;
    if encoded.as_bytes().contains(&0) {
        return Err(with_nul());
    }
    Ok(encoded)
}
