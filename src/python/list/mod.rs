//! `MemList`: the sizes that users pass, and the columns that they see.

pub(crate) mod column;
pub(crate) mod object;
pub(crate) mod sizes;
