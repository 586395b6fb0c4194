//! The operating system. nix lives here and nowhere else; the rest of the crate sees [`Mirrors`] of a
//! [`Backing`], [`fork`], [`fork_zeroed`] memory, [`regular`] files, [`iovecs`], [`messages`], [`headroom`], the
//! [`signals`] of faults, the limits of the system and, where a call was refused, a [`Refusal`].
//!
//! There are two folders with the same names in them: `linux`, and `heap`, which stands in for it where the tools that
//! run the tests know no mappings. This is the one place that chooses.
//!
//! What this rests on (order of sealing, what populates, what survives a fork) was checked on Linux 6.18.

#[cfg(heap)]
#[path = "heap/mod.rs"]
mod system;
#[cfg(not(heap))]
#[path = "linux/mod.rs"]
mod system;

pub(crate) mod memory_facts;

mod obstacle;

pub(crate) use system::fork::{self, fork_zeroed};
pub(crate) use system::io::{iovecs, messages, regular, temporary};
#[cfg(feature = "search")]
pub(crate) use system::io::{locale, tree};
pub(crate) use system::mapping::{
    Locked, Mirrors, ReceivedFile, SharedFile, Unfit, Unlocked, ask_for_huge_pages, check_backing, huge_page_obstacle,
    huge_page_offer,
};
pub(crate) use system::memory::headroom;
pub(crate) use system::signals;

pub use obstacle::HugePageObstacle;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

use crate::error::{Error, Operation};

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!(
    "memgroup runs on Linux on x86-64 and arm64 only: two mappings of one page must be coherent, \
     and other architectures do not all promise that"
);

/// Where a slot's memory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Backing {
    /// Sealed anonymous files (`memfd_create(2)`): fast, shared with forked children, never on a disk.
    #[default]
    Memfd,
    /// Unlinked temporary files in this directory: for more data than the machine has memory.
    Directory(PathBuf),
    /// Private anonymous memory without a read-only mirror: nothing can be protected.
    Anonymous,
}

/// The longest name a group can have, in bytes; `memfd_create(2)` allows 249.
pub(crate) const MAX_NAME: usize = 200;

/// A system call that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    operation: Operation,
    errno: Errno,
}

impl Refusal {
    /// For `map_err`: names the operation that an error belongs to.
    fn of(operation: Operation) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { operation, errno }
    }

    /// The error for users, of a call that serves to tell forked processes apart.
    pub(crate) fn in_preparation(self) -> Error {
        self.during("preparing for fork".into())
    }

    /// What passes for one where the kernel should have refused to make a read-only mirror writable, and has not.
    #[cfg(not(heap))]
    const NONE_OF_WRITES: Self = Self { operation: Operation::Protect, errno: Errno::UnknownErrno };

    /// The error for users; `action` says in words what was being done.
    pub(crate) fn during(self, action: String) -> Error {
        #[cfg(not(heap))]
        if self == Self::NONE_OF_WRITES {
            return Error::Unenforced;
        }
        Error::Os { action, operation: self.operation, code: self.errno as i32 }
    }
}

impl headroom::Shortage {
    /// The error for users, who wanted so many bytes.
    pub(crate) fn refusing(self, wanted: usize) -> Error {
        match self {
            Self::Machine(available) => Error::Headroom { wanted, available },
            Self::CommitLimit(available) => Error::CommitLimit { wanted, available },
            Self::Cgroup(room) => Error::Cgroup {
                wanted,
                available: room.available,
                limit: room.limit,
                usage: room.usage,
                limit_file: room.limit_file,
            },
        }
    }
}

impl Unlocked {
    /// The error for users, where `wanted` bytes were to be locked; `action` says in words what was being done.
    pub(crate) fn error(self, wanted: usize, action: impl FnOnce() -> String) -> Error {
        match self {
            Self::Limit { locked, limit } => Error::Unlocked { wanted, locked, limit },
            Self::Refused(refusal) => refusal.during(action()),
        }
    }
}

/// Mappings of so many bytes or more begin at a multiple of it.
pub(crate) const LARGE_MAPPING: usize = 2 * 1024 * 1024;

/// What a mapping of so many bytes begins at a multiple of, at least.
pub(crate) fn least_alignment(len: usize) -> usize {
    if len >= LARGE_MAPPING { page_size().max(LARGE_MAPPING) } else { page_size() }
}

/// Bytes in a page.
pub(crate) fn page_size() -> usize {
    // Relaxed, and not a OnceLock: threads that come here at once find the same number, and a fork leaves no one
    // waiting.
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    match PAGE.load(Ordering::Relaxed) {
        0 => {
            let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
            let page = page.ok().flatten().and_then(|page| usize::try_from(page).ok()).unwrap_or(4096);
            PAGE.store(page, Ordering::Relaxed);
            page
        }
        page => page,
    }
}

impl Backing {
    /// This backing for as long as it is kept: a directory by its absolute path, whatever becomes the current one.
    pub(crate) fn resolved(self) -> Result<Self, Refusal> {
        match self {
            // An empty path names nothing, as the kernel will say.
            Self::Directory(directory) if !directory.as_os_str().is_empty() => match std::path::absolute(&directory) {
                Ok(absolute) => Ok(Self::Directory(absolute)),
                Err(error) => Err(Refusal {
                    operation: Operation::FindDirectory,
                    errno: error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw),
                }),
            },
            other => Ok(other),
        }
    }

    /// The backing in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Memfd => "memfd".into(),
            Self::Directory(directory) => directory.display().to_string(),
            Self::Anonymous => "anonymous".into(),
        }
    }
}
