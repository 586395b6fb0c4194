//! Blocks as DLPack tensors: one dimension of unsigned bytes in main memory, lent until the consumer calls the deleter.

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::python::block::object::{Get, MemBlock};
use crate::python::export::guard::ExportGuard;
use crate::python::ffi::arguments;

/// What a consumer asks for; see the array API standard.
pub(crate) struct DlpackRequest<'a, 'py> {
    pub(crate) stream: Option<&'a Bound<'py, PyAny>>,
    pub(crate) max_version: Option<&'a Bound<'py, PyAny>>,
    pub(crate) dl_device: Option<&'a Bound<'py, PyAny>>,
    pub(crate) copy: Option<&'a Bound<'py, PyAny>>,
}

/// Main memory, and the only one there is.
pub(crate) const DEVICE: (i32, i32) = (1, 0);

/// A block as a capsule with a tensor.
///
/// # Errors
/// BufferError: It cannot be exported as requested.
pub(crate) fn export<'py>(
    block: &Bound<'py, MemBlock>,
    request: &DlpackRequest<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = block.py();
    let this = block.get();
    let readonly = this.readonly(py)?;
    if request.stream.is_some() {
        return Err(PyBufferError::new_err("a block is in main memory, which has no streams: pass stream=None"));
    }
    if let Some(device) = request.dl_device {
        let device = pair(device, "dl_device must be a tuple of two integers")?;
        if device != (DEVICE.0 as isize, DEVICE.1 as isize) {
            return Err(PyBufferError::new_err(format!(
                "a block is in main memory, device {DEVICE:?}, not {device:?}: take it from there, and let the consumer copy"
            )));
        }
    }
    let version = request.max_version.map(|version| pair(version, "max_version must be a tuple of two integers"));
    let is_versioned = version.transpose()?.is_some_and(|(major, _)| major >= 1);
    if request.copy.map_or(Ok(false), |copy| copy.is_truthy())? {
        let copy = this.copied(py)?;
        return capsule(&copy, is_versioned, FLAG_COPIED);
    }
    if readonly && !is_versioned {
        return Err(PyBufferError::new_err(
            "this block is protected, which DLPack can say since version 1.0 only: ask with max_version=(1, 0) or newer (numpy \
             does from 2.1 on), with copy=True, or for the block that the group's unprotect() gives",
        ));
    }
    capsule(block, is_versioned, if readonly { FLAG_READ_ONLY } else { 0 })
}

fn pair(object: &Bound<'_, PyAny>, rule: &str) -> PyResult<(isize, isize)> {
    match object.cast::<PyTuple>() {
        Ok(pair) if pair.len() == 2 => {
            Ok((arguments::integer(&pair.get_item(0)?, rule)?, arguments::integer(&pair.get_item(1)?, rule)?))
        }
        _ => Err(PyTypeError::new_err(format!("{rule}, not {}", arguments::type_name(object)))),
    }
}

// The structures of DLPack, as its header has them.

const CPU: i32 = 1;
const UNSIGNED: u8 = 1;
const FLAG_READ_ONLY: u64 = 1;
const FLAG_COPIED: u64 = 2;

#[repr(C)]
struct Device {
    kind: i32,
    id: i32,
}

#[repr(C)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    dimensions: i32,
    data_type: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[repr(C)]
struct DlpackVersion {
    major: u32,
    minor: u32,
}

/// What version 0 passes on.
#[repr(C)]
struct Unversioned {
    tensor: Tensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
}

/// What versions from 1 on pass on.
#[repr(C)]
struct Versioned {
    version: DlpackVersion,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
    flags: u64,
    tensor: Tensor,
}

/// A structure for consumers, and what it needs. The consumer knows the first only.
#[repr(C)]
struct Managed<T> {
    head: T,
    shape: [i64; 1],
    strides: [i64; 1],
    _guard: ExportGuard,
}

/// One of the two structures.
trait ManagedTensor: Sized {
    const NAME: &CStr;
    fn new(flags: u64) -> Self;
    fn tensor(&mut self) -> &mut Tensor;
    /// The consumer's way to say that it is done.
    unsafe extern "C" fn delete(this: *mut Self) {
        // SAFETY: `capsule` made it of a Box of the whole, the head of which comes first; the consumer calls this once, in
        // whatever thread. It touches nothing of Python's.
        drop(unsafe { Box::from_raw(this.cast::<Managed<Self>>()) });
    }
}

impl Tensor {
    fn empty() -> Self {
        Self {
            data: null_mut(),
            device: Device { kind: CPU, id: 0 },
            dimensions: 1,
            data_type: DataType { code: UNSIGNED, bits: 8, lanes: 1 },
            shape: null_mut(),
            strides: null_mut(),
            byte_offset: 0,
        }
    }
}

impl ManagedTensor for Unversioned {
    const NAME: &CStr = c"dltensor";

    fn new(_flags: u64) -> Self {
        Self { tensor: Tensor::empty(), context: null_mut(), deleter: Some(Self::delete) }
    }

    fn tensor(&mut self) -> &mut Tensor {
        &mut self.tensor
    }
}

impl ManagedTensor for Versioned {
    const NAME: &CStr = c"dltensor_versioned";

    fn new(flags: u64) -> Self {
        let version = DlpackVersion { major: 1, minor: 0 };
        Self { version, context: null_mut(), deleter: Some(Self::delete), flags, tensor: Tensor::empty() }
    }

    fn tensor(&mut self) -> &mut Tensor {
        &mut self.tensor
    }
}

fn capsule<'py>(block: &Bound<'py, MemBlock>, is_versioned: bool, flags: u64) -> PyResult<Bound<'py, PyAny>> {
    match is_versioned {
        true => capsule_of::<Versioned>(block, flags),
        false => capsule_of::<Unversioned>(block, flags),
    }
}

fn capsule_of<'py, T: ManagedTensor>(block: &Bound<'py, MemBlock>, flags: u64) -> PyResult<Bound<'py, PyAny>> {
    let py = block.py();
    let (guard, data, len) = ExportGuard::of_block(py, block.get())?;
    let managed = Managed { head: T::new(flags), shape: [len as i64], strides: [1], _guard: guard };
    let managed = Box::into_raw(Box::new(managed));
    // SAFETY: nobody else has it.
    let Managed { head, shape, strides, .. } = unsafe { &mut *managed };
    let tensor = head.tensor();
    tensor.data = if len == 0 { null_mut() } else { data.as_ptr().cast() };
    tensor.shape = shape.as_mut_ptr();
    tensor.strides = strides.as_mut_ptr();
    // SAFETY: the pointer is not null, and the name is there forever.
    let capsule = unsafe { ffi::PyCapsule_New(managed.cast(), T::NAME.as_ptr(), Some(drop_capsule::<T>)) };
    if capsule.is_null() {
        // SAFETY: nobody has it.
        drop(unsafe { Box::from_raw(managed) });
        return Err(PyErr::fetch(py));
    }
    // SAFETY: it is a new reference.
    Ok(unsafe { Bound::from_owned_ptr(py, capsule) })
}

unsafe extern "C" fn drop_capsule<T: ManagedTensor>(capsule: *mut PyObject) {
    // A consumer that took the tensor has renamed the capsule, and calls the deleter itself.
    // SAFETY: it is called with the capsule that it was made for.
    if unsafe { ffi::PyCapsule_IsValid(capsule, T::NAME.as_ptr()) } == 0 {
        return;
    }
    // SAFETY: it has that name.
    let managed = unsafe { ffi::PyCapsule_GetPointer(capsule, T::NAME.as_ptr()) };
    // SAFETY: nobody took it.
    unsafe { T::delete(managed.cast()) };
}
