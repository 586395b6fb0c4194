//! `MemGroup`: which state it is in, who may touch it when, and what it hands out. What Python calls is in `class`.

mod alloc;
pub(crate) mod block_flags;
pub(crate) mod fault;
pub(crate) mod free_ranges;
mod gil_chunk;
pub(crate) mod idle;
pub(crate) mod lease;
pub(crate) mod lender;
pub(crate) mod lock;
pub(crate) mod memory_facts;
pub(crate) mod object;
mod pools;
pub(crate) mod raw;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod uses;
