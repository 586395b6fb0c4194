//! The file of `read_ranges`.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use pyo3::exceptions::{PyEOFError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::paths::{encoded, is_path};
use crate::io::ranges::{Unread, Why};
use crate::list::ListLayout;
use crate::os::regular::{self, Kind};
use crate::os::temporary::Temporary;
use crate::python::ffi::arguments::described;
use crate::python::stream::source::{self, os_error};

/// The file of `read_ranges`, and what to call it in an error.
pub(super) struct RangesFile<'py> {
    pub(super) fd: RawFd,
    pub(super) name: Bound<'py, PyAny>,
    /// Where it was opened for this.
    _file: Option<Temporary>,
}

impl<'py> RangesFile<'py> {
    pub(super) fn of(file: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = file.py();
        let source = if file.is_instance_of::<PyInt>() || file.hasattr("fileno")? {
            source::check_unencrypted(file)?;
            let fd = source::number(file)?;
            let name = file.getattr_opt("name")?.unwrap_or_else(|| file.clone());
            Self { fd, name, _file: None }
        } else {
            if !is_path(file)? {
                return Err(PyTypeError::new_err(format!(
                    "file must be a path, a file descriptor or an object with fileno() that gives one, not {}",
                    described(file)
                )));
            }
            let path = CString::new(encoded(file, || "file".into())?.as_bytes())?;
            let opened = loop {
                match py.detach(|| regular::open_at_once(&path)) {
                    Ok(opened) => break opened,
                    Err(libc::EINTR) => py.check_signals()?,
                    Err(libc::EAGAIN) => {
                        py.detach(regular::wait_for_lease);
                        py.check_signals()?;
                    }
                    Err(code) => return Err(os_error(code, Some(file))),
                }
            };
            Self { fd: opened.as_fd().as_raw_fd(), name: file.clone(), _file: Some(opened) }
        };
        if source.fd < 0 {
            return Err(source.error(libc::EBADF));
        }
        // SAFETY: it is not negative, and the call that borrows it says so if it is closed.
        let fd = unsafe { BorrowedFd::borrow_raw(source.fd) };
        match regular::kind_of(fd) {
            Err(code) => Err(source.error(code)),
            Ok(Kind::Directory) => Err(source.error(libc::EISDIR)),
            Ok(_) => Ok(source),
        }
    }

    pub(super) fn error(&self, code: i32) -> PyErr {
        os_error(code, Some(&self.name))
    }

    /// The exception where nothing can be read at all: the file is not open for reading, or no place in it can be
    /// named. So for one range as for all, unless it became so in the midst of it.
    pub(super) fn unreadable(&self, unread: &[Unread], layout: &ListLayout) -> Option<PyErr> {
        let (first, sizes) = (unread.first()?, layout.columns());
        let Why::Refused(code @ (libc::EBADF | libc::ESPIPE | libc::EISDIR)) = first.why else { return None };
        let is_nothing_read = unread.iter().all(|unread| unread.read == 0 && unread.why == first.why);
        // Those without bytes are never unread.
        let many = (0..sizes.len()).filter(|&object| sizes.size(object) > 0).count();
        (is_nothing_read && unread.len() == many).then(|| self.error(code))
    }

    /// The exception for a range that was not read in full.
    pub(super) fn unread(&self, unread: &Unread, offset: u64, size: usize) -> PyResult<PyErr> {
        let read = unread.read;
        match unread.why {
            Why::Ended => {
                let name = self.name.repr()?;
                Ok(PyEOFError::new_err(format!(
                    "{name} ended after {read} of the {size} bytes from offset {offset} on"
                )))
            }
            Why::Refused(code) => Ok(self.error(code)),
        }
    }
}
