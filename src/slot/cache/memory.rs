//! The memory of a slot.

use crate::fault::SlotRegistration;
use crate::os::Mirrors;

/// The memory of a slot, and how much of it is there.
///
/// Invariants: every page below `resident` is in memory (or swapped out), none beyond `extent` is; `resident <= extent <= capacity`.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Before the mirrors: what is unmapped must not be written down any more.
    pub(crate) place: SlotRegistration,
    pub(crate) mirrors: Mirrors,
    pub(crate) resident: usize,
    pub(crate) extent: usize,
}

impl Memory {
    /// Memory that nobody has used.
    pub(crate) fn fresh(mirrors: Mirrors) -> Self {
        Self { place: SlotRegistration::of(&mirrors), mirrors, resident: 0, extent: 0 }
    }

    /// Finds out how far memory is there, and strikes it out of the ledger of promises.
    ///
    /// What was promised to a group is not promised to anybody once the group is gone. The next one has it accounted for
    /// again: all that lies beyond `resident` is asked of the machine as if it were new, and promised if it is not
    /// populated. So a kept slot neither hides memory that is still to be found (what is below `resident` the kernel has
    /// already counted) nor holds back any that nobody will touch.
    pub(super) fn settle(&mut self, committed: usize) {
        if committed > self.resident {
            self.resident = match self.mirrors.settle() {
                true => self.resident + self.mirrors.resident_from(self.resident, committed),
                // All of it was populated as it was committed.
                false => committed,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::Backing;

    const PAGE: usize = 4096;

    #[test]
    #[cfg_attr(heap, ignore = "asks the kernel")]
    fn what_was_promised_counts_as_warm_as_far_as_it_was_touched() {
        const LEN: usize = 64 * PAGE;
        let mirrors = Mirrors::open(&Backing::Memfd, "promised", LEN, false).unwrap();
        mirrors.commit(0, 8 * PAGE, true).unwrap();
        mirrors.commit(8 * PAGE, LEN, false).unwrap();
        for touched in (8..16).chain(20..24) {
            let page = mirrors.read_write().as_ptr().wrapping_add(touched * PAGE);
            // SAFETY: it is one of LEN / PAGE pages that nobody else knows of.
            unsafe { page.write_volatile(1) };
        }
        let mut memory = Memory::fresh(mirrors);
        memory.settle(LEN);
        assert_eq!(memory.resident, 16 * PAGE);
        // Nothing is promised any more: what is committed from now on was populated.
        memory.settle(32 * PAGE);
        assert_eq!(memory.resident, 32 * PAGE);
        memory.settle(4 * PAGE);
        assert_eq!(memory.resident, 32 * PAGE);
    }
}
