//! What is raised where a stream ends within a frame, or is out of step.

use pyo3::exceptions::{PyEOFError, PyValueError};
use pyo3::prelude::*;

use crate::io::framing::buffered::{Frames, Unfinished};
use crate::io::framing::{Misfit, OutOfStep};
use crate::python::ffi::text::plural;

/// The exception for a header that cannot be one.
#[cold]
pub(super) fn out_of_step(OutOfStep { offset, frame, misfit }: OutOfStep) -> PyErr {
    let place = format!(
        "the stream is out of step from message {frame} on, which begins at byte {offset} of what the reader received: close it"
    );
    PyValueError::new_err(match misfit {
        Misfit::TooLarge { size, limit } => format!(
            "a message of {size} byte{} is larger than the limit of {limit}: it is not received, and {place}, and if such \
             messages are to be expected, pass a higher limit",
            plural(usize::try_from(size).unwrap_or(usize::MAX))
        ),
        Misfit::TooSmall { length, counted } => format!(
            "a length of {length} does not count the {counted} byte{} that it has to, its own or others: {place}, and check \
             length_offset, byteorder, skip and adjust (or counts_prefix)",
            plural(usize::try_from(counted).unwrap_or(usize::MAX))
        ),
        Misfit::LongVarint => format!("a varint of more than 64 bits is no length: {place}"),
        Misfit::NoDelimiter { size, limit } => format!(
            "{size} byte{} came without the delimiter, and the limit is {limit}: {place}, and if such messages are to be \
             expected, pass a higher limit",
            plural(size)
        ),
    })
}

/// The exception for a stream that ended where these frames are, if that is within one.
pub(super) fn cut_off(frames: &Frames) -> Option<PyErr> {
    let cut = match frames.unfinished() {
        Unfinished::Nothing => return None,
        Unfinished::Header { there, size } => {
            format!("a header: {there} of its {size} byte{} arrived, see ahead", plural(size))
        }
        Unfinished::Record { there } => {
            format!("a message: {there} byte{} arrived without a delimiter, see ahead", plural(there))
        }
        Unfinished::Body { there, size } => {
            format!("a message: {there} of its {size} byte{} arrived, see partial", plural(size))
        }
        Unfinished::Trailer { there, size } => {
            format!("the trailer of a message: {there} of its {size} byte{} arrived, see partial", plural(size))
        }
    };
    Some(PyEOFError::new_err(format!("the stream ended within {cut}")))
}
