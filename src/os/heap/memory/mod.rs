//! Memory without end.

pub(crate) mod headroom;
