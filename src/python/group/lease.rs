//! Who holds the objects of a pool: blocks, parts of them, and consumers that know nothing of Python.
//!
//! A *lease* is one holder. The object goes back to its pool with the last of them, wherever that dies; so whatever shows the
//! bytes of an object without a reference to the block that the pool gave holds a lease of its own.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::os::fork;
use crate::pool::node::Node;
use crate::pool::shape::Shape;
use crate::pool::table::{Damage, Table};
use crate::python::group::idle::IdleBlocks;
use crate::python::group::lock::GroupLock;

/// What is known of an object beside its place.
#[derive(Default)]
pub(crate) struct Holders {
    /// How many leases there are.
    leases: AtomicU32,
    /// How many views of the object, or of parts of it.
    views: AtomicU32,
}

/// The objects that a process has of a pool in one epoch of its group.
pub(crate) struct PoolEpoch {
    pub(crate) table: Table<Holders>,
    /// Of the group.
    pub(crate) epoch: u64,
    /// Number of the pool.
    pub(crate) pool: u64,
    /// Blocks that nobody refers to, with their objects, ready to be handed out.
    pub(crate) idle: IdleBlocks,
    /// How many objects are not in the table: in use, or of an idle block.
    taken: AtomicUsize,
    chunks: GroupLock<Vec<Chunk>>,
}

/// Memory that was cut into objects.
struct Chunk {
    /// Addresses in the read-write mirror.
    addresses: Range<usize>,
    /// Number of the first object.
    first: usize,
}

impl PoolEpoch {
    pub(crate) fn new(shape: Shape, pool: u64, epoch: u64, keeps_idle: bool) -> PyResult<Self> {
        Ok(Self {
            table: Table::new(shape),
            epoch,
            pool,
            idle: IdleBlocks::new(keeps_idle && !shape.is_tended),
            taken: AtomicUsize::new(0),
            chunks: GroupLock::new(Vec::new())?,
        })
    }

    /// Notes memory that is about to be cut into objects.
    pub(crate) fn add_chunk(&self, py: Python<'_>, start: usize, bytes: usize) -> Result<(), crate::Error> {
        let first = self.table.made();
        self.chunks.exclusive(py, |chunks| {
            // What was noted before and could not be cut is noted anew.
            chunks.retain(|chunk| chunk.first != first);
            crate::fallible::push(chunks, Chunk { addresses: start..start + bytes, first })
        })
    }

    /// A lease of the object that bytes in the read-write mirror are part of, if it is in use.
    pub(crate) fn lease_at(self: &Arc<Self>, py: Python<'_>, address: usize) -> Option<Lease> {
        let index = self.chunks.with(py, |chunks| {
            let chunk = chunks.iter().find(|chunk| chunk.addresses.contains(&address))?;
            Some(chunk.first + (address - chunk.addresses.start) / self.table.shape().stride)
        })?;
        let node = self.table.known(index)?;
        let leases = &node.extra().leases;
        let one_more = |leases| (leases > 0).then_some(leases + 1);
        leases.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Lease { epoch: Arc::clone(self), node: NonNull::from(node) })
    }

    /// The error that says what was found in an object.
    pub(crate) fn damaged(&self, damage: Damage, what: &str) -> PyErr {
        let Damage { index, offset } = damage;
        PyRuntimeError::new_err(format!(
            "object {index} of this pool {what}: the first wrong byte is at offset {offset}"
        ))
    }

    /// How many objects are in use.
    pub(crate) fn used(&self) -> usize {
        self.taken.load(Ordering::Relaxed).saturating_sub(self.idle.many())
    }
}

/// One holder of an object.
pub(crate) struct Lease {
    epoch: Arc<PoolEpoch>,
    /// Of the epoch's table.
    node: NonNull<Node<Holders>>,
}

// SAFETY: the node is shared with other holders, as by reference; all in it are atomics. It lives as long as the epoch.
unsafe impl Send for Lease {}
// SAFETY: as for Send.
unsafe impl Sync for Lease {}

impl Lease {
    /// The first lease of an object that was just taken from the table.
    pub(crate) fn first(epoch: &Arc<PoolEpoch>, node: &Node<Holders>) -> Self {
        node.extra().leases.store(1, Ordering::Relaxed);
        epoch.taken.fetch_add(1, Ordering::Relaxed);
        Self { epoch: Arc::clone(epoch), node: NonNull::from(node) }
    }

    /// Another lease of the same object.
    pub(crate) fn share(&self) -> Self {
        self.holders().leases.fetch_add(1, Ordering::Relaxed);
        Self { epoch: Arc::clone(&self.epoch), node: self.node }
    }

    #[inline(always)]
    pub(crate) fn epoch(&self) -> &Arc<PoolEpoch> {
        &self.epoch
    }

    #[inline(always)]
    pub(crate) fn node(&self) -> &Node<Holders> {
        // SAFETY: a node of the epoch's table, which this holds.
        unsafe { self.node.as_ref() }
    }

    #[inline(always)]
    fn holders(&self) -> &Holders {
        self.node().extra()
    }

    /// Whether nobody else has one.
    #[inline(always)]
    pub(crate) fn is_only(&self) -> bool {
        // Acquire pairs with the Release in release: the others are done with the bytes.
        self.holders().leases.load(Ordering::Acquire) == 1
    }

    /// Notes that another process may use the object from now on: like one that a forked child may use, it is never handed
    /// out again.
    pub(crate) fn note_sent(&self) {
        self.node().mark_shared();
    }

    pub(crate) fn add_view(&self) {
        self.holders().views.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_view(&self) {
        self.holders().views.fetch_sub(1, Ordering::Release);
    }

    /// How many views of the object there are.
    pub(crate) fn views(&self) -> u32 {
        self.holders().views.load(Ordering::Acquire)
    }

    /// Ends the lease, which keeps the table for as long as it lives. To be called once, and then forgotten.
    pub(crate) fn release(&self) {
        if self.holders().leases.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.epoch.taken.fetch_sub(1, Ordering::Relaxed);
            self.epoch.table.return_untended(self.node());
        }
    }

    /// Ends the lease of an object that is never to be handed out again.
    pub(crate) fn abandon(self) {
        self.epoch.taken.fetch_sub(1, Ordering::Relaxed);
        self.into_released();
    }

    /// The epoch of a lease that was released.
    pub(crate) fn into_released(self) -> Arc<PoolEpoch> {
        let released = std::mem::ManuallyDrop::new(self);
        // SAFETY: it is read once, for the lease is never dropped.
        unsafe { std::ptr::read(&raw const released.epoch) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

/// The hold that a block has of an object.
pub(crate) struct Hold {
    lease: Lease,
    /// Whether the block is a slice, or shows the same bytes through another mirror; else it is what `alloc` of the pool gave.
    is_part: bool,
}

impl Hold {
    pub(crate) fn whole(lease: Lease) -> Self {
        Self { lease, is_part: false }
    }

    pub(crate) fn part(lease: Lease) -> Self {
        Self { lease, is_part: true }
    }

    #[inline(always)]
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether the block is a part of what `alloc` of the pool gave.
    pub(crate) fn is_part(&self) -> bool {
        self.is_part
    }

    /// Whether the block may lie idle when it dies, unless it is an exporter or was given back: it is what the pool gave, of this
    /// process, nobody else has the object, and no child may.
    #[inline(always)]
    pub(crate) fn may_idle(&self) -> bool {
        let Self { lease, is_part } = self;
        !is_part && lease.node().forks() == fork::count() && lease.is_only() && lease.epoch.table.is_own()
    }

    /// Ends the hold, and the lease unless that was released before. Returns whose object it was.
    pub(crate) fn end(self, is_released: bool) -> Arc<PoolEpoch> {
        if is_released { self.lease.into_released() } else { Arc::clone(self.lease.epoch()) }
    }
}
