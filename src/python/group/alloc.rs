//! `MemGroup.alloc`, the one method that is called too often for pyo3's way of reading arguments.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

use crate::python::ffi::arguments::{self, Align, Size};
use crate::python::ffi::trampoline::{add_method, fast_method_with_names, trampoline};
use crate::python::group::object::MemGroup;

/// Adds the method to the class.
pub(crate) fn add_to(class: &Bound<'_, PyType>) -> PyResult<()> {
    let method = fast_method_with_names(
        c"alloc",
        alloc,
        c"alloc($self, n, *, align=16, zero=False)
--

Return a writable block of `n` bytes. Their contents are unspecified unless `zero` is true.

Args:
    n: Size in bytes; 0 gives an empty block.
    align: The block's address is a multiple of this power of two, at most 4096.
    zero: Whether to set every byte to 0.

Raises:
    TypeError: `n` or `align` is no integer.
    ValueError: `n` is negative, `align` no power of two up to 4096, or the group is freed.
    MemoryError: More than the group can hold, than `limit`, or than the kernel gives. The group
        stays usable.
    OSError: The kernel lets a read-only mirror be made writable, as some sandboxes do.",
    );
    // SAFETY: the method takes its object for a MemGroup, which every object of the class is.
    unsafe { add_method(class, "alloc", method) }
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
        let group = unsafe { group(py, &slf) };
        // SAFETY: Python passes as many objects as it says.
        let args = unsafe { arguments::by_position(py, args, given) };
        if let Some(size) = arguments::plain_integer(&args[0])
            && let Ok(size) = usize::try_from(size)
            && let Some(block) = MemGroup::try_alloc_block(group, size)
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
    let body = |py: Python<'_>| {
        // SAFETY: it is null or a tuple of strings.
        let names = unsafe { Borrowed::from_ptr_or_opt(py, names) };
        let names = names.as_deref().map(|names| names.cast::<PyTuple>()).transpose()?;
        let named = names.map_or(0, |names| names.len());
        // SAFETY: Python passes as many objects as it says, and then one for each name.
        let args = unsafe { arguments::by_position(py, args, given + named as ffi::Py_ssize_t) };
        let (by_position, by_name) = args.split_at(given as usize);
        let Request { size, align, zero } = Request::read(by_position, names, by_name)?;
        // SAFETY: Python calls a method of the class with one of its objects.
        let group = unsafe { group(py, &slf) };
        Ok(MemGroup::alloc(group, size, align, zero)?.into_ptr())
    };
    // SAFETY: Python calls with the thread attached.
    unsafe { trampoline(body) }
}

/// # Safety
/// It must point to a group, which lives for as long as the borrow.
#[inline(always)]
unsafe fn group<'a, 'py>(_py: Python<'py>, slf: &'a *mut PyObject) -> &'a Bound<'py, MemGroup> {
    // SAFETY: a Bound is a pointer to an object and nothing else; a shared one counts nothing, and drops nothing.
    unsafe { &*std::ptr::from_ref(slf).cast() }
}

/// What is asked for.
struct Request {
    size: usize,
    align: usize,
    zero: bool,
}

impl Request {
    /// Reads arguments as `def alloc(self, n, *, align=16, zero=False)` has them.
    fn read(
        by_position: &[Bound<'_, PyAny>],
        names: Option<&Bound<'_, PyTuple>>,
        values: &[Bound<'_, PyAny>],
    ) -> PyResult<Self> {
        let (mut size, mut align, mut zero) = match by_position {
            [] => (None, None, None),
            [size] => (Some(size), None, None),
            more => {
                let given = more.len();
                return Err(PyTypeError::new_err(format!(
                    "alloc() takes 1 positional argument but {given} were given"
                )));
            }
        };
        for (name, value) in names.into_iter().flatten().zip(values) {
            let name = name.cast::<PyString>()?.to_cow()?.into_owned();
            let place = match name.as_str() {
                "n" => &mut size,
                "align" => &mut align,
                "zero" => &mut zero,
                _ => {
                    let message = format!("alloc() got an unexpected keyword argument '{name}'");
                    return Err(PyTypeError::new_err(message));
                }
            };
            if place.replace(value).is_some() {
                return Err(PyTypeError::new_err(format!("alloc() got multiple values for argument '{name}'")));
            }
        }
        let size = size.ok_or_else(|| PyTypeError::new_err("alloc() missing 1 required positional argument: 'n'"))?;
        Ok(Self {
            size: size.extract::<Size>()?.0,
            align: align.map(|align| align.extract::<Align>()).transpose()?.unwrap_or_default().0,
            zero: zero.map(arguments::flags::zero).transpose()?.unwrap_or(false),
        })
    }
}
