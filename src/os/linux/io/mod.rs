//! Files and descriptors.

pub(crate) mod iovecs;
#[cfg(feature = "search")]
pub(crate) mod locale;
pub(crate) mod messages;
pub(crate) mod regular;
pub(crate) mod temporary;
#[cfg(feature = "search")]
pub(crate) mod tree;
