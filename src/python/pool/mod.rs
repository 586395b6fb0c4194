//! `MemPool`: objects of one size, each with an end of its own.

pub(crate) mod object;
pub(crate) mod stats;
