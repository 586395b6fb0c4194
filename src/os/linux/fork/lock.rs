//! Keeping this process from forking for a moment.

use std::cell::Cell;
use std::sync::PoisonError;

use super::SharedPerProcess;
use crate::sync::{Condvar, Mutex, MutexGuard, per_thread};

/// The longest that a fork waits for holders, where there is a clock. They take microseconds; one that hangs in the
/// kernel must not hang the forking thread, which may hold Python's GIL. A fork that goes ahead leaves what they had in
/// the child.
#[cfg(not(loom))]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Of this process. A child begins with another, so it does not matter in what state a fork caught this one.
static LOCK: SharedPerProcess<ForkLock> = SharedPerProcess::new();

per_thread! {
    /// How many [`NoFork`]s this thread has.
    static DEPTH: Cell<usize> = Cell::new(0);
}

/// Keeps this process from forking for as long as the result lives, and waits for a fork that is under way: one that is
/// counted then has happened, and one that is not has not begun. `None` if there is no memory to tell processes apart.
///
/// Holders do not wait for each other, and a thread may hold off forks again while it does. A holder must not wait for
/// a thread that may fork, nor for Python's GIL.
pub(crate) fn hold_off() -> Option<NoFork> {
    let lock = LOCK.get()?;
    let is_outermost = DEPTH.with(|depth| depth.replace(depth.get() + 1)) == 0;
    if is_outermost {
        lock.hold();
    }
    Some(NoFork(is_outermost.then_some(lock)))
}

/// While it lives, this process does not fork. To be dropped by the thread that got it.
pub(crate) struct NoFork(Option<&'static ForkLock>);

impl Drop for NoFork {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
        if let Some(lock) = self.0 {
            lock.release();
        }
    }
}

/// Waits for all holders and keeps further ones waiting, until [`ForkLock::end`]. `None` if that cannot be, or if this
/// very thread is a holder, which a signal handler that forks has interrupted.
pub(super) fn begin() -> Option<&'static ForkLock> {
    let lock = LOCK.get().filter(|_| DEPTH.with(Cell::get) == 0)?;
    lock.begin();
    Some(lock)
}

pub(super) struct ForkLock {
    state: Mutex<LockState>,
    changed: Condvar,
}

#[derive(Default)]
struct LockState {
    holders: usize,
    is_forking: bool,
}

impl Default for ForkLock {
    fn default() -> Self {
        Self { state: Mutex::new(LockState::default()), changed: Condvar::new() }
    }
}

impl ForkLock {
    fn hold(&self) {
        self.wait_while_forking().holders += 1;
    }

    fn release(&self) {
        let mut state = self.state();
        state.holders -= 1;
        // Seldom, for to wake nobody is a system call too.
        if state.holders == 0 && state.is_forking {
            self.changed.notify_all();
        }
    }

    fn begin(&self) {
        let mut state = self.wait_while_forking();
        state.is_forking = true;
        while state.holders > 0 {
            let is_over;
            (state, is_over) = self.wait_for_holders(state);
            if is_over {
                break;
            }
        }
    }

    pub(super) fn end(&self) {
        self.state().is_forking = false;
        self.changed.notify_all();
    }

    fn wait_while_forking(&self) -> MutexGuard<'_, LockState> {
        let mut state = self.state();
        while state.is_forking {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits for a change; returns whether patience is at an end.
    fn wait_for_holders<'a>(&self, state: MutexGuard<'a, LockState>) -> (MutexGuard<'a, LockState>, bool) {
        #[cfg(loom)]
        return (self.changed.wait(state).unwrap_or_else(PoisonError::into_inner), false);
        #[cfg(not(loom))]
        {
            let (state, waited) = self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            (state, waited.timed_out())
        }
    }

    fn state(&self) -> MutexGuard<'_, LockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
