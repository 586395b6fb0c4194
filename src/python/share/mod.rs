//! Objects of a group in other processes: what is told of each kind, and what is made of that.

mod array;
mod error;
pub(crate) mod receive;
pub(crate) mod send;
mod waiting;
