//! Ten million protected objects, and the limit of protecting with `mprotect`.

use memgroup::{Options, Protected};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::support::alone;

#[test]
fn ten_million_objects_are_protected_at_once() {
    const OBJECTS: u32 = 10_000_000;
    let group = Options::new().name("ten-million").open().unwrap();
    let protected: Vec<Protected<'_>> =
        (0..OBJECTS).map(|number| group.protect(group.copy(&number.to_ne_bytes()).unwrap()).unwrap()).collect();
    for (number, object) in (0..OBJECTS).zip(&protected) {
        assert_eq!(object[..], number.to_ne_bytes());
    }
    // Both mirrors of each slot, however many objects are in them.
    let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours = mappings.lines().filter(|line| line.contains("memfd:ten-million")).count();
    assert!(ours < 200, "{ours} mappings");
}

/// The yardstick: one system call for each object splits mappings until the kernel refuses more.
#[test]
fn one_mprotect_for_each_object_stops_at_32_754() {
    alone("many::one_mprotect_for_each_object_stops_at_32_754", || {
        let most: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
        let page = 4096;
        let len = (2 * most * page).try_into().unwrap();
        // SAFETY: fresh memory at an address of the kernel's choice.
        let start = unsafe {
            let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
            mmap_anonymous(None, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags).unwrap()
        };
        // Every other page, as if protected objects lay between writable ones.
        let stopped_at = (0..most).find_map(|object| {
            // SAFETY: the sum lies within the memory mapped above.
            let address = unsafe { start.byte_add(2 * object * page) };
            // SAFETY: so does the page.
            let result = unsafe { mprotect(address, page, ProtFlags::PROT_READ) };
            result.err().map(|errno| (object, errno))
        });
        // SAFETY: as mapped above; nothing refers to it.
        unsafe { munmap(start, 2 * most * page).unwrap() };
        let (object, errno) = stopped_at.unwrap();
        assert_eq!(errno, Errno::ENOMEM);
        // Two mappings for each object, and some tens that every process has.
        assert!((most / 2 - 100..most / 2).contains(&object), "stopped at {object}");
    });
}
