//! The exceptions for a stream that ends within a frame, or has a bad length.

use pyo3::exceptions::{PyEOFError, PyValueError};
use pyo3::prelude::*;

use crate::io::framing::buffered::{Frames, Unfinished};
use crate::io::framing::{Misfit, OutOfStep};
use crate::python::ffi::text::plural;

/// The exception for a header that cannot be one.
#[cold]
pub(super) fn out_of_step(OutOfStep { offset, frame, misfit }: OutOfStep) -> PyErr {
    let place = format!(
        "no message after it can be read (it is message {frame}, at byte {offset} of the received bytes): close the stream"
    );
    PyValueError::new_err(match misfit {
        Misfit::TooLarge { size, limit } => format!(
            "a message of {size} byte{} is larger than the limit of {limit}, and {place}; pass a higher limit if such messages \
             are expected",
            plural(usize::try_from(size).unwrap_or(usize::MAX))
        ),
        Misfit::TooSmall { length, counted } => format!(
            "a length of {length} does not include the {counted} byte{} that it must count, and {place}; check length_offset, \
             byteorder, skip and adjust (or counts_prefix)",
            plural(usize::try_from(counted).unwrap_or(usize::MAX))
        ),
        Misfit::LongVarint => format!("a varint of more than 64 bits is no length, and {place}"),
        Misfit::NoDelimiter { size, limit } => format!(
            "a message has no delimiter in its first {size} byte{}, the limit is {limit}, and {place}; pass a higher limit if \
             such messages are expected",
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
