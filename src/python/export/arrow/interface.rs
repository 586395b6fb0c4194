//! The C data interface, as Arrow documents it: structures, their release, and capsules of them.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::fallible;
use crate::list::arrow::views::View;
use crate::python::export::guard::ExportGuard;
use crate::python::ffi::arguments::type_name;
use crate::scratch::Scratch;

/// The format of a schema in a capsule, which stays the caller's.
pub(super) fn requested_format<'a>(requested: &'a Bound<'_, PyAny>) -> PyResult<&'a CStr> {
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

pub(super) const SCHEMA: &CStr = c"arrow_schema";
pub(super) const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";
pub(super) const NULLABLE: i64 = 2;

/// More records than any array has: far from overflow.
const MAX_RECORDS: usize = 1 << 48;

#[repr(C)]
pub(super) struct ArrowSchemaStruct {
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
pub(super) struct ArrowArrayStruct {
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

/// A sequence of arrays of one type.
#[repr(C)]
#[derive(Clone, Copy)]
struct ArrowStreamStruct {
    get_schema: Option<unsafe extern "C" fn(*mut ArrowStreamStruct, *mut ArrowSchemaStruct) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut ArrowStreamStruct, *mut ArrowArrayStruct) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut ArrowStreamStruct) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut ArrowStreamStruct)>,
    private_data: *mut c_void,
}

// SAFETY: the structure may be released by any thread, and what it shows never changes.
unsafe impl Send for ArrowArrayStruct {}
// SAFETY: what an array shows never changes.
unsafe impl Sync for ArrowArrayStruct {}

/// Arrays of one type that somebody else has made, and the format of that type.
pub(super) struct Imported {
    pub(super) format: CString,
    pub(super) arrays: Vec<ArrowArrayStruct>,
}

impl Imported {
    /// What the two capsules of an array hold, which is moved out of them.
    pub(super) fn of_array(schema: &Bound<'_, PyAny>, array: &Bound<'_, PyAny>) -> PyResult<Self> {
        let format = requested_format(schema)?.to_owned();
        // SAFETY: capsules of that name hold arrays, which stay while the capsule does.
        let held = unsafe { held::<ArrowArrayStruct>(array, ARRAY) }?;
        // SAFETY: the structure is there, and whoever moves it marks the old one as released.
        let array = unsafe { held.read() };
        // SAFETY: the structure is there.
        unsafe { (*held.as_ptr()).release = None };
        if array.release.is_none() {
            return Err(PyValueError::new_err("the array of the capsule was taken already: ask for another capsule"));
        }
        Ok(Self { format, arrays: vec![array] })
    }

    /// What the stream of a capsule holds, which is read to its end.
    pub(super) fn of_stream(stream: &Bound<'_, PyAny>) -> PyResult<Self> {
        // SAFETY: capsules of that name hold streams, which stay while the capsule does.
        let stream = unsafe { held::<ArrowStreamStruct>(stream, STREAM) }?;
        let mut schema = ArrowSchemaStruct::released();
        // SAFETY: the stream is there.
        let calls = unsafe { stream.read() };
        let ArrowStreamStruct { get_schema: Some(get_schema), get_next: Some(get_next), release: Some(_), .. } = calls
        else {
            return Err(PyValueError::new_err("the stream of the capsule was taken already: ask for another capsule"));
        };
        // SAFETY: the stream is there and not released, and the schema is to be filled.
        let refused = unsafe { get_schema(stream.as_ptr(), &mut schema) };
        if refused != 0 || schema.release.is_none() || schema.format.is_null() {
            // SAFETY: the stream has just failed.
            return Err(unsafe { stream_error(stream, refused) });
        }
        // SAFETY: the format of a schema that is not released is a C string.
        let format = unsafe { CStr::from_ptr(schema.format) }.to_owned();
        let mut arrays = Vec::new();
        loop {
            let mut array = ArrowArrayStruct::released();
            // SAFETY: the stream is there and not released, and the array is to be filled.
            let refused = unsafe { get_next(stream.as_ptr(), &mut array) };
            if refused != 0 {
                // SAFETY: the stream has just failed.
                return Err(unsafe { stream_error(stream, refused) });
            }
            if array.release.is_none() {
                return Ok(Self { format, arrays });
            }
            fallible::push(&mut arrays, array)?;
        }
    }
}

/// # Safety
/// The stream must be there, and have failed just now.
unsafe fn stream_error(stream: NonNull<ArrowStreamStruct>, code: c_int) -> PyErr {
    // SAFETY: the stream is there, by contract.
    let explain = unsafe { (*stream.as_ptr()).get_last_error };
    // SAFETY: the stream is there and has failed, by contract.
    let text = explain.map(|explain| unsafe { explain(stream.as_ptr()) }).filter(|text| !text.is_null());
    // SAFETY: an error that is there is a C string.
    let text = text.map_or("it says no more".into(), |text| unsafe { CStr::from_ptr(text) }.to_string_lossy());
    PyValueError::new_err(format!("the Arrow stream has failed with error {code}: {text}"))
}

/// The structure that a capsule of that name holds.
///
/// # Safety
/// Such capsules must hold such structures.
unsafe fn held<T>(capsule: &Bound<'_, PyAny>, name: &CStr) -> PyResult<NonNull<T>> {
    // SAFETY: the object is alive, and the name a C string.
    let held = match unsafe { ffi::PyCapsule_IsValid(capsule.as_ptr(), name.as_ptr()) } {
        0 => null_mut(),
        // SAFETY: it is a capsule of that name.
        _ => unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), name.as_ptr()) },
    };
    NonNull::new(held.cast())
        .ok_or_else(|| PyTypeError::new_err(format!("a capsule named {name:?} is needed, not {}", type_name(capsule))))
}

impl ArrowSchemaStruct {
    fn released() -> Self {
        Self {
            format: null(),
            name: null(),
            metadata: null(),
            flags: 0,
            n_children: 0,
            children: null_mut(),
            dictionary: null_mut(),
            release: None,
            private_data: null_mut(),
        }
    }
}

/// What an array keeps until it is released.
pub(super) struct Buffers {
    pub(super) pointers: Vec<*const c_void>,
    pub(super) _tables: Tables,
    pub(super) _guard: ExportGuard,
}

/// What the first pointers point to.
pub(super) enum Tables {
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
    fn released() -> Self {
        Self {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: null(),
            children: null_mut(),
            dictionary: null_mut(),
            release: None,
            private_data: null_mut(),
        }
    }

    /// How many records there are, and how many lie before them in the buffers.
    pub(super) fn extent(&self) -> Option<(usize, usize)> {
        let (length, offset) = (usize::try_from(self.length).ok()?, usize::try_from(self.offset).ok()?);
        // No table of records is longer.
        (length < MAX_RECORDS && offset < MAX_RECORDS).then_some((length, offset))
    }

    /// Whether no record is null for certain.
    pub(super) fn has_no_nulls(&self) -> bool {
        self.null_count == 0
    }

    /// Where the buffers are; those without bytes may be null.
    pub(super) fn pointers(&self) -> &[*const c_void] {
        match usize::try_from(self.n_buffers) {
            // SAFETY: an array that is not released has as many pointers as it says.
            Ok(many) if many > 0 && !self.buffers.is_null() => unsafe {
                std::slice::from_raw_parts(self.buffers, many)
            },
            _ => &[],
        }
    }

    pub(super) fn new(length: usize, buffers: Buffers) -> Self {
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
            // SAFETY: release is the array's own, and the array is not released yet, for then it would have no callback.
            unsafe { release(self) };
        }
    }
}

impl Drop for ArrowSchemaStruct {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: release is the schema's own, and the schema is not released yet, for then it would have no callback.
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

pub(super) fn schema_capsule<'py>(py: Python<'py>, format: &'static CStr) -> PyResult<Bound<'py, PyAny>> {
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

pub(super) fn capsules<'py>(
    py: Python<'py>,
    format: &'static CStr,
    array: ArrowArrayStruct,
) -> PyResult<Bound<'py, PyTuple>> {
    let array = capsule(py, ARRAY, array, drop_capsule_of_array)?;
    PyTuple::new(py, [schema_capsule(py, format)?, array])
}

/// Puts a structure into a capsule, the destructor of which takes it out.
pub(super) fn capsule<'py, T>(
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
    // SAFETY: it was made of a Box. A consumer that moved the array away has marked this one as released.
    drop(unsafe { Box::from_raw(array.cast::<ArrowArrayStruct>()) });
}
