//! Memory without end.

pub(crate) mod facts;
pub(crate) mod headroom;
