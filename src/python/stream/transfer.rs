//! Lists through descriptors: what is moved, and the exceptions.

use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::io::{Rest, Stop, Transfer};
use crate::os::iovecs::{Call, MAX_IOVECS};
use crate::python::ffi::arguments::{self, shown};
use crate::python::list::object::MemList;
use crate::python::stream::pinned::Pinned;
use crate::python::stream::source::{self, os_error};

/// An offset in a file.
pub(crate) struct Offset(pub(crate) u64);

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
pub(crate) struct Start(usize);

impl<'py> FromPyObject<'_, 'py> for Start {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let start = arguments::integer(&object, "start must be an integer")?;
        usize::try_from(start).map(Self).map_err(|_| {
            PyValueError::new_err(format!("start must be an integer and not negative, not {}", shown(&object)))
        })
    }
}

/// Moves the bytes of a list from `start` on, and returns how many of them.
///
/// What is raised meanwhile, by a signal handler too, knows the count as its `characters_written`.
pub(crate) fn transfer(
    py: Python<'_>,
    list: &MemList,
    endpoint: &Bound<'_, PyAny>,
    call: Call,
    Start(start): Start,
) -> PyResult<usize> {
    list.check(py)?;
    if call.is_input() {
        list.check_writable(py)?;
    }
    source::check_unencrypted(endpoint)?;
    let (fd, deadline) = (source::number(endpoint)?, source::deadline(endpoint)?);
    if start > 0 {
        let nbytes = list.nbytes(py)?;
        if start > nbytes {
            return Err(PyValueError::new_err(format!("start is {start}: the list has {nbytes} bytes")));
        }
    }
    let pinned = Pinned::of(py, list)?;
    let rest = Rest::new(Arc::clone(list.layout()), list.part(), list.mirror()).behind(start);
    let mut transfer = Transfer::new(fd, call, rest, deadline).map_err(|code| match code {
        libc::EOPNOTSUPP if matches!(call, Call::Read | Call::Write) => {
            let remedy = if call.is_input() { "recvmsg_into()" } else { "sendmsg()" };
            PyValueError::new_err(format!("a socket of messages has no bytes in a row: use {remedy}"))
        }
        code => counted(py, os_error(code, None), 0),
    })?;
    loop {
        // SAFETY: the slots are pinned, and this layer makes no Rust reference into group memory.
        let error = match py.detach(|| unsafe { transfer.run(&pinned) }) {
            Stop::Done => return Ok(transfer.moved()),
            Stop::Pause => match py.check_signals() {
                Ok(()) => {
                    pinned.renew();
                    continue;
                }
                Err(error) => error,
            },
            stop => stopped(py, list, stop, call),
        };
        return Err(counted(py, error, transfer.moved()));
    }
}

/// The exception for a transfer that stopped before it was done.
pub(crate) fn stopped(py: Python<'_>, list: &MemList, stop: Stop, call: Call) -> PyErr {
    match stop {
        Stop::Done | Stop::Pause | Stop::WouldBlock => os_error(libc::EAGAIN, None),
        Stop::TimedOut => source::timed_out(),
        Stop::Cut => PyOSError::new_err((libc::EMSGSIZE, "the message is longer than the list, and its rest is lost")),
        Stop::TooManyIovecs => PyOSError::new_err((
            libc::EMSGSIZE,
            match call.is_input() {
                true => "a message cannot have so many pieces or bytes: receive into fewer blocks".to_owned(),
                false => format!(
                    "no message is made of more than {MAX_IOVECS} pieces or so many bytes: send list.join(), or \
                     fewer blocks"
                ),
            },
        )),
        Stop::TakesNothing => PyOSError::new_err((libc::EIO, "the output accepts no more bytes and reports no error")),
        // The memory may have been taken away by force, which says more than "Bad address".
        Stop::Failed(code) => list.check(py).err().unwrap_or_else(|| os_error(code, None)),
    }
}

/// Lets an exception say how much was done before.
fn counted(py: Python<'_>, error: PyErr, moved: usize) -> PyErr {
    // One that takes no attribute is raised as it is.
    let _ = error.value(py).setattr("characters_written", moved);
    error
}
