//! The model behind its lock. What Python calls is in `class::machine`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::os::Refusal;
use crate::os::fork::{self, PerProcess};
use crate::rmap::{self, Kernel, Policy, Rules};

/// Processes that fork, and one design of reverse mapping, which finds the processes that map a page.
///
/// Args:
///     policy: The design: one of `POLICIES`, or "running" for that of the running kernel; by default the newest.
///     kernel: The version of a kernel whose design and rules to follow, as in "6.18.44", instead of a policy.
///     clone_order: How forks copy chains, "keeps" or "reverses"; by default as the design does.
///
/// Raises:
///     TypeError: An argument is no str.
///     ValueError: An argument has no such value, or both a policy and a kernel are given.
///     RuntimeError: In a child that was forked while another thread changed the machine, every use raises it.
#[pyclass(frozen, weakref, module = "memgroup.rmap")]
pub(super) struct Machine {
    policy: Policy,
    kernel: Option<Kernel>,
    /// What threads of this process wait for. A child begins with another, whoever of its parent's threads had this
    /// one.
    turn: PerProcess<Mutex<()>>,
    /// The generation of the process in which a thread changes the model, or 0.
    worker: AtomicU32,
    /// Locked only by the worker.
    model: Mutex<rmap::Machine>,
}

impl Machine {
    pub(super) fn of(policy: Policy, kernel: Option<Kernel>, rules: Rules) -> PyResult<Self> {
        let turn = PerProcess::new(Mutex::default()).map_err(Refusal::in_preparation)?;
        Ok(Self {
            policy,
            kernel,
            turn,
            worker: AtomicU32::new(0),
            model: Mutex::new(rmap::Machine::with_rules(rules)),
        })
    }

    /// The design that it was made with.
    pub(super) fn design(&self) -> Policy {
        self.policy
    }

    /// The kernel whose rules it follows, if it was made with one.
    pub(super) fn kernel_version(&self) -> Option<Kernel> {
        self.kernel
    }

    /// Does something with the model, alone.
    ///
    /// Raises RuntimeError in a child that was forked while another thread changed the model: half of that was done.
    pub(super) fn with<T>(&self, py: Python<'_>, work: impl FnOnce(&mut rmap::Machine) -> T) -> PyResult<T> {
        let turn = self.turn()?.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        self.work(turn, work).ok_or_else(interrupted)
    }

    /// Works on the model where that may take long: other Python threads run meanwhile.
    pub(super) fn with_long<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut rmap::Machine) -> T + Send,
    ) -> PyResult<T> {
        let turn = self.turn()?;
        let worked = py.detach(|| self.work(turn.lock().unwrap_or_else(PoisonError::into_inner), work));
        worked.ok_or_else(interrupted)
    }

    fn turn(&self) -> PyResult<&Mutex<()>> {
        Ok(self.turn.get_or_make(Mutex::default).map_err(Refusal::in_preparation)?)
    }

    /// `None` if a thread that this process does not have was at work.
    fn work<T>(&self, _turn: MutexGuard<'_, ()>, work: impl FnOnce(&mut rmap::Machine) -> T) -> Option<T> {
        let mine = fork::generation();
        self.worker.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let _done = Done(&self.worker);
        // Free, for there is one worker. A panic in the model leaves it as the checker will find it.
        let result = work(&mut self.model.lock().unwrap_or_else(PoisonError::into_inner));
        Some(result)
    }
}

/// Notes, once the model is let go, that nobody is at work.
struct Done<'a>(&'a AtomicU32);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

fn interrupted() -> PyErr {
    PyRuntimeError::new_err(
        "another thread was changing this Machine when the process forked, so half of that is done in this child: \
         make a new Machine here, or fork while no thread uses it",
    )
}
