//! Arguments as numpy's own functions read them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString};

use crate::python::ffi::arguments::{integer, type_name};
use crate::python::ffi::numpy_api::Api;
use crate::python::ffi::trampoline::attached;

/// The most dimensions that numpy has ever had.
pub(super) const MAX_DIMENSIONS: usize = 64;

/// Elements in each dimension.
pub(super) struct Shape {
    extents: [isize; MAX_DIMENSIONS],
    dimensions: usize,
}

impl Shape {
    /// Of one dimension.
    #[inline(always)]
    pub(super) fn flat(extent: isize) -> Self {
        Self { extents: [extent; MAX_DIMENSIONS], dimensions: 1 }
    }

    /// Of the dimensions of an array.
    pub(super) fn of_extents(of: &[isize]) -> PyResult<Self> {
        let mut extents = [0; MAX_DIMENSIONS];
        let place = extents.get_mut(..of.len()).ok_or_else(|| too_many_dimensions(of.len()))?;
        place.copy_from_slice(of);
        Ok(Self { extents, dimensions: of.len() })
    }

    pub(super) fn of(shape: &Bound<'_, PyAny>) -> PyResult<Self> {
        const RULE: &str = "a shape must be an integer or a sequence of integers";
        let one = |extent: &Bound<'_, PyAny>| {
            if extent.is_instance_of::<PyBool>() {
                return Err(PyTypeError::new_err(format!("{RULE}, not bool")));
            }
            let extent = integer(extent, RULE)?;
            if extent < 0 { Err(PyValueError::new_err("negative dimensions are not allowed")) } else { Ok(extent) }
        };
        if shape.is_exact_instance_of::<PyInt>() {
            return Ok(Self::flat(one(shape)?));
        }
        // SAFETY: it is alive. Whether it is a sequence is asked as numpy asks: its own arrays are of no abstract class.
        let sequence = unsafe { ffi::PySequence_Check(shape.as_ptr()) } != 0;
        // An array without dimensions is one that has no length.
        let len = || shape.len().map_err(|error| attached(shape.py(), |_| drop(error))).ok();
        let Some(dimensions) = sequence.then(len).flatten() else {
            return Ok(Self::flat(one(shape)?));
        };
        if dimensions > MAX_DIMENSIONS {
            return Err(too_many_dimensions(dimensions));
        }
        let mut extents = [0; MAX_DIMENSIONS];
        for (at, place) in extents.iter_mut().take(dimensions).enumerate() {
            *place = one(&shape.get_item(at)?)?;
        }
        Ok(Self { extents, dimensions })
    }

    #[inline(always)]
    pub(super) fn extents(&self) -> &[isize] {
        &self.extents[..self.dimensions]
    }

    /// Bytes of so many elements.
    #[inline(always)]
    pub(super) fn bytes(&self, size: usize) -> PyResult<usize> {
        if self.extents().contains(&0) {
            return Ok(0);
        }
        let bytes = self.extents().iter().try_fold(size as isize, |bytes, &extent| bytes.checked_mul(extent));
        bytes.map(|bytes| bytes as usize).ok_or_else(|| {
            PyValueError::new_err(
                "array is too big: arr.size * arr.dtype.itemsize is larger than the maximum possible size",
            )
        })
    }
}

fn too_many_dimensions(found: usize) -> PyErr {
    PyValueError::new_err(format!("maximum supported dimension for an ndarray is {MAX_DIMENSIONS}, found {found}"))
}

/// Whether the first index is to vary fastest.
pub(super) fn is_fortran(order: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    let Some(order) = order.filter(|order| !order.is_none()) else { return Ok(false) };
    let Ok(order) = order.cast::<PyString>() else {
        return Err(PyTypeError::new_err(format!("order must be str, not {}", type_name(order))));
    };
    match &*order.to_cow()? {
        "C" | "c" => Ok(false),
        "F" | "f" => Ok(true),
        other => Err(PyValueError::new_err(format!("order must be one of 'C' and 'F' (got '{other}')"))),
    }
}

/// Refuses devices other than the one there is.
pub(super) fn check_device(device: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let Some(device) = device.filter(|device| !device.is_none()) else { return Ok(()) };
    if device.is_instance_of::<PyString>() && device.eq("cpu")? {
        return Ok(());
    }
    let device = device.repr()?;
    Err(PyValueError::new_err(format!("Device not understood. Only \"cpu\" is allowed, but received: {device}")))
}

/// Refuses to make arrays of another library.
pub(super) fn check_like(api: &Api, like: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let Some(like) = like.filter(|like| !like.is_none()) else { return Ok(()) };
    // SAFETY: both are alive.
    if unsafe { ffi::PyObject_TypeCheck(like.as_ptr(), api.array_type) } != 0 {
        return Ok(());
    }
    let class = type_name(like);
    Err(PyTypeError::new_err(format!(
        "like= asks for an array as {class} makes them, which a group cannot hold: leave it out, or pass a numpy array"
    )))
}
