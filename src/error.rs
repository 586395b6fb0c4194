//! What can go wrong, and what to do about it.

mod operation;

use std::io;
use std::path::PathBuf;

use crate::layout::{MAX_ALIGN, MAX_SLOT_BYTES};
pub use operation::Operation;

/// Every way in which a group refuses. Nothing is lost or half-done when one is returned, and the group stays usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The size asked for slot 0 is 0 or absurd.
    #[error("base must be from 1 to {max} bytes, not {base}: it is the size of the first slot", max = MAX_SLOT_BYTES)]
    Base {
        /// What was asked for, in bytes.
        base: usize,
    },

    /// The alignment is no power of two, or larger than a page.
    #[error("align must be a power of two from 1 to {max}, not {align}", max = MAX_ALIGN)]
    Align {
        /// What was asked for, in bytes.
        align: usize,
    },

    /// The group's name cannot be given to the kernel.
    #[error("name must be at most {max} bytes without NUL, not {name:?}")]
    Name {
        /// Bytes that were requested.
        name: String,
        /// The longest name there is, in bytes.
        max: usize,
    },

    /// No slot can ever hold the request.
    #[error(
        "cannot allocate {size} bytes: the largest slot of this group holds {largest}; {}",
        if *largest < MAX_SLOT_BYTES { "split the request, or make the group with a larger base" } else { "split the request" }
    )]
    TooLarge {
        /// What was asked for, in bytes.
        size: usize,
        /// Size of the group's last slot, in bytes.
        largest: usize,
    },

    /// Every slot that could hold the request is full.
    #[error(
        "cannot allocate {size} bytes: every slot of this group that could hold them is full; \
         reset or free the group, or make one with a larger base"
    )]
    Full {
        /// What was asked for, in bytes.
        size: usize,
    },

    /// As many objects of a pool are in use as may be.
    #[error("all {capacity} objects of this pool are in use: free some, or make the pool with a higher capacity")]
    PoolFull {
        /// How many objects there may be.
        capacity: usize,
    },

    /// The group may not commit that much.
    #[error(
        "cannot commit {wanted} more bytes: {committed} of the group's limit of {limit} are committed; \
         reset or free the group, or make it with a higher limit"
    )]
    Limit {
        /// Bytes that the request would commit.
        wanted: usize,
        /// Bytes that the group has committed.
        committed: usize,
        /// Bytes that the group may commit.
        limit: usize,
    },

    /// The machine has not that much memory left.
    #[error(
        "cannot commit {wanted} more bytes: this machine has {available} available; \
         ask for less, free other groups, or keep the data in a directory (backing)"
    )]
    Headroom {
        /// Bytes that the request would commit.
        wanted: usize,
        /// Bytes that the machine can still give.
        available: usize,
    },

    /// The kernel overcommits nothing (`vm.overcommit_memory=2`), and has promised nearly all that it may.
    #[error(
        "cannot commit {wanted} more bytes: this machine overcommits nothing (vm.overcommit_memory=2), and {available} are \
         left below its CommitLimit; ask for less, free other groups, raise vm.overcommit_ratio, or keep the data in a \
         directory (backing)"
    )]
    CommitLimit {
        /// Bytes that the request would commit.
        wanted: usize,
        /// Bytes that the kernel can still promise, less a reserve.
        available: usize,
    },

    /// A memory cgroup that the process is in has not that much memory left: beyond, the kernel would kill.
    #[error(
        "cannot commit {wanted} more bytes: of the {limit} that the memory cgroup allows in {}, {usage} are in use \
         and {available} to be had; ask for less, free other groups, raise the limit of the container or service, \
         or keep the data in a directory (backing)",
        limit_file.display()
    )]
    Cgroup {
        /// Bytes that the request would commit.
        wanted: usize,
        /// Bytes that the group can still have: what is left, and page cache that would make room, less a reserve.
        available: usize,
        /// Bytes that all processes of the cgroup may use.
        limit: usize,
        /// Bytes that they use.
        usage: usize,
        /// The file that the limit stands in.
        limit_file: PathBuf,
    },

    /// What a secret group holds must not leave memory, and no more of it can be locked there.
    #[error(
        "cannot lock {wanted} more bytes of a secret group in memory: {locked} of the {limit} that this process may lock \
         (RLIMIT_MEMLOCK) are locked; raise it (ulimit -l; LimitMEMLOCK= of a service, --ulimit memlock= of a container), \
         grant CAP_IPC_LOCK, or keep less in secret groups"
    )]
    Unlocked {
        /// Bytes that the request would lock.
        wanted: usize,
        /// Bytes that the process has locked.
        locked: usize,
        /// Bytes that it may lock.
        limit: usize,
    },

    /// Files reach the disk, and secrets must not.
    #[error(
        "a secret group cannot keep its memory in a directory, for files reach the disk: \
         use the memfd backing (Options::backing(Backing::Memfd))"
    )]
    SecretInFiles,

    /// Other processes read a group's memory through its memfds, and secrets are for nobody else.
    #[error(
        "a shared group keeps its memory in memfds, and nothing secret: \
         use the memfd backing (Options::backing(Backing::Memfd)) without Options::secret"
    )]
    Unshareable,

    /// There is no memory for a table of so many objects.
    #[error(
        "no memory for a table of {objects} objects ({bytes} bytes each): pass fewer at once; for a list, \
         a count and a size if all are of one size"
    )]
    Table {
        /// How many objects, in all or beyond those already noted.
        objects: usize,
        /// Bytes for each of them.
        bytes: usize,
    },

    /// A list was to be filled from more or fewer bytes than it has.
    #[error("cannot fill a list of {nbytes} bytes from {given}: pass exactly as many as it has")]
    Length {
        /// Bytes in the list.
        nbytes: usize,
        /// Bytes that were given.
        given: usize,
    },

    /// The kernel refused a call.
    #[error("{action} failed in {operation}: {}{}", io::Error::from_raw_os_error(*code), operation.remedy(*code))]
    Os {
        /// What was being done, in words.
        action: String,
        /// What the kernel was asked for.
        operation: Operation,
        /// Its error, as in `errno(3)`; see [`io::Error::from_raw_os_error`].
        code: i32,
    },

    /// A read-only mirror can be made writable: the kernel accepts what should forbid that and does not enforce it.
    #[error(
        "nothing can be protected in such a group here: this kernel lets a read-only mapping be made writable, though its \
         memory is sealed or open for reading only (as sandboxes that stand in for the kernel do); make the group with the \
         anonymous backing (backing=\"anonymous\"), which promises no protection, or see what memgroup doctor finds"
    )]
    Unenforced,

    /// The bytes are not this group's.
    #[error("this does not live in this group: protect, unprotect and send take what the same group allocated")]
    Foreign,

    /// The group has no read-only mirror.
    #[error(
        "an anonymous group has no read-only mirror, so nothing in it can be protected; \
         make the group with the memfd backing (Options::backing(Backing::Memfd)) or in a directory"
    )]
    NoMirror,

    /// Borrowed memory that can be written has no read-only mirror.
    #[error(
        "borrowed memory that can be written has no read-only mirror: protect a copy (MemGroup::copy), or borrow it to be read"
    )]
    BorrowedWritable,

    /// Borrowed memory that can only be read has no read-write mirror.
    #[error("memory that was borrowed read-only cannot be written: write to a copy (MemGroup::copy)")]
    BorrowedReadOnly,

    /// What a secret group borrows would be no secret.
    #[error(
        "a secret group cannot borrow memory, which it could neither lock nor overwrite: copy it into the group (MemGroup::copy)"
    )]
    BorrowedSecret,
}

/// A value that could not be converted, given back untouched with the reason.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused<T> {
    /// Why.
    pub error: Error,
    /// The value that was passed in.
    pub value: T,
}

impl<T> From<Refused<T>> for Error {
    /// Keeps the reason and lets the value go, for `?`.
    fn from(refused: Refused<T>) -> Self {
        refused.error
    }
}
