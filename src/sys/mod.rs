//! The operating system. nix lives here and nowhere else; the rest of the crate sees [`Mirrors`] of a
//! [`Backing`], [`fork`], [`wiped`], [`regular`] files, [`vectored`] calls, [`headroom`], the
//! [`signals`] of faults, the limits of the system and, where a call was refused, a [`Refusal`].
//!
//! What this rests on (order of sealing, what populates, what survives a fork) was checked on Linux 6.18.

#[cfg(not(heap))]
mod cgroup;
#[cfg(not(heap))]
mod file;
#[cfg(not(heap))]
pub(crate) mod fork;
#[cfg(not(heap))]
pub(crate) mod headroom;
#[cfg(heap)]
mod heap;
#[cfg(not(heap))]
mod huge;
#[cfg(not(heap))]
mod memfd;
#[cfg(not(heap))]
mod mirrors;
mod per_process;
#[cfg(not(heap))]
mod promises;
pub(crate) mod regular;
#[cfg(not(heap))]
mod reserved;
pub(crate) mod signals;
pub(crate) mod vectored;
pub(crate) mod wiped;

#[cfg(heap)]
pub(crate) use heap::{Mirrors, Unlocked, ask_for_huge_pages, check_backing, fork, headroom, huge_page_size};
#[cfg(not(heap))]
pub(crate) use mirrors::{Mirrors, Unlocked};

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

use crate::error::Error;

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
    call: &'static str,
    errno: Errno,
}

impl Refusal {
    /// For `map_err`: names the call that an error belongs to.
    fn of(call: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { call, errno }
    }

    /// The error for users, of a call that serves to tell forked processes apart.
    pub(crate) fn in_preparation(self) -> Error {
        self.during("preparing for fork".into())
    }

    /// The error for users; `action` says in words what was being done.
    pub(crate) fn during(self, action: String) -> Error {
        Error::Os { action, call: self.call, code: self.errno as i32 }
    }
}

/// Bytes in a page.
pub(crate) fn page_size() -> usize {
    // Relaxed, and not a OnceLock: threads that come here at once find the same number, and a fork leaves no one waiting.
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

/// Bytes of memory that the machine has; where the system does not say, none.
#[cfg(not(heap))]
fn machine_memory() -> usize {
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES).ok().flatten();
    pages.and_then(|pages| usize::try_from(pages).ok()).map_or(0, |pages| pages.saturating_mul(page_size()))
}

#[cfg(not(heap))]
pub(crate) use huge::ask_for as ask_for_huge_pages;

/// Bytes in a huge page, where the system offers such to slots of that backing.
#[cfg(not(heap))]
pub(crate) fn huge_page_size(backing: &Backing) -> Option<usize> {
    huge::offer(backing).size()
}

/// Makes sure that slots of this backing can be made, so that a wrong directory is reported where it was named.
#[cfg(not(heap))]
pub(crate) fn check_backing(backing: &Backing) -> Result<(), Refusal> {
    match backing {
        Backing::Directory(directory) => file::unlinked(directory).map(drop),
        Backing::Memfd | Backing::Anonymous => Ok(()),
    }
}

impl Backing {
    /// The backing in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Memfd => "memfd".into(),
            Self::Directory(directory) => directory.display().to_string(),
            Self::Anonymous => "anonymous".into(),
        }
    }
}
