//! Slots on the heap, and pages on it.

mod locked;
mod mirrors;
mod shared;

use std::mem::MaybeUninit;

pub(crate) use locked::Locked;
pub(crate) use mirrors::{Mirrors, Unlocked};
pub(crate) use shared::{ReceivedFile, SharedFile, Unfit};

use crate::os::{Backing, HugePageObstacle, Refusal};

pub(crate) fn check_backing(_backing: &Backing) -> Result<(), Refusal> {
    Ok(())
}

/// As [`os::huge_page_offer`](crate::os::huge_page_offer) has it.
pub(crate) struct Offer {
    pub(crate) size: usize,
    pub(crate) is_unasked: bool,
}

pub(crate) fn huge_page_offer(_backing: &Backing) -> Option<Offer> {
    None
}

pub(crate) fn huge_page_obstacle(_backing: &Backing) -> Option<HugePageObstacle> {
    Some(HugePageObstacle::NoneOffered)
}

pub(crate) fn ask_for_huge_pages<T>(_memory: &mut [MaybeUninit<T>]) {}
