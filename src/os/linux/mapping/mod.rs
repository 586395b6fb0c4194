//! The memory of slots: made, mapped twice, sealed, committed.

mod directory;
mod huge;
mod locked;
mod memfd;
mod mirrors;
mod populate;
mod reserved;
mod shared;

pub(crate) use huge::{
    ask_for as ask_for_huge_pages, huge_page_facts, obstacle as huge_page_obstacle, offer as huge_page_offer,
};
pub(crate) use locked::Locked;
pub(crate) use mirrors::{Mirrors, Unlocked};
pub(crate) use shared::{ReceivedFile, SharedFile, Unfit};

use crate::os::{Backing, Refusal, fork};

/// Makes sure that slots of this backing can be made, so that a wrong directory is reported where it was named.
pub(crate) fn check_backing(backing: &Backing) -> Result<(), Refusal> {
    match backing {
        Backing::Directory(directory) => {
            let _no_fork = fork::hold_off();
            directory::unlinked(directory).map(drop)
        }
        Backing::Memfd | Backing::Anonymous => Ok(()),
    }
}
