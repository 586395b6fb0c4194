//! `protect` and `unprotect`: the memory of an object through the other mirror.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::python::block::buffer::Buffer;
use crate::python::block::object::MemBlock;
use crate::python::ffi::arguments::type_name;
use crate::python::ffi::trampoline::attached;
use crate::python::group::object::MemGroup;
use crate::python::list::object::MemList;
use crate::python::view::array::Array;
use crate::python::view::locate::{block_of, moved_block, verb};
use crate::python::view::protect_array;
use crate::python::view::strided_view::ViewLayout;
use crate::slot::Mirror;

/// The memory of an object as seen through a mirror of the caller's choice.
pub(crate) fn through<'py>(
    slf: &Bound<'py, MemGroup>,
    object: &Bound<'py, PyAny>,
    to: Mirror,
) -> PyResult<Bound<'py, PyAny>> {
    if to == Mirror::ReadWrite && slf.get().is_frozen() {
        let name = slf.get().name(slf.py());
        return Err(PyValueError::new_err(format!("the group {name:?} is frozen: its memory cannot be written")));
    }
    match object.cast::<MemBlock>() {
        Ok(block) => moved_block(slf, block, to).map(Bound::into_any),
        Err(_) => attached(slf.py(), |_| through_other(slf, object, to)),
    }
}

fn through_other<'py>(
    slf: &Bound<'py, MemGroup>,
    object: &Bound<'py, PyAny>,
    to: Mirror,
) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(list) = object.cast::<MemList>() {
        return MemList::through(slf, list, to).map(Bound::into_any);
    }
    if object.is_instance_of::<PyMemoryView>() {
        // Held until the result holds the bytes: a view that is released no longer keeps the group from being reset.
        let buffer = Buffer::of(object)?;
        let layout = ViewLayout::of(&buffer)?;
        let block = block_of(slf, object, &layout.contents(), to)?;
        return layout.view_of(block).map(Bound::into_any);
    }
    if let Some(array) = Array::of(object)? {
        return protect_array::through(slf, &array, to);
    }
    let verb = verb(to);
    Err(PyTypeError::new_err(format!(
        "{verb}() takes a MemBlock, a MemList, a memoryview or a numpy array, not {}: pass memoryview(object) for other views \
         of a block",
        type_name(object)
    )))
}
