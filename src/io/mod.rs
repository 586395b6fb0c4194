//! Scatter-gather input and output: whole lists through a descriptor, many ranges of a file or many files into a list.
//!
//! What is done is cut into calls that the kernel takes ([`batch`]), for which small pieces are put together
//! ([`bounce`]). All of it can stop anywhere, for a signal above all, and go on there. Nobody waits in here with a
//! lock: whoever calls sees to it that the memory stays.

mod batch;
mod bounce;
pub(crate) mod driver;
pub(crate) mod files;
pub mod framing;
pub(crate) mod ranges;
mod read;
pub(crate) mod transfer;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::list::{List, ListLayout, Part, ProtectedList};
use crate::os::iovecs::Call;
use crate::slot::{LiveSlots, Mirror};
pub use read::{ReadError, ReadOutcome};
use transfer::Borrowed;
pub(crate) use transfer::{Rest, Stop, Transfer};

/// Input or output that did not come to its end, and how far it came.
#[derive(Debug, thiserror::Error)]
#[error("{error} (after {moved} bytes)")]
pub struct TransferError {
    /// Bytes moved before. With so many more as its `start`, a method ending in `_from` goes on there.
    pub moved: usize,
    /// Why it went no further; of the kind [`WouldBlock`](io::ErrorKind::WouldBlock) where the descriptor does not
    /// wait.
    pub error: io::Error,
}

impl From<TransferError> for io::Error {
    /// Keeps the reason alone, for `?`.
    fn from(failed: TransferError) -> Self {
        failed.error
    }
}

/// Moves all bytes of a list from `start` on. Those that cannot be moved are the error's, and a signal is no reason to
/// stop.
///
/// # Safety
/// The list must lie in those slots. Where bytes come in, nothing may be borrowed there.
unsafe fn move_all(
    fd: impl AsFd,
    call: Call,
    slots: LiveSlots<'_>,
    layout: &ListLayout,
    mirror: Mirror,
    start: usize,
) -> Result<usize, TransferError> {
    let fd = fd.as_fd().as_raw_fd();
    let failed = |moved, code| TransferError { moved, error: io::Error::from_raw_os_error(code) };
    let rest = Rest::new(layout, Part::all(layout.columns().len()), mirror).behind(start);
    let transfer = Transfer::new(fd, call, rest, None);
    let mut transfer = transfer.map_err(|code| failed(0, code))?;
    loop {
        // SAFETY: the list lies in those slots and, where bytes come in, is not borrowed, by contract.
        let stop = unsafe { transfer.run(&Borrowed(slots)) };
        match stop {
            Stop::Done => return Ok(transfer.moved()),
            Stop::Pause => {}
            Stop::WouldBlock => return Err(failed(transfer.moved(), libc::EAGAIN)),
            Stop::TimedOut => return Err(failed(transfer.moved(), libc::ETIMEDOUT)),
            Stop::Cut | Stop::TooManyIovecs => return Err(failed(transfer.moved(), libc::EMSGSIZE)),
            Stop::TakesNothing => {
                return Err(TransferError { moved: transfer.moved(), error: io::ErrorKind::WriteZero.into() });
            }
            Stop::Failed(code) => return Err(failed(transfer.moved(), code)),
        }
    }
}

/// The methods of a list that move its bytes: a pair for each call, one that moves all bytes and one that begins at a
/// byte.
///
/// They are sound for types that own the bytes of their layout, where calls that read into it borrow it uniquely.
macro_rules! transfers {
    ($mirror:expr; $(
        $(#[$doc:meta])*
        fn $all:ident, $from:ident([$($borrow:tt)+] $this:ident, $fd:ident $(, $offset:ident)?) => $call:expr;
    )*) => {$(
        $(#[$doc])*
        pub fn $all($($borrow)+ $this, $fd: impl AsFd $(, $offset: u64)?) -> Result<usize, TransferError> {
            $this.$from($fd, $($offset,)? 0)
        }

        #[doc = concat!("As [`", stringify!($all), "`](Self::", stringify!($all), "), from byte `start` of the list on;")]
        /// nothing if there is none.
        ///
        /// # Errors
        #[doc = concat!("As [`", stringify!($all), "`](Self::", stringify!($all), ").")]
        pub fn $from(
            $($borrow)+ $this,
            $fd: impl AsFd,
            $($offset: u64,)?
            start: usize,
        ) -> Result<usize, TransferError> {
            // SAFETY: the list owns its bytes, and one that is read into is borrowed uniquely, by the receiver of the method.
            unsafe { move_all($fd, $call, $this.live_slots(), $this.layout(), $mirror, start) }
        }
    )*};
}

impl List<'_> {
    transfers! {
        Mirror::ReadWrite;

        /// Fills the allocations, in order, from a file, pipe or socket. Returns how many bytes there were: fewer than
        /// [`nbytes`](Self::nbytes) where the input ended before.
        ///
        /// # Errors
        /// [`TransferError`], which knows how far this came.
        ///
        /// ```
        /// use std::io::Write;
        ///
        /// let group = memgroup::MemGroup::new()?;
        /// let mut list = group.alloc_many(&[3, 0, 5])?;
        /// let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
        /// theirs.write_all(b"abcdefgh")?;
        /// assert_eq!(list.readv(&ours)?, 8);
        /// assert_eq!(&list[2], b"defgh");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        fn readv, readv_from([&mut] self, fd) => Call::Read;

        /// As [`readv`](Self::readv), from an offset of a file, the position of which stays as it is.
        ///
        /// # Errors
        /// As [`readv`](Self::readv).
        fn preadv, preadv_from([&mut] self, fd, offset) => Call::ReadAt(offset);

        /// As [`readv`](Self::readv), from a socket. From one that knows messages it takes exactly one.
        ///
        /// # Errors
        /// As [`readv`](Self::readv); with EMSGSIZE where a message was longer than the list, and the rest of it is
        /// lost.
        fn recvmsg, recvmsg_from([&mut] self, socket) => Call::Receive;

        /// Writes the bytes of all allocations, in order, to a file, pipe or socket.
        ///
        /// # Errors
        /// As [`readv`](Self::readv).
        fn writev, writev_from([&] self, fd) => Call::Write;

        /// As [`writev`](Self::writev), to an offset of a file, the position of which stays as it is.
        ///
        /// # Errors
        /// As [`readv`](Self::readv).
        fn pwritev, pwritev_from([&] self, fd, offset) => Call::WriteAt(offset);

        /// As [`writev`](Self::writev), to a socket. To one that knows messages it is one.
        ///
        /// # Errors
        /// As [`readv`](Self::readv); with EMSGSIZE where it cannot be one message.
        fn sendmsg, sendmsg_from([&] self, socket) => Call::Send;
    }
}

impl ProtectedList<'_> {
    transfers! {
        Mirror::ReadOnly;

        /// As [`List::writev`].
        ///
        /// # Errors
        /// As [`List::readv`].
        fn writev, writev_from([&] self, fd) => Call::Write;

        /// As [`List::pwritev`].
        ///
        /// # Errors
        /// As [`List::readv`].
        fn pwritev, pwritev_from([&] self, fd, offset) => Call::WriteAt(offset);

        /// As [`List::sendmsg`].
        ///
        /// # Errors
        /// As [`List::sendmsg`].
        fn sendmsg, sendmsg_from([&] self, socket) => Call::Send;
    }
}
