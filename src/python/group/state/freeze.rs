//! Taking the right to write away from everybody.

use pyo3::exceptions::{PyBufferError, PyOSError, PyValueError};
use pyo3::prelude::*;

use super::{GroupState, Unavailable};
use crate::python::ffi::errors::refused_by_kernel;
use crate::python::ffi::text::plural;

/// Why a group was not frozen.
pub(crate) enum FreezeRefused {
    Unavailable(Unavailable),
    /// It is not shared, and so cannot be frozen.
    Private,
    /// So many views and blocks can write.
    Writers(usize),
    /// Other processes can write.
    Processes(Vec<u32>),
    /// The kernel refuses it.
    Kernel(crate::Error),
}

impl GroupState {
    /// Whether something can be allocated.
    #[inline(always)]
    pub(crate) fn check_allocates(&self) -> Result<(), Unavailable> {
        self.check_open()?;
        if self.is_frozen { Err(Unavailable::Frozen) } else { Ok(()) }
    }

    /// Takes the right to write away from everybody, of whom `writers` may still use it. `note` is called once nothing
    /// more can be written by this process, also where another still can.
    pub(crate) fn freeze(
        &mut self,
        attached: Python<'_>,
        writers: usize,
        note: impl FnOnce(),
    ) -> Result<(), FreezeRefused> {
        self.check_open().map_err(FreezeRefused::Unavailable)?;
        if !self.group.is_shared() {
            return Err(FreezeRefused::Private);
        }
        if writers > 0 && !self.is_frozen {
            return Err(FreezeRefused::Writers(writers));
        }
        let others = self.group.other_writers();
        if !others.is_empty() {
            return Err(FreezeRefused::Processes(others));
        }
        self.free_ranges.clear(attached);
        self.gil_chunk.give_back(attached);
        self.is_frozen = true;
        note();
        // SAFETY: this borrow is the only one of the group, and this layer makes no Rust reference into its memory.
        unsafe { self.group.freeze() }.map_err(FreezeRefused::Kernel)
    }
}

impl FreezeRefused {
    pub(crate) fn error(self, group: &str) -> PyErr {
        match self {
            Self::Unavailable(why) => why.error(group),
            Self::Private => PyValueError::new_err(format!(
                "the group {group:?} cannot be frozen: make it with MemGroup(shared=True)"
            )),
            Self::Writers(writers) => PyBufferError::new_err(format!(
                "cannot freeze the group {group:?}: {writers} memoryview{s}, array{s} or block{s} that gave out {} can still write; \
                 release and delete them, or keep what group.protect() makes of them",
                if writers == 1 { "its address" } else { "their addresses" },
                s = plural(writers),
            )),
            Self::Processes(processes) => {
                let processes: Vec<_> = processes.iter().map(u32::to_string).collect();
                let others = processes.join(", ");
                let message = format!(
                    "cannot freeze the group {group:?}: process {others}, forked while it had memory, can still write to it; \
                     let it end, or free the group there"
                );
                PyOSError::new_err((libc::EBUSY, message))
            }
            Self::Kernel(error) => refused_by_kernel(error, None),
        }
    }
}
