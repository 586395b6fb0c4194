//! Descriptors that one thread uses for a while, and that a child forked by another thread does not keep.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Mutex, PoisonError, TryLockError};

use crate::os::fork::{SharedPerProcess, hold_off};

/// An open file that nobody but the thread that opened it knows of. A child that another thread forks closes its copy,
/// which nobody would use there.
#[derive(Debug)]
pub(crate) struct Temporary(Option<OwnedFd>);

/// The temporary descriptors of this process, and the thread that has each. Locked only while no fork is under way.
#[derive(Default)]
pub(in crate::os) struct Descriptors(Mutex<Vec<(usize, RawFd)>>);

static DESCRIPTORS: SharedPerProcess<Descriptors> = SharedPerProcess::new();

impl Temporary {
    /// Opens a file and writes it down before the process can fork.
    pub(crate) fn open<E>(open: impl FnOnce() -> Result<OwnedFd, E>) -> Result<Self, E> {
        let _no_fork = hold_off();
        let file = open()?;
        Descriptors::of_this_process(|noted| {
            // One that there is no memory to write down is kept by a child.
            if noted.try_reserve(1).is_ok() {
                noted.push((this_thread(), file.as_raw_fd()));
            }
        });
        Ok(Self(Some(file)))
    }
}

impl AsFd for Temporary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Some(file) => file.as_fd(),
            None => unreachable!("it is there until the drop"),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _no_fork = hold_off();
        let Some(file) = self.0.take() else { return };
        Descriptors::of_this_process(|noted| {
            // The last first: descriptors are mostly closed soon. A child that its own thread forked has not written it
            // down.
            if let Some(at) = noted.iter().rposition(|&(_, fd)| fd == file.as_raw_fd()) {
                noted.swap_remove(at);
            }
        });
        drop(file);
    }
}

impl Descriptors {
    fn of_this_process(work: impl FnOnce(&mut Vec<(usize, RawFd)>)) {
        if let Some(descriptors) = DESCRIPTORS.get() {
            work(&mut descriptors.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Those that a child forked now inherits.
    pub(in crate::os) fn get() -> Option<&'static Self> {
        DESCRIPTORS.get()
    }

    /// Closes, in a child, what its parent's other threads had. Async-signal-safe: it takes a lock that is free, and
    /// closes.
    pub(in crate::os) fn close_those_of_others(&self) {
        // Not free only where the fork did not wait for its holder.
        let noted = match self.0.try_lock() {
            Ok(noted) => noted,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let mine = this_thread();
        for &(_, fd) in noted.iter().filter(|&&(owner, _)| owner != mine) {
            // SAFETY: the owner of the descriptor is a thread that this process does not have, so nobody uses or closes it.
            unsafe { libc::close(fd) };
        }
    }
}

/// A number that no other living thread has, the same in a child that the thread forks.
fn this_thread() -> usize {
    thread_local! {
        static MARK: Cell<u8> = const { Cell::new(0) };
    }
    MARK.with(|mark| ptr::from_ref(mark).addr())
}
