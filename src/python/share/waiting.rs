//! Waiting for a socket as its own methods do.

use std::os::fd::{BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::os::iovecs::{self, Call};
use crate::python::stream::source::{self, os_error, timed_out};

/// A socket of the caller's, and how long it is waited for.
pub(super) struct Waiting<'a, 'py> {
    socket: &'a Bound<'py, PyAny>,
    fd: RawFd,
    call: Call,
    /// Known from the first time on: none is for ever.
    until: Option<Option<Instant>>,
}

impl<'a, 'py> Waiting<'a, 'py> {
    pub(super) fn of(socket: &'a Bound<'py, PyAny>, call: Call) -> PyResult<Self> {
        Ok(Self { socket, fd: source::descriptor(socket)?, call, until: None })
    }

    /// The descriptor, for calls that end before Python code runs.
    pub(super) fn fd(&self) -> BorrowedFd<'a> {
        // SAFETY: the caller's object has the descriptor. Where somebody closes it meanwhile, the kernel refuses, or takes another
        // socket for it, as it would for the object's own methods.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// Waits until the socket can go on.
    ///
    /// # Errors
    /// TimeoutError, or BlockingIOError where the socket does not wait; what a signal handler raises; OSError: it was
    /// closed.
    pub(super) fn wait(&mut self) -> PyResult<()> {
        /// Anything will do: a loop goes on.
        const A_WHILE: Duration = Duration::from_secs(60);

        let py = self.socket.py();
        let until = match self.until {
            Some(until) => until,
            None => *self.until.insert(self.deadline()?),
        };
        py.check_signals()?;
        if source::descriptor(self.socket)? != self.fd {
            return Err(os_error(libc::EBADF, None));
        }
        let (fd, call, now) = (self.fd, self.call, Instant::now());
        if until.is_some_and(|until| now >= until) {
            return Err(timed_out());
        }
        match py.detach(|| iovecs::wait(fd, call, until.unwrap_or(now + A_WHILE))) {
            Ok(_) | Err(libc::EINTR) => Ok(()),
            Err(code) => Err(os_error(code, None)),
        }
    }

    fn deadline(&self) -> PyResult<Option<Instant>> {
        let deadline = source::deadline(self.socket)?;
        let is_non_blocking = || iovecs::is_non_blocking(self.fd).map_err(|code| os_error(code, None));
        if deadline.is_none() && is_non_blocking()? {
            return Err(os_error(libc::EAGAIN, None));
        }
        Ok(deadline)
    }
}
