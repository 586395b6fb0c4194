//! What can go wrong where objects are sent and received.

use crate::error::Error;
use crate::os::Unfit;
use crate::share::wire::{MAX_SEGMENTS, Malformed};

/// Why an object was not sent or received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// What is wrong with the group, or memory is short.
    #[error(transparent)]
    Group(#[from] Error),

    /// The group's memory is not such that others can read it.
    #[error("a group whose objects are sent must be made for it (Options::shared)")]
    NotShared,

    /// The group has only borrowed the memory.
    #[error("memory that the group has borrowed cannot be sent: send a copy of it (MemGroup::copy)")]
    Borrowed,

    /// The socket is none that descriptors travel over.
    #[error("objects of shared groups travel over Unix sockets alone: make it with AF_UNIX (socket.socketpair())")]
    Family,

    /// The object lies in more slots than one message, or one handle, names.
    #[error(
        "the object lies in {slots} slots, and one message names {most}: copy it into one group (copy, copy_many), or send its parts"
    )]
    Scattered {
        /// How many.
        slots: usize,
        /// How many there may be.
        most: usize,
    },

    /// More slots have gone over the socket, and are still their groups', than a receiver takes.
    #[error(
        "{slots} slots would be known at the other end of the socket, and {MAX_SEGMENTS} may be: free groups whose objects were sent \
         over it, or use another socket"
    )]
    Crowded {
        /// How many.
        slots: usize,
    },

    /// The kernel refused to send or to receive.
    #[error("the socket refused it: {}{}", std::io::Error::from_raw_os_error(*.0), remedy(*.0))]
    Socket(i32),

    /// What came is a list, which this call does not give.
    #[error("what came is a list, and not a block")]
    NotABlock,

    /// The other end was closed, and nothing more will come.
    #[error("the other end of the socket was closed, and nothing more will come")]
    Closed,

    /// The other end was closed in the midst of a message.
    #[error("the other end of the socket was closed within a message, after {came} bytes of it")]
    Cut {
        /// Bytes of the message that came.
        came: usize,
    },

    /// What came is no message.
    #[error("the message on the socket is none of memgroup's: {0}")]
    Malformed(#[from] Malformed),

    /// A message came without its descriptors, or with others than it says.
    #[error(
        "{came} descriptors came with a message that has {announced}{}",
        if *came < *announced { ": raise RLIMIT_NOFILE (ulimit -n), or close files" } else { "" }
    )]
    Descriptors {
        /// How many came.
        came: usize,
        /// How many the message says that it has.
        announced: usize,
    },

    /// The memory that came is not such that reading it can be made safe.
    #[error("the memory that was received is refused: {0}")]
    Unfit(String),

    /// The message names memory that has not come over this socket.
    #[error(
        "the message names memory that has not come over this socket to this process: it was sent to another one that has the \
         socket too, or its sender has taken it back"
    )]
    Unknown,

    /// The message names bytes that its sender has not committed.
    #[error("the message names bytes that its sender has not committed")]
    Uncommitted,
}

/// What a user can do about it, to follow the error.
fn remedy(code: i32) -> &'static str {
    match code {
        libc::ETOOMANYREFS => {
            "; too many descriptors are under way to receivers that do not read: let them, or raise RLIMIT_NOFILE"
        }
        libc::EMFILE => "; raise RLIMIT_NOFILE (ulimit -n) or close files",
        libc::EMSGSIZE => "; the socket's buffer is too small for the message: raise SO_SNDBUF, or use SOCK_STREAM",
        _ => "",
    }
}

impl From<Unfit> for ShareError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::NotInMemory => Self::Unfit("it is no memfd of small pages".into()),
            Unfit::CanShrink => {
                Self::Unfit("its sender could make it shorter while it is read (it is not sealed against that)".into())
            }
            Unfit::Short(size) => Self::Unfit(format!("it has {size} bytes, fewer than were announced")),
            Unfit::Refused(refusal) => Self::Group(refusal.during("mapping the memory of another process".into())),
        }
    }
}
