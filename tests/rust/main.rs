//! The crate's promises, from the outside: one file for each kind.

mod crash;
mod fork;
mod group;
mod history;
mod limits;
mod many;
mod support;
mod threads;
