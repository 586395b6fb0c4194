//! What streams come from and go to, be it for lists, frames or asyncio: a descriptor, or an object that has one. And
//! what is raised where the kernel refuses.

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyOverflowError, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyType};

use crate::os::iovecs::{self, Call};
use crate::python::ffi::arguments::type_name;

/// The number of an int or of an object with `fileno()`; negative for what the kernel knows as no descriptor.
pub(crate) fn number(source: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let number = match source.cast::<PyInt>() {
        Ok(number) => number.as_any().clone(),
        Err(_) => match source.getattr_opt("fileno")? {
            Some(fileno) => fileno.call0()?,
            None => return Err(no_descriptor(source)),
        },
    };
    if !number.is_instance_of::<PyInt>() {
        return Err(no_descriptor(source));
    }
    match number.extract::<RawFd>() {
        // One that is no descriptor is as wrong as a closed one, which has -1.
        Err(error) if error.is_instance_of::<PyOverflowError>(source.py()) => Ok(-1),
        number => number,
    }
}

fn no_descriptor(source: &Bound<'_, PyAny>) -> PyErr {
    let name = type_name(source);
    PyTypeError::new_err(format!("needs a file descriptor or an object with fileno() that gives one, not {name}"))
}

/// The descriptor, asked each time: an object that was closed meanwhile must not lend the number of its old one, which
/// may be somebody else's by now.
pub(crate) fn descriptor(source: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    match number(source)? {
        none if none < 0 => Err(os_error(libc::EBADF, None)),
        descriptor => Ok(descriptor),
    }
}

/// Whether an object is of this class of the module `ssl`.
pub(crate) fn is_of_ssl(object: &Bound<'_, PyAny>, class: &str) -> PyResult<bool> {
    // Without the module, which need not be there, nobody has such an object.
    let modules = object.py().import("sys")?.getattr("modules")?;
    match modules.call_method1("get", ("ssl",))?.getattr_opt(class)? {
        Some(class) => object.is_instance(class.cast::<PyType>()?),
        None => Ok(false),
    }
}

/// Raises for what only looks like a stream.
pub(crate) fn check_unencrypted(source: &Bound<'_, PyAny>) -> PyResult<()> {
    match is_of_ssl(source, "SSLSocket")? {
        true => Err(PyTypeError::new_err(
            "the descriptor of an SSL socket leads past its encryption, for what passes through it is encrypted: use its own \
             recv_into() and sendall() with the blocks, or a pipe between",
        )),
        false => Ok(()),
    }
}

/// The descriptor of a stream of bytes.
pub(crate) fn stream_descriptor(source: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let descriptor = descriptor(source)?;
    check_unencrypted(source)?;
    if iovecs::has_messages(descriptor) == Ok(true) {
        return Err(PyValueError::new_err(
            "this socket sends and receives messages, not a stream of bytes: make it with SOCK_STREAM",
        ));
    }
    Ok(descriptor)
}

/// The descriptor of a stream that must not block.
pub(crate) fn non_blocking_descriptor(source: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let descriptor = stream_descriptor(source)?;
    check_non_blocking(descriptor)?;
    Ok(descriptor)
}

/// Raises unless calls return at once.
pub(crate) fn check_non_blocking(descriptor: RawFd) -> PyResult<()> {
    match iovecs::is_non_blocking(descriptor) {
        Ok(true) => Ok(()),
        Ok(false) => Err(PyValueError::new_err(
            "the stream must be non-blocking: call sock.setblocking(False), or os.set_blocking(fd, False)",
        )),
        Err(code) => Err(os_error(code, None)),
    }
}

/// When a call gives up waiting for a socket that has a timeout: such a socket does not wait by itself.
pub(crate) fn deadline(source: &Bound<'_, PyAny>) -> PyResult<Option<Instant>> {
    let timeout = match source.getattr_opt("gettimeout")? {
        Some(gettimeout) => gettimeout.call0()?.extract::<Option<f64>>()?,
        None => None,
    };
    let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(timeout.filter(|time| !time.is_zero()).and_then(|time| Instant::now().checked_add(time)))
}

/// Waits for something to read from a socket with a timeout, as the socket's own methods would: `until` is set the
/// first time, and holds for all of a call.
///
/// # Errors
/// TimeoutError: nothing came in time. BlockingIOError: there is no timeout to wait for. What a signal handler raises.
pub(crate) fn wait_to_read(source: &Bound<'_, PyAny>, until: &mut Option<Instant>) -> PyResult<()> {
    let py = source.py();
    let until = match *until {
        Some(until) => until,
        None => *until.insert(deadline(source)?.ok_or_else(|| os_error(libc::EAGAIN, None))?),
    };
    loop {
        py.check_signals()?;
        let descriptor = descriptor(source)?;
        // Also where the kernel says again and again that there is something, for what only others read.
        if Instant::now() >= until {
            return Err(timed_out());
        }
        match py.detach(|| iovecs::wait(descriptor, Call::Read, until)) {
            Ok(true) => return Ok(()),
            Ok(false) | Err(libc::EINTR) => {}
            Err(code) => return Err(os_error(code, None)),
        }
    }
}

/// What a socket's own methods say.
pub(crate) fn timed_out() -> PyErr {
    PyTimeoutError::new_err("timed out")
}

/// The exception for a code as in `errno(3)`, of the type and with the words that Python has for it.
#[cold]
pub(crate) fn os_error(code: i32, file: Option<&Bound<'_, PyAny>>) -> PyErr {
    let words = match code {
        libc::EAGAIN if file.is_none() => "the stream is not ready now: call again when it is".to_owned(),
        code => io::Error::from_raw_os_error(code).to_string(),
    };
    let words = words.split(" (os error").next().unwrap_or_default().to_owned();
    // OSError itself finds its subclass.
    match file {
        Some(file) => PyOSError::new_err((code, words, file.clone().unbind())),
        None => PyOSError::new_err((code, words)),
    }
}
