//! Files and descriptors.

pub(crate) mod iovecs;
pub(crate) mod regular;
