//! Files and descriptors.

pub(crate) mod iovecs;
pub(crate) mod messages;
pub(crate) mod regular;
pub(crate) mod temporary;
