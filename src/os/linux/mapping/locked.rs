//! Pages for bytes of secrets on their way: locked in memory, left out of core dumps and of forked children,
//! overwritten in the end.

use std::ffi::c_void;
use std::num::NonZero;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use super::mirrors::{lock, wipe};
use crate::error::Operation;
use crate::layout::align_up;
use crate::os::{Refusal, Unlocked, page_size};

/// A mapping of whole pages.
#[derive(Debug)]
pub(crate) struct Locked {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its mapping, as a Box owns its memory.
unsafe impl Send for Locked {}
// SAFETY: nothing is done to the mapping through a shared reference.
unsafe impl Sync for Locked {}

impl Locked {
    /// At least `len` bytes, which are zero.
    pub(crate) fn new(len: usize) -> Result<Self, Unlocked> {
        let len = align_up(len.max(1), page_size()).and_then(NonZero::new);
        let too_long = || Unlocked::Refused(Refusal::of(Operation::Map)(Errno::ENOMEM));
        let len = len.ok_or_else(too_long)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses an address at which nothing is mapped.
        let mapped = unsafe { mmap_anonymous(None, len, access, MapFlags::MAP_PRIVATE) };
        let start = mapped.map_err(|errno| Unlocked::Refused(Refusal::of(Operation::Map)(errno)))?;
        // From here on its drop unmaps it.
        let locked = Self { start: start.cast(), len: len.get() };
        let advices = [
            (MmapAdvise::MADV_DONTDUMP, Operation::ExcludeFromDumps),
            (MmapAdvise::MADV_WIPEONFORK, Operation::WipeOnFork),
        ];
        for (advice, operation) in advices {
            // SAFETY: the range is the mapping just made, and the advice changes no byte of it in this process.
            let advised = unsafe { madvise(start, locked.len, advice) };
            advised.map_err(|errno| Unlocked::Refused(Refusal::of(operation)(errno)))?;
        }
        // SAFETY: the range is the mapping just made.
        unsafe { lock(start, locked.len) }?;
        Ok(locked)
    }

    /// The first byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: the mapping is writable, len bytes long and owned alone, and goes now.
        unsafe { wipe(self.start, self.len) };
        // Nothing can be done where the kernel refuses; the bytes are zeros.
        // SAFETY: nobody but self has the mapping.
        let _refused = unsafe { munmap(self.start.cast::<c_void>(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_locked_left_out_of_dumps_and_wiped_in_children() {
        let locked = match Locked::new(5000) {
            Err(Unlocked::Limit { locked, limit }) => {
                return eprintln!("skipped: {locked} bytes of {limit} are locked");
            }
            locked => locked.unwrap(),
        };
        assert!(locked.len() >= 5000 && locked.len().is_multiple_of(page_size()));
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let first = format!("{:x}-", locked.start().addr());
        let flags =
            smaps.lines().skip_while(|line| !line.starts_with(&first)).find(|line| line.starts_with("VmFlags:"));
        let flags: Vec<&str> = flags.unwrap().split_whitespace().collect();
        assert!(["lo", "dd", "wf"].iter().all(|flag| flags.contains(flag)), "{flags:?}");
    }
}
