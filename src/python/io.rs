//! Lists through descriptors: what they may be, and the exceptions.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyType};

use super::arguments::{self, shown, type_name};
use super::list::MemList;
use super::pinned::Pinned;
use crate::io::{Stop, Transfer};
use crate::list::{Part, Placed};
use crate::slot::Mirror;
use crate::sys::vectored::{Call, MOST_STRETCHES};

/// What a list is read from or written to.
pub(super) struct Endpoint {
    pub(super) fd: RawFd,
    /// When a socket that has a timeout gives up waiting: such a socket does not wait by itself.
    deadline: Option<Instant>,
}

impl Endpoint {
    /// A descriptor, or an object with a `fileno()`.
    pub(super) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if is_encrypted(object)? {
            return Err(PyTypeError::new_err(
                "the descriptor of an SSL socket leads past its encryption: use its own recv_into() and sendall() with the \
                 blocks",
            ));
        }
        let fd = match object.cast::<PyInt>() {
            Ok(fd) => fd.extract::<RawFd>(),
            Err(_) => {
                let fileno = object.getattr_opt("fileno")?.ok_or_else(|| {
                    PyTypeError::new_err(format!(
                        "a file descriptor or an object with a fileno() method is required, not {}",
                        type_name(object)
                    ))
                })?;
                fileno.call0()?.extract::<RawFd>()
            }
        };
        // One that is no descriptor is as wrong as a closed one, which has -1.
        let fd = match fd {
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(object.py()) => -1,
            fd => fd?,
        };
        let timeout = match object.getattr_opt("gettimeout")? {
            Some(gettimeout) => gettimeout.call0()?.extract::<Option<f64>>()?,
            None => None,
        };
        let timeout = timeout.filter(|&seconds| seconds > 0.0);
        let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Self { fd, deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) })
    }
}

fn is_encrypted(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    // Without the module, which need not be there, nobody has such a socket.
    let modules = object.py().import("sys")?.getattr("modules")?;
    match modules.call_method1("get", ("ssl",))?.getattr_opt("SSLSocket")? {
        Some(class) => object.is_instance(class.cast::<PyType>()?),
        None => Ok(false),
    }
}

/// An offset in a file.
pub(super) struct Offset(pub(super) u64);

impl<'py> FromPyObject<'_, 'py> for Offset {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match arguments::integer(&object, "offset must be an integer")? {
            offset if offset >= 0 && offset != isize::MAX => Ok(Self(offset as u64)),
            _ => {
                let offset = shown(&object);
                Err(PyValueError::new_err(format!("offset must be from 0 to 2**63 - 2, not {offset}")))
            }
        }
    }
}

/// A byte of a list to begin at.
#[derive(Default)]
pub(super) struct Start(usize);

impl<'py> FromPyObject<'_, 'py> for Start {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let start = arguments::integer(&object, "start must be an integer")?;
        usize::try_from(start).map(Self).map_err(|_| {
            PyValueError::new_err(format!("start must be an integer and not negative, not {}", shown(&object)))
        })
    }
}

/// What of a list is moved.
pub(super) struct Moving {
    pub(super) placed: Arc<Placed>,
    pub(super) part: Part,
    pub(super) mirror: Mirror,
}

/// Moves the bytes of a list from `start` on, and returns how many of them.
///
/// What is raised meanwhile, by a signal handler too, knows the count as its `characters_written`.
pub(super) fn transfer(
    py: Python<'_>,
    list: &MemList,
    endpoint: &Bound<'_, PyAny>,
    call: Call,
    Start(start): Start,
) -> PyResult<usize> {
    list.check(py)?;
    let Moving { placed, part, mirror } = list.moving();
    if call.is_input() && mirror == Mirror::ReadOnly {
        return Err(PyTypeError::new_err("this list is protected: the group's unprotect() gives a writable one"));
    }
    let Endpoint { fd, deadline } = Endpoint::of(endpoint)?;
    if start > 0 {
        let nbytes = list.nbytes(py)?;
        if start > nbytes {
            return Err(PyValueError::new_err(format!("start is {start}: the list has {nbytes} bytes")));
        }
    }
    let pinned: Pinned<'_> = list.pin(py)?;
    let mut transfer = Transfer::new(fd, call, placed, part, mirror, start, deadline).map_err(|code| match code {
        libc::EOPNOTSUPP if matches!(call, Call::Read | Call::Write) => {
            let remedy = if call.is_input() { "recvmsg_into()" } else { "sendmsg()" };
            PyValueError::new_err(format!("a socket of messages has no bytes in a row: use {remedy}"))
        }
        code => counted(py, os_error(code, None), 0),
    })?;
    loop {
        // SAFETY: the slots are pinned, and this layer makes no Rust reference into group memory.
        let stop = py.detach(|| unsafe { transfer.run() });
        let error = match stop {
            Stop::Done => return Ok(transfer.moved()),
            Stop::Pause => match py.check_signals() {
                Ok(()) => {
                    pinned.renew();
                    continue;
                }
                Err(error) => error,
            },
            Stop::WouldBlock => os_error(libc::EAGAIN, None),
            Stop::TimedOut => PyTimeoutError::new_err("timed out"),
            Stop::Cut => {
                PyOSError::new_err((libc::EMSGSIZE, "the message is longer than the list, and its rest is lost"))
            }
            Stop::TooManyStretches => PyOSError::new_err((
                libc::EMSGSIZE,
                match call.is_input() {
                    true => "no message comes in so many pieces or bytes: receive into fewer blocks".to_owned(),
                    false => format!(
                        "no message is made of more than {MOST_STRETCHES} pieces or so many bytes: send list.join(), or \
                         fewer blocks"
                    ),
                },
            )),
            Stop::Failed(code) => {
                // The memory may have been taken away by force, which says more than "Bad address".
                list.check(py)?;
                os_error(code, None)
            }
        };
        return Err(counted(py, error, transfer.moved()));
    }
}

/// The exception for a code as in `errno(3)`, of the type and with the words that Python has for it.
pub(super) fn os_error(code: i32, file: Option<&Bound<'_, PyAny>>) -> PyErr {
    let words = io::Error::from_raw_os_error(code).to_string();
    let words = words.split(" (os error").next().unwrap_or_default().to_owned();
    match file {
        Some(file) => PyOSError::new_err((code, words, file.clone().unbind())),
        None => PyOSError::new_err((code, words)),
    }
}

/// Lets an exception say how much was done before.
fn counted(py: Python<'_>, error: PyErr, moved: usize) -> PyErr {
    // One that takes no attribute is raised as it is.
    let _ = error.value(py).setattr("characters_written", moved);
    error
}
