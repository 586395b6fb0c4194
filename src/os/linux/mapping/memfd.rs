//! Sealed anonymous files.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::Operation;
use crate::os::{MAX_NAME, Refusal};

/// An empty anonymous file that can be sealed. The name shows in `/proc/PID/maps`.
pub(super) fn create(name: &str) -> Result<OwnedFd, Refusal> {
    debug_assert!(name.len() <= MAX_NAME);
    let refused = Refusal::of(Operation::CreateMemfd);
    // Kernels from 6.3 on want to be told whether the file may be executed, and some are set up to insist.
    let no_exec = MFdFlags::MFD_CLOEXEC | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create(name, no_exec) {
        Err(Errno::EINVAL) => memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).map_err(refused),
        made => made.map_err(refused),
    }
}

/// Freezes the size, and forbids every writable mapping from now on.
///
/// To be called after the read-write mirror is mapped and before the read-only one is: a read-only mapping made before
/// the seal could be turned writable by `mprotect`, one made after it cannot.
pub(super) fn seal(file: &OwnedFd) -> Result<(), Refusal> {
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_FUTURE_WRITE | SealFlag::F_SEAL_SEAL;
    add(file, seals)
}

/// Seals memory so that it can be [frozen](freeze) later.
pub(super) fn seal_for_now(file: &OwnedFd) -> Result<(), Refusal> {
    add(file, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_FUTURE_WRITE)
}

/// Forbids all writing for ever. EBUSY says that a process still maps it writable.
pub(super) fn freeze(file: &OwnedFd) -> Result<(), Refusal> {
    add(file, SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL)
}

fn add(file: &OwnedFd, seals: SealFlag) -> Result<(), Refusal> {
    fcntl(file, FcntlArg::F_ADD_SEALS(seals)).map(drop).map_err(Refusal::of(Operation::AddSeals))
}
