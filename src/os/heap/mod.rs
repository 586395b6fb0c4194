//! A stand-in for mappings: slots on the heap (`cfg(heap)`).
//!
//! Miri knows neither memfd nor madvise, and loom neither threads nor locks but its own. Here both find all that they
//! can judge (who owns which bytes, which pointer may be used for what, what one thread knows of another) without what
//! they cannot. Both mirrors are one piece of memory, so nothing is protected; nothing is ever refused; and no process
//! is ever forked, though a test can have it [look](fork) as if.

pub(crate) mod fork;
/// Plain system calls, which miri carries out and loom never reaches.
#[path = "../linux/io/mod.rs"]
pub(crate) mod io;
pub(crate) mod mapping;
pub(crate) mod memory;
/// No test that runs here faults.
#[path = "../linux/signals/mod.rs"]
pub(crate) mod signals;
