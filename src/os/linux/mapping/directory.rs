//! Unlinked temporary files in a directory of the user's choice.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::unlink;

use crate::error::Operation;
use crate::os::Refusal;

/// An empty file in `directory` that has no name, so that it is gone when its last mapping is.
pub(super) fn unlinked(directory: &Path) -> Result<OwnedFd, Refusal> {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    match open(directory, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, mode) {
        // What file systems and kernels without O_TMPFILE answer.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => named_then_unlinked(directory),
        opened => opened.map_err(Refusal::of(Operation::OpenTemporary)),
    }
}

fn named_then_unlinked(directory: &Path) -> Result<OwnedFd, Refusal> {
    let (file, path) = make_temporary(directory).map_err(|errno| {
        // What /proc says of a file that it cannot hold. The directory exists, so that would mislead.
        let cannot_hold_files = errno == Errno::ENOENT && directory.is_dir();
        Refusal::of(Operation::MakeTemporary)(if cannot_hold_files { Errno::EOPNOTSUPP } else { errno })
    })?;
    unlink(path.as_c_str()).map_err(Refusal::of(Operation::Unlink))?;
    Ok(file)
}

/// `mkostemp(3)`, which nix does not have: `mkstemp` would leave the descriptor open to a program started meanwhile.
fn make_temporary(directory: &Path) -> nix::Result<(OwnedFd, CString)> {
    let template = directory.join("memgroup-XXXXXX").into_os_string().into_vec();
    let template = CString::new(template).map_err(|_| Errno::EINVAL)?.into_raw();
    // SAFETY: the template is a C string of our own, which the call writes to but does not lengthen.
    let file = unsafe { libc::mkostemp(template, libc::O_CLOEXEC) };
    // SAFETY: it came from into_raw.
    let path = unsafe { CString::from_raw(template) };
    let file = Errno::result(file)?;
    // SAFETY: a new descriptor, which nobody else owns.
    Ok((unsafe { OwnedFd::from_raw_fd(file) }, path))
}

/// A second descriptor of the same file that can only read.
///
/// A shared mapping made through it can never be turned writable: the kernel remembers how the file was opened. That is
/// what sealing does for a memfd, and an ordinary file cannot be sealed.
pub(super) fn reopened_read_only(file: &OwnedFd) -> Result<OwnedFd, Refusal> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(Refusal::of(Operation::Reopen))
}
