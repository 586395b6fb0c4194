//! `MemGroup.empty`, `zeros`, `full` and `array`.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyModule, PyTuple, PyType};

use super::api::{Api, Descr};
use super::array::{Array, C_ORDER, F_ORDER, WRITEABLE};
use super::handler::ALIGN;
use super::signature::{MAX_DIMENSIONS, Shape, check_device, check_like, is_fortran};
use crate::python::block::object::{Get, MemBlock};
use crate::python::block::raw::{LiveBlock, RawBlock};
use crate::python::block::strided::Strided;
use crate::python::ffi::arguments::{self, plain_integer};
use crate::python::ffi::keywords::Signature;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::ffi::trampoline::{add_method, borrowed, fast_method_with_names, trampoline};
use crate::python::group::locate::holds;
use crate::python::group::object::MemGroup;
use crate::slot::Mirror;

const EMPTY: Signature<5> =
    Signature { function: "empty", names: ["shape", "dtype", "order", "device", "like"], required: 1, by_position: 3 };
const ZEROS: Signature<5> = Signature { function: "zeros", ..EMPTY };
const FULL: Signature<6> = Signature {
    function: "full",
    names: ["shape", "fill_value", "dtype", "order", "device", "like"],
    required: 2,
    by_position: 4,
};
const ARRAY: Signature<8> = Signature {
    function: "array",
    names: ["object", "dtype", "copy", "order", "subok", "ndmin", "ndmax", "like"],
    required: 1,
    by_position: 2,
};

/// Adds the methods to the class.
pub(super) fn add_to(class: &Bound<'_, PyType>) -> PyResult<()> {
    let empty = fast_method_with_names(
        c"empty",
        empty,
        c"empty($self, shape, dtype=None, order='C', *, device=None, like=None)
--

Return a numpy array whose memory is in the group, 64-byte aligned. Its elements are unspecified.

The array is a view: `free` and `reset` refuse while it, or anything made of it without a copy, lives.

Args:
    shape: Elements in each dimension: an int, or a sequence of ints.
    dtype: The element type; float64 unless given. None that holds references to Python objects.
    order: 'C' or 'F': whether the last index or the first varies fastest.
    device: None or \"cpu\".
    like: None or a numpy array; as without.

Raises:
    ImportError: numpy is not installed.
    TypeError: `dtype` holds references to objects, or an argument is of the wrong type.
    ValueError: A dimension is negative, or the group is freed.
    MemoryError: As `alloc`.",
    );
    let zeros = fast_method_with_names(
        c"zeros",
        zeros,
        c"zeros($self, shape, dtype=None, order='C', *, device=None, like=None)
--

Return what `empty` does, with every element 0.

Raises:
    ImportError, TypeError, ValueError, MemoryError: As `empty`.",
    );
    let full = fast_method_with_names(
        c"full",
        full,
        c"full($self, shape, fill_value, dtype=None, order='C', *, device=None, like=None)
--

Return what `empty` does, with every element `fill_value`.

Args:
    shape: Elements in each dimension: an int, or a sequence of ints.
    fill_value: A scalar, or an array that can be broadcast to `shape`.
    dtype: The element type; that of `fill_value` unless given.
    order: As for `empty`.
    device: As for `empty`.
    like: As for `empty`.

Raises:
    ImportError, TypeError, ValueError, MemoryError: As `empty`.",
    );
    let array = fast_method_with_names(
        c"array",
        array,
        c"array($self, object, dtype=None, *, copy=True, order='K', subok=False, ndmin=0, ndmax=0, like=None)
--

Return a numpy array of what `object` holds, in the group and 64-byte aligned.

Args:
    object: An array, anything that exports one, or a sequence (of sequences) of elements.
    dtype: As for `numpy.array`.
    copy: With None, an array that lives in the group already, and is as wanted, is returned as it is;
        with False, others are refused (numpy 1 has no None, and means that by False).
    order: As for `numpy.array`.
    subok: As for `numpy.array`.
    ndmin: As for `numpy.array`.
    ndmax: The most dimensions to look for, where numpy has that (2.4).
    like: As for `empty`.

Raises:
    ImportError, TypeError, MemoryError: As `empty`.
    ValueError: `copy` is False and the data does not live in the group, or the group is freed.",
    );
    for (name, method) in [("empty", empty), ("zeros", zeros), ("full", full), ("array", array)] {
        // SAFETY: the methods take their object for a MemGroup, which every object of the class is.
        unsafe { add_method(class, name, method) }?;
    }
    Ok(())
}

// CPython calls each of the following with an object of the class, attached, and passes as many arguments as it says and
// then one for each name. That is the whole argument for the unsafe blocks, unless they say more.

unsafe extern "C" fn empty(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let body = |py: Python<'_>| {
        // SAFETY: Python calls a method of the class.
        let slf = unsafe { borrowed::<MemGroup>(py, &slf) };
        let api = Api::get(py)?;
        if names.is_null() && (1..=2).contains(&given) {
            // SAFETY: Python passes as many objects as it says.
            let args = unsafe { arguments::by_position(py, args, given) };
            if let Some(extent) = plain_integer(&args[0]) {
                let descr = api.descr(py, args.get(1))?;
                let size = descr.size(api);
                if size > 0
                    && !descr.has_references(api)
                    && !descr.needs_zeros(api)
                    && let Some(bytes) = size.checked_mul(extent as usize)
                    && let Some(piece) = slf.get().try_alloc(py, bytes, ALIGN)
                {
                    return Ok(over(slf, api, descr, &[extent], Layout::C, piece)?.into_ptr());
                }
            }
        }
        // SAFETY: the arguments are passed on.
        let passed = unsafe { EMPTY.read(py, args, given, names) }?;
        let shape = EMPTY.required(&passed, 0)?;
        let [_, dtype, order, device, like] = passed;
        Request { function: "empty", shape, dtype, order, device, like, zero: false }
            .meet(slf, api)
            .map(Bound::into_ptr)
    };
    // SAFETY: Python calls with the thread attached.
    unsafe { trampoline(body) }
}

unsafe extern "C" fn zeros(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let body = |py: Python<'_>| {
        // SAFETY: Python calls a method of the class.
        let slf = unsafe { borrowed::<MemGroup>(py, &slf) };
        // SAFETY: the arguments are passed on.
        let passed = unsafe { ZEROS.read(py, args, given, names) }?;
        let shape = ZEROS.required(&passed, 0)?;
        let [_, dtype, order, device, like] = passed;
        Request { function: "zeros", shape, dtype, order, device, like, zero: true }
            .meet(slf, Api::get(py)?)
            .map(Bound::into_ptr)
    };
    // SAFETY: Python calls with the thread attached.
    unsafe { trampoline(body) }
}

unsafe extern "C" fn full(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let body = |py: Python<'_>| {
        // SAFETY: Python calls a method of the class.
        let slf = unsafe { borrowed::<MemGroup>(py, &slf) };
        // SAFETY: the arguments are passed on.
        let passed = unsafe { FULL.read(py, args, given, names) }?;
        let (shape, fill) = (FULL.required(&passed, 0)?, FULL.required(&passed, 1)?);
        let [_, _, dtype, order, device, like] = passed;
        let api = Api::get(py)?;
        let elements = PyModule::import(py, "numpy")?.call_method1("asarray", (fill,))?;
        let own_dtype = elements.getattr("dtype")?;
        let dtype = dtype.filter(|dtype| !dtype.is_none()).or(Some(&own_dtype));
        let elements = without_objects(api, elements, dtype)?;
        let space = Request { function: "full", shape, dtype, order, device, like, zero: false }.take(slf, api)?;
        let elements = converted(fill, elements, &space.descr)?;
        let elements =
            Array::of(&elements)?.ok_or_else(|| PyTypeError::new_err("numpy made no array of fill_value"))?;
        let strides = elements.broadcast_strides(space.shape.extents())?;
        space.fill(slf, &elements, &strides)?;
        space.into_array(slf, api).map(Bound::into_ptr)
    };
    // SAFETY: Python calls with the thread attached.
    unsafe { trampoline(body) }
}

/// The elements to fill with, converted before memory is taken as far as that runs code of the user's: it may free the group by
/// force.
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

unsafe extern "C" fn array(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let body = |py: Python<'_>| {
        // SAFETY: Python calls a method of the class.
        let slf = unsafe { borrowed::<MemGroup>(py, &slf) };
        // SAFETY: the arguments are passed on.
        let passed = unsafe { ARRAY.read(py, args, given, names) }?;
        let object = ARRAY.required(&passed, 0)?;
        let [_, dtype, copy, order, subok, ndmin, ndmax, like] = passed;
        let api = Api::get(py)?;
        slf.get().check_open(py)?;
        check_like(api, like)?;
        if let Some(dtype) = dtype.filter(|dtype| !dtype.is_none()) {
            refuse_references("array", api, &api.descr(py, Some(dtype))?)?;
        }
        let copy = Copy::of(api, copy)?;
        let options = PyDict::new(py);
        let given = [("dtype", dtype), ("order", order), ("subok", subok), ("ndmin", ndmin), ("ndmax", ndmax)];
        for (name, value) in given {
            if let Some(value) = value {
                options.set_item(name, value)?;
            }
        }
        options.set_item("copy", if api.is_two && copy != Copy::Never { None } else { Some(false) })?;
        // Not in the group: this may run code of the object's class.
        let made = PyModule::import(py, "numpy")?.call_method("array", (object,), Some(&options))?;
        let found = Array::of(&made)?.ok_or_else(|| PyTypeError::new_err("numpy made no array of it"))?;
        refuse_references("array", api, &found.descr())?;
        if copy != Copy::Always && is_in_slots(slf, &found)? {
            return Ok(made.into_ptr());
        }
        if copy == Copy::Never {
            return Err(PyValueError::new_err(
                "cannot avoid a copy: the data does not live in this group, or numpy() made it there; pass copy=None to copy \
                 where need be",
            ));
        }
        copied(slf, &found, order).map(Bound::into_ptr)
    };
    // SAFETY: Python calls with the thread attached.
    unsafe { trampoline(body) }
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
    let layout = Layout::of_copy(array, order)?;
    let piece = slf.get().alloc_raw(slf.py(), shape.bytes(descr.size(array.api))?, ALIGN)?;
    let space = Space { descr, shape, layout, piece };
    space.fill(slf, array, &array.strides())?;
    let copy = space.into_array(slf, array.api)?;
    if array.is_plain() { Ok(copy) } else { array.wrap(&copy) }
}

/// An array that is asked for.
struct Request<'a, 'py> {
    function: &'static str,
    shape: &'a Bound<'py, PyAny>,
    dtype: Option<&'a Bound<'py, PyAny>>,
    order: Option<&'a Bound<'py, PyAny>>,
    device: Option<&'a Bound<'py, PyAny>>,
    like: Option<&'a Bound<'py, PyAny>>,
    zero: bool,
}

impl<'py> Request<'_, 'py> {
    fn meet(self, slf: &Bound<'py, MemGroup>, api: &'py Api) -> PyResult<Bound<'py, PyAny>> {
        self.take(slf, api)?.into_array(slf, api)
    }

    fn take(self, slf: &Bound<'py, MemGroup>, api: &'py Api) -> PyResult<Space<'py>> {
        let (py, this) = (slf.py(), slf.get());
        this.check_open(py)?;
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
        let layout = if is_fortran(self.order)? { Layout::F } else { Layout::C };
        let piece = this.alloc_raw(py, shape.bytes(descr.size(api))?, ALIGN)?;
        if self.zero || descr.needs_zeros(api) {
            this.clear(py, piece)?;
        }
        Ok(Space { descr, shape, layout, piece })
    }
}

/// Memory taken for an array that is still to be made.
struct Space<'py> {
    descr: Descr<'py>,
    shape: Shape,
    layout: Layout,
    piece: RawBlock,
}

impl<'py> Space<'py> {
    /// Copies elements there, under the group's lock: another thread may have freed the group by force. The strides are of each
    /// dimension of the array to come.
    fn fill(&self, slf: &Bound<'py, MemGroup>, elements: &Array<'_, 'py>, strides: &[isize]) -> PyResult<()> {
        let size = self.descr.size(elements.api);
        if elements.descr().size(elements.api) != size {
            return Err(PyTypeError::new_err(format!("cannot make elements of dtype {} of these", self.descr.0)));
        }
        let axes = self.layout.axes(self.shape.extents().len());
        let in_order = |numbers: &[isize]| axes.iter().map(|&axis| numbers[axis]).collect::<Vec<_>>();
        let (shape, strides) = (in_order(self.shape.extents()), in_order(strides));
        let from = Strided::new(Bytes::new(elements.data(), self.piece.len), size, &shape, &strides, &[]);
        let work = move |to: LiveBlock<'_>| {
            // SAFETY: the array keeps its elements, which go as often as they are read into the piece; nobody knows of that yet.
            unsafe { from.copy_to(to.bytes()) }
        };
        slf.get().access(slf.py(), self.piece.into(), None, self.piece.len, work)
    }

    fn into_array(self, slf: &Bound<'py, MemGroup>, api: &'py Api) -> PyResult<Bound<'py, PyAny>> {
        over(slf, api, self.descr, self.shape.extents(), self.layout, self.piece)
    }
}

/// In which order the elements of an array lie.
enum Layout {
    /// The last index varies fastest.
    C,
    /// The first index varies fastest.
    F,
    /// The index of the last of these axes varies fastest.
    Axes(Vec<usize>),
}

impl Layout {
    /// That of a copy as numpy makes it, of an array that `order` had a say in already.
    fn of_copy(array: &Array<'_, '_>, order: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let order = order.filter(|order| !order.is_none()).map(|order| order.extract::<char>()).transpose()?;
        Ok(match order.unwrap_or('K').to_ascii_uppercase() {
            'C' => Self::C,
            'F' => Self::F,
            _ if array.is_c_contiguous() => Self::C,
            _ if array.is_f_contiguous() => Self::F,
            'A' => Self::C,
            _ => {
                let strides = array.strides();
                let mut axes: Vec<_> = (0..strides.len()).collect();
                axes.sort_by_key(|&axis| std::cmp::Reverse(strides[axis].unsigned_abs()));
                Self::Axes(axes)
            }
        })
    }

    /// The axes of an array of so many dimensions, from the one whose index varies slowest to the fastest.
    fn axes(&self, dimensions: usize) -> Vec<usize> {
        match self {
            Self::C => (0..dimensions).collect(),
            Self::F => (0..dimensions).rev().collect(),
            Self::Axes(axes) => axes.clone(),
        }
    }
}

/// Strides without gaps, the index of the last axis varying fastest.
fn packed(shape: &[isize], axes: &[usize], size: usize) -> Vec<isize> {
    let (mut strides, mut stride) = (vec![0; shape.len()], size as isize);
    for &axis in axes.iter().rev() {
        strides[axis] = stride;
        stride *= shape[axis];
    }
    strides
}

/// A writable array over a piece that was just taken for it.
#[inline(always)]
fn over<'py>(
    slf: &Bound<'py, MemGroup>,
    api: &'py Api,
    descr: Descr<'py>,
    shape: &[isize],
    layout: Layout,
    piece: RawBlock,
) -> PyResult<Bound<'py, PyAny>> {
    let block = MemBlock::new(slf, piece, Mirror::ReadWrite)?;
    block.get().show_as_array(slf.py())?;
    let flags = WRITEABLE | if matches!(layout, Layout::F) { F_ORDER } else { C_ORDER };
    let data = piece.address.as_ptr();
    // What numpy gives arrays that have no bytes.
    const NOWHERE: [isize; MAX_DIMENSIONS] = [0; MAX_DIMENSIONS];
    let gapless;
    let strides = match &layout {
        _ if piece.len == 0 => Some(&NOWHERE[..shape.len()]),
        Layout::Axes(axes) => {
            gapless = packed(shape, axes, descr.size(api));
            Some(&gapless[..])
        }
        Layout::C | Layout::F => None,
    };
    // SAFETY: the block keeps the bytes, which are as many as such a shape needs, and in the read-write mirror.
    unsafe { api.new_array(descr, shape, strides, data, flags, block.into_any()) }
}

fn refuse_references(function: &str, api: &Api, descr: &Descr<'_>) -> PyResult<()> {
    if !descr.has_references(api) {
        return Ok(());
    }
    let dtype = &descr.0;
    Err(PyTypeError::new_err(format!(
        "{function}() cannot make an array of dtype {dtype} in a group: its elements refer to objects, which nobody would let \
         go when the group's memory goes; name a dtype of plain bytes (numbers, 'S10', 'U10'), or use np.{function}"
    )))
}
