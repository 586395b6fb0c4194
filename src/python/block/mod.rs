//! `MemBlock`, and the bytes of other objects that blocks take in.

pub(crate) mod buffer;
pub(crate) mod bytes_like;
mod contents;
pub(crate) mod object;
pub(crate) mod parts;
pub(crate) mod pooled;
pub(crate) mod search;
pub(crate) mod slabs;
pub(crate) mod strided;
pub(crate) mod text;
