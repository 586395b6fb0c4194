//! Slots on the heap, and pages on it.

mod locked;
mod mirrors;
mod shared;

use std::mem::MaybeUninit;

pub(crate) use locked::Locked;
pub(crate) use mirrors::{Mirrors, Unlocked};
pub(crate) use shared::{ReceivedFile, SharedFile, Unfit};

use crate::os::{Backing, Refusal};

pub(crate) fn check_backing(_backing: &Backing) -> Result<(), Refusal> {
    Ok(())
}

pub(crate) fn huge_page_size(_backing: &Backing) -> Option<usize> {
    None
}

pub(crate) fn ask_for_huge_pages<T>(_memory: &mut [MaybeUninit<T>]) {}
