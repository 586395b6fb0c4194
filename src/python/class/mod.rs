//! The classes `MemGroup`, `MemBlock` and `MemList`: what Python calls of each. Only the module knows this room.

pub(super) mod alloc;
pub(super) mod block;
mod group;
mod list;
pub(super) mod warm_memory;
