//! The pools of a group: whose object lies at an address.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use pyo3::prelude::*;

use crate::python::group::lease::{Lease, PoolEpoch};
use crate::python::group::lock::GroupLock;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{LiveBlock, RawBlock};
use crate::slot::Mirror;

/// The pools of a group, for callers that know of an object by its address alone.
pub(super) struct Pools {
    epochs: GroupLock<Vec<Weak<PoolEpoch>>>,
    are_any: AtomicBool,
}

impl Pools {
    pub(super) fn new() -> PyResult<Self> {
        Ok(Self { epochs: GroupLock::new(Vec::new())?, are_any: AtomicBool::new(false) })
    }
}

impl MemGroup {
    /// Learns of the objects of a pool.
    pub(crate) fn add_pool(&self, py: Python<'_>, epoch: &Arc<PoolEpoch>) {
        self.pools.are_any.store(true, Ordering::Relaxed);
        self.pools.epochs.exclusive(py, |epochs| {
            epochs.retain(|known| known.strong_count() > 0);
            epochs.push(Arc::downgrade(epoch));
        });
    }

    /// Whether there have ever been pools of it.
    pub(crate) fn has_pools(&self) -> bool {
        self.pools.are_any.load(Ordering::Relaxed)
    }

    /// A lease of the object of a pool that bytes are part of which were found by their address, if they are of one. Whoever passed
    /// the address holds the object meanwhile.
    #[inline(always)]
    pub(crate) fn lease_of(&self, py: Python<'_>, raw: RawBlock, mirror: Mirror) -> Option<Lease> {
        if self.has_pools() { self.find_lease(py, raw, mirror) } else { None }
    }

    #[cold]
    fn find_lease(&self, py: Python<'_>, raw: RawBlock, mirror: Mirror) -> Option<Lease> {
        if raw.len == 0 {
            return None;
        }
        let address = self.with_state(py, |state| {
            let slots = state.check(raw.claim()).ok()?;
            // SAFETY: the raw block is one of this group's, and was just found there.
            let slot = unsafe { LiveBlock::new(raw, slots) }.slot();
            match mirror {
                Mirror::ReadWrite => Some(raw.address),
                // SAFETY: the address lies in that mirror.
                Mirror::ReadOnly => Some(unsafe { slot.to_read_write(raw.address) }),
            }
        })?;
        let lease_of = |epoch: Arc<PoolEpoch>| epoch.lease_at(py, address.addr().get());
        self.pools.epochs.with(py, |epochs| epochs.iter().filter_map(Weak::upgrade).find_map(lease_of))
    }
}
