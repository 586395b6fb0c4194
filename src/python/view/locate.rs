//! Finding the memory that an object shows.
//!
//! Memoryviews and arrays pass one door, [`block_of`]: it refuses elements that are more than their bytes, finds the memory, and
//! gives the block that the result is made over.

use std::ops::Range;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::Error;
use crate::python::block::buffer::Buffer;
use crate::python::block::bytes_like::if_any;
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::arguments::type_name;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{LiveBlock, RawBlock};
use crate::python::group::state::{GroupState, Unavailable};
use crate::python::list::object::MemList;
use crate::python::view::array::Array;
use crate::python::view::strided_view::{Contents, StridedView, ViewLayout};
use crate::slot::Mirror;

/// Whether the bytes of an object live in a group that is open.
pub(crate) fn holds(slf: &Bound<'_, MemGroup>, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (py, this) = (slf.py(), slf.get());
    this.check_open(py)?;
    if let Ok(list) = object.cast::<MemList>() {
        return Ok(list.get().belongs_to(slf.as_unbound()) && list.get().check(py).is_ok());
    }
    let source = match object.cast::<MemBlock>() {
        Ok(block) => Location::Whole(block.clone()),
        Err(_) => match extent_of(object)? {
            Some(addresses) => Location::of(object, addresses)?,
            None => return Ok(false),
        },
    };
    Ok(this.with_state(py, |state| matches!(source.find(slf, state), Ok(Some(_)))))
}

/// What the caller asks for, as it is called in errors.
pub(crate) fn verb(to: Mirror) -> &'static str {
    if to == Mirror::ReadOnly { "protect" } else { "unprotect" }
}

/// A block of what `object` shows, through a mirror of the caller's choice.
///
/// # Errors
/// TypeError: The elements refer to objects. ValueError: The bytes do not live in this group, or it has no such mirror.
pub(crate) fn block_of<'py>(
    slf: &Bound<'py, MemGroup>,
    object: &Bound<'py, PyAny>,
    contents: &Contents,
    to: Mirror,
) -> PyResult<Bound<'py, MemBlock>> {
    if let Some(elements) = &contents.objects {
        let (verb, kind) = (verb(to), type_name(object));
        return Err(PyTypeError::new_err(format!(
            "cannot {verb} a {kind} of {elements}: its elements refer to objects, which live outside every group"
        )));
    }
    moved(slf, &Location::of(object, contents.addresses.clone())?, to)
}

/// The same bytes as `block` through a mirror of the caller's choice.
pub(crate) fn moved_block<'py>(
    slf: &Bound<'py, MemGroup>,
    block: &Bound<'py, MemBlock>,
    to: Mirror,
) -> PyResult<Bound<'py, MemBlock>> {
    let raw = slf.get().try_with_state(slf.py(), |state| {
        let found = live_of(slf, state, block.get())?;
        // SAFETY: the address of a block's address lies in the block's mirror.
        Ok(found.map(|(live, from)| unsafe { live.move_to(from, to) }))
    })?;
    let raw = found(slf, raw, to, &|state| live_of(slf, state, block.get()))?;
    block.get().over(slf.py(), raw, to)
}

fn moved<'py>(slf: &Bound<'py, MemGroup>, source: &Location<'py>, to: Mirror) -> PyResult<Bound<'py, MemBlock>> {
    let raw = slf.get().try_with_state(slf.py(), |state| {
        Ok(source.find(slf, state)?.map(|(live, from)| {
            if let Location::Bytes(_) = source {
                // SAFETY: find has just found it in that mirror.
                unsafe { live.pin(from) };
            }
            // SAFETY: find has just found it in that mirror.
            unsafe { live.move_to(from, to) }
        }))
    })?;
    let raw = found(slf, raw, to, &|state| source.find(slf, state))?;
    MemBlock::with_lease(slf, raw, to, slf.get().lease_of(slf.py(), raw, to))
}

/// What was found, if anything was, and if the mirror is there. `find` finds it again.
#[inline(always)]
fn found(
    slf: &Bound<'_, MemGroup>,
    raw: Option<Option<RawBlock>>,
    to: Mirror,
    find: &dyn for<'a> Fn(&'a GroupState) -> Result<Found<'a>, Unavailable>,
) -> PyResult<RawBlock> {
    raw.ok_or(Error::Foreign)?.ok_or_else(|| no_mirror(slf, to, find))
}

#[cold]
fn no_mirror(
    slf: &Bound<'_, MemGroup>,
    to: Mirror,
    find: &dyn for<'a> Fn(&'a GroupState) -> Result<Found<'a>, Unavailable>,
) -> PyErr {
    let missing = slf.get().with_state(slf.py(), |state| {
        let found = find(state).ok().flatten();
        let missing = found.and_then(|(live, _)| live.slot().check_mirror(to).err()).unwrap_or(Error::NoMirror);
        (missing != Error::NoMirror || !state.group().has_mirror()).then_some(missing)
    });
    if let Some(missing) = missing {
        return missing.into();
    }
    PyValueError::new_err(
        "cannot protect what numpy itself allocated within numpy(): a fork copies that memory instead of sharing it, so it has \
         no read-only mirror; protect a copy: group.protect(group.array(x))",
    )
}

/// What says where the bytes of an object are.
enum Location<'py> {
    /// The object is this block.
    Whole(Bound<'py, MemBlock>),
    /// Their addresses.
    Bytes(Range<usize>),
    /// The object shows no bytes, and was made from this block.
    EmptyPart(Bound<'py, MemBlock>),
    /// The object shows no bytes, and was made from what shows these, or nothing more is known than its address.
    Empty(Range<usize>),
}

impl<'py> Location<'py> {
    /// The source of an object that shows bytes at these addresses.
    ///
    /// One that shows none says little by its address, which may lie beyond what it was made from (`array[::-1][4:]`, of
    /// four elements). So the nearest object that it was made from and that shows bytes decides.
    fn of(object: &Bound<'py, PyAny>, addresses: Range<usize>) -> PyResult<Self> {
        if !addresses.is_empty() {
            return Ok(Self::Bytes(addresses));
        }
        let (mut nearest, mut shown) = (object.clone(), addresses);
        while shown.is_empty()
            && let Some(parent) = parent_of(&nearest)?
        {
            let parent = match parent.cast_into::<MemBlock>() {
                Ok(block) => return Ok(Self::EmptyPart(block)),
                Err(other) => other.into_inner(),
            };
            let Some(addresses) = extent_of(&parent)? else { break };
            (nearest, shown) = (parent, addresses);
        }
        Ok(Self::Empty(shown))
    }

    /// The raw block that the object shows and the mirror that it is seen through, if the group has it.
    fn find<'a>(&self, slf: &Bound<'_, MemGroup>, state: &'a GroupState) -> Result<Found<'a>, Unavailable> {
        match self {
            Self::Whole(block) => live_of(slf, state, block.get()),
            Self::Bytes(addresses) => state.find(addresses),
            Self::EmptyPart(block) => live_of(slf, state, block.get()).map(empty_part),
            Self::Empty(addresses) => state.find(addresses).map(empty_part),
        }
    }
}

type Found<'a> = Option<(LiveBlock<'a>, Mirror)>;

fn empty_part(found: Found<'_>) -> Found<'_> {
    found.map(|(live, mirror)| (live.empty_part(), mirror))
}

#[inline(always)]
fn live_of<'a>(slf: &Bound<'_, MemGroup>, state: &'a GroupState, block: &MemBlock) -> Result<Found<'a>, Unavailable> {
    state.check_open()?;
    if !block.belongs_to(slf.as_unbound()) {
        return Ok(None);
    }
    let slots = state.check(block.held().claim())?;
    // SAFETY: check has just found that the slots which blocks of this group and epoch lie in are there.
    let live = unsafe { LiveBlock::new(block.raw(), slots) };
    Ok(Some((live, block.mirror())))
}

/// What a memoryview or an array was made from, and keeps; `None` if it was made from nothing, or is neither.
pub(crate) fn parent_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Some(array) = Array::of(object)? {
        return Ok(array.base());
    }
    if !object.is_instance_of::<PyMemoryView>() {
        return Ok(None);
    }
    let exporter = object.getattr("obj")?;
    match exporter.cast::<StridedView>() {
        Ok(view) => Ok(Some(view.get().block(object.py()).into_any())),
        Err(_) => Ok(Some(exporter)),
    }
}

/// Addresses of all bytes that an object shows; `None` if it exports no buffer.
fn extent_of(object: &Bound<'_, PyAny>) -> PyResult<Option<Range<usize>>> {
    if let Some(array) = Array::of(object)? {
        return array.addresses().map(Some);
    }
    if !Buffer::is_exported_by(object) {
        return Ok(None);
    }
    let layout = Buffer::of(object).and_then(|buffer| ViewLayout::of(&buffer));
    Ok(if_any(object.py(), layout)?.map(|layout| layout.contents().addresses))
}
