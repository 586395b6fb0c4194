//! What goes wrong between processes as the exceptions that Python users expect.

use pyo3::exceptions::{PyConnectionError, PyEOFError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::python::ffi::errors::refused_by_kernel;
use crate::python::stream::source::os_error;
use crate::share::ShareError;

impl From<ShareError> for PyErr {
    fn from(error: ShareError) -> Self {
        let message = error.to_string();
        match error {
            ShareError::Group(error) => refused_by_kernel(error, None),
            ShareError::NotShared => PyValueError::new_err(
                "only objects of a shared group can be sent: make the group with MemGroup(shared=True)",
            ),
            ShareError::Borrowed => PyValueError::new_err(
                "memory that the group has borrowed cannot be sent: send a copy of it (group.copy(x))",
            ),
            ShareError::Socket(libc::ETOOMANYREFS | libc::EMSGSIZE | libc::EMFILE) => PyOSError::new_err(message),
            ShareError::Socket(code) => os_error(code, None),
            ShareError::Closed => PyEOFError::new_err(message),
            ShareError::Cut { .. } => PyConnectionError::new_err(message),
            ShareError::Descriptors { came, announced } if came < announced => {
                PyOSError::new_err((libc::EMFILE, message))
            }
            _ => PyValueError::new_err(message),
        }
    }
}
