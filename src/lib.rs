//! Allocate-only memory groups: hand out memory, protect it without a system call, free all of it in one shot.
//!
//! A [`MemGroup`] is an arena for data that arrives in many sizes, is read once and is dropped as a whole: records, messages,
//! files. Unlike other arenas it hands out read-only memory without a system call, and threads can share it.
//!
//! ```
//! use memgroup::{Error, Options};
//!
//! fn main() -> Result<(), Error> {
//!     let group = Options::new().name("records").base(1 << 20).limit(64 << 20).open()?;
//!
//!     let mut block = group.alloc(100)?; // one atomic operation
//!     block[..5].copy_from_slice(b"hello");
//!     let protected = group.protect(block)?; // an addition: the same bytes in the read-only mirror
//!     assert_eq!(&protected[..5], b"hello");
//!
//!     let mut list = group.alloc_many(&[3, 0, 5])?; // many blocks from one call
//!     list.fill_from(b"abcdefgh")?;
//!     assert_eq!(&list[2], b"defgh");
//!
//!     let error = group.alloc(65 << 20).unwrap_err(); // the limit; the group stays usable
//!     assert!(error.to_string().contains("limit"));
//!     let stats = group.stats();
//!     assert!(stats.allocated >= 108 && stats.committed <= 64 << 20);
//!     assert_eq!(stats.slots.len(), 1);
//!     Ok(())
//! } // all of it is free again
//! ```
//!
//! Each piece of memory is mapped twice, as a read-write *mirror* and as a read-only one. [`MemGroup::protect`] takes a block and returns
//! it at its read-only address. No `mprotect` can make that writable; code in C that writes there gets SIGSEGV. The borrow checker sees to
//! the rest: no block outlives its group, and [`MemGroup::reset`] needs that all blocks are gone.
//!
//! It works on Linux 5.1 or later. Without the features below the crate needs neither Python nor an allocator crate.
//!
//! | to | use |
//! | --- | --- |
//! | make a group with a size, a limit, a name, a [backing](Backing), or for secrets | [`Options`], [`MemGroup::new`] |
//! | allocate from many threads | [`MemGroup`], [`Block`], [`Protected`] |
//! | allocate from one thread without atomic operations | [`MemGroup::local`], [`Local`] |
//! | allocate many blocks at once | [`MemGroup::alloc_many`], [`List`], [`ProtectedList`] |
//! | reuse objects of one size | [`MemGroup::pool`], [`Pool`], [`LocalPool`] |
//! | read files, ranges, pipes and sockets into blocks | [`List`], [`ReadOutcome`], [`TransferError`] |
//! | tell the messages of a stream apart | [`framing`] |
//! | hand blocks to other processes | [`MemGroup::send`], [`receive`], [`RemoteBlock`] |
//! | see what a group holds, and what running out means | [`Stats`], [`SlotStats`], [`Error`] |
//! | keep memory for later groups, or not | [`set_warm_limit`], [`warm_memory`], [`prewarm`] |
//! | explain a crash in group memory | [`enable_fault_report`] |
//! | model how Linux finds the mappings of a page | [`rmap`] |
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `allocator-api2` | yes | `&MemGroup` and `&Local` as allocators of vectors, maps and trees |
//! | `search` | no | the search of `memgroup gather`; nothing public |
//! | `python`, `abi3` | no | the Python package, which maturin builds; nothing for Rust |
//!
//! The page *From Rust* (docs/rust.md) says when to use which way to allocate, and what each costs.

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

mod copy;
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
