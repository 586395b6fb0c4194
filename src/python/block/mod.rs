//! `MemBlock`, and the bytes of other objects that blocks take in.

pub(crate) mod buffer;
pub(crate) mod bytes_like;
mod bytes_methods;
mod call;
pub(crate) mod class;
mod contents;
pub(crate) mod free_list;
pub(crate) mod object;
pub(crate) mod raw;
mod split;
pub(crate) mod strided;
