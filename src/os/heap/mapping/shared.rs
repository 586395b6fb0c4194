//! Memory of several processes, of which there is none on the heap.

use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use crate::os::Refusal;

/// As [`os::SharedFile`](crate::os::SharedFile); there are none.
#[derive(Debug)]
pub(crate) enum SharedFile {}

impl SharedFile {
    pub(crate) fn id(&self) -> [u8; 16] {
        match *self {}
    }

    pub(crate) fn len(&self) -> usize {
        match *self {}
    }

    pub(crate) fn reader(&self) -> BorrowedFd<'_> {
        match *self {}
    }

    pub(crate) fn add_reader(&self) {
        match *self {}
    }

    pub(crate) fn remove_reader(&self) {
        match *self {}
    }

    pub(crate) fn readers(&self) -> usize {
        match *self {}
    }

    pub(crate) fn lose_sight(&self) {
        match *self {}
    }

    pub(crate) fn is_given_away(&self) -> bool {
        match *self {}
    }

    pub(crate) fn note_written(&self, _range: Range<usize>) {
        match *self {}
    }

    pub(crate) fn is_frozen(&self) -> bool {
        match *self {}
    }

    pub(crate) fn ended() -> u64 {
        0
    }

    pub(crate) fn other_writers(&self) -> Vec<u32> {
        match *self {}
    }
}

/// As [`os::ReceivedFile`](crate::os::ReceivedFile); there are none.
#[derive(Debug)]
pub(crate) enum ReceivedFile {}

/// Why a descriptor is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    NotInMemory,
    CanShrink,
    Short(u64),
    Refused(Refusal),
}

impl ReceivedFile {
    pub(crate) fn map(_file: OwnedFd, _len: usize) -> Result<Self, Unfit> {
        Err(Unfit::NotInMemory)
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        match *self {}
    }

    pub(crate) fn len(&self) -> usize {
        match *self {}
    }

    pub(crate) fn name(&self) -> Option<String> {
        match *self {}
    }

    pub(crate) fn is_same(&self, _other: BorrowedFd<'_>) -> bool {
        match *self {}
    }

    pub(crate) fn is_solid(&self, _range: Range<usize>) -> Result<bool, Refusal> {
        match *self {}
    }

    pub(crate) fn trust_sender(&self) {
        match *self {}
    }

    pub(crate) fn is_frozen(&self) -> bool {
        match *self {}
    }
}
