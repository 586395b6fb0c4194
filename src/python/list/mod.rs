//! `MemList`: the sizes that users pass, the columns that they see, and the bytes.

mod class;
pub(crate) mod column;
mod contents;
mod iterator;
mod live;
pub(crate) mod object;
pub(crate) mod sizes;
