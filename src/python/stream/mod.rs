//! Lists and blocks through descriptors: transfers that wait and those that do not, files and ranges, frames.

pub(crate) mod frames;
pub(crate) mod nonblocking;
pub(crate) mod pinned;
pub(crate) mod reads;
pub(crate) mod source;
pub(crate) mod transfer;
