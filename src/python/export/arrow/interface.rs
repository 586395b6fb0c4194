//! The C data interface, as Arrow documents it: structures, their release, and capsules of them.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

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
pub(super) const NULLABLE: i64 = 2;

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
