//! The classes `MemGroup`, `MemBlock`, `MemList` and `MemPool`: what Python calls of each. Only the module knows this room.

pub(super) mod alloc;
pub(super) mod block;
mod group;
mod list;
pub(super) mod pool;
pub(super) mod protect;
pub(super) mod warm_memory;
