//! A thousand forks while other threads do everything else: no process waits forever, and every byte keeps its one
//! owner.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use memgroup::{Block, List, MemGroup, Options, Protected};

use crate::support::{alone, is_filled, wait_for};

const FORKS: usize = 1000;

/// Children that are alive at once, so that they and their parent write at the same time.
const AT_ONCE: usize = 4;

/// Seconds after which a child that waits for something dies of it.
const PATIENCE: u32 = 60;

#[test]
fn a_thousand_forks_under_load() {
    alone("fork_under_load::a_thousand_forks_under_load", || {
        let group = Options::new().base(4096).open().unwrap();
        let before: Vec<Protected<'_>> =
            (0..200).map(|number| group.protect(stamped(&group, number * 17, number as u8)).unwrap()).collect();
        let (again, rounds) = (AtomicBool::new(true), AtomicUsize::new(0));
        let works: [fn(&MemGroup, u8); 5] =
            [allocate_and_check, allocate_and_check, reset, come_and_go, read_and_write];
        thread::scope(|scope| {
            for (owner, work) in (1..).zip(works) {
                let (group, again, rounds) = (&group, &again, &rounds);
                scope.spawn(move || {
                    while again.load(Ordering::Relaxed) {
                        work(group, owner);
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut children = Vec::new();
            for number in 0..FORKS {
                let mine = stamped(&group, 3000, 0xaa);
                children.push(fork_one(&group, &before, number));
                if children.len() == AT_ONCE {
                    assert_eq!(wait_for(children.remove(0)), 0, "before child {number}");
                }
                assert!(is_filled(&mine, 0xaa));
            }
            assert!(children.into_iter().all(|child| wait_for(child) == 0));
            again.store(false, Ordering::Relaxed);
        });
        assert!(rounds.into_inner() > works.len(), "the others hardly came to anything");
        assert!(before.iter().zip(0u8..).all(|(block, stamp)| is_filled(block, stamp)));
    });
}

/// The child checks the inherited memory, allocates bytes in every way, and exits when it has seen that they are
/// unchanged.
fn fork_one(group: &MemGroup, before: &[Protected<'_>], number: usize) -> libc::pid_t {
    // SAFETY: the child neither prints nor waits for another thread; what it calls of the library is to be safe after a
    // fork, and the C library makes its allocator so.
    let pid = unsafe { libc::fork() };
    if pid != 0 {
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        return pid;
    }
    // SAFETY: the call takes a number only.
    unsafe { libc::alarm(PATIENCE) };
    let stamp = 0xc0 | (number % 32) as u8;
    let works = || {
        let blocks = [1, 100, 3000, 70_000].map(|size| stamped(group, size, stamp));
        let list = stamped_list(group, stamp);
        let mut other = MemGroup::new().ok()?;
        stamped(&other, 5000, stamp);
        other.reset();
        let zero = other.alloc_zeroed(10_000).ok()?;
        let local = group.local().ok()?;
        let mut of_local = local.alloc(500).ok()?;
        of_local.fill(stamp);
        for _ in 0..3 {
            thread::yield_now();
            let own = blocks.iter().all(|block| is_filled(block, stamp)) && is_filled(&of_local, stamp);
            let all = own && list.iter().all(|bytes| is_filled(bytes, stamp)) && is_filled(&zero, 0);
            (all && before.iter().zip(0u8..).all(|(block, stamp)| is_filled(block, stamp))).then_some(())?;
        }
        Some(())
    };
    let content = std::panic::catch_unwind(std::panic::AssertUnwindSafe(works)).ok().flatten();
    // SAFETY: _exit never returns and runs nothing of the parent's.
    unsafe { libc::_exit(i32::from(content.is_none())) };
}

fn stamped(group: &MemGroup, size: usize, stamp: u8) -> Block<'_> {
    let mut block = group.alloc(size).unwrap();
    block.fill(stamp);
    block
}

fn stamped_list(group: &MemGroup, stamp: u8) -> List<'_> {
    let mut list = group.alloc_many(&[10, 0, 2000, 300]).unwrap();
    list.iter_mut().for_each(|bytes| bytes.fill(stamp));
    list
}

/// Allocates in the group that all processes share. The group never shrinks, so this is slow on purpose.
fn allocate_and_check(group: &MemGroup, owner: u8) {
    let (blocks, list) = ([30, 400, 3].map(|size| stamped(group, size, owner)), stamped_list(group, owner));
    for _ in 0..200 {
        thread::yield_now();
        assert!(blocks.iter().all(|block| is_filled(block, owner)) && list.iter().all(|bytes| is_filled(bytes, owner)));
    }
}

/// Allocates in its own group, which forks inherit in every state.
fn reset(_: &MemGroup, owner: u8) {
    let mut group = MemGroup::with_base(4096).unwrap();
    for round in 0..20 {
        let blocks: Vec<_> = (0..50).map(|size| stamped(&group, size * 100, owner)).collect();
        assert!(blocks.iter().all(|block| is_filled(block, owner)), "round {round}");
        drop(blocks);
        group.reset();
    }
}

/// Makes and ends groups, so that the slot cache changes all the time.
fn come_and_go(_: &MemGroup, owner: u8) {
    let groups = [1, 2, 3].map(|slots| {
        let group = MemGroup::with_base(slots << 12).unwrap();
        assert!((0..4).all(|_| is_filled(&stamped(&group, slots << 12, owner), owner)));
        assert!(is_filled(&group.alloc_zeroed(5000).unwrap(), 0));
        group
    });
    groups.into_iter().for_each(MemGroup::free);
}

/// Lists through system calls.
fn read_and_write(_: &MemGroup, owner: u8) {
    let group = MemGroup::new().unwrap();
    let (zeros, nowhere) = (File::open("/dev/zero").unwrap(), File::options().write(true).open("/dev/null").unwrap());
    let mut list = group.alloc_uniform(200, 300).unwrap();
    for _ in 0..20 {
        list.iter_mut().for_each(|bytes| bytes.fill(owner));
        assert_eq!(list.readv(&zeros).unwrap(), 60_000);
        assert!(list.iter().all(|bytes| is_filled(bytes, 0)));
        assert_eq!(list.writev(&nowhere).unwrap(), 60_000);
    }
}
