//! The Arrow types of lists and blocks.

use std::ffi::CStr;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::list::arrow::Content;
use crate::python::ffi::arguments::type_name;

/// The types that a list can be exported as. All of them hold the same records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Type {
    pub(super) content: Content,
    pub(super) layout: ArrowLayout,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ArrowLayout {
    /// 16 bytes for each record; no byte of a record moves.
    Views,
    /// Offsets of 32 bits into one stretch.
    Offsets,
    /// Offsets of 64 bits into one stretch.
    LargeOffsets,
}

/// By pyarrow's names, with the format of the C data interface.
pub(super) const TYPES: [(&str, &CStr, Type); 6] = [
    ("binary_view", c"vz", Type { content: Content::Bytes, layout: ArrowLayout::Views }),
    ("string_view", c"vu", Type { content: Content::Utf8, layout: ArrowLayout::Views }),
    ("large_binary", c"Z", Type { content: Content::Bytes, layout: ArrowLayout::LargeOffsets }),
    ("large_string", c"U", Type { content: Content::Utf8, layout: ArrowLayout::LargeOffsets }),
    ("binary", c"z", Type { content: Content::Bytes, layout: ArrowLayout::Offsets }),
    ("string", c"u", Type { content: Content::Utf8, layout: ArrowLayout::Offsets }),
];

/// Of a block: unsigned bytes.
pub(super) const BYTE: &CStr = c"C";

impl Default for Type {
    fn default() -> Self {
        TYPES[0].2
    }
}

impl Type {
    pub(super) fn format(self) -> &'static CStr {
        TYPES.iter().find(|(_, _, known)| *known == self).map_or(c"vz", |(_, format, _)| format)
    }

    pub(super) fn name(self) -> &'static str {
        TYPES.iter().find(|(_, _, known)| *known == self).map_or("binary_view", |(name, _, _)| name)
    }
}

pub(super) fn all_names() -> String {
    TYPES.map(|(name, _, _)| format!("{name:?}")).join(", ")
}

impl<'py> FromPyObject<'_, 'py> for Type {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let Ok(word) = object.cast::<PyString>() else {
            let message =
                format!("an Arrow type is named by a str, one of {}, not {}", all_names(), type_name(&object));
            return Err(PyTypeError::new_err(message));
        };
        let word = word.to_cow()?;
        TYPES.iter().find(|(name, _, _)| *name == word).map(|(_, _, known)| *known).ok_or_else(|| {
            PyValueError::new_err(format!("no list can be exported as {word:?}: name one of {}", all_names()))
        })
    }
}
