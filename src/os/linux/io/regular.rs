//! Regular files: how long they are, and opening them without ever waiting for what is none.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, stat};

use super::temporary::Temporary;

/// What is at a path, or behind a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file that announces so many bytes.
    Regular(u64),
    Directory,
    Other,
}

impl Kind {
    fn of(status: &FileStat) -> Self {
        match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::Regular(u64::try_from(status.st_size).unwrap_or(0)),
            SFlag::S_IFDIR => Self::Directory,
            _ => Self::Other,
        }
    }
}

/// What is at a path, or the code of the error.
pub(crate) fn kind_at(path: &CStr) -> Result<Kind, i32> {
    stat(path).map(|status| Kind::of(&status)).map_err(|errno| errno as i32)
}

/// What is behind a descriptor, or the code of the error.
pub(crate) fn kind_of(file: BorrowedFd<'_>) -> Result<Kind, i32> {
    fstat(file).map(|status| Kind::of(&status)).map_err(|errno| errno as i32)
}

/// Opens a file for reading, or says by its code what stands against it.
///
/// Never blocks, nor acquires a terminal: a fifo or a device may be where a file was a moment ago. EAGAIN says that
/// somebody has a lease of the file (`fcntl(2)`, F_SETLEASE), and was just asked to give it up: [wait](wait_for_lease)
/// and try again. The kernel sees to it that this ends (/proc/sys/fs/lease-break-time).
pub(crate) fn open_at_once(path: &CStr) -> Result<Temporary, i32> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    Temporary::open(|| open(path, flags, Mode::empty())).map_err(|errno| errno as i32)
}

/// Waits a moment for the holder of a lease.
pub(crate) fn wait_for_lease() {
    std::thread::sleep(Duration::from_millis(5));
}
