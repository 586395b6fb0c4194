//! Mirrors of secrets: kept out of core dumps, held in memory, overwritten in the end.

use std::ffi::c_void;
use std::fs;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, mlock, munlock};
use nix::sys::resource::{Resource, getrlimit};

use super::Mirrors;
use crate::error::Operation;
use crate::os::{Refusal, fork};
use crate::sync::opaque;

/// Why memory could not be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlocked {
    /// So many bytes of this process are locked, and no more may be than the limit (`RLIMIT_MEMLOCK`) says.
    Limit { locked: usize, limit: usize },
    /// It is not that.
    Refused(Refusal),
}

impl Mirrors {
    /// Has core dumps leave out both mirrors, those of forked children too.
    pub(crate) fn keep_from_dumps(&self) -> Result<(), Refusal> {
        self.reserved.advise(MmapAdvise::MADV_DONTDUMP).map_err(Refusal::of(Operation::ExcludeFromDumps))
    }

    /// Commits the bytes `start..end` (whole pages) and locks them in memory, from where they cannot be swapped out.
    ///
    /// One mirror is enough: it is the pages that stay. Only what is committed is locked, so that the limit is not
    /// spent on address space; nothing was written there yet, so nothing could be swapped out before.
    pub(crate) fn commit_locked(&self, start: usize, end: usize) -> Result<(), Unlocked> {
        debug_assert!(start <= end && end <= self.len);
        // SAFETY: start is within the mapping (or at its end, with a length of 0), so the sum stays in bounds.
        let first: NonNull<c_void> = unsafe { self.read_write().add(start) }.cast();
        // SAFETY: the range lies in a mapping that self owns.
        unsafe { lock(first, end - start) }
    }

    /// Overwrites the first `len` bytes with zeros, whoever else sees them.
    pub(crate) fn wipe(&self, len: usize) {
        debug_assert!(len <= self.len);
        // SAFETY: the mirror is mapped, writable and at least that long; no Rust reference into it is left when a slot
        // ends or begins anew, and a child that still looks at it does so at its own risk.
        unsafe { wipe(self.read_write(), len) };
    }
}

/// Locks mapped pages in memory; all of them or none.
///
/// # Safety
/// The range must be of mappings that the caller owns. No byte of it changes.
pub(in crate::os) unsafe fn lock(first: NonNull<c_void>, len: usize) -> Result<(), Unlocked> {
    // SAFETY: the range is of mappings that the caller owns, by contract; locking changes no byte.
    unsafe { mlock(first, len) }.map_err(|errno| {
        // It may have been locked and not found. Unlocking what is not locked is no error.
        // SAFETY: the range is mapped, by contract; unlocking changes no contents.
        let _refused = unsafe { munlock(first, len) };
        beyond_limit(len).unwrap_or(Unlocked::Refused(Refusal::of(Operation::Lock)(errno)))
    })
}

/// Overwrites bytes with zeros.
///
/// # Safety
/// They must be mapped and writable, and no Rust reference to them be left.
pub(in crate::os) unsafe fn wipe(first: NonNull<u8>, len: usize) {
    if len > 0 {
        // SAFETY: len bytes are mapped and writable and no reference to them is left, by contract.
        unsafe { first.write_bytes(0, len) };
        // Nobody will look at the zeros, which must not make them superfluous.
        opaque(first);
    }
}

/// Whether it is for the limit that `wanted` bytes cannot be locked.
fn beyond_limit(wanted: usize) -> Option<Unlocked> {
    let _no_fork = fork::hold_off(); // a file is read
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let limit = usize::try_from(limit).ok()?;
    let Status { locked, is_exempt } = Status::parse(&fs::read_to_string("/proc/self/status").ok()?)?;
    (!is_exempt && locked.saturating_add(wanted) > limit).then_some(Unlocked::Limit { locked, limit })
}

/// What the kernel says of this process.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    /// Bytes locked in memory.
    locked: usize,
    /// Whether the limit is not for it.
    is_exempt: bool,
}

impl Status {
    fn parse(status: &str) -> Option<Self> {
        const CAP_IPC_LOCK: u32 = 14;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let locked: usize = field("VmLck:")?.strip_suffix("kB")?.trim().parse().ok()?;
        let capabilities = field("CapEff:").and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
        Some(Self { locked: locked.saturating_mul(1024), is_exempt: capabilities >> CAP_IPC_LOCK & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::Backing;

    const LEN: usize = 1 << 20;
    const LOCKED: usize = 64 * 1024;

    /// What the kernel says of the mapping that begins at an address: the flags, and kilobytes locked.
    fn flags(address: NonNull<u8>) -> (Vec<String>, usize) {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let first = format!("{:x}-", address.addr());
        let from = smaps.lines().skip_while(|line| !line.starts_with(&first));
        let mut locked = 0;
        for line in from {
            if let Some(kilobytes) = line.strip_prefix("Locked:") {
                locked = kilobytes.trim().strip_suffix(" kB").unwrap().parse().unwrap();
            }
            if let Some(flags) = line.strip_prefix("VmFlags:") {
                return (flags.split_whitespace().map(String::from).collect(), locked);
            }
        }
        unreachable!("nothing is mapped there")
    }

    #[test]
    fn what_is_committed_is_locked_and_nothing_is_dumped() {
        for backing in [Backing::Memfd, Backing::Anonymous] {
            let mirrors = Mirrors::open(&backing, "secret", LEN, false).unwrap();
            mirrors.keep_from_dumps().unwrap();
            if let Err(Unlocked::Limit { locked, limit }) = mirrors.commit_locked(0, LOCKED) {
                eprintln!("skipped: {locked} bytes of {limit} are locked");
                return;
            }
            let (writable, locked) = flags(mirrors.read_write());
            assert!(writable.contains(&"dd".into()) && writable.contains(&"lo".into()), "{backing:?}: {writable:?}");
            assert_eq!(locked, LOCKED / 1024);
            if let Some(read_only) = mirrors.read_only() {
                assert!(flags(read_only).0.contains(&"dd".into()));
            }
            // SAFETY: the test made no reference into the mapping, which is LEN bytes long.
            let behind = unsafe { mirrors.read_write().add(LOCKED) };
            assert!(!flags(behind).0.contains(&"lo".into()));
        }
    }

    #[test]
    fn wiped_bytes_are_zero_through_both_mirrors() {
        let mirrors = Mirrors::open(&Backing::Memfd, "wiped", LEN, false).unwrap();
        let (writable, read_only) = (mirrors.read_write().as_ptr(), mirrors.read_only().unwrap().as_ptr());
        for offset in [0, 4095, 4096, LOCKED - 1, LOCKED] {
            // SAFETY: the byte is one of LEN mapped ones that nobody else knows of.
            unsafe { writable.wrapping_add(offset).write_volatile(42) };
        }
        mirrors.wipe(LOCKED);
        // SAFETY: the test made no reference into the mapping, which is LEN bytes long.
        let seen = |offset| unsafe { read_only.wrapping_add(offset).read_volatile() };
        assert_eq!([0, 4095, 4096, LOCKED - 1, LOCKED].map(seen), [0, 0, 0, 0, 42]);
    }

    #[test]
    fn the_status_of_a_process_is_read() {
        let status = |locked, set| Status::parse(&format!("Name:\tx\nVmLck:\t  {locked} kB\nCapEff:\t{set}\n"));
        assert_eq!(status(8, "0000000000004000"), Some(Status { locked: 8192, is_exempt: true }));
        assert_eq!(status(0, "000001ffffffbfff"), Some(Status { locked: 0, is_exempt: false }));
        assert_eq!(Status::parse("Name:\tx\n"), None);
    }
}
