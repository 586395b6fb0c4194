//! Arrays through the other mirror of their group.

use std::ops::Range;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyModule;

use super::array::Array;
use super::make::{C_ORDER, WRITEABLE};
use crate::Error;
use crate::python::block::class::Get;
use crate::python::block::object::MemBlock;
use crate::python::ffi::arguments::type_name;
use crate::python::group::object::MemGroup;
use crate::slot::Mirror;

/// An array of the same bytes, class, element type, shape and strides through a mirror of the caller's choice.
pub(crate) fn through<'py>(
    slf: &Bound<'py, MemGroup>,
    array: &Array<'_, 'py>,
    to: Mirror,
) -> PyResult<Bound<'py, PyAny>> {
    refuse_what_is_more_than_its_bytes(array, to)?;
    let (py, this) = (slf.py(), slf.get());
    let addresses = array.addresses()?;
    let place = match addresses.is_empty() {
        true => behind_nothing(slf, array)?,
        false => Some(Place::At(addresses.clone())),
    };
    let piece = match place.ok_or(Error::Foreign)? {
        Place::Within(block) => block.get().raw_through(py, to)?.map(|piece| piece.part(0, 0)),
        Place::At(addresses) => {
            let found = this.within(py, |life| {
                // SAFETY: find has just found it in that mirror.
                Ok(life.find(addresses)?.map(|(live, from)| unsafe { live.move_to(from, to) }))
            })?;
            found.ok_or(Error::Foreign)?
        }
    };
    let piece = piece.ok_or(Error::NoMirror)?;
    let block = MemBlock::new(slf, piece, to)?;
    block.get().show_as_array(py)?;
    let data = piece.address.as_ptr().wrapping_add(array.origin() - addresses.start);
    let is_writable = to == Mirror::ReadWrite && !array.repeats();
    let flags = if is_writable { WRITEABLE | C_ORDER } else { C_ORDER };
    let class = array.object.get_type().as_type_ptr();
    let made_from = if class == array.api.array_type { std::ptr::null_mut() } else { array.object.as_ptr() };
    let (descr, shape, strides) = (array.descr(), array.shape(), array.strides());
    // SAFETY: the block keeps the bytes that the layout reaches, which are as many through either mirror; those of the
    // read-only one are not said to be writable.
    unsafe { array.api.new_array(class, descr, &shape, Some(&strides), data, flags, made_from, block.into_any()) }
}

/// Whether all bytes of an array live in a group.
pub(crate) fn holds(slf: &Bound<'_, MemGroup>, array: &Array<'_, '_>) -> PyResult<bool> {
    let (py, this) = (slf.py(), slf.get());
    let addresses = array.addresses()?;
    let place = match addresses.is_empty() {
        true => behind_nothing(slf, array)?,
        false => Some(Place::At(addresses)),
    };
    match place {
        None => Ok(false),
        Some(Place::Within(block)) => this.check(py, block.get().held().claim()).map(|()| true),
        Some(Place::At(addresses)) => this.within(py, |life| Ok(life.look_for(addresses)?.is_some())),
    }
}

/// Where to look for an array.
enum Place<'py> {
    At(Range<usize>),
    /// Somewhere in a block of the group.
    Within(Bound<'py, MemBlock>),
}

/// The place of an array that shows no bytes: its own address may be another's as well, so what counts is where the memory is
/// from.
fn behind_nothing<'py>(slf: &Bound<'py, MemGroup>, array: &Array<'_, 'py>) -> PyResult<Option<Place<'py>>> {
    let at = |array: &Array<'_, '_>| Ok(Some(Place::At(array.origin()..array.origin())));
    let Some(mut base) = array.base() else { return at(array) };
    while let Some(array) = Array::of(&base)? {
        let Some(next) = array.base() else { return at(&array) };
        base = next;
    }
    slf.get().check_open(slf.py())?;
    let Ok(block) = base.cast_into::<MemBlock>() else { return Ok(None) };
    Ok(block.get().belongs_to(slf.as_unbound()).then(|| Place::Within(block)))
}

fn refuse_what_is_more_than_its_bytes(array: &Array<'_, '_>, to: Mirror) -> PyResult<()> {
    let verb = if to == Mirror::ReadOnly { "protect" } else { "unprotect" };
    if array.descr().has_references(array.api) {
        let dtype = array.descr().0;
        return Err(PyTypeError::new_err(format!(
            "cannot {verb} an array of dtype {dtype}: its elements refer to objects, which live outside every group"
        )));
    }
    // Most arrays are of numpy's own class, and the rest should not have to import numpy.ma.
    let class = array.object.get_type();
    let is_plain = class.as_type_ptr() == array.api.array_type;
    if !is_plain && is_masked(array.object)? {
        let masked = type_name(array.object);
        return Err(PyTypeError::new_err(format!(
            "cannot {verb} a {masked}, which is two arrays: {verb} its .data and its .mask, and join what you get with \
             np.ma.array(data, mask=mask, copy=False)"
        )));
    }
    Ok(())
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
