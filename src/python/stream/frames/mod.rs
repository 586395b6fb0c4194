//! `FrameReader`: length-prefixed messages of a stream as blocks of a group.

pub(crate) mod arguments;
mod class;
mod errors;
mod filling;
mod framed;
mod kept;
pub(crate) mod object;
mod offer;
mod source;
mod stored;
mod take;
