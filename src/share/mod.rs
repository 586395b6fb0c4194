//! Objects of a group in other processes: sent over Unix sockets by handle, received without a copy.
//!
//! `wire` has the messages, `channel` what both ends of a socket remember: the `outbox` of what was sent, the `inbox` of what came. The memory itself is `os`'s: what its owner keeps
//! ([`SharedFile`](crate::os::SharedFile)), and what a receiver maps ([`ReceivedFile`](crate::os::ReceivedFile)).

pub(crate) mod arrived;
pub(crate) mod channel;
mod error;
pub(crate) mod handles;
#[cfg(test)]
mod hostile_tests;
mod inbox;
pub(crate) mod list;
pub(crate) mod outbox;
pub(crate) mod wire;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fallible;
use crate::group::{MemGroup, Protected};
use crate::os::iovecs::{self, Call};
use crate::os::{ReceivedFile, SharedFile};
use crate::slot::Slot;
use arrived::Arrived;
use channel::Channel;
pub use error::ShareError;
use outbox::Sending;
pub use wire::Malformed;
use wire::{Extent, Object, SegmentId};

impl MemGroup {
    /// Hands a block to the process at the other end of a Unix socket, which [`receive`]s it: the same bytes, read-only there, without
    /// a copy. The block's slot goes along as a descriptor the first time; later messages have 64 bytes.
    ///
    /// Waits until the socket takes it. What the group writes to these bytes later the other process sees. Their memory is not used
    /// again by a [`reset`](MemGroup::reset) until that says that it is done ([`send_releases`]).
    ///
    /// # Errors
    /// [`ShareError::NotShared`], [`ShareError::Family`], [`ShareError::Socket`], or [`ShareError::Group`] for memory that cannot be
    /// committed.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (here, there) = UnixStream::pair()?;
    /// let group = memgroup::Options::new().shared(true).open()?;
    /// let block = group.protect(group.copy(b"the same bytes")?)?;
    /// group.send(&here, &block)?;
    /// assert_eq!(memgroup::receive(&there)?.to_vec()?, b"the same bytes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send(&self, socket: impl AsFd, block: &Protected<'_>) -> Result<(), ShareError> {
        let slot = block.slot();
        if slot.group() != self.id() {
            return Err(crate::error::Error::Foreign.into());
        }
        let start = block.as_ptr().addr();
        let offset = slot.offset_within(&(start..start + block.len())).unwrap_or_default();
        let (extent, file) = extent(slot, offset, block.len())?;
        let (fd, file) = (socket.as_fd(), Sending::new(file));
        Channel::of(fd)?.send(fd, &[file], &Object::Block(extent), || wait(fd, Call::Send))
    }
}

/// Tells the process at the other end of a Unix socket of which slots it has sent no object is used here any more, so that a
/// [`reset`](MemGroup::reset) there uses them again: of how many. Never waits; what the socket does not take now goes with the next
/// call, or with the next object that is sent over it.
///
/// # Errors
/// [`ShareError::Family`], [`ShareError::Socket`].
pub fn send_releases(socket: impl AsFd) -> Result<usize, ShareError> {
    let fd = socket.as_fd();
    Channel::of(fd)?.send_released(fd)
}

/// Takes what the process at the other end has told by [`send_releases`]: of how many slots. Never waits. [`receive`] does it too,
/// on its way to the next object.
///
/// # Errors
/// As [`receive`].
pub fn receive_releases(socket: impl AsFd) -> Result<usize, ShareError> {
    let fd = socket.as_fd();
    Channel::of(fd)?.receive_released(fd)
}

/// Receives the next object that the process at the other end of a Unix socket has sent, and waits for it.
///
/// What came before is not lost if this fails, nor what comes after: an error is about one message.
///
/// # Errors
/// [`ShareError::Closed`] at the end, [`ShareError::Socket`], [`ShareError::NotABlock`], and for what no honest sender sends those that
/// say why it was refused.
pub fn receive(socket: impl AsFd) -> Result<RemoteBlock, ShareError> {
    let fd = socket.as_fd();
    let arrived = Channel::of(fd)?.receive(fd, || wait(fd, Call::Receive))?;
    match (arrived.object, arrived.memory.into_iter().next()) {
        (Object::List(..) | Object::Memory(_), _) | (_, None) => Err(ShareError::NotABlock),
        (Object::Block(extent) | Object::View(extent, _) | Object::Array(extent, _), Some(memory)) => {
            // As many as fit in the memory, as `arrived` says.
            let (offset, len) = (extent.offset as usize, extent.len as usize);
            Ok(RemoteBlock { memory, offset, len })
        }
    }
}

/// Bytes of another process's group, which can be read.
///
/// They stay for as long as this lives, whatever becomes of the other process. Until that freezes the group it may change them at any
/// time, so that there are no references to them: they are copied.
#[derive(Debug, Clone)]
pub struct RemoteBlock {
    memory: Arc<ReceivedFile>,
    offset: usize,
    len: usize,
}

impl RemoteBlock {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of the first byte, for code that copes with bytes that change.
    pub fn as_ptr(&self) -> *const u8 {
        self.memory.start().as_ptr().wrapping_add(self.offset)
    }

    /// Whether nobody can change the bytes any more, their sender neither.
    pub fn is_frozen(&self) -> bool {
        self.memory.is_frozen()
    }

    /// A copy of the bytes.
    ///
    /// # Errors
    /// [`Error::Table`](crate::error::Error::Table) and its kin: there is no memory for it.
    pub fn to_vec(&self) -> Result<Vec<u8>, crate::error::Error> {
        let mut copy: Vec<u8> = Vec::new();
        fallible::reserve(&mut copy, self.len)?;
        // SAFETY: len bytes are mapped there, as `range` found, and there is room for as many. Whoever writes to them meanwhile makes
        // the copy one of old and new bytes.
        unsafe { libc::memcpy(copy.as_mut_ptr().cast::<libc::c_void>(), self.as_ptr().cast(), self.len) };
        // SAFETY: so many bytes were just copied.
        unsafe { copy.set_len(self.len) };
        Ok(copy)
    }
}

/// Names bytes of a slot, and sees to it that they can be read at no cost to their reader.
pub(crate) fn extent(slot: &Slot, offset: usize, len: usize) -> Result<(Extent, Arc<SharedFile>), ShareError> {
    let file = file_of(slot)?;
    slot.fill_holes(offset, offset + len)?;
    let segment = SegmentId(file.id());
    Ok((Extent { segment, offset: offset as u64, len: len as u64 }, Arc::clone(file)))
}

/// The file of a slot that can be sent.
fn file_of(slot: &Slot) -> Result<&Arc<SharedFile>, ShareError> {
    let is_borrowed = slot.owner().is_some();
    slot.shared().ok_or(if is_borrowed { ShareError::Borrowed } else { ShareError::NotShared })
}

/// Where bytes are that a message names: an offset in the memory, and how many. They are all there, and in memory.
pub(crate) fn range(memory: &ReceivedFile, extent: &Extent) -> Result<(usize, usize), ShareError> {
    let beyond = || ShareError::Unfit("the message names bytes beyond its end".into());
    let offset = usize::try_from(extent.offset).map_err(|_| beyond())?;
    let len = usize::try_from(extent.len).map_err(|_| beyond())?;
    let end = offset.checked_add(len).filter(|&end| end <= memory.len()).ok_or_else(beyond)?;
    let is_solid = memory.is_solid(offset..end);
    let is_solid = is_solid.map_err(|refusal| refusal.during("checking the memory of another process".into()))?;
    if is_solid { Ok((offset, len)) } else { Err(ShareError::Uncommitted) }
}

/// Waits until a socket can be read or written. One whose calls do not wait is not waited for.
fn wait(fd: BorrowedFd<'_>, call: Call) -> Result<(), ShareError> {
    /// Anything will do: a loop goes on.
    const A_WHILE: Duration = Duration::from_secs(60);

    if iovecs::is_non_blocking(fd.as_raw_fd()).map_err(ShareError::Socket)? {
        return Err(ShareError::Socket(libc::EAGAIN));
    }
    match iovecs::wait(fd.as_raw_fd(), call, Instant::now() + A_WHILE) {
        Ok(_) | Err(libc::EINTR) => Ok(()),
        Err(code) => Err(ShareError::Socket(code)),
    }
}
