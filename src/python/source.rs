//! What streams come from and go to: a descriptor, or an object that has one.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::arguments::type_name;
use crate::sys::{stream, vectored};

/// The descriptor of an int or of an object with `fileno()`, asked each time: an object that was closed meanwhile must
/// not lend the number of its old one, which may be somebody else's by now.
pub(super) fn descriptor(source: &Bound<'_, PyAny>) -> PyResult<c_int> {
    let number = match source.cast::<PyInt>() {
        Ok(number) => number.as_any().clone(),
        Err(_) => match source.getattr_opt("fileno")? {
            Some(fileno) => fileno.call0()?,
            None => return Err(no_descriptor(source)),
        },
    };
    let Ok(descriptor) = number.extract::<c_int>() else { return Err(no_descriptor(source)) };
    if descriptor < 0 { Err(error(source.py(), stream::Error::NO_DESCRIPTOR)) } else { Ok(descriptor) }
}

fn no_descriptor(source: &Bound<'_, PyAny>) -> PyErr {
    let name = type_name(source);
    PyTypeError::new_err(format!("needs a file descriptor or an object with fileno() that gives one, not {name}"))
}

/// The same for a stream of bytes, with an error for what only looks like one.
pub(super) fn stream_descriptor(source: &Bound<'_, PyAny>) -> PyResult<c_int> {
    let descriptor = descriptor(source)?;
    // The module is there if anybody has such a socket.
    if let Some(ssl) =
        source.py().import("sys")?.getattr("modules")?.call_method1("get", ("ssl",))?.getattr_opt("SSLSocket")?
        && source.is_instance(&ssl)?
    {
        return Err(PyTypeError::new_err(
            "what passes through the descriptor of an SSLSocket is encrypted: use its own methods, or a pipe between",
        ));
    }
    if vectored::has_messages(descriptor) == Ok(true) {
        return Err(PyValueError::new_err(
            "this socket sends and receives messages, not a stream of bytes: make it with SOCK_STREAM",
        ));
    }
    Ok(descriptor)
}

/// The same for a stream that must not block.
pub(super) fn non_blocking_descriptor(source: &Bound<'_, PyAny>) -> PyResult<c_int> {
    let descriptor = stream_descriptor(source)?;
    check_non_blocking(source.py(), descriptor)?;
    Ok(descriptor)
}

/// Raises unless calls return at once.
pub(super) fn check_non_blocking(py: Python<'_>, descriptor: c_int) -> PyResult<()> {
    match stream::is_non_blocking(descriptor) {
        Ok(true) => Ok(()),
        Ok(false) => Err(PyValueError::new_err(
            "the stream must be non-blocking: call sock.setblocking(False), or os.set_blocking(fd, False)",
        )),
        Err(refused) => Err(error(py, refused)),
    }
}

/// What the kernel refused, as Python's own calls have it.
#[cold]
pub(super) fn error(py: Python<'_>, refused: stream::Error) -> PyErr {
    let words = match refused.is_for_now() {
        true => Ok("nothing can be moved right now: call again".into()),
        false => py.import("os").and_then(|os| os.call_method1("strerror", (refused.code(),))?.extract::<String>()),
    };
    // OSError itself finds its subclass.
    words.map_or_else(|error| error, |words| PyOSError::new_err((refused.code(), words)))
}

/// Waits for something to read from a socket with a timeout, as the socket's own methods would: `deadline` is set the first
/// time, and holds for all of a call.
///
/// # Errors
/// TimeoutError: nothing came in time. BlockingIOError: there is no timeout to wait for. What a signal handler raises.
pub(super) fn wait_to_read(
    source: &Bound<'_, PyAny>,
    refused: stream::Error,
    deadline: &mut Option<Instant>,
) -> PyResult<()> {
    let py = source.py();
    let deadline = match *deadline {
        Some(deadline) => deadline,
        None => {
            let timeout = match source.getattr_opt("gettimeout")? {
                Some(gettimeout) => gettimeout.call0()?.extract::<Option<f64>>()?,
                None => None,
            };
            let timeout = timeout.and_then(|timeout| Duration::try_from_secs_f64(timeout).ok());
            let until = timeout.filter(|time| !time.is_zero()).and_then(|time| Instant::now().checked_add(time));
            *deadline.insert(until.ok_or_else(|| error(py, refused))?)
        }
    };
    loop {
        py.check_signals()?;
        let descriptor = descriptor(source)?;
        // Also where the kernel says again and again that there is something, for what only others read.
        if Instant::now() >= deadline {
            return Err(PyTimeoutError::new_err("timed out"));
        }
        match py.detach(|| stream::wait_to_read(descriptor, deadline)) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(refused) if refused.is_interruption() => {}
            Err(refused) => return Err(error(py, refused)),
        }
    }
}
