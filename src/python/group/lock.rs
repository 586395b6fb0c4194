//! Who may touch a group when.
//!
//! Python threads share a group, and any of them may end it. The lock lets many in at once to use it and only one to
//! end it. On builds with a GIL those who hold it need no lock among themselves, so the hot path pays nothing.

use std::cell::UnsafeCell;
use std::sync::{PoisonError, RwLock};

use pyo3::prelude::*;
use pyo3::sync::RwLockExt;

use crate::os::Refusal;
use crate::os::fork::PerProcess;

/// A value that is shared for use and exclusive for ending it.
///
/// The closures must not run Python code: that could come back to the same lock. They take no `Python` token, so what
/// they can reach of the interpreter is what they capture: nothing, please.
pub(crate) struct GroupLock<T> {
    /// A fork may catch it held by a thread that the child does not have, so the child gets another.
    lock: PerProcess<RwLock<()>>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by shared reference from many threads (so T: Sync) and by unique reference from one at a
// time, not always the one that made it (so T: Send); the methods below say why never both at once.
unsafe impl<T: Send + Sync> Sync for GroupLock<T> {}

impl<T: Send + Sync> GroupLock<T> {
    pub(crate) fn new(value: T) -> PyResult<Self> {
        let lock = PerProcess::new(RwLock::new(())).map_err(Refusal::in_preparation)?;
        Ok(Self { lock, value: UnsafeCell::new(value) })
    }

    /// Shared use by an attached thread, for short work.
    #[inline(always)]
    pub(crate) fn with<R>(&self, py: Python<'_>, work: impl FnOnce(&T) -> R) -> R {
        #[cfg(Py_GIL_DISABLED)]
        let _shared = self.lock().read_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        #[cfg(not(Py_GIL_DISABLED))]
        let _holds_the_gil = py;
        // SAFETY: `exclusive` makes its unique reference only while it holds the GIL and gives it up before letting the
        // GIL go; this thread holds the GIL for all of `work`, which cannot release it. Without a GIL, the read lock
        // keeps `exclusive` out.
        work(unsafe { &*self.value.get() })
    }

    /// Shared use while other Python threads run, for work long enough to be worth it.
    pub(crate) fn detached<R: Send>(&self, py: Python<'_>, work: impl FnOnce(&T) -> R + Send) -> R {
        let (lock, value) = (self.lock(), Shared(self.value.get()));
        py.detach(move || {
            // Taken and let go in here: attaching again may run Python code, which may come back to the group's lock.
            let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the read lock is held for all of `work`, and `exclusive` needs the write lock.
            work(unsafe { value.get() })
        })
    }

    /// Shared use by a thread that is detached already. One that is not might wait here for one that waits for it.
    pub(crate) fn with_detached<R>(&self, work: impl FnOnce(&T) -> R) -> R {
        let _shared = self.lock().read().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the lock is held shared, so nobody makes a unique reference to the value.
        work(unsafe { &*self.value.get() })
    }

    /// Shared use by the garbage collector, which has the GIL or has stopped all attached threads, and must not wait.
    pub(crate) fn while_collecting<R>(&self, work: impl FnOnce(&T) -> R) -> R {
        // SAFETY: `exclusive` makes its unique reference while it is attached, and gives it up before it lets Python run or stop
        // it: its closures call nothing of Python's. So there is none now.
        work(unsafe { &*self.value.get() })
    }

    /// Exclusive use: waits for everybody else to leave. For short work: it holds everybody up.
    pub(crate) fn exclusive<R>(&self, py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        let _alone = self.lock().write_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the write lock keeps out `detached` and, without a GIL, `with`. With a GIL this thread is attached,
        // so no other is within `with`, and `work` cannot let the GIL go.
        work(unsafe { &mut *self.value.get() })
    }

    fn lock(&self) -> &RwLock<()> {
        // The page that tells processes apart is there since new(), so nothing can be refused any more.
        self.lock.get_or_make(|| RwLock::new(())).unwrap_or_else(|_| unreachable!("generations were established"))
    }
}

/// Carries the pointer into a closure that runs detached.
struct Shared<T>(*const T);

// SAFETY: only shared references are made from it, and those to a T: Sync may be sent.
unsafe impl<T: Sync> Send for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// No unique reference may be made while the result lives.
    unsafe fn get<'a>(self) -> &'a T {
        // SAFETY: the pointer is an UnsafeCell's own, and no unique reference is made while the result lives, by
        // contract.
        unsafe { &*self.0 }
    }
}
