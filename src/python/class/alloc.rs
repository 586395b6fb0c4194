//! `MemGroup.alloc`, the one method that is called too often for pyo3's way of reading arguments.

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use crate::layout::DEFAULT_ALIGN;
use crate::python::block::object::MemBlock;
use crate::python::ffi::arguments::{self, Align, Size};
use crate::python::ffi::keywords::Signature;
use crate::python::ffi::methods::native_methods;
use crate::python::ffi::trampoline::{borrowed, on_object};
use crate::python::group::object::MemGroup;
use crate::slot::Mirror;

const ALLOC: Signature<3> = Signature { function: "alloc", names: ["n", "align", "zero"], required: 1, by_position: 1 };

native_methods! {
    MemGroup;

    /// Return a writable block of `n` bytes. Their contents are unspecified unless `zero` is true.
    ///
    /// Args:
    ///     n: Size in bytes; 0 gives an empty block.
    ///     align: The block's address is a multiple of this power of two, at most 4096.
    ///     zero: Whether to set every byte to 0.
    ///
    /// Raises:
    ///     TypeError: `n` or `align` is no integer.
    ///     ValueError: `n` is negative, `align` no power of two up to 4096, or the group is freed.
    ///     MemoryError: The group is full, `limit` is reached, or the machine has too little memory. The group stays
    ///         usable.
    ///     OSError: The kernel does not protect read-only mirrors, as in some sandboxes.
    alloc "($self, n, *, align=16, zero=False)" => function(alloc);
}

unsafe extern "C" fn alloc(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // Here is nothing to fail or panic, so neither is prepared for.
    if given == 1 && names.is_null() {
        // SAFETY: Python calls with the thread attached.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: Python calls a method of the class with one of its objects.
        let group = unsafe { borrowed(py, &slf) };
        // SAFETY: Python passes as many objects as it says.
        let args = unsafe { arguments::by_position(py, args, given) };
        if let Some(size) = arguments::plain_integer(&args[0])
            && let Ok(size) = usize::try_from(size)
            && let Some(block) = try_alloc_block(group, size)
        {
            return block.into_ptr();
        }
    }
    // SAFETY: the arguments are passed on.
    unsafe { alloc_slow(slf, args, given, names) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn alloc_slow(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let body = |group: &Bound<'_, MemGroup>| {
        // SAFETY: Python passes the arguments of a method with keywords, which live for as long as the call.
        let [size, align, zero] = unsafe { ALLOC.read(group.py(), args, given, names) }?;
        let size = ALLOC.required(size, "n")?.extract::<Size>()?.0;
        let align = align.map(|align| align.extract::<Align>()).transpose()?.unwrap_or_default().0;
        let zero = zero.map(arguments::flags::zero).transpose()?.unwrap_or(false);
        Ok(alloc_block(group, size, align, zero)?.into_ptr())
    };
    // SAFETY: Python calls with the thread attached, and with an object of the class.
    unsafe { on_object(slf, body) }
}

/// A writable block of `size` bytes, if nothing stands in the way: no error to be raised, no memory to be committed.
#[inline(always)]
fn try_alloc_block<'py>(slf: &Bound<'py, MemGroup>, size: usize) -> Option<Bound<'py, MemBlock>> {
    let raw = slf.get().try_alloc(slf.py(), size, DEFAULT_ALIGN)?;
    MemBlock::new(slf, raw, Mirror::ReadWrite).ok()
}

/// A writable block of `size` bytes, zeroed if asked for.
fn alloc_block<'py>(
    slf: &Bound<'py, MemGroup>,
    size: usize,
    align: usize,
    zero: bool,
) -> PyResult<Bound<'py, MemBlock>> {
    let py = slf.py();
    let this = slf.get();
    let raw = this.alloc_raw(py, size, align)?;
    if zero {
        this.clear(py, raw)?;
    }
    MemBlock::new(slf, raw, Mirror::ReadWrite)
}
