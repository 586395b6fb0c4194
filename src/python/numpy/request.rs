//! What the methods that make an array have in common: the memory for it, and the array over that memory.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyTuple};

use super::handler::ALIGN;
use super::order::{ElementOrder, packed};
use super::signature::{MAX_DIMENSIONS, Shape, check_device, check_like, is_fortran};
use crate::python::block::object::{Get, MemBlock};
use crate::python::block::strided::Strided;
use crate::python::ffi::numpy_api::{Api, Descr};
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{LiveBlock, RawBlock};
use crate::python::view::array::{Array, C_ORDER, F_ORDER, WRITEABLE};
use crate::slot::Mirror;

/// An array that is asked for.
pub(super) struct ArrayRequest<'a, 'py> {
    pub(super) function: &'static str,
    pub(super) shape: &'a Bound<'py, PyAny>,
    pub(super) dtype: Option<&'a Bound<'py, PyAny>>,
    pub(super) order: Option<&'a Bound<'py, PyAny>>,
    pub(super) device: Option<&'a Bound<'py, PyAny>>,
    pub(super) like: Option<&'a Bound<'py, PyAny>>,
    pub(super) zero: bool,
}

impl<'py> ArrayRequest<'_, 'py> {
    pub(super) fn meet(self, slf: &Bound<'py, MemGroup>, api: &'py Api) -> PyResult<Bound<'py, PyAny>> {
        self.take(slf, api)?.into_array(slf, api)
    }

    pub(super) fn take(self, slf: &Bound<'py, MemGroup>, api: &'py Api) -> PyResult<Space<'py>> {
        let (py, this, zero) = (slf.py(), slf.get(), self.zero);
        let form = self.form(this, py, api)?;
        let raw = this.alloc_raw(py, form.bytes(api)?, ALIGN)?;
        if zero || form.descr.needs_zeros(api) {
            this.clear(py, raw)?;
        }
        let Form { descr, shape, order } = form;
        Ok(Space { descr, shape, order, raw })
    }

    /// What the array is to be like, if it can be in a group.
    pub(super) fn form(self, group: &MemGroup, py: Python<'py>, api: &'py Api) -> PyResult<Form<'py>> {
        group.check_open(py)?;
        check_device(self.device)?;
        check_like(api, self.like)?;
        let shape = Shape::of(self.shape)?;
        let mut descr = api.descr(py, self.dtype)?;
        refuse_references(self.function, api, &descr)?;
        if descr.size(api) == 0 {
            // numpy makes one of such a string type that has room for a letter.
            let probe = PyModule::import(py, "numpy")?.call_method1("empty", (PyTuple::empty(py), &descr.0))?;
            descr = Descr(probe.getattr("dtype")?);
        }
        let order = if is_fortran(self.order)? { ElementOrder::F } else { ElementOrder::C };
        Ok(Form { descr, shape, order })
    }
}

/// What an array is like.
pub(super) struct Form<'py> {
    descr: Descr<'py>,
    shape: Shape,
    order: ElementOrder,
}

impl Form<'_> {
    /// How many bytes it takes.
    pub(super) fn bytes(&self, api: &Api) -> PyResult<usize> {
        self.shape.bytes(self.descr.size(api))
    }
}

/// Memory taken for an array that is still to be made.
pub(super) struct Space<'py> {
    pub(super) descr: Descr<'py>,
    pub(super) shape: Shape,
    pub(super) order: ElementOrder,
    pub(super) raw: RawBlock,
}

impl<'py> Space<'py> {
    /// Copies elements there, under the group's lock: another thread may have freed the group by force. The strides are
    /// of each dimension of the array to come.
    pub(super) fn fill(
        &self,
        slf: &Bound<'py, MemGroup>,
        elements: &Array<'_, 'py>,
        strides: &[isize],
    ) -> PyResult<()> {
        let size = self.descr.size(elements.api);
        if elements.descr().size(elements.api) != size {
            return Err(PyTypeError::new_err(format!("cannot make elements of dtype {} of these", self.descr.0)));
        }
        let axes = self.order.axes(self.shape.extents().len());
        let in_order = |numbers: &[isize]| axes.iter().map(|&axis| numbers[axis]).collect::<Vec<_>>();
        let (shape, strides) = (in_order(self.shape.extents()), in_order(strides));
        let from = Strided::new(Bytes::new(elements.data(), self.raw.len), size, &shape, &strides, &[]);
        let work = move |to: LiveBlock<'_>| {
            // SAFETY: the array keeps its elements, which go as often as they are read into the raw block; nobody knows of that yet.
            unsafe { from.copy_to(to.bytes()) };
            to.note_written();
        };
        slf.get().access(slf.py(), self.raw.into(), None, self.raw.len, work)
    }

    pub(super) fn into_array(self, slf: &Bound<'py, MemGroup>, api: &'py Api) -> PyResult<Bound<'py, PyAny>> {
        over(slf, api, self.descr, self.shape.extents(), self.order, self.raw)
    }
}

/// A writable array over a raw block that was just taken for it.
#[inline(always)]
pub(super) fn over<'py>(
    slf: &Bound<'py, MemGroup>,
    api: &'py Api,
    descr: Descr<'py>,
    shape: &[isize],
    order: ElementOrder,
    raw: RawBlock,
) -> PyResult<Bound<'py, PyAny>> {
    show(api, descr, shape, order, raw.len, MemBlock::new(slf, raw, Mirror::ReadWrite)?)
}

/// A writable array over the first `len` bytes of a block that was just taken for it, and is as long at least.
pub(super) fn over_block<'py>(
    api: &'py Api,
    form: Form<'py>,
    len: usize,
    block: Bound<'py, MemBlock>,
) -> PyResult<Bound<'py, PyAny>> {
    if form.descr.needs_zeros(api) {
        // SAFETY: access has found the bytes; the block is writable, and nobody else has it yet.
        block.get().access(block.py(), len, |bytes| unsafe { bytes.clear() })?;
    }
    show(api, form.descr, form.shape.extents(), form.order, len, block)
}

/// A writable array over the first `len` bytes of a block, which are as many as it needs.
#[inline(always)]
fn show<'py>(
    api: &'py Api,
    descr: Descr<'py>,
    shape: &[isize],
    order: ElementOrder,
    len: usize,
    block: Bound<'py, MemBlock>,
) -> PyResult<Bound<'py, PyAny>> {
    block.get().show_as_array(block.py())?;
    let flags = WRITEABLE | if matches!(order, ElementOrder::F) { F_ORDER } else { C_ORDER };
    let data = block.get().raw().address.as_ptr();
    // What numpy gives arrays that have no bytes.
    const NOWHERE: [isize; MAX_DIMENSIONS] = [0; MAX_DIMENSIONS];
    let gapless;
    let strides = match &order {
        _ if len == 0 => Some(&NOWHERE[..shape.len()]),
        ElementOrder::Axes(axes) => {
            gapless = packed(shape, axes, descr.size(api));
            Some(&gapless[..])
        }
        ElementOrder::C | ElementOrder::F => None,
    };
    // SAFETY: the block keeps the bytes, which are as many as such a shape needs, and in the read-write mirror.
    unsafe { api.new_array(descr, shape, strides, data, flags, block.into_any()) }
}

pub(super) fn refuse_references(function: &str, api: &Api, descr: &Descr<'_>) -> PyResult<()> {
    if !descr.has_references(api) {
        return Ok(());
    }
    let dtype = &descr.0;
    Err(PyTypeError::new_err(format!(
        "{function}() cannot make an array of dtype {dtype} in a group: its elements refer to objects, which nobody would let \
         go when the group's memory goes; name a dtype of plain bytes (numbers, 'S10', 'U10'), or use np.{function}"
    )))
}
