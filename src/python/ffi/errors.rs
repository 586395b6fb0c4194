//! The crate's errors as the exceptions that Python users expect.

use std::ffi::OsString;

use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLarge { .. }
            | Error::Full { .. }
            | Error::Limit { .. }
            | Error::Headroom { .. }
            | Error::CommitLimit { .. }
            | Error::Cgroup { .. }
            | Error::Unlocked { .. }
            | Error::Table { .. }
            | Error::PoolFull { .. }
            | Error::Os { .. } => PyMemoryError::new_err(error.to_string()),
            Error::Unenforced => PyOSError::new_err(error.to_string()),
            Error::Base { .. } | Error::Align { .. } | Error::Name { .. } | Error::Length { .. } | Error::Foreign => {
                PyValueError::new_err(error.to_string())
            }
            // Those that name a remedy in Rust.
            Error::SecretInFiles => PyValueError::new_err(
                "a secret group cannot keep its memory in a directory, for files reach the disk: use backing=\"memfd\"",
            ),
            Error::Unshareable => PyValueError::new_err(
                "a shared group keeps its memory in memfds, and nothing secret: use backing=\"memfd\", without secret=True",
            ),
            Error::NoMirror => PyValueError::new_err(
                "an anonymous group has no read-only mirror, so nothing in it can be protected: \
                 make the group with backing=\"memfd\" or in a directory",
            ),
            Error::BorrowedWritable => PyValueError::new_err(
                "borrowed memory that can be written has no read-only mirror: protect a copy, group.protect(group.copy(x)), \
                 or borrow memoryview(x).toreadonly()",
            ),
            Error::BorrowedReadOnly => PyValueError::new_err(
                "memory that was borrowed read-only cannot be written: write to a copy, group.copy(x)",
            ),
            Error::BorrowedSecret => PyValueError::new_err(
                "a secret group cannot borrow memory, which it could neither lock nor overwrite: group.copy(x) copies it in",
            ),
        }
    }
}

/// An error where what the kernel refuses is not memory: an OSError, of a file if there is one.
pub(crate) fn refused_by_kernel(error: Error, file: Option<OsString>) -> PyErr {
    match (&error, file) {
        (Error::Os { code, .. }, Some(file)) => PyOSError::new_err((*code, error.to_string(), file)),
        (Error::Os { code, .. }, None) => PyOSError::new_err((*code, error.to_string())),
        _ => error.into(),
    }
}
