//! The operations of the operating system that can be refused, and what a user can do about each refusal.

use std::fmt;

/// The operation that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// `memfd_create(2)`
    CreateMemfd,
    /// `fcntl(F_ADD_SEALS)`: forbidding writers of a memfd.
    AddSeals,
    /// `open(O_TMPFILE)`: making a file without a name in a directory.
    OpenTemporary,
    /// `mkostemp(3)`: making a file with a name, where the file system has no others.
    MakeTemporary,
    /// `unlink(2)` of such a file.
    Unlink,
    /// `open(/proc/self/fd/N)`: opening a file of the directory backing again, to be read only.
    Reopen,
    /// `getcwd(3)`: finding out what a relative directory is in.
    FindDirectory,
    /// `getrlimit(2)`
    ReadLimit,
    /// `ftruncate(2)`: giving a file its size.
    Resize,
    /// `mmap(2)`
    Map,
    /// `mprotect(2)`
    Protect,
    /// `madvise(MADV_POPULATE_WRITE)`: committing memory.
    Populate,
    /// `madvise(MADV_DONTDUMP)`: leaving secrets out of core dumps.
    ExcludeFromDumps,
    /// `mlock(2)`: keeping secrets in memory.
    Lock,
    /// `getrandom(2)`: a number by which other processes know shared memory.
    Random,
    /// `lseek(SEEK_HOLE)`: finding out what of shared memory is there.
    FindHoles,
    /// `madvise(MADV_WIPEONFORK)`: telling forked processes apart.
    WipeOnFork,
    /// `pthread_atfork(3)`
    HandleForks,
    /// `sigaction(2)`
    HandleSignals,
    /// The allocator of the process.
    Allocate,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateMemfd => "memfd_create",
            Self::AddSeals => "fcntl(F_ADD_SEALS)",
            Self::OpenTemporary => "open(O_TMPFILE)",
            Self::MakeTemporary => "mkostemp",
            Self::Unlink => "unlink",
            Self::Reopen => "open(/proc/self/fd/N, O_RDONLY)",
            Self::FindDirectory => "getcwd",
            Self::ReadLimit => "getrlimit",
            Self::Resize => "ftruncate",
            Self::Map => "mmap",
            Self::Protect => "mprotect",
            Self::Populate => "madvise(MADV_POPULATE_WRITE)",
            Self::ExcludeFromDumps => "madvise(MADV_DONTDUMP)",
            Self::Lock => "mlock",
            Self::Random => "getrandom",
            Self::FindHoles => "lseek(SEEK_HOLE)",
            Self::WipeOnFork => "madvise(MADV_WIPEONFORK)",
            Self::HandleForks => "pthread_atfork",
            Self::HandleSignals => "sigaction",
            Self::Allocate => "alloc",
        })
    }
}

impl Operation {
    /// What a user can do where this operation fails with that code, to follow the error; empty where nothing is known
    /// to help.
    pub(super) fn remedy(self, code: i32) -> &'static str {
        use Operation::{
            AddSeals, CreateMemfd, ExcludeFromDumps, FindDirectory, HandleSignals, Lock, MakeTemporary, Map,
            OpenTemporary, Populate, Protect, Reopen, Resize, Unlink, WipeOnFork,
        };
        match (self, code) {
            (CreateMemfd, libc::ENOSYS | libc::EPERM | libc::EACCES) => {
                "; this kernel has no memfd, or a sandbox (seccomp) forbids it: use the anonymous backing, or a directory"
            }
            (AddSeals, libc::EINVAL | libc::ENOSYS | libc::EPERM) => {
                "; this kernel or sandbox cannot seal a memfd against writers, as Linux 5.1 can: \
                 use the anonymous backing, or a directory"
            }
            (Reopen, libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::EPERM | libc::ELOOP) => {
                "; a group in a directory needs /proc: mount it, or use the memfd backing"
            }
            (FindDirectory, libc::ENOENT) => "; the current directory is gone: name an absolute path",
            (OpenTemporary | MakeTemporary | Unlink, libc::EACCES | libc::EPERM | libc::EROFS) => {
                "; name a directory that you may write to"
            }
            (OpenTemporary | MakeTemporary | Unlink, libc::ENOENT) => {
                "; the directory does not exist: create it, or name a directory that exists (or memfd, or anonymous)"
            }
            (OpenTemporary | MakeTemporary, libc::ENOTDIR) => "; it is not a directory: name a directory",
            (OpenTemporary | MakeTemporary, libc::EOPNOTSUPP) => {
                "; it cannot hold files: name a directory of another file system"
            }
            (OpenTemporary | MakeTemporary | Reopen | Resize | Populate, libc::ENOSPC | libc::EDQUOT) => {
                "; the file system has no room: free some, or name another directory"
            }
            (Populate, libc::EFAULT) => {
                "; no memory can be had for it: a file system is full (free some, or name another directory), or the \
                 machine overcommits nothing (vm.overcommit_memory=2: raise vm.overcommit_ratio, or ask for less)"
            }
            (Resize, libc::EFBIG) => "; raise RLIMIT_FSIZE (ulimit -f), or name a directory that holds larger files",
            (Map, libc::ENODEV | libc::EACCES) => {
                "; its files cannot be mapped: name a directory of another file system"
            }
            (Map | Lock, libc::EAGAIN) => "; no more memory may be locked: raise RLIMIT_MEMLOCK (ulimit -l)",
            (Map | Protect, libc::ENOMEM) => {
                "; address space (RLIMIT_AS, ulimit -v; of an anonymous group also RLIMIT_DATA, ulimit -d) or mappings \
                 (vm.max_map_count; a slot takes up to five) are used up: raise the limit, or use fewer and larger groups"
            }
            (Lock, libc::ENOMEM) => {
                "; memory or mappings (vm.max_map_count) are used up: free some, or use fewer groups"
            }
            (Lock, libc::EPERM) => "; raise RLIMIT_MEMLOCK (ulimit -l) or grant CAP_IPC_LOCK",
            (Lock, libc::ENOSYS) => {
                "; this kernel or sandbox locks no memory: make the group without secret, or run where memory can be locked"
            }
            (ExcludeFromDumps, libc::EINVAL | libc::ENOSYS | libc::EPERM) => {
                "; this kernel or sandbox cannot leave memory out of core dumps: make the group without secret, or run elsewhere"
            }
            (WipeOnFork, libc::EINVAL | libc::ENOSYS | libc::EPERM) => {
                "; groups need Linux 5.1, or a sandbox that allows this call: run elsewhere"
            }
            (HandleSignals, libc::EBUSY) => {
                "; other handlers were put in front of this one too often: enable the report once, after they are installed"
            }
            (_, libc::ENOMEM) => "; memory is used up: free some",
            (_, libc::EMFILE) => "; raise RLIMIT_NOFILE (ulimit -n) or close files",
            (_, libc::ENFILE) => "; the whole system is out of file descriptors: raise fs.file-max or close files",
            _ => "",
        }
    }
}
