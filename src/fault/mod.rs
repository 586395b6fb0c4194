//! A crash that names the object: what standard error says when an access to group memory ends the process.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `pool` | records that a signal handler can read: nobody waits, nothing moves |
//! | `registry` | which slots there are, and where |
//! | `objects` | whose addresses were given out |
//! | `report` | the words |
//!
//! Where slots lie is always written down, a few stores as a slot is opened; so the report can be switched on at any
//! time, and costs nothing on any path that allocates or protects. Objects are written down while it is on.

pub(crate) mod objects;
mod pool;
mod registry;
mod report;

pub(crate) use registry::SlotRegistration;

use crate::error::Error;
use crate::os::signals;

/// Reports on standard error what happened before the process dies of an access to group memory: a store into a
/// read-only mirror, an access to the guard pages around a mirror, or to memory that a group has freed.
///
/// The process still dies of the same signal (SIGSEGV or SIGBUS), and handlers that others have installed, before or
/// after, still run. Faults anywhere else are passed on in silence.
///
/// ```
/// memgroup::enable_fault_report()?;
/// # memgroup::disable_fault_report();
/// # Ok::<(), memgroup::Error>(())
/// ```
///
/// # Errors
/// [`Error::Os`] if the kernel does not let the signals be handled.
pub fn enable_fault_report() -> Result<(), Error> {
    report::choose_look();
    signals::watch(report::write).map_err(|refusal| refusal.during("handling SIGSEGV and SIGBUS".into()))
}

/// Undoes [`enable_fault_report`].
pub fn disable_fault_report() {
    signals::unwatch();
}

/// Whether faults are reported.
pub(crate) fn is_enabled() -> bool {
    signals::is_watching()
}
