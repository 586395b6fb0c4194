//! Where a reader's bytes come from: a descriptor that the kernel reads, or an object that stores bytes into a buffer.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyMemoryView};

use crate::python::ffi::arguments::{integer, type_name};
use crate::python::stream::source::{self, os_error};

/// How much is asked of a buffered file beyond a message: asked for more than its buffer holds, it waits for the stream
/// even if it has something. The smallest buffer that Python chooses by itself is a page.
const MAX_BUFFERED_BYTES: usize = 4096;

/// What a reader reads, and how.
pub(super) struct Source {
    pub(super) object: Py<PyAny>,
    way: Way,
}

#[derive(Clone, Copy)]
enum Way {
    Descriptor,
    /// `object.name(buffer)` stores bytes and returns how many.
    Method(&'static str),
    /// `object.read(size, buffer)` does, of an `ssl.SSLObject`.
    SslRead,
}

impl Source {
    /// Chooses how to read an object. Its own method comes first where the bytes at its descriptor are others: those of
    /// TLS are encrypted, and a buffered file may be compressed, or has taken some of them already.
    pub(super) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let has = |name| Ok::<_, PyErr>(object.getattr_opt(name)?.is_some_and(|method| method.is_callable()));
        let way = if object.is_instance_of::<PyInt>() {
            Way::Descriptor
        } else if source::is_of_ssl(object, "SSLObject")? {
            Way::SslRead
        } else if source::is_of_ssl(object, "SSLSocket")? {
            Way::Method("recv_into")
        } else if has("readinto1")? {
            check_readable(object)?;
            Way::Method("readinto1")
        } else if has("fileno")? {
            Way::Descriptor
        } else if has("recv_into")? {
            Way::Method("recv_into")
        } else if has("readinto")? {
            Way::Method("readinto")
        } else {
            let name = type_name(object);
            return Err(PyTypeError::new_err(format!(
                "needs a file descriptor or an object with fileno(), recv_into() or readinto(), not {name}"
            )));
        };
        if matches!(way, Way::Descriptor) {
            source::stream_descriptor(object)?;
        }
        Ok(Self { object: object.clone().unbind(), way })
    }

    /// Whether the kernel reads it, to any address.
    pub(super) fn has_descriptor(&self) -> bool {
        matches!(self.way, Way::Descriptor)
    }

    /// The most bytes to ask for beyond a message.
    pub(super) fn max_ahead(&self) -> usize {
        match self.way {
            Way::Method("readinto1") => MAX_BUFFERED_BYTES,
            _ => usize::MAX,
        }
    }

    /// Has the object store bytes into a buffer; how many, and none at its end.
    ///
    /// # Errors
    /// BlockingIOError: It has none right now. ValueError: It returns no such count. What the object raises.
    pub(super) fn store(&self, into: &Bound<'_, PyMemoryView>) -> PyResult<usize> {
        let (py, len) = (into.py(), into.len()?);
        let object = self.object.bind(py);
        let (name, stored) = match self.way {
            Way::Descriptor | Way::SslRead => ("read", object.call_method1("read", (len, into))),
            Way::Method(name) => (name, object.call_method1(name, (into,))),
        };
        let stored = stored.or_else(|error| match source::is_of_ssl(error.value(py), "SSLWantReadError")? {
            true => {
                let nothing_yet = os_error(libc::EAGAIN, None);
                nothing_yet.set_cause(py, Some(error));
                Err(nothing_yet)
            }
            false => Err(error),
        })?;
        // What a raw stream says that does not wait.
        if stored.is_none() {
            return Err(os_error(libc::EAGAIN, None));
        }
        let count = integer(&stored, "the count of stored bytes must be an integer")?;
        usize::try_from(count).ok().filter(|count| *count <= len).ok_or_else(|| {
            let name = format!("{}.{name}()", type_name(object));
            PyValueError::new_err(format!("{name} returned {count} for a buffer of {len} bytes"))
        })
    }
}

/// Raises for a buffered file that is closed or only written.
fn check_readable(object: &Bound<'_, PyAny>) -> PyResult<()> {
    // A closed one that was only written says that it is not read.
    if let Some(closed) = object.getattr_opt("closed")?
        && closed.is_truthy()?
    {
        return Err(PyValueError::new_err("I/O operation on closed file"));
    }
    match object.call_method0("readable")?.is_truthy()? {
        true => Ok(()),
        false => Err(PyValueError::new_err(format!("this {} is not open for reading", type_name(object)))),
    }
}
