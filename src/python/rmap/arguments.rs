//! What users pass, as what the model takes, and its refusals as Python's exceptions.

use std::str::FromStr;

use pyo3::exceptions::{PyLookupError, PyMemoryError, PyPermissionError, PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::python::ffi::arguments::{integer, type_name};
use crate::rmap::{Advice, CloneOrder, Error, Kernel, PageId, Policy, Prot, UnknownPolicy};

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Unmapped { .. } | Error::NoPage { .. } => PyLookupError::new_err(message),
            Error::Denied { .. } => PyPermissionError::new_err(message),
            Error::NoHole { .. } | Error::TooManyProcesses { .. } | Error::Full { .. } | Error::NoMemory => {
                PyMemoryError::new_err(message)
            }
            _ => PyValueError::new_err(message),
        }
    }
}

/// An integer that is not negative; what is too large becomes the largest there is, which is always refused later.
fn natural(object: &Bound<'_, PyAny>, what: &str) -> PyResult<u64> {
    if let Ok(number) = object.extract::<u64>() {
        return Ok(number);
    }
    match integer(object, &format!("{what} must be an integer"))? {
        negative if negative < 0 => {
            Err(PyValueError::new_err(format!("{what} must not be negative, as {} is", object.repr()?)))
        }
        _ => Ok(u64::MAX),
    }
}

macro_rules! naturals {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name(pub(super) u64);

        impl<'py> FromPyObject<'_, 'py> for $name {
            type Error = PyErr;

            fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
                natural(&object, $what).map(Self)
            }
        }
    )*};
}

naturals! {
    /// A page address.
    Address, "a page";
    /// How many pages.
    Pages, "the number of pages";
    /// How many children.
    Children, "the number of children";
}

impl<'py> FromPyObject<'_, 'py> for PageId {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        natural(&object, "a page id").map(Self::from_number)
    }
}

/// A word that names something.
fn word<T: FromStr<Err: ToString>>(object: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    let Ok(word) = object.extract::<String>() else {
        return Err(PyTypeError::new_err(format!("{what} must be a str, not {}", type_name(object))));
    };
    word.parse().map_err(|error: T::Err| PyValueError::new_err(error.to_string()))
}

macro_rules! words {
    ($($name:ty, $what:literal;)*) => {$(
        impl<'py> FromPyObject<'_, 'py> for $name {
            type Error = PyErr;

            fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
                word(&object, $what)
            }
        }
    )*};
}

/// A design, by its name or as that of the running kernel.
pub(super) enum Design {
    Named(Policy),
    Running,
}

impl FromStr for Design {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        if name == "running" { Ok(Self::Running) } else { name.parse().map(Self::Named) }
    }
}

words! {
    Design, "policy";
    Kernel, "kernel";
    Prot, "prot";
    Advice, "advice";
    CloneOrder, "clone_order";
}
