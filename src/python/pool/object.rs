//! `MemPool`: which objects it has in which epoch, and how they are taken and given back. What Python calls is in `class`.

use std::alloc::Layout;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyList;

use crate::error::Error;
use crate::pool::node::Node;
use crate::pool::shape::Shape;
use crate::pool::table::Chunk;
use crate::python::block::object::{Get, MemBlock};
use crate::python::block::pooled::{block_of_object, delete_idle, tend};
use crate::python::ffi::arguments::type_name;
use crate::python::ffi::text::plural;
use crate::python::group::lease::{Holders, Lease, PoolEpoch};
use crate::python::group::lock::GroupLock;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Claim, RawBlock};
use crate::python::group::state::GroupState;
use crate::python::pool::stats::PoolStats;

/// A pool of objects of one size: the bytes of a block return to it when the last reference dies.
///
/// The object that was freed last is handed out first. Its memory is the group's: protection, limits, ends and forks
/// are as for other blocks. `MemPool(nbytes, size)` makes a pool in a group of its own, `group.pool(size)` one in a
/// group.
///
/// Args:
///     nbytes: Size of the first slot of the pool's group; every later one is twice as large.
///     size: Size of each object in bytes.
///     align: Each object's address is a multiple of this power of two, at most 4096.
///     zero: Whether to set every byte to 0 in `alloc`.
///     capacity: The most objects in use at a time, or None.
///     debug: Whether to detect writes to free objects and behind the end of an object.
///
/// Raises:
///     TypeError: An argument is of the wrong type.
///     ValueError: `nbytes` is 0, negative or absurd, `size` or `capacity` negative, or `align` no power of two up to
///         4096.
///     MemoryError: No slot is large enough for an object.
#[pyclass(frozen, weakref, module = "memgroup")]
pub(crate) struct MemPool {
    group: Py<MemGroup>,
    shape: Shape,
    number: u64,
    zero: bool,
    /// Whether a fresh block needs nothing but its bytes.
    is_plain: bool,
    /// The newest objects: of this epoch of the group and this process, unless it has none yet.
    newest: GroupLock<Option<Arc<PoolEpoch>>>,
}

/// What a pool is asked to be.
pub(crate) struct Request {
    pub(crate) size: usize,
    pub(crate) align: usize,
    pub(crate) zero: bool,
    pub(crate) capacity: Option<usize>,
    pub(crate) debug: bool,
}

impl MemPool {
    pub(crate) fn new(group: &Bound<'_, MemGroup>, request: Request) -> PyResult<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let Request { size, align, zero, capacity, debug } = request;
        let shape = group.get().try_with_state(group.py(), |state| {
            state.check_open()?;
            let largest = state.group().largest();
            let layout = Layout::from_size_align(size, align).map_err(|_| Error::TooLarge { size, largest });
            let shape = layout.and_then(|layout| Shape::new(layout, capacity, largest));
            let shape = if debug { shape.and_then(|shape| shape.debug(largest)) } else { shape };
            Ok(shape.map(|shape| shape.within(state.group().is_secret(), state.group().has_mirror())))
        })??;
        Ok(Self {
            group: group.clone().unbind(),
            shape,
            // Relaxed: only that no two are equal matters.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            zero,
            is_plain: !zero && !shape.is_tended,
            newest: GroupLock::new(None)?,
        })
    }

    pub(crate) fn group(&self) -> &Py<MemGroup> {
        &self.group
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// An object that lies ready with its block, if nothing stands in the way.
    #[inline(always)]
    pub(crate) fn try_alloc<'py>(&self, py: Python<'py>) -> Option<Bound<'py, MemBlock>> {
        self.newest.with(py, |newest| {
            let epoch = newest.as_deref()?;
            let is_newest =
                self.group.get().with_state(py, |state| is_of(state, epoch) && state.check_allocates().is_ok());
            if is_newest { MemBlock::wake(py, epoch) } else { None }
        })
    }

    /// An object, whatever that takes.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, MemBlock>> {
        let (epoch, group) = (self.epoch(py)?, self.group.bind(py));
        let node = match epoch.table.pop() {
            Some(node) => node,
            None => self.grow(py, &epoch)?,
        };
        let (address, slot) = (node.address(), epoch.table.slot(node));
        let raw = RawBlock { address, len: self.shape.size, slot, epoch: epoch.epoch };
        let lease = Lease::first(&epoch, node);
        if !self.is_plain {
            let zero = self.zero;
            let damage = group.get().access(py, raw.into(), None, raw.len, |live| {
                // SAFETY: it was just popped, and access has found that its bytes are mapped.
                let damage = unsafe { epoch.table.check_taken(node) };
                if zero && damage.is_none() {
                    // SAFETY: the bytes are mapped, writable and nobody else's.
                    unsafe { live.bytes().clear() };
                }
                damage
            })?;
            if let Some(damage) = damage {
                lease.abandon();
                return Err(epoch.damaged(damage, "was written to while it was free"));
            }
        }
        block_of_object(group, raw, lease)
    }

    pub(crate) fn alloc<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, MemBlock>> {
        match self.try_alloc(py) {
            Some(block) => Ok(block),
            None => self.alloc_slow(py),
        }
    }

    /// So many objects, or none.
    pub(crate) fn alloc_many<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyList>> {
        let blocks = PyList::empty(py);
        for _ in 0..count {
            blocks.append(self.alloc(py)?)?;
        }
        Ok(blocks)
    }

    /// The objects of this epoch and process.
    fn epoch(&self, py: Python<'_>) -> PyResult<Arc<PoolEpoch>> {
        let group = self.group.get();
        let newest = group.try_with_state(py, |state| {
            state.check_allocates()?;
            Ok(self.newest.with(py, |newest| newest.clone().filter(|epoch| is_of(state, epoch))).ok_or(state.epoch()))
        })?;
        let number = match newest {
            Ok(epoch) => {
                tend(py, group, &epoch);
                return Ok(epoch);
            }
            Err(number) => number,
        };
        let made = Arc::new(PoolEpoch::new(self.shape, self.number, number, !self.zero)?);
        group.add_pool(py, &made);
        let before = self.newest.exclusive(py, |newest| newest.replace(Arc::clone(&made)));
        if let Some(before) = before {
            delete_idle(py, &before);
        }
        Ok(made)
    }

    /// Takes an object after making more of them.
    fn grow<'e>(&self, py: Python<'_>, epoch: &'e PoolEpoch) -> PyResult<&'e Node<Holders>> {
        let group = self.group.get();
        let alone = epoch.table.growth().lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        epoch.table.grow(&alone, |bytes| -> PyResult<Chunk> {
            let raw = group.alloc_raw(py, bytes, self.shape.align)?;
            group.check(py, Claim::of_epoch(epoch.epoch))?;
            epoch.add_chunk(py, raw.address.addr().get(), bytes)?;
            if self.shape.is_debug {
                let (shape, many) = (self.shape, bytes / self.shape.stride);
                group.access(py, raw.into(), None, bytes, |live| {
                    for place in 0..many {
                        let object = live.raw().part(place * shape.stride, shape.stride);
                        // SAFETY: access has found that the bytes are mapped; they were just taken.
                        unsafe { shape.overwrite(object.address) };
                    }
                })?;
            }
            Ok((raw.address, raw.slot))
        })
    }

    /// Gives an object back at once.
    ///
    /// # Errors
    /// BufferError: It has live views. ValueError: It is not one that `alloc` gave, or it was given back before.
    pub(crate) fn free(&self, py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(block) = object.cast::<MemBlock>() else {
            let message = format!("free() takes a MemBlock that alloc() returned, not {}", type_name(object));
            return Err(PyTypeError::new_err(message));
        };
        let block = block.get();
        let Some(hold) = block.hold().filter(|hold| hold.lease().epoch().pool == self.number) else {
            return Err(PyValueError::new_err(
                "this block is not of this pool: free() takes a block that alloc() of the same pool returned",
            ));
        };
        if hold.is_part() {
            return Err(PyValueError::new_err(
                "this is a slice of a block, or shows one through protect() or unprotect(): free() takes the block that \
                 alloc() gave",
            ));
        }
        if block.is_given_back() {
            return Err(freed_before(hold.lease()));
        }
        let claim = block.held().claim();
        let views = self.group.get().while_alone(py, |state| {
            state.check(claim)?;
            let views = hold.lease().views();
            if views == 0 {
                block.give_back(hold);
            }
            Ok(views)
        })?;
        if views > 0 {
            return Err(PyBufferError::new_err(format!(
                "cannot free this block, it has {views} live view{}: release memoryviews and delete arrays made from it",
                plural(views as usize),
            )));
        }
        tend(py, self.group.get(), hold.lease().epoch());
        Ok(())
    }

    /// Whether an object is a block of this pool, or a part of one, that can be used.
    pub(crate) fn holds(&self, py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.group.get().check_open(py)?;
        let Ok(block) = object.cast::<MemBlock>() else { return Ok(false) };
        let block = block.get();
        let is_of = block.hold().is_some_and(|hold| hold.lease().epoch().pool == self.number);
        Ok(is_of && block.check(py).is_ok_and(|()| true))
    }

    /// How many objects are in use.
    pub(crate) fn used(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.stats(py)?.used)
    }

    /// What the pool holds in this epoch and process.
    pub(crate) fn stats(&self, py: Python<'_>) -> PyResult<PoolStats> {
        let epoch = self.group.get().try_with_state(py, |state| {
            state.check_open()?;
            Ok(self.newest.with(py, |newest| newest.clone().filter(|epoch| is_of(state, epoch))))
        })?;
        let Shape { size, align, stride, .. } = self.shape;
        let (used, objects, retired) =
            epoch.map_or((0, 0, 0), |epoch| (epoch.used(), epoch.table.objects(), epoch.table.retired()));
        let capacity = Some(self.shape.capacity).filter(|&capacity| capacity != usize::MAX);
        Ok(PoolStats { size, align, stride, capacity, used, free: objects.saturating_sub(used), retired })
    }
}

/// Whether objects are of the group's epoch, while it is open, and of this process.
#[inline(always)]
fn is_of(state: &GroupState, epoch: &PoolEpoch) -> bool {
    state.is_open() && state.epoch() == epoch.epoch && epoch.table.is_own()
}

#[cold]
fn freed_before(lease: &Lease) -> PyErr {
    let index = lease.node().index();
    PyValueError::new_err(format!(
        "this block (object {index} of the pool) was freed before: free it once, or delete its last reference"
    ))
}

impl Drop for MemPool {
    fn drop(&mut self) {
        // SAFETY: Python drops its objects in threads that are attached.
        let py = unsafe { Python::assume_attached() };
        if let Some(epoch) = self.newest.with(py, Clone::clone) {
            delete_idle(py, &epoch);
        }
    }
}
