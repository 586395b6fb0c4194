//! What `MemGroup.frames` takes: a description of frames, by name.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::io::framing::{ByteOrder, Decoder, Format};
use crate::python::ffi::arguments::{Limit, flags, integer, shown, type_name};

impl<'py> FromPyObject<'_, 'py> for ByteOrder {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let [big, little] = ["big", "little"];
        Ok(if word(&object, "byteorder", [big, little])? == big { Self::Big } else { Self::Little })
    }
}

/// One of two words.
fn word(object: &Bound<'_, PyAny>, name: &str, words: [&'static str; 2]) -> PyResult<&'static str> {
    let rule = format!("{name} must be \"{}\" or \"{}\"", words[0], words[1]);
    let Ok(given) = object.cast::<PyString>() else {
        return Err(PyTypeError::new_err(format!("{rule}, not {}", type_name(object))));
    };
    match words.into_iter().find(|word| given.to_cow().is_ok_and(|given| given == *word)) {
        Some(word) => Ok(word),
        None => Err(PyValueError::new_err(format!("{rule}, not {}", given.repr()?))),
    }
}

/// The most bytes to read beyond the message that is wanted.
#[derive(Clone, Copy)]
pub(crate) struct ReadAhead(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for ReadAhead {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        natural(&object, "read_ahead").map(Self)
    }
}

/// An integer that is not negative.
pub(super) fn natural(object: &Bound<'_, PyAny>, name: &str) -> PyResult<usize> {
    let given = integer(object, &format!("{name} must be an integer"))?;
    usize::try_from(given)
        .map_err(|_| PyValueError::new_err(format!("{name} must not be negative, not {}", shown(object))))
}

/// What a caller says of frames, before it is put together: the parts depend on one another.
#[derive(Default)]
struct Description {
    is_varint: bool,
    prefix: Option<usize>,
    length_size: Option<usize>,
    length_offset: Option<usize>,
    header: Option<usize>,
    order: Option<ByteOrder>,
    adjust: isize,
    skip: Option<usize>,
    trailer: usize,
    delimiter: Option<Box<[u8]>>,
    limit: Option<usize>,
    counts_prefix: bool,
}

/// The decoder of the frames that these arguments describe; `function` is the name of who takes them.
pub(crate) fn decoder(function: &str, arguments: Option<&Bound<'_, PyDict>>) -> PyResult<Decoder> {
    let mut description = Description::default();
    for (name, value) in arguments.into_iter().flatten() {
        let name = name.cast_into::<PyString>()?;
        if !description.set(&name.to_cow()?, &value)? {
            let name = name.repr()?;
            return Err(PyTypeError::new_err(format!("{function}() got an unexpected keyword argument {name}")));
        }
    }
    Decoder::new(description.format()?).map_err(|error| PyValueError::new_err(error.to_string()))
}

impl Description {
    /// Takes an argument, if there is one of this name. None is as if it were not given.
    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        match name {
            "length" => self.is_varint = word(value, name, ["fixed", "varint"])? == "varint",
            "prefix" => self.prefix = Some(natural(value, name)?),
            "length_size" => self.length_size = optional(value, name)?,
            "length_offset" => self.length_offset = Some(natural(value, name)?).filter(|offset| *offset > 0),
            "header" => self.header = optional(value, name)?,
            "byteorder" => self.order = Some(value.extract()?),
            "adjust" => self.adjust = integer(value, "adjust must be an integer")?,
            "skip" => self.skip = optional(value, name)?,
            "trailer" => self.trailer = natural(value, name)?,
            "delimiter" if value.is_none() => {}
            "delimiter" => self.delimiter = Some(bytes(value, name)?),
            "limit" => self.limit = Some(value.extract::<Limit>()?.0),
            "counts_prefix" => self.counts_prefix = flags::counts_prefix(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn format(self) -> PyResult<Format> {
        let size = match (self.prefix, self.length_size) {
            (Some(prefix), Some(size)) if prefix != size => {
                return Err(PyValueError::new_err(format!(
                    "prefix={prefix} and length_size={size} are two names of one size: pass one of them"
                )));
            }
            (Some(prefix), None) if !(1..=8).contains(&prefix) => {
                return Err(PyValueError::new_err(format!("prefix must be from 1 to 8, not {prefix}")));
            }
            (prefix, size) => size.or(prefix),
        };
        let has_no_fixed_length = self.is_varint || self.delimiter.is_some();
        if has_no_fixed_length && (size.is_some() || self.counts_prefix) {
            return Err(PyValueError::new_err(
                "prefix, length_size and counts_prefix are of lengths of fixed size: leave them out for varints and delimiters",
            ));
        }
        let size = size.unwrap_or(4);
        let mut format = match self.delimiter {
            Some(_) if self.is_varint || self.length_offset.is_some() => {
                return Err(PyValueError::new_err(
                    "records with a delimiter have no length: leave length and length_offset out",
                ));
            }
            Some(delimiter) => Format::delimited(delimiter),
            None if self.is_varint => Format::varint(),
            None => Format::fixed(size),
        };
        let counted = if self.counts_prefix { size as i64 } else { 0 };
        format = format
            .length_offset(self.length_offset.unwrap_or(0))
            .byte_order(self.order.unwrap_or(ByteOrder::Big))
            .adjust((self.adjust as i64).saturating_sub(counted))
            .trailer(self.trailer);
        if let Some(header) = self.header {
            format = format.header(header);
        }
        if let Some(skip) = self.skip {
            format = format.skip(skip);
        }
        Ok(self.limit.into_iter().fold(format, Format::limit))
    }
}

fn optional(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<usize>> {
    if value.is_none() { Ok(None) } else { natural(value, name).map(Some) }
}

fn bytes(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Box<[u8]>> {
    match value.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().into()),
        Err(_) => Err(PyTypeError::new_err(format!("{name} must be bytes, not {}", type_name(value)))),
    }
}
