//! `MemGroup.empty`, `zeros`, `full` and `array`: what Python calls.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyModule};

use super::copy::Conversion;
use super::handler::ALIGN;
use super::order::ElementOrder;
use super::request::{ArrayRequest, over};
use crate::python::ffi::arguments::{self, plain_integer};
use crate::python::ffi::keywords::Signature;
use crate::python::ffi::methods::native_methods;
use crate::python::ffi::numpy_api::{Api, Descr};
use crate::python::ffi::trampoline::on_object;
use crate::python::group::object::MemGroup;
use crate::python::view::array::Array;

native_methods! {
    MemGroup;

    /// Return a numpy array whose memory is in the group, 64-byte aligned. Its elements are unspecified.
    ///
    /// The array is a view: `free` and `reset` refuse while it, or an array that shares its memory, lives.
    ///
    /// Args:
    ///     shape: Elements in each dimension: an int, or a sequence of ints.
    ///     dtype: The element type, by default float64. It must not hold references to Python objects.
    ///     order: 'C' if the last index varies fastest, 'F' if the first does.
    ///     device: None or "cpu".
    ///     like: None or a numpy array; without effect.
    ///
    /// Raises:
    ///     ImportError: numpy is not installed.
    ///     TypeError: `dtype` holds references to objects, or an argument is of the wrong type.
    ///     ValueError: A dimension is negative, or the group is freed.
    ///     MemoryError: As `alloc`.
    empty "($self, shape, dtype=None, order='C', *, device=None, like=None)" => function(empty);

    /// Return an array as `empty` does, with every element 0.
    ///
    /// Raises:
    ///     ImportError, TypeError, ValueError, MemoryError: As `empty`.
    zeros "($self, shape, dtype=None, order='C', *, device=None, like=None)" => by_name(shape; dtype, order; device, like) |group| {
        ArrayRequest { function: "zeros", shape, dtype, order, device, like, zero: true }.meet(group, Api::get(group.py())?)
    };

    /// Return an array as `empty` does, with every element `fill_value`.
    ///
    /// Args:
    ///     shape: Elements in each dimension: an int, or a sequence of ints.
    ///     fill_value: A scalar, or an array that can be broadcast to `shape`.
    ///     dtype: The element type, by default that of `fill_value`.
    ///     order: As for `empty`.
    ///     device: As for `empty`.
    ///     like: As for `empty`.
    ///
    /// Raises:
    ///     ImportError, TypeError, ValueError, MemoryError: As `empty`.
    full "($self, shape, fill_value, dtype=None, order='C', *, device=None, like=None)" => by_name(shape, fill_value; dtype, order; device, like) |group| {
        full(group, fill_value, ArrayRequest { function: "full", shape, dtype, order, device, like, zero: false })
    };

    /// Return a numpy array with the elements of `object`, in the group and 64-byte aligned.
    ///
    /// Args:
    ///     object: An array, an object that exports one, or a (nested) sequence of elements.
    ///     dtype: As for `numpy.array`.
    ///     copy: With None, an array that lives in the group already and needs no conversion is returned without a
    ///         copy; with False, any other is refused (in numpy 1, which has no None, False means the same as None).
    ///     order: As for `numpy.array`.
    ///     subok: As for `numpy.array`.
    ///     ndmin: As for `numpy.array`.
    ///     ndmax: As for `numpy.array`, from numpy 2.4 on.
    ///     like: As for `empty`.
    ///
    /// Raises:
    ///     ImportError, TypeError, MemoryError: As `empty`.
    ///     ValueError: `copy` is False and the data does not live in the group, or the group is freed.
    array "($self, object, dtype=None, *, copy=True, order='K', subok=False, ndmin=0, ndmax=0, like=None)" => by_name(object; dtype; copy, order, subok, ndmin, ndmax, like) |group| {
        Conversion { dtype, copy, order, subok, ndmin, ndmax, like }.of(group, object)
    };
}
const EMPTY: Signature<5> =
    Signature { function: "empty", names: ["shape", "dtype", "order", "device", "like"], required: 1, by_position: 3 };

unsafe extern "C" fn empty(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let body = |slf: &Bound<'_, MemGroup>| {
        let (py, api) = (slf.py(), Api::get(slf.py())?);
        if names.is_null() && (1..=2).contains(&given) {
            // SAFETY: Python passes as many arguments as it says, which live for as long as the call.
            let args = unsafe { arguments::by_position(py, args, given) };
            if let Some(array) = try_empty(slf, api, args)? {
                return Ok(array.into_ptr());
            }
        }
        // SAFETY: Python passes the arguments of a method with keywords, which live for as long as the call.
        let [shape, dtype, order, device, like] = unsafe { EMPTY.read(py, args, given, names) }?;
        let shape = EMPTY.required(shape, "shape")?;
        let request = ArrayRequest { function: "empty", shape, dtype, order, device, like, zero: false };
        request.meet(slf, api).map(Bound::into_ptr)
    };
    // SAFETY: Python calls with the thread attached, and with an object of the class.
    unsafe { on_object(slf, body) }
}

/// An array of one dimension, if nothing stands in the way: no memory to be committed, and elements that need no care.
#[inline(always)]
fn try_empty<'py>(
    slf: &Bound<'py, MemGroup>,
    api: &'py Api,
    args: &[Bound<'py, PyAny>],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(extent) = plain_integer(&args[0]) else { return Ok(None) };
    let descr = api.descr(slf.py(), args.get(1))?;
    let size = descr.size(api);
    if size > 0
        && !descr.has_references(api)
        && !descr.needs_zeros(api)
        && let Some(bytes) = size.checked_mul(extent as usize)
        && let Some(raw) = slf.get().try_alloc(slf.py(), bytes, ALIGN)
    {
        return over(slf, api, descr, &[extent], ElementOrder::C, raw).map(Some);
    }
    Ok(None)
}

fn full<'py>(
    slf: &Bound<'py, MemGroup>,
    fill: &Bound<'py, PyAny>,
    request: ArrayRequest<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let api = Api::get(slf.py())?;
    let elements = PyModule::import(slf.py(), "numpy")?.call_method1("asarray", (fill,))?;
    let own_dtype = elements.getattr("dtype")?;
    let dtype = arguments::given(request.dtype).or(Some(&own_dtype));
    let elements = without_objects(api, elements, dtype)?;
    let space = ArrayRequest { dtype, ..request }.take(slf, api)?;
    let elements = converted(fill, elements, &space.descr)?;
    let elements = Array::of(&elements)?.ok_or_else(|| PyTypeError::new_err("numpy made no array of fill_value"))?;
    let strides = elements.broadcast_strides(space.shape.extents())?;
    space.fill(slf, &elements, &strides)?;
    space.into_array(slf, api)
}

/// The elements to fill with, converted before memory is taken as far as that runs code of the user's: it may free the
/// group by force.
fn without_objects<'py>(
    api: &Api,
    elements: Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    match Array::of(&elements)? {
        Some(array) if array.descr().has_references(api) => elements.call_method1("astype", (dtype,)),
        _ => Ok(elements),
    }
}

/// The elements to fill with, as elements of the array.
fn converted<'py>(
    fill: &Bound<'py, PyAny>,
    elements: Bound<'py, PyAny>,
    descr: &Descr<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    // Of Python's own integers numpy says whether they fit, of an array's it does not.
    match fill.is_instance_of::<PyInt>() {
        true => PyModule::import(fill.py(), "numpy")?.call_method1("array", (fill, &descr.0)),
        false => elements.call_method1("astype", (&descr.0,)),
    }
}
