//! Linux itself.

pub(crate) mod fork;
pub(crate) mod io;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod signals;
