//! Reverse mapping: how Linux finds every mapping of an anonymous page across forked processes, in each of the designs
//! it has had. A model that runs; it knows nothing of groups and asks nothing of the kernel.
//!
//! A [`Machine`] follows the [`Rules`] of one [`Policy`]. Its processes map pages, touch them, fork and exit; what the
//! kernel would allocate, free and look at is done and counted. [`Machine::check`] says which invariants do not hold,
//! which for the design of 2.6.34-rc1 is the bug that was found in it:
//!
//! ```
//! use memgroup::rmap::{Machine, Mmap, Policy};
//!
//! # fn main() -> Result<(), memgroup::rmap::Error> {
//! for policy in Policy::ALL {
//!     let mut machine = Machine::new(policy);
//!     let parent = machine.spawn()?;
//!     machine.mmap(parent, Mmap::new(1).at(16))?;
//!     let page = machine.write(parent, 16)?;
//!     let child = machine.fork(parent)?;
//!     machine.swap_out(page)?;
//!     machine.read(child, 16)?; // who faults first decides where a walk begins
//!     machine.read(parent, 16)?;
//!     machine.exit(child)?;
//!     let broken = machine.check();
//!     assert_eq!(broken.is_empty(), policy != Policy::AvcRc1, "{policy}: {broken:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `policy` | the designs, as one table of rules |
//! | `kernel` | which kernel had which of them |
//! | `fault` | what a read and a write do |
//! | `range` | mmap, munmap, mprotect, madvise: splits and merges |
//! | `mremap` | moving pages to other addresses |
//! | `walk` | from a page to its mappings; swapping out |
//! | `check` | the invariants |
//! | `graph` | the state as plain rows |
//! | `records` | processes, VMAs, anon_vmas and chains, pages, and the machine that holds them: what each is, made, cloned and ended |
//! | `room` | memory for them, asked for before anything changes |

/// The Rust of the chapter is compiled and run with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rmap.md")]
struct Chapter;

mod check;
mod error;
mod fault;
mod graph;
mod kernel;
mod mremap;
mod policy;
mod range;
mod records;
mod room;
mod walk;

pub use check::{Broken, Invariant};
pub use error::Error;
pub use graph::{AnonVmaRow, Graph, PageRow, ProcessRow, VmaRow};
pub use kernel::{Kernel, UnknownKernel};
pub use mremap::Mremap;
pub use policy::{CloneOrder, Family, Mapping, Order, Policy, Reuse, Rules, Unfaulted, UnknownOrder, UnknownPolicy};
pub use range::Mmap;
pub use records::machine::{LIMIT, MAX_PROCESSES, Machine};
pub use records::vma::{Advice, Prot, UnknownAdvice, UnknownProt};
pub use walk::{SwapOut, Walk};

use records::arena::{Id, Ix};

/// A process of a machine, by name: it stays the name of that process after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    place: Ix<records::process::Process>,
    pid: u64,
}

impl ProcessId {
    /// Its number: 1 for a machine's first process; never reused.
    pub fn pid(self) -> u64 {
        self.pid
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident($record:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(Id<$record>);

        impl $name {
            /// A number that no other of its kind in the machine has or will have; small for the first ones.
            pub fn number(self) -> u64 {
                self.0.number()
            }

            /// The id with that number; using it shows whether it exists.
            pub fn from_number(number: u64) -> Self {
                Self(Id::from_number(number))
            }
        }
    )*};
}

names! {
    /// A VMA of a machine, by name.
    VmaId(records::vma::Vma);
    /// An anon_vma of a machine, by name.
    AnonVmaId(records::anon_vma::AnonVma);
    /// A page of a machine, by name.
    PageId(records::page::Page);
}

/// The objects that a machine has, and the objects and operations in all. The difference between two is the cost of the
/// operations in between: objects freed are those made less the growth of those that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes that live.
    pub processes: u64,
    /// VMAs there are.
    pub vmas: u64,
    /// anon_vmas there are.
    pub anon_vmas: u64,
    /// Chain entries (anon_vma_chain) there are; none in the designs without chains.
    pub chains: u64,
    /// Pages there are, in memory or in swap. The page of zeros is none.
    pub pages: u64,
    /// Processes ever spawned or forked.
    pub processes_total: u64,
    /// VMAs ever made.
    pub vmas_total: u64,
    /// anon_vmas ever made.
    pub anon_vmas_total: u64,
    /// Chain entries ever made.
    pub chains_total: u64,
    /// Pages ever made.
    pub pages_total: u64,
    /// Pages among them that were made by a copy on write.
    pub copies: u64,
    /// VMAs that `swap_out` ever looked at.
    pub visits: u64,
}
