//! Why memory is not in huge pages.

use std::fmt;

use nix::errno::Errno;

/// Why a group's memory is not in huge pages, or no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HugePageObstacle {
    /// By `Options::huge_pages` or by the environment.
    TurnedOff,
    /// Secrets are locked in small pages.
    Secret,
    /// The file system of a directory decides for itself.
    Files,
    /// The system offers none for this backing.
    NoneOffered,
    /// The kernel refused to make one, with that error, the last time that the process asked.
    Refused {
        /// The error.
        code: i32,
    },
    /// Making them took longer than touching small pages, the last time.
    Slow,
    /// Too little memory was left to ask for one, the last time.
    Headroom,
}

impl fmt::Display for HugePageObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TurnedOff => f.write_str("huge pages are turned off, by huge_pages=False or MEMGROUP_HUGE_PAGES=0"),
            Self::Secret => f.write_str("secrets are in small pages"),
            Self::Files => f.write_str("the file system of the directory chooses the pages"),
            Self::NoneOffered => f.write_str("the system offers no huge pages for this backing; see `memgroup doctor`"),
            Self::Refused { code } => write!(f, "the kernel refused to make a huge page: {}", Errno::from_raw(*code)),
            Self::Slow => f.write_str("making huge pages took longer than touching small ones"),
            Self::Headroom => f.write_str("too little memory was left to ask for huge pages"),
        }
    }
}
