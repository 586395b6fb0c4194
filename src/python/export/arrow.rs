//! Lists and blocks as Arrow arrays, by the Arrow PyCapsule interface: structures of the C data interface in capsules.
//!
//! What an array shows is the read-only mirror, and is lent until its consumer calls `release`; see [`ExportGuard`].

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{NonNull, null, null_mut};

use pyo3::exceptions::{PyMemoryError, PyTypeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyString, PyTuple};

use crate::error::Error;
use crate::list::arrow::{self, Content, Scatter, Unfit, View, Views};
use crate::python::block::object::{Get, MemBlock};
use crate::python::export::guard::{ExportGuard, no_mirror};
use crate::python::ffi::arguments::type_name;
use crate::python::list::object::MemList;
use crate::scratch::Scratch;

/// The types that a list can be exported as. All of them hold the same records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Type {
    content: Content,
    layout: Layout,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// 16 bytes for each record; no byte of a record moves.
    Views,
    /// Offsets of 32 bits into one stretch.
    Offsets,
    /// Offsets of 64 bits into one stretch.
    LargeOffsets,
}

/// By pyarrow's names, with the format of the C data interface.
const TYPES: [(&str, &CStr, Type); 6] = [
    ("binary_view", c"vz", Type { content: Content::Bytes, layout: Layout::Views }),
    ("string_view", c"vu", Type { content: Content::Utf8, layout: Layout::Views }),
    ("large_binary", c"Z", Type { content: Content::Bytes, layout: Layout::LargeOffsets }),
    ("large_string", c"U", Type { content: Content::Utf8, layout: Layout::LargeOffsets }),
    ("binary", c"z", Type { content: Content::Bytes, layout: Layout::Offsets }),
    ("string", c"u", Type { content: Content::Utf8, layout: Layout::Offsets }),
];

/// Of a block: unsigned bytes.
const BYTE: &CStr = c"C";

impl Default for Type {
    fn default() -> Self {
        TYPES[0].2
    }
}

impl Type {
    fn format(self) -> &'static CStr {
        TYPES.iter().find(|(_, _, known)| *known == self).map_or(c"vz", |(_, format, _)| format)
    }

    fn name(self) -> &'static str {
        TYPES.iter().find(|(_, _, known)| *known == self).map_or("binary_view", |(name, _, _)| name)
    }
}

fn all_names() -> String {
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

/// A list as Arrow sees it, in a type of the caller's choice.
///
/// What takes the Arrow PyCapsule interface takes it.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct ArrowArray {
    list: Py<MemList>,
    kind: Type,
}

#[pymethods]
impl ArrowArray {
    /// The type of the array, by pyarrow's name: "binary_view", say.
    #[getter]
    fn r#type(&self) -> &'static str {
        self.kind.name()
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.list.get().check(py)?;
        Ok(self.list.get().len())
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        schema_capsule(py, self.kind.format())
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        export_list(self.list.bind(py), self.kind, requested_schema)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<ArrowArray, {}, of {}>", self.kind.name(), self.list.bind(py).repr()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.list)
    }
}

impl ArrowArray {
    pub(crate) fn new(list: &Bound<'_, MemList>, kind: Type) -> Self {
        Self { list: list.clone().unbind(), kind }
    }
}

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
    check_mirror(list)?;
    let array = match kind.layout {
        Layout::Views => view_array(list, kind.content),
        Layout::Offsets => offset_array::<i32>(list, kind.content),
        Layout::LargeOffsets => offset_array::<i64>(list, kind.content),
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
    let (lent, data, len) = ExportGuard::of_block_read_only(py, block.get())?;
    let buffers = Buffers { pointers: vec![null(), data.as_ptr().cast()], _tables: Tables::None, _lent: lent };
    capsules(py, BYTE, ArrowArrayStruct::new(len, buffers))
}

pub(crate) fn schema_of_block<'py>(block: &Bound<'py, MemBlock>) -> PyResult<Bound<'py, PyAny>> {
    block.get().readonly(block.py())?; // it is still there
    schema_capsule(block.py(), BYTE)
}

/// An error where no read-only mirror is to be had.
fn check_mirror(list: &Bound<'_, MemList>) -> PyResult<()> {
    match list.get().group().get().try_with_state(list.py(), |state| Ok(state.group().has_mirror()))? {
        true => Ok(()),
        false => Err(no_mirror()),
    }
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

/// The format of a schema in a capsule, which stays the caller's.
fn requested_format<'a>(requested: &'a Bound<'_, PyAny>) -> PyResult<&'a CStr> {
    let no_schema = || {
        let given = type_name(requested);
        PyTypeError::new_err(format!("requested_schema must be a capsule named \"arrow_schema\" or None, not {given}"))
    };
    // SAFETY: the object is alive.
    if unsafe { ffi::PyCapsule_IsValid(requested.as_ptr(), SCHEMA.as_ptr()) } == 0 {
        return Err(no_schema());
    }
    // SAFETY: it is a capsule of that name.
    let schema = unsafe { ffi::PyCapsule_GetPointer(requested.as_ptr(), SCHEMA.as_ptr()) }.cast::<ArrowSchemaStruct>();
    // SAFETY: capsules of that name hold schemas, which stay while the capsule does.
    let schema = unsafe { schema.as_ref() }.ok_or_else(no_schema)?;
    if schema.release.is_none() || schema.format.is_null() {
        return Err(PyValueError::new_err("requested_schema was released: pass one that is still there"));
    }
    // SAFETY: the format of a schema that is not released is a C string.
    Ok(unsafe { CStr::from_ptr(schema.format) })
}

/// Views of the records where they are, or of a copy in the group where they lie in too many places.
fn view_array(list: &Bound<'_, MemList>, content: Content) -> PyResult<ArrowArrayStruct> {
    let array = match views_in_place(list, content, Scatter::Refused)? {
        Err(Unfit::Scattered) => views_in_place(&list.get().packed(list.py())?, content, Scatter::Allowed)?,
        array => array,
    };
    array.map_err(explained)
}

/// Views of the records where they are.
fn views_in_place(
    list: &Bound<'_, MemList>,
    content: Content,
    scatter: Scatter,
) -> PyResult<Result<ArrowArrayStruct, Unfit>> {
    let (py, this) = (list.py(), list.get());
    let lent = ExportGuard::of_list(py, this)?;
    let views = this.laid_out(py, |live, layout, part| {
        // SAFETY: laid_out has just found the list there.
        unsafe { arrow::views(live, layout, part, content, scatter) }
    });
    let Views { views, windows } = match views? {
        Ok(views) => views,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let mut pointers = vec![null(), address_of(&views)];
    // SAFETY: the slots of the list are lent.
    let starts = windows.iter().map(|&window| unsafe { arrow::read_only(lent.slots(), window) });
    pointers.extend(starts.map(|start| start.map_or(null(), |start| start.as_ptr().cast_const().cast::<c_void>())));
    let lengths: Vec<i64> = windows.iter().map(|window| window.len as i64).collect();
    pointers.push(address_of(&lengths));
    let tables = Tables::Views(views, lengths);
    Ok(Ok(ArrowArrayStruct::new(this.len(), Buffers { pointers, _tables: tables, _lent: lent })))
}

/// Offsets, and the bytes where they are, if they adjoin; else in a new block of the group.
fn offset_array<T: TryFrom<usize> + Send>(list: &Bound<'_, MemList>, content: Content) -> PyResult<ArrowArrayStruct>
where
    Tables: From<Vec<T>>,
{
    let (py, this) = (list.py(), list.get());
    let lent = ExportGuard::of_list(py, this)?;
    let laid_out = this.laid_out(py, |live, layout, part| {
        let offsets = arrow::offsets::<T>(layout, part)?;
        if content == Content::Utf8 {
            // SAFETY: laid_out has just found the list there.
            unsafe { arrow::check_utf8(live, layout, part) }?;
        }
        // SAFETY: the same.
        let data = arrow::adjoining(layout, part).and_then(|span| unsafe { arrow::read_only(live, span) });
        Ok((offsets, data.map(Address)))
    });
    let (offsets, data) = laid_out?.map_err(explained)?;
    let len = this.len();
    let (lent, data) = match data {
        Some(data) => (lent, data.0),
        None => {
            let (lent, data, _) = ExportGuard::of_block_read_only(py, this.joined(py)?.get())?;
            (lent, data)
        }
    };
    let pointers = vec![null(), address_of(&offsets), data.as_ptr().cast_const().cast()];
    Ok(ArrowArrayStruct::new(len, Buffers { pointers, _tables: offsets.into(), _lent: lent }))
}

/// An address on its way between threads.
struct Address(NonNull<u8>);

// SAFETY: an address is only a number until somebody argues otherwise.
unsafe impl Send for Address {}

fn address_of<T>(table: &[T]) -> *const c_void {
    table.as_ptr().cast()
}

#[cold]
fn explained(unfit: Unfit) -> PyErr {
    match unfit {
        Unfit::TooLong { index, len } => PyValueError::new_err(format!(
            "the record at index {index} has {len} bytes, and a view reaches {most}: export the list as_arrow(\"large_binary\")",
            most = arrow::MOST,
        )),
        Unfit::NotUtf8 { index, byte } => PyValueError::new_err(format!(
            "the record at index {index} is not UTF-8 from byte {byte} on: export the list as_arrow(\"binary_view\")"
        )),
        Unfit::TooMuch { nbytes } => PyValueError::new_err(format!(
            "the list has {nbytes} bytes, and offsets of 32 bits reach {most}: export it as_arrow(\"large_binary\") or \
             \"binary_view\"",
            most = arrow::MOST,
        )),
        Unfit::Scattered | Unfit::NoMemory(Error::Table { .. }) => PyMemoryError::new_err(
            "no memory for the table of an Arrow array (16 bytes for each record): export slices",
        ),
        Unfit::NoMemory(error) => error.into(),
    }
}

// The C data interface, as Arrow documents it.

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const NULLABLE: i64 = 2;

#[repr(C)]
struct ArrowSchemaStruct {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchemaStruct,
    dictionary: *mut ArrowSchemaStruct,
    release: Option<unsafe extern "C" fn(*mut ArrowSchemaStruct)>,
    private_data: *mut c_void,
}

#[repr(C)]
struct ArrowArrayStruct {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *const *const c_void,
    children: *mut *mut ArrowArrayStruct,
    dictionary: *mut ArrowArrayStruct,
    release: Option<unsafe extern "C" fn(*mut ArrowArrayStruct)>,
    private_data: *mut c_void,
}

/// What an array keeps until it is released.
struct Buffers {
    pointers: Vec<*const c_void>,
    _tables: Tables,
    _lent: ExportGuard,
}

/// What the first pointers point to.
enum Tables {
    None,
    #[expect(dead_code, reason = "kept, not read: the pointers lead there")]
    Views(Scratch<View>, Vec<i64>),
    #[expect(dead_code, reason = "as for Views")]
    Offsets(Vec<i32>),
    #[expect(dead_code, reason = "as for Views")]
    LargeOffsets(Vec<i64>),
}

impl From<Vec<i32>> for Tables {
    fn from(offsets: Vec<i32>) -> Self {
        Self::Offsets(offsets)
    }
}

impl From<Vec<i64>> for Tables {
    fn from(offsets: Vec<i64>) -> Self {
        Self::LargeOffsets(offsets)
    }
}

impl ArrowArrayStruct {
    fn new(length: usize, buffers: Buffers) -> Self {
        let buffers = Box::new(buffers);
        Self {
            length: length as i64,
            null_count: 0,
            offset: 0,
            n_buffers: buffers.pointers.len() as i64,
            n_children: 0,
            buffers: buffers.pointers.as_ptr(),
            children: null_mut(),
            dictionary: null_mut(),
            release: Some(release_array),
            private_data: Box::into_raw(buffers).cast(),
        }
    }
}

impl Drop for ArrowArrayStruct {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: it is not released yet, for then it would have no callback.
            unsafe { release(self) };
        }
    }
}

impl Drop for ArrowSchemaStruct {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: as for an array.
            unsafe { release(self) };
        }
    }
}

/// Called by the consumer, in whatever thread: it touches nothing of Python's.
unsafe extern "C" fn release_array(array: *mut ArrowArrayStruct) {
    // SAFETY: the consumer passes an array that is not released yet.
    let array = unsafe { &mut *array };
    array.release = None;
    // SAFETY: new made it of a Box, and whoever moved the structure has marked the old one as released.
    drop(unsafe { Box::from_raw(array.private_data.cast::<Buffers>()) });
    array.private_data = null_mut();
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchemaStruct) {
    // SAFETY: the consumer passes a schema that is not released yet. All that it points to is there forever.
    unsafe { (*schema).release = None };
}

fn schema_capsule<'py>(py: Python<'py>, format: &'static CStr) -> PyResult<Bound<'py, PyAny>> {
    let schema = ArrowSchemaStruct {
        format: format.as_ptr(),
        name: c"".as_ptr(),
        metadata: null(),
        flags: NULLABLE, // as an array of pyarrow says of itself
        n_children: 0,
        children: null_mut(),
        dictionary: null_mut(),
        release: Some(release_schema),
        private_data: null_mut(),
    };
    capsule(py, SCHEMA, schema, drop_capsule_of_schema)
}

fn capsules<'py>(py: Python<'py>, format: &'static CStr, array: ArrowArrayStruct) -> PyResult<Bound<'py, PyTuple>> {
    let array = capsule(py, ARRAY, array, drop_capsule_of_array)?;
    PyTuple::new(py, [schema_capsule(py, format)?, array])
}

/// Puts a structure into a capsule, the destructor of which takes it out.
fn capsule<'py, T>(
    py: Python<'py>,
    name: &'static CStr,
    value: T,
    destructor: unsafe extern "C" fn(*mut PyObject),
) -> PyResult<Bound<'py, PyAny>> {
    let value = Box::into_raw(Box::new(value));
    // SAFETY: the pointer is not null, and the name is there forever.
    let capsule = unsafe { ffi::PyCapsule_New(value.cast(), name.as_ptr(), Some(destructor)) };
    if capsule.is_null() {
        // SAFETY: nobody has it.
        drop(unsafe { Box::from_raw(value) });
        return Err(PyErr::fetch(py));
    }
    // SAFETY: it is a new reference.
    Ok(unsafe { Bound::from_owned_ptr(py, capsule) })
}

unsafe extern "C" fn drop_capsule_of_schema(capsule: *mut PyObject) {
    // SAFETY: it is called with the capsule that it was made for.
    let schema = unsafe { ffi::PyCapsule_GetPointer(capsule, SCHEMA.as_ptr()) };
    // SAFETY: it was made of a Box. A consumer that moved the schema away has marked this one as released.
    drop(unsafe { Box::from_raw(schema.cast::<ArrowSchemaStruct>()) });
}

unsafe extern "C" fn drop_capsule_of_array(capsule: *mut PyObject) {
    // SAFETY: it is called with the capsule that it was made for.
    let array = unsafe { ffi::PyCapsule_GetPointer(capsule, ARRAY.as_ptr()) };
    // SAFETY: as for a schema.
    drop(unsafe { Box::from_raw(array.cast::<ArrowArrayStruct>()) });
}
