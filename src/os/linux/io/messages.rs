//! Messages over Unix sockets, and the descriptors that travel with them (`SCM_RIGHTS`).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::stat::fstat;

/// The most descriptors that one message carries; the kernel's SCM_MAX_FD.
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Bytes of control data for as many, and for what else a socket may be set up to report (credentials, a label).
const CONTROL: usize = 2048;

/// Room for control data, where a header may begin.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What the two ends of a socket can do, and which socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Socket {
    /// A number that no other socket of this machine has, or had before.
    pub(crate) cookie: u64,
    /// What `/proc/self/fd` calls it.
    pub(crate) inode: u64,
    /// Whether it is a stream of bytes, and knows no messages of its own.
    pub(crate) is_stream: bool,
}

/// The number of a socket, and nothing else about it; an error for what is none, and where sandboxes do not know such numbers.
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> Result<u64, i32> {
    option(fd, libc::SO_COOKIE)
}

impl Socket {
    /// What is behind a descriptor; `None` for a socket of another family, which carries no descriptors.
    ///
    /// # Errors
    /// The code of the error: ENOTSOCK for what is no socket.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Option<Self>, i32> {
        let family: libc::c_int = option(fd, libc::SO_DOMAIN)?;
        let kind: libc::c_int = option(fd, libc::SO_TYPE)?;
        let inode = fstat(fd).map_err(|errno| errno as i32)?.st_ino;
        // Sandboxes that stand in for the kernel do not all know the cookie.
        let cookie = cookie(fd).unwrap_or(inode);
        Ok((family == libc::AF_UNIX).then_some(Self { cookie, inode, is_stream: kind == libc::SOCK_STREAM }))
    }
}

fn option<T: Default>(fd: BorrowedFd<'_>, name: libc::c_int) -> Result<T, i32> {
    let mut value = T::default();
    let mut size = size_of::<T>() as libc::socklen_t;
    let (level, to) = (libc::SOL_SOCKET, (&raw mut value).cast());
    // SAFETY: value and size outlive the call, and size is the size of value, an integer.
    Errno::result(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, to, &raw mut size) })
        .map(|_| value)
        .map_err(|errno| errno as i32)
}

/// Sends bytes, and with the first of them descriptors, without waiting: how many bytes went.
///
/// # Errors
/// The code of the error: EAGAIN where there is no room, ETOOMANYREFS where too many descriptors are under way.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], descriptors: &[RawFd]) -> Result<usize, i32> {
    debug_assert!(descriptors.len() <= MAX_DESCRIPTORS);
    let mut control = Control([0; CONTROL]);
    let iovec = [IoSlice::new(bytes)];
    let mut message = empty_message();
    message.msg_iov = iovec.as_ptr().cast::<libc::iovec>().cast_mut();
    message.msg_iovlen = 1;
    if !descriptors.is_empty() {
        let len = size_of_val(descriptors) as libc::c_uint;
        message.msg_control = (&raw mut control).cast();
        // SAFETY: the macro computes with integers.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(len) } as _;
        // SAFETY: the message has control data that is long enough for a header, and aligned.
        let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
        // SAFETY: the macro computes with integers.
        let header_len = unsafe { libc::CMSG_LEN(len) };
        // SAFETY: the header lies in the control data, which is all zeros, so what is there is a header.
        let there = unsafe { &mut *header };
        there.cmsg_level = libc::SOL_SOCKET;
        there.cmsg_type = libc::SCM_RIGHTS;
        there.cmsg_len = header_len as _;
        // SAFETY: the header lies in the control data, with room for the descriptors behind it.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: both are as long as the descriptors, and the control data is new.
        unsafe { data.copy_from_nonoverlapping(descriptors.as_ptr().cast(), len as usize) };
    }
    // A peer that has gone is an error and no signal.
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the message has one iovec of bytes that are borrowed, and control data of descriptors that the caller has.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, flags) };
    Errno::result(sent).map(isize::cast_unsigned).map_err(|errno| errno as i32)
}

/// What came.
#[derive(Debug)]
pub(crate) struct Came {
    /// How many bytes; none at the end of the stream.
    pub(crate) bytes: usize,
    /// Whether bytes of the message, or descriptors, did not fit and are lost.
    pub(crate) is_cut: bool,
}

/// Receives bytes and descriptors without waiting. The descriptors are closed in programs that this process starts.
///
/// # Errors
/// The code of the error: EAGAIN where nothing is there.
pub(crate) fn receive(fd: BorrowedFd<'_>, room: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<Came, i32> {
    let mut control = Control([0; CONTROL]);
    let mut iovec = [libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() }];
    let mut message = empty_message();
    message.msg_iov = iovec.as_mut_ptr();
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the message has one iovec of bytes that are borrowed uniquely, and control data of that length.
    let came = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, flags) };
    let bytes = Errno::result(came).map_err(|errno| errno as i32)?.cast_unsigned();
    // Before anything else can fail: what is not taken here stays open for ever.
    take_descriptors(&message, descriptors);
    Ok(Came { bytes, is_cut: message.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 })
}

fn take_descriptors(message: &libc::msghdr, descriptors: &mut Vec<OwnedFd>) {
    // SAFETY: the kernel has filled the message's control data.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a header that the kernel has written to the control data.
    while let Some(header) = unsafe { next.as_ref() } {
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: the macro computes with integers.
            let before = unsafe { libc::CMSG_LEN(0) };
            let count = length(header.cmsg_len).saturating_sub(length(before)) / size_of::<RawFd>();
            // SAFETY: the header is one of the message's.
            let data = unsafe { libc::CMSG_DATA(next) }.cast::<RawFd>();
            descriptors.extend((0..count).map(|index| {
                // SAFETY: the kernel has written so many descriptors behind the header.
                let place = unsafe { data.add(index) };
                // SAFETY: the kernel has written a descriptor there, which need not be aligned.
                let fd = unsafe { place.read_unaligned() };
                // SAFETY: the kernel has just opened it for this call, so nobody else has it.
                unsafe { OwnedFd::from_raw_fd(fd) }
            }));
        }
        // SAFETY: next is a header of the message's.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}

/// A length of control data, the type of which is not the same in every C library.
fn length(len: impl TryInto<usize>) -> usize {
    len.try_into().unwrap_or(0)
}

fn empty_message() -> libc::msghdr {
    // SAFETY: integers and pointers, all of which may be 0. Not every C library lets all fields be named.
    unsafe { std::mem::zeroed() }
}

/// The numbers of all sockets that this process has open, as `/proc` calls them; `None` where it cannot be asked.
pub(crate) fn open_sockets() -> Option<Vec<u64>> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    let number = |link: std::path::PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Some(entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).filter_map(number).collect())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_and_descriptors_arrive_together() {
        let (from, to) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let many = vec![file.as_raw_fd(); MAX_DESCRIPTORS];
        for sent in [&many[..0], &many[..1], &many[..]] {
            assert_eq!(send(from.as_fd(), b"hello", sent), Ok(5));
            let (mut room, mut descriptors) = ([0; 8], Vec::new());
            let came = receive(to.as_fd(), &mut room, &mut descriptors).unwrap();
            assert_eq!((came.bytes, came.is_cut, descriptors.len()), (5, false, sent.len()));
            assert_eq!(&room[..5], b"hello");
            for descriptor in descriptors {
                assert_eq!(fstat(&descriptor).unwrap().st_ino, fstat(&file).unwrap().st_ino);
            }
        }
        assert_eq!(receive(to.as_fd(), &mut [0; 8], &mut Vec::new()).unwrap_err(), libc::EAGAIN);
        drop(from);
        assert_eq!(receive(to.as_fd(), &mut [0; 8], &mut Vec::new()).unwrap().bytes, 0);
    }

    #[test]
    fn a_socket_is_told_from_all_others() {
        let (one, two) = UnixStream::pair().unwrap();
        let [first, second] = [&one, &two].map(|socket| Socket::of(socket.as_fd()).unwrap().unwrap());
        assert!(first.cookie != second.cookie && first.inode != second.inode && first.is_stream);
        assert_eq!(Socket::of(one.try_clone().unwrap().as_fd()), Ok(Some(first)));
        let open = open_sockets().unwrap();
        assert!(open.contains(&first.inode) && open.contains(&second.inode));
        drop(one);
        assert!(!open_sockets().unwrap().contains(&first.inode));
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(Socket::of(datagrams.as_fd()), Ok(None));
        assert_eq!(Socket::of(std::fs::File::open("/").unwrap().as_fd()), Err(libc::ENOTSOCK));
    }
}
