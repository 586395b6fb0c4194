//! numpy, which need not be there: arrays made in a group, arrays through its other mirror, and numpy allocating in it.
//!
//! `api` finds numpy's functions when they are first needed, and `array` reads an array. `make` has the methods that make arrays:
//! `signature` reads their arguments, `request` takes the memory, `order` says in which order elements lie, and `copy` copies what
//! is an array already. `protect` protects and unprotects, and `handler` gives numpy memory while a `context` says so.

mod api;
pub(crate) mod array;
pub(super) mod context;
mod copy;
mod handler;
pub(super) mod make;
mod order;
pub(crate) mod protect;
mod request;
mod signature;
