//! `MemList`: the sizes that users pass, the columns that they see, and the bytes.

mod answers;
mod class;
pub(crate) mod column;
mod contents;
pub(crate) mod copying;
mod inspect;
mod iterator;
mod live;
pub(crate) mod object;
pub(crate) mod sizes;
