//! `MemBlock`, and the bytes of other objects that blocks take in.

pub(crate) mod buffer;
pub(crate) mod bytes_like;
pub(crate) mod class;
mod contents;
pub(crate) mod free_list;
pub(crate) mod object;
mod parts;
pub(crate) mod raw;
mod search;
mod split;
pub(crate) mod strided;
mod text;
