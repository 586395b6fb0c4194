//! Reading and writing many stretches of memory at once: sockets, pipes, and whatever else has a descriptor.

use std::os::fd::RawFd;
use std::time::Instant;

use nix::errno::Errno;

use super::vectored::{self, Call};

/// The most stretches that one call takes (`IOV_MAX`).
pub(crate) const MOST: usize = 1024;

/// Memory for the kernel to write to or to read from. It checks the addresses itself.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Stretch(libc::iovec);

// SAFETY: an address and a length; what makes an access safe is argued where it is made.
unsafe impl Send for Stretch {}

impl Stretch {
    pub(crate) fn new(start: *mut u8, len: usize) -> Self {
        Self(libc::iovec { iov_base: start.cast(), iov_len: len })
    }

    pub(crate) fn len(self) -> usize {
        self.0.iov_len
    }
}

/// Reads once. How many bytes arrived; none at the end of the stream.
///
/// # Safety
/// Whatever is mapped where the stretches are must be the caller's to overwrite. Nothing need be.
pub(crate) unsafe fn read(fd: RawFd, stretches: &[Stretch]) -> Result<usize, Error> {
    let count = stretches.len().min(MOST) as libc::c_int;
    // SAFETY: a Stretch is an iovec, and there are so many; the rest is the caller's promise.
    let read = unsafe { libc::readv(fd, stretches.as_ptr().cast(), count) };
    Errno::result(read).map(|read| read as usize).map_err(Error)
}

/// Writes once. How many bytes were taken. A peer that is gone is an error; of a socket's, no signal tells.
pub(crate) fn write(fd: RawFd, stretches: &[Stretch]) -> Result<usize, Error> {
    let count = stretches.len().min(MOST) as libc::c_int;
    // SAFETY: a msghdr of zeros is one without address, data or control messages.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = stretches.as_ptr().cast_mut().cast();
    message.msg_iovlen = count as _;
    // SAFETY: as for writev below; the kernel does not write to what it is given to send.
    let sent = unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) };
    match Errno::result(sent) {
        Err(Errno::ENOTSOCK) => {}
        sent => return sent.map(|sent| sent as usize).map_err(Error),
    }
    // SAFETY: a Stretch is an iovec, and there are so many. The kernel reads from them if it can, and refuses if not.
    let written = unsafe { libc::writev(fd, stretches.as_ptr().cast(), count) };
    Errno::result(written).map(|written| written as usize).map_err(Error)
}

/// Waits until something can be read; whether it can before the deadline.
pub(crate) fn wait_to_read(fd: RawFd, deadline: Instant) -> Result<bool, Error> {
    vectored::wait(fd, Call::Read, deadline).map_err(|code| Error(Errno::from_raw(code)))
}

/// Whether calls return at once where there is nothing to read or no room to write.
pub(crate) fn is_non_blocking(fd: RawFd) -> Result<bool, Error> {
    // SAFETY: the call takes numbers only.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    Errno::result(flags).map(|flags| flags & libc::O_NONBLOCK != 0).map_err(Error)
}

/// Why the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Error(Errno);

impl Error {
    /// What the kernel says of a descriptor that is none.
    pub(crate) const NO_DESCRIPTOR: Self = Self(Errno::EBADF);

    /// A signal came first.
    pub(crate) fn is_interruption(self) -> bool {
        self.0 == Errno::EINTR
    }

    /// There is nothing to be read, or no room to write, right now.
    pub(crate) fn is_for_now(self) -> bool {
        self.0 == Errno::EAGAIN
    }

    pub(crate) fn code(self) -> i32 {
        self.0 as i32
    }
}
