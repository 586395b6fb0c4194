//! The search of `memgroup gather`.

pub(super) mod command;
pub(super) mod pattern;
pub(super) mod rows;
pub(super) mod tree;
