//! `MemGroup.array`: a copy of an array, or the array itself where it lives in the group.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};

use super::handler::ALIGN;
use super::order::ElementOrder;
use super::request::{Space, refuse_references};
use super::signature::{Shape, check_like};
use crate::python::ffi::arguments::given;
use crate::python::ffi::numpy_api::Api;
use crate::python::group::object::MemGroup;
use crate::python::view::array::Array;
use crate::python::view::locate::holds;

/// What `numpy.array` is to be told.
pub(super) struct Conversion<'a, 'py> {
    pub(super) dtype: Option<&'a Bound<'py, PyAny>>,
    pub(super) copy: Option<&'a Bound<'py, PyAny>>,
    pub(super) order: Option<&'a Bound<'py, PyAny>>,
    pub(super) subok: Option<&'a Bound<'py, PyAny>>,
    pub(super) ndmin: Option<&'a Bound<'py, PyAny>>,
    pub(super) ndmax: Option<&'a Bound<'py, PyAny>>,
    pub(super) like: Option<&'a Bound<'py, PyAny>>,
}

impl<'py> Conversion<'_, 'py> {
    /// The array that numpy makes of an object, in the group.
    pub(super) fn of(&self, slf: &Bound<'py, MemGroup>, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let api = Api::get(py)?;
        slf.get().check_open(py)?;
        check_like(api, self.like)?;
        if let Some(dtype) = given(self.dtype) {
            refuse_references("array", api, &api.descr(py, Some(dtype))?)?;
        }
        let copy = Copy::of(api, self.copy)?;
        // Not in the group: this may run code of the object's class.
        let made = self.made_by_numpy(api, object, copy)?;
        let found = Array::of(&made)?.ok_or_else(|| PyTypeError::new_err("numpy made no array of it"))?;
        refuse_references("array", api, &found.descr())?;
        if copy != Copy::Always && is_in_slots(slf, &found)? {
            return Ok(made);
        }
        if copy == Copy::Never {
            return Err(PyValueError::new_err(
                "cannot avoid a copy: the data does not live in this group, or numpy() made it there; pass copy=None to copy \
                 where need be",
            ));
        }
        copied(slf, &found, self.order)
    }

    fn made_by_numpy(&self, api: &Api, object: &Bound<'py, PyAny>, copy: Copy) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let options = PyDict::new(py);
        let Self { dtype, order, subok, ndmin, ndmax, .. } = self;
        for (name, value) in [("dtype", dtype), ("order", order), ("subok", subok), ("ndmin", ndmin), ("ndmax", ndmax)]
        {
            value.map(|value| options.set_item(name, value)).transpose()?;
        }
        options.set_item("copy", if api.is_two && copy != Copy::Never { None } else { Some(false) })?;
        PyModule::import(py, "numpy")?.call_method("array", (object,), Some(&options))
    }
}

/// What the argument `copy` means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copy {
    Always,
    IfNeeded,
    Never,
}

impl Copy {
    fn of(api: &Api, copy: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(copy) = copy else { return Ok(Self::Always) };
        if copy.is_none() {
            return Ok(Self::IfNeeded);
        }
        match copy.is_truthy() {
            Ok(true) => Ok(Self::Always),
            // numpy 1 means by False what numpy 2 means by None.
            Ok(false) if api.is_two => Ok(Self::Never),
            // numpy's own name for it, `_CopyMode.IF_NEEDED`, is neither true nor false.
            Ok(false) | Err(_) => Ok(Self::IfNeeded),
        }
    }
}

/// Whether an array is where those of `empty` are.
fn is_in_slots(slf: &Bound<'_, MemGroup>, array: &Array<'_, '_>) -> PyResult<bool> {
    let addresses = array.addresses()?;
    if addresses.is_empty() {
        return holds(slf, array.object);
    }
    slf.get().try_with_state(slf.py(), |state| Ok(state.find_shared(&addresses)?.is_some()))
}

/// A copy in the group, of the same class.
fn copied<'py>(
    slf: &Bound<'py, MemGroup>,
    array: &Array<'_, 'py>,
    order: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (descr, shape) = (array.descr(), Shape::of_extents(&array.shape())?);
    let order = ElementOrder::of_copy(array, order)?;
    let raw = slf.get().alloc_raw(slf.py(), shape.bytes(descr.size(array.api))?, ALIGN)?;
    let space = Space { descr, shape, order, raw };
    space.fill(slf, array, &array.strides())?;
    let copy = space.into_array(slf, array.api)?;
    if array.is_plain() { Ok(copy) } else { array.wrap(&copy) }
}
