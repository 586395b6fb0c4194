//! `MemGroup`: which state it is in, who may touch it when, and what it hands out.

pub(crate) mod alloc;
pub(crate) mod cache;
mod class;
pub(crate) mod fault;
pub(crate) mod free_ranges;
mod gil_chunk;
pub(crate) mod locate;
mod lock;
pub(crate) mod memory_facts;
pub(crate) mod object;
pub(crate) mod protect;
pub(crate) mod state;
pub(crate) mod stats;
