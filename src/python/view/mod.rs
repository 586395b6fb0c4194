//! What memoryviews and arrays show: how it lies in memory, where it is in a group, and the same through the other
//! mirror.

pub(crate) mod array;
pub(crate) mod borrow;
pub(crate) mod locate;
pub(crate) mod protect;
pub(crate) mod protect_array;
pub(crate) mod strided_view;
