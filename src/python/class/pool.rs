//! The class `MemPool`: what Python calls.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::PyList;

use crate::Options;
use crate::layout::MAX_SLOT_BYTES;
use crate::python::ffi::arguments::{self, Align, Capacity, Count, Size, flags};
use crate::python::ffi::methods::native_methods;
use crate::python::ffi::numpy_api::Api;
use crate::python::ffi::text::plural;
use crate::python::group::object::MemGroup;
use crate::python::numpy::pool::empty;
use crate::python::pool::object::{MemPool, Request};
use crate::python::pool::stats::PoolStats;

/// The name of the group of a pool that has one of its own.
const GROUP: &str = "pool";

native_methods! {
    MemPool;

    /// Return a writable block of the pool's size: the object that was freed last, or else a new one.
    ///
    /// Its contents are unspecified unless the pool was made with `zero`. The bytes return to the pool when the last
    /// reference to the block dies; slices, protected blocks, views and arrays made of it hold them too.
    ///
    /// Raises:
    ///     ValueError: The group is freed.
    ///     MemoryError: As many objects as `capacity` are in use; or as `MemGroup.alloc`.
    ///     RuntimeError: With `debug`: code wrote to the object while it was free.
    alloc "($self, /)" => no_arguments |pool| {
        match pool.get().try_alloc(pool.py()) {
            Some(block) => Ok(block),
            None => pool.get().alloc_slow(pool.py()),
        }
    };

    /// Return a numpy array over an object of the pool.
    ///
    /// Its elements are unspecified unless the pool was made with `zero`. The array is a view: the bytes return to the
    /// pool when it and all arrays that share its memory are gone.
    ///
    /// Args:
    ///     shape: Elements in each dimension: an int, or a sequence of ints.
    ///     dtype: The element type, by default float64. It must not hold references to Python objects.
    ///     order: 'C' if the last index varies fastest, 'F' if the first does.
    ///
    /// Raises:
    ///     ImportError: numpy is not installed.
    ///     TypeError: `dtype` holds references to objects, or an argument is of the wrong type.
    ///     ValueError: The array is larger than an object, a dimension is negative, or the group is freed.
    ///     MemoryError: As `alloc`.
    empty "($self, shape, dtype=None, order='C')" => by_name(shape; dtype, order;) |pool| {
        empty(pool, Api::get(pool.py())?, shape, dtype, order)
    };
}

#[pymethods]
impl MemPool {
    #[new]
    #[pyo3(
        signature = (nbytes, size, *, align=Align::default(), zero=false, capacity=None, debug=false),
        text_signature = "(nbytes, size, *, align=16, zero=False, capacity=None, debug=False)",
    )]
    fn of_its_own(
        nbytes: &Bound<'_, PyAny>,
        size: Size,
        align: Align,
        #[pyo3(from_py_with = flags::zero)] zero: bool,
        capacity: Option<Capacity>,
        #[pyo3(from_py_with = flags::debug)] debug: bool,
    ) -> PyResult<Self> {
        let base = arguments::integer(nbytes, "nbytes must be an integer")?;
        let base = usize::try_from(base).ok().filter(|base| (1..=MAX_SLOT_BYTES).contains(base)).ok_or_else(|| {
            let given = arguments::shown(nbytes);
            PyValueError::new_err(format!("nbytes must be from 1 to {MAX_SLOT_BYTES} bytes, not {given}"))
        })?;
        let group = MemGroup::of(Options::new().base(base).name(GROUP).open()?)?;
        let capacity = capacity.map(|capacity| capacity.0);
        let request = Request { size: size.0, align: align.0, zero, capacity, debug };
        Self::new(&Bound::new(nbytes.py(), group)?, request)
    }

    /// Return many blocks in a list: all of them are allocated, or none.
    ///
    /// Args:
    ///     count: How many.
    ///
    /// Raises:
    ///     TypeError: `count` is no integer.
    ///     ValueError: `count` is negative, or the group is freed.
    ///     MemoryError, RuntimeError: As `alloc`.
    #[pyo3(name = "alloc_many", signature = (count, /))]
    fn alloc_many_py<'py>(&self, py: Python<'py>, count: Count) -> PyResult<Bound<'py, PyList>> {
        self.group().get().check_open(py)?;
        self.alloc_many(py, count.0)
    }

    /// Free a block at once, even if objects refer to it: every later use of it raises ValueError.
    ///
    /// Its slices and protected blocks stay usable and keep the bytes until they die; a block that ever gave out its
    /// address keeps the bytes, too.
    ///
    /// Args:
    ///     block: A block that `alloc` of this pool returned.
    ///
    /// Raises:
    ///     TypeError: It is no MemBlock.
    ///     BufferError: It has live views; then nothing has changed.
    ///     ValueError: It was freed before, is a slice or protected, or not of this pool, or the group is freed.
    #[pyo3(name = "free", signature = (block, /))]
    fn free_py(&self, py: Python<'_>, block: &Bound<'_, PyAny>) -> PyResult<()> {
        self.free(py, block)
    }

    /// Return the pool's figures.
    ///
    /// Raises:
    ///     ValueError: The group is freed.
    #[pyo3(name = "stats")]
    fn stats_py(&self, py: Python<'_>) -> PyResult<PoolStats> {
        self.stats(py)
    }

    /// The group that the objects live in.
    #[getter]
    fn get_group(&self, py: Python<'_>) -> Py<MemGroup> {
        self.group().clone_ref(py)
    }

    /// Size of each object in bytes.
    #[getter]
    fn size(&self) -> usize {
        self.shape().size
    }

    /// The most objects in use at a time, or None.
    #[getter]
    fn capacity(&self) -> Option<usize> {
        Some(self.shape().capacity).filter(|&capacity| capacity != usize::MAX)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.used(py)
    }

    /// True, even if no object is in use.
    fn __bool__(&self) -> bool {
        true
    }

    fn __contains__(&self, py: Python<'_>, block: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.holds(py, block)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (size, name) = (self.shape().size, self.group().get().name(py));
        let Ok(stats) = self.stats(py) else {
            return format!("<MemPool of {size} byte{}, {name:?}, freed>", plural(size));
        };
        let of = stats.capacity.map_or_else(String::new, |capacity| format!(" of at most {capacity}"));
        let (used, free) = (stats.used, stats.free);
        format!("<MemPool of {size} byte{}, {name:?}: {used}{of} in use, {free} free>", plural(size))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.group())
    }
}
