//! `MemList`: the sizes that users pass, the columns that they see, and the bytes.

mod answers;
pub(crate) mod column;
mod contents;
pub(crate) mod copying;
pub(crate) mod inspect;
pub(crate) mod iterator;
mod live;
pub(crate) mod object;
pub(crate) mod sizes;
pub(crate) mod split;
