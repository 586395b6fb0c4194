//! How much memory there is, and how much of it is promised.

mod cgroup;
pub(crate) mod facts;
pub(crate) mod headroom;
mod machine;
pub(crate) mod overcommit;
mod text;

use crate::os::page_size;

/// Bytes of memory that the machine has; where the system does not say, none.
fn machine_memory() -> usize {
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES).ok().flatten();
    pages.and_then(|pages| usize::try_from(pages).ok()).map_or(0, |pages| pages.saturating_mul(page_size()))
}
