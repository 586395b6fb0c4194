//! What the kernel says of memory, as plain data for displays: nothing is decided by it.

/// What the kernel says now.
pub(crate) fn read() -> MemoryFacts {
    super::system::memory::facts::read()
}

/// A number is `None` where the kernel does not give it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct MemoryFacts {
    /// `MemTotal` of `/proc/meminfo`, in bytes, as the following.
    pub(crate) total: Option<usize>,
    pub(crate) available: Option<usize>,
    pub(crate) swap_free: Option<usize>,
    pub(crate) commit_limit: Option<usize>,
    pub(crate) committed: Option<usize>,
    /// `vm.overcommit_memory`.
    pub(crate) overcommit_mode: Option<usize>,
    pub(crate) huge_pages: HugePageFacts,
    /// `vm.max_map_count`: how many mappings a process may have.
    pub(crate) max_mappings: Option<usize>,
    /// How many this process has.
    pub(crate) mappings: Option<usize>,
    /// How many more processes the cgroups of this one allow, where they have a limit.
    pub(crate) processes_left: Option<usize>,
    /// The memory cgroups of this process, its own first.
    pub(crate) cgroups: Vec<CgroupFacts>,
}

/// How the kernel hands out transparent huge pages.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct HugePageFacts {
    /// The word chosen in `enabled`, for anonymous memory.
    pub(crate) enabled: Option<String>,
    /// The word chosen in `shmem_enabled`, for memfd.
    pub(crate) shmem_enabled: Option<String>,
    /// Bytes in one page.
    pub(crate) size: Option<usize>,
}

/// One memory cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupFacts {
    /// Below where its hierarchy is mounted; `/` for the mount point.
    pub(crate) path: String,
    /// Of the interface, 1 or 2.
    pub(crate) version: u8,
    /// Bytes that all processes in it may use, if there is a limit.
    pub(crate) limit: Option<usize>,
    /// Bytes that they use, page cache included.
    pub(crate) usage: usize,
    /// Page cache that the kernel gives up before it kills a process.
    pub(crate) reclaimable: usize,
}
