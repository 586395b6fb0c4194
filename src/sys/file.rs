//! Unlinked temporary files in a directory of the user's choice.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{mkstemp, unlink};

use super::Refusal;

/// An empty file in `directory` that has no name, so that it is gone when its last mapping is.
pub(super) fn unlinked(directory: &Path) -> Result<OwnedFd, Refusal> {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    match open(directory, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, mode) {
        // What file systems and kernels without O_TMPFILE answer.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => named_then_unlinked(directory),
        opened => opened.map_err(Refusal::of("open(O_TMPFILE)")),
    }
}

fn named_then_unlinked(directory: &Path) -> Result<OwnedFd, Refusal> {
    let (file, path) = mkstemp(&directory.join("memgroup-XXXXXX")).map_err(|errno| {
        // What /proc says of a file that it cannot hold. The directory exists, so that would mislead.
        let cannot_hold_files = errno == Errno::ENOENT && directory.is_dir();
        Refusal::of("mkstemp")(if cannot_hold_files { Errno::EOPNOTSUPP } else { errno })
    })?;
    unlink(&path).map_err(Refusal::of("unlink"))?;
    let cloexec = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
    nix::fcntl::fcntl(&file, cloexec).map_err(Refusal::of("fcntl(F_SETFD)"))?;
    Ok(file)
}

/// A second descriptor of the same file that can only read.
///
/// A shared mapping made through it can never be turned writable: the kernel remembers how the file was opened. That is
/// what sealing does for a memfd, and an ordinary file cannot be sealed.
pub(super) fn reopened_read_only(file: &OwnedFd) -> Result<OwnedFd, Refusal> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(Refusal::of("open(/proc/self/fd/N, O_RDONLY)"))
}
