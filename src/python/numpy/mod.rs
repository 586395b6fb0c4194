//! numpy, which need not be there: arrays made in a group, and numpy allocating in it.
//!
//! `make` has the methods that make arrays: `signature` reads their arguments, `request` takes the memory, `order` says
//! in which order elements lie, and `copy` copies what is an array already. `pool` makes those over an object of a pool.
//! `handler` gives numpy memory while a `context` says so.

pub(super) mod context;
mod copy;
mod handler;
pub(super) mod make;
pub(super) mod matrix;
mod order;
pub(super) mod pool;
mod request;
mod signature;
