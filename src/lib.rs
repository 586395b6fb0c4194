//! Allocate-only memory groups: hand out memory, protect it without a system call, free all of it in one shot.
//!
//! A [`MemGroup`] is for code that hunts for variable-sized data, keeps it briefly, inspects it and throws it all away.
//! Its memory is up to 32 *slots*, each twice the size of the one before, and each mapped twice: a read-write *mirror*
//! and a read-only *mirror*. To *protect* a block is to hand out its address in the read-only mirror, which costs an
//! addition and works for one byte as well as for a gigabyte.
//!
//! The rooms of the crate, from the top down; each calls only what is below it:
//!
//! | module | what it holds |
//! | --- | --- |
//! | `python` | the pyo3 layer (feature `python`) |
//! | `search` | trees of files searched as grep does (feature `search`) |
//! | `io` | scatter-gather: lists read and written, files and ranges of files read into lists, frames of streams |
//! | `list` | [`List`] and [`ProtectedList`]: many blocks from one call, held as columns, and as Arrow lays them out |
//! | `share` | objects in other processes: sent by handle over Unix sockets, and received |
//! | `pool` | [`Pool`], [`PoolBlock`] and [`LocalPool`]: objects of one size, each with an end of its own |
//! | `group` | [`MemGroup`], [`Block`] and [`Local`]: where a request is placed, and the end |
//! | `slot` | one slot: mirrors, cursor, commitment; the budget, and the cache of slots for later groups |
//! | `fault` | what is reported when an access to group memory ends the process |
//! | `os` | the operating system: mapping, sealing, committing, forks, signals, vectored calls |
//! | `fallible` | vectors that grow with what a caller passes: no memory is an error |
//! | `scratch` | memory for bytes on their way: locked and overwritten where they are secrets |
//! | `error`, `layout`, `sync` | what can go wrong; where bytes go, in integers; what threads share |
//! | [`rmap`] | a model of how Linux finds the mappings of a page across forks; it depends on nothing |

#![cfg_attr(
    not(feature = "python"),
    expect(dead_code, reason = "some of it only the Python layer calls; with the feature on, nothing may be dead")
)]

/// The README's Rust is compiled and run with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So is the Rust of the page on Rust.
#[cfg(all(doctest, feature = "allocator-api2"))]
#[doc = include_str!("../docs/rust.md")]
struct RustPage;

mod error;
mod fallible;
mod fault;
mod group;
mod io;
mod layout;
mod list;
#[cfg(all(test, loom))]
mod loom_tests;
mod os;
mod pool;
mod prefetch;
#[cfg(feature = "python")]
mod python;
pub mod rmap;
mod scratch;
#[cfg(feature = "search")]
mod search;
mod share;
mod slot;
mod sync;

pub use error::{Error, Operation, Refused};
pub use fault::{disable_fault_report, enable_fault_report};
pub use group::{Block, Local, MemGroup, Options, Protected, Stats, prewarm, prewarm_in_background};
pub use io::framing;
pub use io::{ReadError, ReadOutcome, TransferError};
pub use layout::{DEFAULT_ALIGN, DEFAULT_BASE, MAX_ALIGN, MAX_SLOT_BYTES, MAX_SLOTS};
pub use list::{List, ProtectedList};
pub use os::{Backing, HugePageObstacle};
pub use pool::{LocalPool, Pool, PoolBlock, PoolHandle, PoolStats, ProtectedPoolBlock};
pub use share::{Malformed, RemoteBlock, ShareError, receive, receive_releases, send_releases};
pub use slot::{SlotStats, WarmMemory, set_warm_limit, warm_memory};
