//! What users pass, as what the crate takes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyMemoryError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};

use crate::Backing;
use crate::layout::{DEFAULT_ALIGN, MAX_ALIGN};
use crate::python::ffi::trampoline::attached;

/// Any integer, as Python sees it; one that is too large for a machine word becomes the largest or smallest there is.
///
/// `rule` begins the message where it is no integer: "a size must be an integer", say.
pub(crate) fn integer(object: &Bound<'_, PyAny>, rule: &str) -> PyResult<isize> {
    let error = match object.extract::<isize>() {
        Ok(integer) => return Ok(integer),
        Err(error) => error,
    };
    let py = object.py();
    if error.is_instance_of::<PyOverflowError>(py) {
        attached(py, |_| drop(error));
        return Ok(if index_of(object)?.lt(0)? { isize::MIN } else { isize::MAX });
    }
    // What an __index__ of the user's raises is the user's to see.
    match error.is_instance_of::<PyTypeError>(py) && !has_index(object) {
        true => Err(PyTypeError::new_err(format!("{rule}, not {}", type_name(object)))),
        false => Err(error),
    }
}

/// Whether an object is of a type that has `__index__`.
pub(crate) fn has_index(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object is alive, and the thread attached; only its type is read.
    unsafe { ffi::PyIndex_Check(object.as_ptr()) != 0 }
}

/// An integer that is an `int` and neither negative nor out of reach, as nearly all are. Anything else is for
/// [`integer`] to make out.
#[inline(always)]
pub(crate) fn plain_integer(object: &Bound<'_, PyAny>) -> Option<isize> {
    if !PyInt::is_exact_type_of(object) {
        return None;
    }
    // SAFETY: it is an int.
    let integer = unsafe { ffi::PyLong_AsSsize_t(object.as_ptr()) };
    if integer == -1 {
        // SAFETY: the thread is attached. If it was out of reach, that will be found again and told.
        unsafe { ffi::PyErr_Clear() };
    }
    (integer >= 0).then_some(integer)
}

/// Arguments that are True or False, each by its name.
pub(crate) mod flags {
    use pyo3::prelude::*;

    macro_rules! flags {
        ($($name:ident),*) => {$(
            pub(crate) fn $name(object: &Bound<'_, PyAny>) -> PyResult<bool> {
                super::flag(object, stringify!($name))
            }
        )*};
    }

    flags!(background, counts_prefix, debug, force, huge_pages, secret, shared, zero);
}

fn flag(object: &Bound<'_, PyAny>, name: &str) -> PyResult<bool> {
    object.extract::<bool>().map_err(|error| {
        attached(object.py(), |_| drop(error));
        PyTypeError::new_err(format!("{name} must be True or False, not {}", described(object)))
    })
}

/// The name of a group.
pub(crate) fn name(object: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if object.is_none() {
        return Ok(None);
    }
    match object.cast::<PyString>() {
        Ok(name) => name.to_cow().map(|name| Some(name.into_owned())),
        Err(_) => Err(PyTypeError::new_err(format!("name must be a str, not {}", described(object)))),
    }
}

/// An object for a message: its type, and what it is if that is short.
pub(crate) fn described(object: &Bound<'_, PyAny>) -> String {
    let class = type_name(object);
    match object.repr().map(|shown| shown.to_string()) {
        Ok(shown) if shown.len() <= 40 => format!("{class} {shown}"),
        _ => class,
    }
}

/// The arguments that CPython passes by position.
///
/// # Safety
/// `args` must be `given` objects, which live for as long as the result does.
pub(crate) unsafe fn by_position<'a, 'py>(
    _py: Python<'py>,
    args: *const *mut ffi::PyObject,
    given: ffi::Py_ssize_t,
) -> &'a [Bound<'py, PyAny>] {
    if given == 0 {
        return &[]; // args may be null then
    }
    // SAFETY: a Bound is a pointer to an object and nothing else; a shared one counts nothing, and drops nothing.
    unsafe { std::slice::from_raw_parts(args.cast::<Bound<'py, PyAny>>(), given as usize) }
}

/// An argument for which None is as good as nothing.
pub(crate) fn given<'a, 'py>(argument: Option<&'a Bound<'py, PyAny>>) -> Option<&'a Bound<'py, PyAny>> {
    argument.filter(|argument| !argument.is_none())
}

/// What the constructor of a class raises whose objects only groups make.
pub(crate) fn made_by_group(class: &str, calls: &str) -> PyErr {
    PyTypeError::new_err(format!("a {class} is made by a group: use {calls}"))
}

/// A number of bytes.
pub(crate) struct Size(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Size {
    type Error = PyErr;

    #[inline]
    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match not_negative(&object, "a size must be an integer")? {
            MAX_SLICE_INDEX => {
                let size = shown(&object);
                Err(PyMemoryError::new_err(format!("no group can ever hold {size} bytes: split the request")))
            }
            size => Ok(Self(size)),
        }
    }
}

/// A number of objects.
pub(crate) struct Count(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Count {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        not_negative(&object, "count must be an integer").map(Self)
    }
}

/// A number of threads.
#[derive(Clone, Copy)]
pub(crate) struct Threads(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Threads {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match usize::try_from(integer(&object, "threads must be an integer or None")?) {
            Ok(threads) if threads > 0 => Ok(Self(threads)),
            _ => Err(PyValueError::new_err(format!("threads must be at least 1, not {}", shown(&object)))),
        }
    }
}

/// The most objects of a pool.
pub(crate) struct Capacity(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Capacity {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        not_negative(&object, "capacity must be an integer").map(Self)
    }
}

/// The most bytes a group may commit.
pub(crate) struct Limit(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Limit {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        not_negative(&object, "limit must be an integer").map(Self)
    }
}

/// The most bytes that are kept warm.
pub(crate) struct WarmLimit(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for WarmLimit {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        not_negative(&object, "the warm limit must be an integer").map(Self)
    }
}

/// How many bytes to make warm.
pub(crate) struct PrewarmSize(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for PrewarmSize {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        not_negative(&object, "the bytes to make warm must be an integer").map(Self)
    }
}

/// What `integer` makes of anything too large.
const MAX_SLICE_INDEX: usize = isize::MAX as usize;

#[inline]
fn not_negative(object: &Bound<'_, PyAny>, rule: &str) -> PyResult<usize> {
    let integer = integer(object, rule)?;
    usize::try_from(integer)
        .map_err(|_| PyValueError::new_err(format!("{rule} and not negative, not {}", shown(object))))
}

/// Size of the first slot. What is negative is as wrong as 0.
pub(crate) struct Base(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Base {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match usize::try_from(integer(&object, "base must be an integer")?) {
            Ok(base) if base != MAX_SLICE_INDEX => Ok(Self(base)),
            _ => {
                let (most, base) = (crate::MAX_SLOT_BYTES, shown(&object));
                Err(PyValueError::new_err(format!("base must be from 1 to {most} bytes, not {base}")))
            }
        }
    }
}

/// A number of bytes that blocks begin at a multiple of.
pub(crate) struct Align(pub(crate) usize);

impl Default for Align {
    fn default() -> Self {
        Self(DEFAULT_ALIGN)
    }
}

impl<'py> FromPyObject<'_, 'py> for Align {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let align = integer(&object, "align must be an integer")?;
        match usize::try_from(align) {
            Ok(fits) if fits.is_power_of_two() && fits <= MAX_ALIGN => Ok(Self(fits)),
            _ => {
                let align = shown(&object);
                Err(PyValueError::new_err(format!("align must be a power of two from 1 to {MAX_ALIGN}, not {align}")))
            }
        }
    }
}

/// The value of one byte.
pub(crate) fn byte(object: &Bound<'_, PyAny>) -> PyResult<u8> {
    let byte = integer(object, "a byte must be an integer")?;
    u8::try_from(byte)
        .map_err(|_| PyValueError::new_err(format!("a byte must be in range(0, 256), not {}", shown(object))))
}

impl<'py> FromPyObject<'_, 'py> for Backing {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(word) = object.cast::<PyString>() {
            match word.to_cow().as_deref() {
                Ok("memfd") => return Ok(Self::Memfd),
                Ok("anonymous") => return Ok(Self::Anonymous),
                Ok("") => {
                    let message = "backing is empty: name \"memfd\", \"anonymous\" or a directory";
                    return Err(PyValueError::new_err(message));
                }
                // A directory, the name of which need not be UTF-8.
                _ => {}
            }
        }
        // os.fsencode takes str, bytes and os.PathLike, whatever bytes are in them.
        let encoded = object.py().import("os")?.call_method1("fsencode", (object,)).map_err(|_| {
            let message =
                format!("backing must be \"memfd\", \"anonymous\" or a directory, not {}", type_name(&object));
            PyTypeError::new_err(message)
        })?;
        let bytes = encoded.cast::<PyBytes>()?.as_bytes();
        if bytes.contains(&0) {
            return Err(PyValueError::new_err("backing names a directory with NUL in its name"));
        }
        Ok(Self::Directory(OsStr::from_bytes(bytes).into()))
    }
}

/// An integer for a message. Python refuses to write out very long ones.
pub(crate) fn shown(object: &Bound<'_, PyAny>) -> String {
    let text = index_of(object).and_then(|index| index.str());
    text.map_or_else(|_| "a number of thousands of digits".into(), |text| text.to_string())
}

fn index_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the object is alive.
    let index = unsafe { ffi::PyNumber_Index(object.as_ptr()) };
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(object.py(), index) }
}

/// What to call an object's type in a message.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an unnamed type".into(), |name| name.to_string())
}
