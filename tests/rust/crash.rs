//! Writing through the read-only mirror: every way there is, in a process that may die of it.

use std::ffi::c_void;
use std::io::Write;
use std::ptr::NonNull;

use memgroup::{Backing, MemGroup, Protected};
use nix::errno::Errno;
use nix::sys::mman::{MmapAdvise, ProtFlags, madvise, mprotect};

use crate::support::{LAST_WORDS, backings, dies_in_child, group_of, is_child};

const BYTES: &[u8; 4096] = &[0x5a; 4096];

/// A protected page and its address for system calls.
fn protected(group: &MemGroup) -> (Protected<'_>, NonNull<c_void>) {
    let layout = std::alloc::Layout::from_size_align(BYTES.len(), 4096).unwrap();
    let mut block = group.alloc_layout(layout).unwrap();
    block.copy_from_slice(BYTES);
    let protected = group.protect(block).unwrap();
    let address = NonNull::new(protected.as_ptr().cast_mut().cast()).unwrap();
    (protected, address)
}

/// Does the same to a protected page of every backing that has one.
fn for_each_protected(attack: impl Fn(NonNull<c_void>)) {
    for backing in backings() {
        if backing == Backing::Anonymous {
            continue;
        }
        let group = group_of(backing);
        let (protected, address) = protected(&group);
        let mut neighbour = group.alloc(16).unwrap();
        attack(address);
        assert_eq!(&protected[..], BYTES);
        neighbour.fill(1);
        assert!(neighbour.iter().all(|&byte| byte == 1));
    }
}

/// In a child, stores into a protected page of that backing; in the parent, expects the child to die of just that.
fn dies_of_a_store(test: &str, backing: Backing) {
    if !is_child(test) {
        return dies_in_child(test, libc::SIGSEGV);
    }
    let group = group_of(backing);
    let (_protected, address) = protected(&group);
    println!("{LAST_WORDS}");
    std::io::stdout().flush().unwrap();
    // SAFETY: none: that is the point. The hardware stops it, and the process with it.
    unsafe { address.cast::<u8>().as_ptr().write_volatile(1) };
}

#[test]
fn a_store_is_sigsegv() {
    dies_of_a_store("crash::a_store_is_sigsegv", Backing::Memfd);
}

#[test]
fn a_store_to_a_file_below_a_directory_is_sigsegv() {
    let directory = Backing::Directory(std::env::temp_dir());
    dies_of_a_store("crash::a_store_to_a_file_below_a_directory_is_sigsegv", directory);
}

#[test]
fn read_into_it_is_efault() {
    for_each_protected(|address| {
        let file = std::fs::File::open("/dev/zero").unwrap();
        // SAFETY: the kernel checks the address, and is to refuse it.
        let read = unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&file), address.as_ptr(), 100) };
        assert_eq!((read, Errno::last()), (-1, Errno::EFAULT));
    });
}

#[test]
fn mprotect_of_it_is_eacces() {
    for_each_protected(|address| {
        for flags in [ProtFlags::PROT_WRITE, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE] {
            // SAFETY: the call is to be refused; were it not, the assertion ends the test.
            assert_eq!(unsafe { mprotect(address, BYTES.len(), flags) }, Err(Errno::EACCES));
        }
    });
}

#[test]
fn punching_a_hole_into_it_is_refused() {
    for_each_protected(|address| {
        // SAFETY: as above.
        let result = unsafe { madvise(address, BYTES.len(), MmapAdvise::MADV_REMOVE) };
        assert!(matches!(result, Err(Errno::EACCES | Errno::EPERM)), "{result:?}");
    });
}

#[test]
fn no_write_reaches_it_through_proc_self_mem() {
    use std::os::unix::fs::FileExt;
    for_each_protected(|address| {
        let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem").unwrap();
        let written = memory.write_at(b"overwritten", address.as_ptr().addr() as u64);
        assert!(written.is_err(), "{written:?}");
    });
}
