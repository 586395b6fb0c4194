//! The pools of a group: whose object lies at an address.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use pyo3::prelude::*;

use crate::python::group::lease::{Lease, PoolEpoch};
use crate::python::group::lock::GroupLock;

/// The pools of a group, for callers that know of an object by its address alone.
pub(super) struct Pools {
    epochs: GroupLock<Vec<Weak<PoolEpoch>>>,
    are_any: AtomicBool,
}

impl Pools {
    pub(super) fn new() -> PyResult<Self> {
        Ok(Self { epochs: GroupLock::new(Vec::new())?, are_any: AtomicBool::new(false) })
    }

    /// Learns of the objects of a pool.
    pub(super) fn add(&self, py: Python<'_>, epoch: &Arc<PoolEpoch>) {
        self.are_any.store(true, Ordering::Relaxed);
        self.epochs.exclusive(py, |epochs| {
            epochs.retain(|known| known.strong_count() > 0);
            epochs.push(Arc::downgrade(epoch));
        });
    }

    /// Whether there have ever been pools.
    #[inline(always)]
    pub(super) fn are_any(&self) -> bool {
        self.are_any.load(Ordering::Relaxed)
    }

    /// A lease of the object at an address of the read-write mirror, if it is of a pool.
    pub(super) fn lease_at(&self, py: Python<'_>, address: usize) -> Option<Lease> {
        let lease_of = |epoch: Arc<PoolEpoch>| epoch.lease_at(py, address);
        self.epochs.with(py, |epochs| epochs.iter().filter_map(Weak::upgrade).find_map(lease_of))
    }
}
