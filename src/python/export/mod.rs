//! What leaves a group: Arrow columns, DLPack tensors, pickles, strided views; and the guard that keeps memory meanwhile.

pub(crate) mod arrow;
pub(crate) mod dlpack;
pub(crate) mod guard;
pub(crate) mod pickle;
pub(crate) mod strided_view;
