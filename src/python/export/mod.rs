//! What leaves a group: Arrow columns, DLPack tensors, pickles; and the guard that keeps memory meanwhile.

pub(crate) mod arrow;
pub(crate) mod dlpack;
pub(crate) mod guard;
pub(crate) mod pickle;
