//! The crate's promises, from the outside: one file for each kind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its helpers too")]

#[cfg(feature = "allocator-api2")]
mod collections;
mod crash;
mod fork;
mod fork_under_load;
mod group;
mod history;
mod inject;
mod injector;
mod io;
mod limits;
mod list;
mod local;
mod many;
mod rmap;
mod rmap_history;
mod secret;
mod support;
mod threads;
mod warm;
