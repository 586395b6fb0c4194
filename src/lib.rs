//! Allocate-only memory groups: hand out memory, protect it without a system call, free all of it in one shot.
//!
//! A [`MemGroup`] is for code that hunts for variable-sized data, keeps it briefly, inspects it and throws it all away.
//! Its memory is up to 32 *slots*, each twice the size of the one before, and each mapped twice: a read-write *mirror* and
//! a read-only *mirror*. To *protect* a block is to hand out its address in the read-only mirror, which costs an addition
//! and works for one byte as well as for a gigabyte.
//!
//! The map of the crate, in the direction that calls take:
//!
//! | module | what it holds |
//! | --- | --- |
//! | `python` | the pyo3 layer (feature `python`) |
//! | `group` | [`MemGroup`]: where a request goes, and the end |
//! | `local` | [`Local`]: a thread's own handle on a group, and collections that live in one |
//! | `block` | [`Block`] and [`Protected`]: what a group hands out |
//! | `list` | [`List`] and [`ProtectedList`]: many blocks from one call, held as columns |
//! | `arrow` | lists as Arrow lays out strings: tables of views into slots, or of offsets |
//! | `io` | scatter-gather: lists read and written, files and ranges of files read into lists |
//! | `table` | the slots of one process's share in a group |
//! | `slot` | one slot: mirrors, cursor, commitment |
//! | `cursor` | the two words that make `alloc` lock-free |
//! | `budget` | what a group may commit, and has |
//! | `warm` | what groups leave behind, kept for those that come |
//! | `fault` | what is said when an access to group memory ends the process |
//! | `frames` | length-prefixed frames of a stream: bytes and integers only |
//! | `sys` | the operating system: backings, mirrors, sealing, committing, forks |
//! | `layout` | where bytes go: integers only |
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

mod arrow;
mod block;
mod budget;
mod cursor;
mod error;
mod fault;
mod frames;
mod group;
#[cfg(all(test, loom))]
mod interleavings;
mod io;
mod layout;
mod list;
mod local;
#[cfg(feature = "python")]
mod python;
pub mod rmap;
mod slot;
mod sync;
mod sys;
mod table;
mod warm;

pub use block::{Block, Protected};
pub use error::{Error, Refused};
pub use fault::{disable_fault_report, enable_fault_report};
pub use group::{MemGroup, Options, Stats};
pub use io::{ReadError, ReadOutcome, TransferError};
pub use layout::{DEFAULT_ALIGN, DEFAULT_BASE, MAX_ALIGN, MAX_SLOT_BYTES, MAX_SLOTS};
pub use list::{List, ProtectedList};
pub use local::Local;
pub use slot::SlotStats;
pub use sys::Backing;
pub use warm::{WarmMemory, set_warm_limit, warm_memory};
