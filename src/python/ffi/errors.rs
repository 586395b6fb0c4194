//! The crate's errors as the exceptions that Python users expect.

use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::TooLarge { .. }
            | Error::Full { .. }
            | Error::Limit { .. }
            | Error::Headroom { .. }
            | Error::Cgroup { .. }
            | Error::Unlocked { .. }
            | Error::Table { .. }
            | Error::Os { .. } => PyMemoryError::new_err(message),
            Error::Unenforced => PyOSError::new_err(message),
            Error::Base { .. }
            | Error::Align { .. }
            | Error::Name { .. }
            | Error::Length { .. }
            | Error::Foreign
            | Error::SecretInFiles
            | Error::NoMirror => PyValueError::new_err(message),
        }
    }
}
