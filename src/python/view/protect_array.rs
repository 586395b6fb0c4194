//! Arrays through the other mirror of their group.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyModule;

use crate::python::block::object::Get;
use crate::python::ffi::arguments::type_name;
use crate::python::group::object::MemGroup;
use crate::python::view::array::{Array, C_ORDER, WRITEABLE};
use crate::python::view::locate::{block_of, verb};
use crate::slot::Mirror;

/// An array of the same bytes, class, element type, shape and strides through a mirror of the caller's choice.
pub(crate) fn through<'py>(
    slf: &Bound<'py, MemGroup>,
    array: &Array<'_, 'py>,
    to: Mirror,
) -> PyResult<Bound<'py, PyAny>> {
    // Most arrays are of numpy's own class, and the rest should not have to import numpy.ma.
    let is_plain = array.is_plain();
    if !is_plain {
        refuse_masked(array.object, verb(to))?;
    }
    let contents = array.contents()?;
    let block = block_of(slf, array.object, &contents, to)?;
    block.get().show_as_array(slf.py())?;
    let data = block.get().raw().address.as_ptr().wrapping_add(array.origin() - contents.addresses.start);
    let is_writable = to == Mirror::ReadWrite && !array.repeats();
    let flags = if is_writable { WRITEABLE | C_ORDER } else { C_ORDER };
    let (descr, shape, strides) = (array.descr(), array.shape(), array.strides());
    // SAFETY: the block keeps the bytes that the layout reaches, which are as many through either mirror; those of the
    // read-only one are not said to be writable.
    let plain = unsafe { array.api.new_array(descr, &shape, Some(&strides), data, flags, block.into_any()) }?;
    if is_plain { Ok(plain) } else { array.wrap(&plain) }
}

/// Raises for what is two arrays; `verb` is what was asked for.
pub(crate) fn refuse_masked(object: &Bound<'_, PyAny>, verb: &str) -> PyResult<()> {
    if !is_masked(object)? {
        return Ok(());
    }
    let masked = type_name(object);
    Err(PyTypeError::new_err(format!(
        "cannot {verb} a {masked}, which is two arrays: {verb} its .data and its .mask, and join what you get with \
         np.ma.array(data, mask=mask, copy=False)"
    )))
}

fn is_masked(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    let modules = PyModule::import(py, "sys")?.getattr("modules")?;
    // Without that module there is no object of its class.
    let module = modules.call_method1("get", ("numpy.ma",))?;
    if module.is_none() {
        return Ok(false);
    }
    let class = module.getattr("MaskedArray")?;
    object.is_instance(&class)
}
