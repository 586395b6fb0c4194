//! Lists and blocks as structures of the C data interface.

use std::ffi::c_void;
use std::ptr::{NonNull, null};

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::interface::{ArrowArrayStruct, Buffers, Tables, capsules, requested_format, schema_capsule};
use super::types::{ArrowLayout, BYTE, TYPES, Type, all_names};
use crate::error::Error;
use crate::list::arrow::offsets::{adjoining, offsets};
use crate::list::arrow::utf8::check_utf8;
use crate::list::arrow::views::{Views, views};
use crate::list::arrow::{self, ArrowError, Content, Scatter};
use crate::python::block::object::{Get, MemBlock};
use crate::python::export::guard::{ExportGuard, no_mirror};
use crate::python::list::object::MemList;
use crate::slot::Mirror;

/// The schema of a list that nobody asked for another type.
pub(crate) fn schema_of_list<'py>(list: &Bound<'py, MemList>) -> PyResult<Bound<'py, PyAny>> {
    list.get().check(list.py())?;
    schema_capsule(list.py(), Type::default().format())
}

/// A list as capsules of a schema and an array: of the type that is requested, or else of `kind`.
pub(crate) fn export_list<'py>(
    list: &Bound<'py, MemList>,
    kind: Type,
    requested: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = list.py();
    list.get().check(py)?;
    let kind = match requested {
        None => kind,
        Some(requested) => requested_type(requested)?,
    };
    list.get().check_mirror(py, Mirror::ReadOnly)?.map_err(no_mirror)?;
    let array = match kind.layout {
        ArrowLayout::Views => view_array(list, kind.content),
        ArrowLayout::Offsets => offset_array::<i32>(list, kind.content),
        ArrowLayout::LargeOffsets => offset_array::<i64>(list, kind.content),
    };
    capsules(py, kind.format(), array?)
}

/// A block as capsules: an array of unsigned bytes.
pub(crate) fn export_block<'py>(
    block: &Bound<'py, MemBlock>,
    requested: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = block.py();
    if let Some(requested) = requested {
        let format = requested_format(requested)?;
        if format != BYTE {
            let message =
                format!("a MemBlock is an Arrow array of uint8, not of format {format:?}: cast what it gives");
            return Err(PyValueError::new_err(message));
        }
    }
    let (guard, data, len) = ExportGuard::of_block_read_only(py, block.get())?;
    let buffers = Buffers { pointers: vec![null(), data.as_ptr().cast()], _tables: Tables::None, _guard: guard };
    capsules(py, BYTE, ArrowArrayStruct::new(len, buffers))
}

pub(crate) fn schema_of_block<'py>(block: &Bound<'py, MemBlock>) -> PyResult<Bound<'py, PyAny>> {
    block.get().readonly(block.py())?; // it is still there
    schema_capsule(block.py(), BYTE)
}

fn requested_type(requested: &Bound<'_, PyAny>) -> PyResult<Type> {
    let format = requested_format(requested)?;
    TYPES.iter().find(|(_, known, _)| *known == format).map(|(_, _, kind)| *kind).ok_or_else(|| {
        PyValueError::new_err(format!(
            "a MemList cannot be exported as an Arrow array of format {format:?}: ask for one of {}, and cast that",
            all_names()
        ))
    })
}

/// Views of the records where they are, or of a copy in the group where they lie in too many places.
fn view_array(list: &Bound<'_, MemList>, content: Content) -> PyResult<ArrowArrayStruct> {
    let array = match views_in_place(list, content, Scatter::Refused)? {
        Err(ArrowError::Scattered) => views_in_place(&list.get().packed(list.py())?, content, Scatter::Allowed)?,
        array => array,
    };
    array.map_err(explained)
}

/// Views of the records where they are.
fn views_in_place(
    list: &Bound<'_, MemList>,
    content: Content,
    scatter: Scatter,
) -> PyResult<Result<ArrowArrayStruct, ArrowError>> {
    let (py, this) = (list.py(), list.get());
    let guard = ExportGuard::of_list(py, this)?;
    let views = this.laid_out(py, |live, layout, part| {
        // SAFETY: laid_out has just found the list there.
        unsafe { views(live, layout, part, content, scatter) }
    });
    let Views { views, windows } = match views? {
        Ok(views) => views,
        Err(error) => return Ok(Err(error)),
    };
    let mut pointers = vec![null(), address_of(&views)];
    // SAFETY: the guard keeps the slots of the list, and the windows lie in them.
    let starts = windows.iter().map(|&window| unsafe { arrow::read_only(guard.slots(), window) });
    pointers.extend(starts.map(|start| start.map_or(null(), |start| start.as_ptr().cast_const().cast::<c_void>())));
    let lengths: Vec<i64> = windows.iter().map(|window| window.len as i64).collect();
    pointers.push(address_of(&lengths));
    let tables = Tables::Views(views, lengths);
    Ok(Ok(ArrowArrayStruct::new(this.len(), Buffers { pointers, _tables: tables, _guard: guard })))
}

/// Offsets, and the bytes where they are, if they adjoin; else in a new block of the group.
fn offset_array<T: TryFrom<usize> + Send>(list: &Bound<'_, MemList>, content: Content) -> PyResult<ArrowArrayStruct>
where
    Tables: From<Vec<T>>,
{
    let (py, this) = (list.py(), list.get());
    let guard = ExportGuard::of_list(py, this)?;
    let laid_out = this.laid_out(py, |live, layout, part| {
        let offsets = offsets::<T>(layout, part)?;
        if content == Content::Utf8 {
            // SAFETY: laid_out has just found the list there.
            unsafe { check_utf8(live, layout, part) }?;
        }
        // SAFETY: the span is of the list, which laid_out has just found there.
        let data = adjoining(layout, part).and_then(|span| unsafe { arrow::read_only(live, span) });
        Ok((offsets, data.map(Address)))
    });
    let (offsets, data) = laid_out?.map_err(explained)?;
    let len = this.len();
    let (guard, data) = match data {
        Some(data) => (guard, data.0),
        None => {
            let (guard, data, _) = ExportGuard::of_block_read_only(py, this.joined(py)?.get())?;
            (guard, data)
        }
    };
    let pointers = vec![null(), address_of(&offsets), data.as_ptr().cast_const().cast()];
    Ok(ArrowArrayStruct::new(len, Buffers { pointers, _tables: offsets.into(), _guard: guard }))
}

/// An address on its way between threads.
struct Address(NonNull<u8>);

// SAFETY: an address is only a number until somebody argues otherwise.
unsafe impl Send for Address {}

fn address_of<T>(table: &[T]) -> *const c_void {
    table.as_ptr().cast()
}

#[cold]
fn explained(error: ArrowError) -> PyErr {
    match error {
        ArrowError::TooLong { index, len } => PyValueError::new_err(format!(
            "the record at index {index} has {len} bytes, and a view reaches {most}: export the list as_arrow(\"large_binary\")",
            most = arrow::MAX_OFFSET,
        )),
        ArrowError::NotUtf8 { index, byte } => PyValueError::new_err(format!(
            "the record at index {index} is not UTF-8 from byte {byte} on: export the list as_arrow(\"binary_view\")"
        )),
        ArrowError::TooMuch { nbytes } => PyValueError::new_err(format!(
            "the list has {nbytes} bytes, and offsets of 32 bits reach {most}: export it as_arrow(\"large_binary\") or \
             \"binary_view\"",
            most = arrow::MAX_OFFSET,
        )),
        ArrowError::Scattered | ArrowError::NoMemory(Error::Table { .. }) => PyMemoryError::new_err(
            "no memory for the table of an Arrow array (16 bytes for each record): export slices",
        ),
        ArrowError::NoMemory(error) => error.into(),
    }
}
