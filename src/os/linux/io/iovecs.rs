//! Scatter-gather input and output: one system call for many iovecs.

use std::os::fd::RawFd;
use std::time::Instant;

use nix::errno::Errno;

/// Most iovecs that one call takes; the kernel's UIO_MAXIOV, which no Linux was ever built with another value of.
pub(crate) const MAX_IOVECS: usize = 1024;

/// What is done with the iovecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `readv(2)`
    Read,
    /// `preadv(2)` at that offset.
    ReadAt(u64),
    /// `writev(2)`
    Write,
    /// `pwritev(2)` at that offset.
    WriteAt(u64),
    /// `recvmsg(2)`
    Receive,
    /// `sendmsg(2)`
    Send,
}

impl Call {
    /// Whether bytes come in, and not go out.
    pub(crate) fn is_input(self) -> bool {
        matches!(self, Self::Read | Self::ReadAt(_) | Self::Receive)
    }

    /// This call for what follows `moved` bytes.
    pub(crate) fn behind(self, moved: usize) -> Self {
        match self {
            Self::ReadAt(offset) => Self::ReadAt(offset.saturating_add(moved as u64)),
            Self::WriteAt(offset) => Self::WriteAt(offset.saturating_add(moved as u64)),
            anywhere => anywhere,
        }
    }
}

/// What one call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) bytes: usize,
    /// Whether the rest of a message that was too long is lost.
    pub(crate) is_cut: bool,
}

/// Makes one call, with the code of the error as in `errno(3)`.
///
/// # Safety
/// The memory of the iovecs must be in address space that nobody else gets for as long as this takes: reserved, at
/// least, for the kernel answers EFAULT to what it may not touch. Where bytes come in, nothing may be borrowed there.
pub(crate) unsafe fn transfer(fd: RawFd, call: Call, iovecs: &[libc::iovec]) -> Result<Moved, i32> {
    let (first, many) = (iovecs.as_ptr(), iovecs.len() as libc::c_int);
    let offset = |offset: u64| libc::off_t::try_from(offset).unwrap_or(libc::off_t::MAX);
    let mut message = message_of(iovecs);
    let moved = match call {
        // SAFETY: there are `many` iovecs. Their memory is nobody else's, and is not borrowed, by contract; the kernel
        // checks access.
        Call::Read => unsafe { libc::readv(fd, first, many) },
        // SAFETY: there are `many` iovecs. Their memory is nobody else's, and is not borrowed, by contract; the kernel
        // checks access.
        Call::ReadAt(at) => unsafe { libc::preadv(fd, first, many, offset(at)) },
        // SAFETY: there are `many` iovecs. Their memory is nobody else's by contract; the kernel only reads, and
        // checks access.
        Call::Write => unsafe { libc::writev(fd, first, many) },
        // SAFETY: there are `many` iovecs. Their memory is nobody else's by contract; the kernel only reads, and
        // checks access.
        Call::WriteAt(at) => unsafe { libc::pwritev(fd, first, many, offset(at)) },
        // SAFETY: the message has the iovecs, no address and no control bytes. The memory is nobody else's, and is not
        // borrowed,
        // by contract; the kernel checks access. Descriptors sent along are closed.
        Call::Receive => unsafe { libc::recvmsg(fd, &mut message, libc::MSG_CMSG_CLOEXEC) },
        // SAFETY: the message has the iovecs, no address and no control bytes. The memory is nobody else's by
        // contract; the kernel
        // only reads, and checks access. A peer that has gone is an error and no signal.
        Call::Send => unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) },
    };
    let is_cut = call == Call::Receive && message.msg_flags & libc::MSG_TRUNC != 0;
    match Errno::result(moved) {
        Ok(moved) => Ok(Moved { bytes: moved.cast_unsigned(), is_cut }),
        Err(errno) => Err(errno as i32),
    }
}

fn message_of(iovecs: &[libc::iovec]) -> libc::msghdr {
    // SAFETY: integers and pointers, all of which may be 0. Not every C library lets all fields be named.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // Nothing writes to the iovecs themselves.
    message.msg_iov = iovecs.as_ptr().cast_mut();
    message.msg_iovlen = iovecs.len() as _;
    message
}

/// Whether a socket knows messages, each of which one call takes or gives whole.
///
/// # Errors
/// The code of the error: EBADF, or ENOTSOCK for what is no socket.
pub(crate) fn has_messages(socket: RawFd) -> Result<bool, i32> {
    let mut kind: libc::c_int = 0;
    let mut size = size_of_val(&kind) as libc::socklen_t;
    // SAFETY: kind and size outlive the call, and size is the size of kind.
    let answer =
        unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut size) };
    Errno::result(answer).map_err(|errno| errno as i32)?;
    Ok(kind != libc::SOCK_STREAM)
}

/// Waits until a call could go on, or there is an error to be met: whether that was before the deadline.
///
/// # Errors
/// The code of the error, EINTR above all.
pub(crate) fn wait(fd: RawFd, call: Call, deadline: Instant) -> Result<bool, i32> {
    let events = if call.is_input() { libc::POLLIN } else { libc::POLLOUT };
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    let left = deadline.saturating_duration_since(Instant::now());
    // Rounded up, so as not to spin through the last millisecond.
    let left = libc::c_int::try_from(left.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
    // SAFETY: one pollfd, which outlives the call.
    match Errno::result(unsafe { libc::poll(&mut poll, 1, left) }) {
        Ok(ready) => Ok(ready > 0),
        Err(errno) => Err(errno as i32),
    }
}

/// Whether calls return at once where there is nothing to read or no room to write.
///
/// # Errors
/// The code of the error.
pub(crate) fn is_non_blocking(fd: RawFd) -> Result<bool, i32> {
    // SAFETY: the call takes numbers only.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    match Errno::result(flags) {
        Ok(flags) => Ok(flags & libc::O_NONBLOCK != 0),
        Err(errno) => Err(errno as i32),
    }
}
