//! numpy's arrays: how their element types are told to other processes, and what is believed of that.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString};

use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::numpy_api::{Api, Descr};
use crate::python::view::array::{Array, C_ORDER};
use crate::python::view::protect_array::refuse_masked;
use crate::share::wire::View;

/// An array's layout and element type.
pub(super) fn described(array: &Array<'_, '_>) -> PyResult<View> {
    if !array.is_plain() {
        refuse_masked(array.object, "send")?;
    }
    let descr = array.descr();
    let addresses = array.addresses()?;
    let numbers = |numbers: Vec<isize>| numbers.into_iter().map(|number| number as i64).collect();
    Ok(View {
        origin: array.origin().wrapping_sub(addresses.start) as u64,
        item_size: descr.size(array.api) as u64,
        shape: numbers(array.shape()),
        strides: numbers(array.strides()),
        format: name_of(&descr)?.into_bytes(),
    })
}

/// An element type in words: one that stands for itself, or what `numpy.lib.format` writes to files of a structured
/// one.
fn name_of(descr: &Descr<'_>) -> PyResult<String> {
    let dtype = &descr.0;
    if dtype.getattr("names")?.is_none() && dtype.getattr("subdtype")?.is_none() {
        return dtype.getattr("str")?.extract();
    }
    let format = PyModule::import(dtype.py(), "numpy.lib.format")?;
    format.call_method1("dtype_to_descr", (dtype,))?.repr()?.extract()
}

/// The element type of those words.
///
/// # Errors
/// ValueError: They name none, or one whose elements are more than their bytes.
fn named<'py>(py: Python<'py>, api: &'py Api, view: &View) -> PyResult<Descr<'py>> {
    let wrong = |what: &str| PyValueError::new_err(format!("the array that was received is damaged: {what}"));
    let name = String::from_utf8_lossy(&view.format);
    let name = PyString::new(py, &name);
    let dtype = if view.format.starts_with(b"[") || view.format.starts_with(b"(") {
        let descr = PyModule::import(py, "ast")?.call_method1("literal_eval", (name,));
        descr.and_then(|descr| PyModule::import(py, "numpy.lib.format")?.call_method1("descr_to_dtype", (descr,)))
    } else {
        PyModule::import(py, "numpy")?.call_method1("dtype", (name,))
    };
    let descr = Descr(dtype.map_err(|error| wrong(&format!("its element type is none ({error})")))?);
    if !api.is_dtype(&descr.0) || descr.has_references(api) {
        return Err(wrong("its elements refer to objects"));
    }
    if descr.size(api) as u64 != view.item_size {
        return Err(wrong("its elements have another size than their type"));
    }
    Ok(descr)
}

/// An array that shows the bytes of a block as it was told.
pub(super) fn over<'py>(block: Bound<'py, MemBlock>, view: &View) -> PyResult<Bound<'py, PyAny>> {
    let py = block.py();
    let api = Api::get(py)?;
    let descr = named(py, api, view)?;
    if !descr.0.getattr("subdtype")?.is_none() {
        return Err(PyTypeError::new_err("the array that was received is damaged: its elements are arrays"));
    }
    let numbers = |numbers: &[i64]| numbers.iter().map(|&number| number as isize).collect::<Vec<_>>();
    let (shape, strides) = (numbers(&view.shape), numbers(&view.strides));
    block.get().show_as_array(py)?;
    let data = block.get().raw().address.as_ptr().wrapping_add(view.origin as usize);
    // SAFETY: the block keeps its bytes, and all elements lie within them: so the message was checked, and their size above.
    unsafe { api.new_array(descr, &shape, Some(&strides), data, C_ORDER, block.into_any()) }
}
