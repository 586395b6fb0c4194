//! An array as it lies in memory.

use std::ffi::c_int;
use std::ops::Range;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::python::block::strided::reach;
use crate::python::ffi::numpy_api::{Api, Descr};
use crate::python::view::strided_view::Contents;

/// numpy's flags of arrays.
pub(crate) const C_ORDER: c_int = 0x1;
pub(crate) const F_ORDER: c_int = 0x2;
pub(crate) const WRITEABLE: c_int = 0x400;

/// The fields of an array that numpy has published since its beginnings.
#[repr(C)]
struct Fields {
    head: ffi::PyObject,
    data: *mut u8,
    dimensions: c_int,
    shape: *const isize,
    strides: *const isize,
    base: *mut ffi::PyObject,
    descr: *mut ffi::PyObject,
    flags: c_int,
}

/// A numpy array, of any class.
pub(crate) struct Array<'a, 'py> {
    pub(crate) api: &'py Api,
    pub(crate) object: &'a Bound<'py, PyAny>,
}

impl<'a, 'py> Array<'a, 'py> {
    /// The object, if it is an array.
    pub(crate) fn of(object: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let Some(api) = Api::if_there(object.py())? else { return Ok(None) };
        // SAFETY: both are alive.
        let is_array = unsafe { ffi::PyObject_TypeCheck(object.as_ptr(), api.array_type) } != 0;
        Ok(is_array.then_some(Self { api, object }))
    }

    fn fields(&self) -> &Fields {
        // SAFETY: it is an array, and alive.
        unsafe { &*self.object.as_ptr().cast::<Fields>() }
    }

    /// The element with all indices 0.
    pub(crate) fn data(&self) -> *mut u8 {
        self.fields().data
    }

    /// Address of the element with all indices 0.
    pub(crate) fn origin(&self) -> usize {
        self.fields().data.addr()
    }

    pub(crate) fn shape(&self) -> Vec<isize> {
        self.per_dimension(self.fields().shape)
    }

    pub(crate) fn strides(&self) -> Vec<isize> {
        self.per_dimension(self.fields().strides)
    }

    fn per_dimension(&self, numbers: *const isize) -> Vec<isize> {
        match usize::try_from(self.fields().dimensions) {
            // SAFETY: an array has as many numbers as it has dimensions.
            Ok(many) if many > 0 => unsafe { std::slice::from_raw_parts(numbers, many) }.to_vec(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn descr(&self) -> Descr<'py> {
        // SAFETY: an array has an element type, which it keeps alive.
        Descr(unsafe { Bound::from_borrowed_ptr(self.object.py(), self.fields().descr) })
    }

    /// What keeps its memory; `None` if the array itself does.
    pub(crate) fn base(&self) -> Option<Bound<'py, PyAny>> {
        // SAFETY: it is null or an object that the array keeps alive.
        unsafe { Bound::from_borrowed_ptr_or_opt(self.object.py(), self.fields().base) }
    }

    /// Whether it is of numpy's own class.
    pub(crate) fn is_plain(&self) -> bool {
        self.object.get_type().as_type_ptr() == self.api.array_type
    }

    /// Whether its elements lie one behind the other, the last index varying fastest.
    pub(crate) fn is_c_contiguous(&self) -> bool {
        self.fields().flags & C_ORDER != 0
    }

    /// Whether its elements lie one behind the other, the first index varying fastest.
    pub(crate) fn is_f_contiguous(&self) -> bool {
        self.fields().flags & F_ORDER != 0
    }

    /// What it shows.
    pub(crate) fn contents(&self) -> PyResult<Contents> {
        let descr = self.descr();
        let objects = descr.has_references(self.api).then(|| format!("dtype {}", descr.0));
        Ok(Contents { addresses: self.addresses()?, objects })
    }

    /// Addresses of all bytes that it can reach.
    pub(crate) fn addresses(&self) -> PyResult<Range<usize>> {
        let size = self.descr().size(self.api) as isize;
        reach(self.origin(), size, &self.shape(), &self.strides())
            .ok_or_else(|| PyValueError::new_err("the array reaches beyond the address space"))
    }

    /// A view of another array, of this one's class and made from this one, as numpy's functions give it.
    ///
    /// It keeps the other array before the class learns of it: an `__array_finalize__` that raises leaves nothing
    /// behind.
    pub(crate) fn wrap(&self, plain: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        plain.get_type().call_method1("__array_wrap__", (self.object, plain))
    }

    /// The strides by which its elements fill an array of another shape, as numpy broadcasts them.
    pub(crate) fn broadcast_strides(&self, shape: &[isize]) -> PyResult<Vec<isize>> {
        let (own, strides) = (self.shape(), self.strides());
        let mut broadcast = vec![0; shape.len()];
        for (from_last, (&extent, &stride)) in own.iter().zip(&strides).rev().enumerate() {
            let axis = shape.len().checked_sub(from_last + 1);
            match axis {
                Some(axis) if shape[axis] == extent => broadcast[axis] = stride,
                _ if extent == 1 => {}
                _ => {
                    let shown = |extents: &[isize]| PyTuple::new(self.object.py(), extents);
                    let (own, shape) = (shown(&own)?, shown(shape)?);
                    return Err(PyValueError::new_err(format!(
                        "could not broadcast input array from shape {own} into shape {shape}"
                    )));
                }
            }
        }
        Ok(broadcast)
    }

    /// Whether one element is seen at several places, as in what `np.broadcast_to` gives: numpy lets nobody write to
    /// those.
    pub(crate) fn repeats(&self) -> bool {
        self.shape().iter().zip(self.strides()).any(|(&extent, stride)| extent > 1 && stride == 0)
    }
}
