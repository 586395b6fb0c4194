//! Tests of the crate's public interface: one file for each kind of promise.
//!
//! Tests of the kernel are left out if slots lie on the heap (`cfg(heap)`), and tests that miri cannot or need not run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its helpers too")]

mod borrow;
#[cfg(feature = "allocator-api2")]
mod collections;
#[cfg(not(heap))]
mod crash;
#[cfg(not(heap))]
mod fork;
#[cfg(not(heap))]
mod fork_under_load;
mod group;
mod history;
#[cfg(not(heap))]
mod huge_pages;
#[cfg(not(heap))]
mod inject;
#[cfg(not(heap))]
mod injector;
#[cfg(not(miri))]
mod io;
mod limits;
mod list;
mod local;
#[cfg(not(heap))]
mod many;
mod pool;
#[cfg(not(heap))]
mod remedies;
#[cfg(not(miri))]
mod rmap;
#[cfg(not(miri))]
mod rmap_history;
#[cfg(not(heap))]
mod secret;
#[cfg(not(heap))]
mod share;
mod support;
mod threads;
#[cfg(not(heap))]
mod warm;
