//! The block of a message that has not arrived whole.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::python::block::object::{Get, MemBlock};
use crate::python::group::object::MemGroup;
use crate::python::group::raw::RawBlock;
use crate::slot::{Mirror, Slot};

/// A body that is not complete. It counts as a view of the process that began it, and its slot stays, until this is
/// dropped.
pub(super) struct UnfinishedBody {
    /// Nobody else has it yet. It was made beforehand, so that nothing is in the way once its bytes are there.
    pub(super) block: Py<MemBlock>,
    /// Never looked at, only held: the block itself must not become an exporter by this.
    _slot: Arc<Slot>,
    /// Of the process that began it.
    pub(super) generation: u32,
}

impl UnfinishedBody {
    pub(super) fn new(group: &Bound<'_, MemGroup>, raw: RawBlock) -> PyResult<Self> {
        let block = MemBlock::new(group, raw, Mirror::ReadWrite)?.unbind();
        let this = group.get();
        let (slot, generation) =
            this.while_there(group.py(), raw.into(), |live| (live.share_slot(), this.uses().add_pin()))?;
        Ok(Self { block, _slot: slot, generation })
    }

    pub(super) fn raw(&self) -> RawBlock {
        self.block.get().raw()
    }
}

impl Drop for UnfinishedBody {
    fn drop(&mut self) {
        self.block.get().remove_pin(self.generation);
    }
}
