//! Warm memory: later groups reuse the memory of ended ones, up to the bound, and no other owner sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memgroup::{Backing, MemGroup, Options, WarmMemory, set_warm_limit, warm_memory};

use crate::limits::limit_resource;
use crate::support::{alone, backings, fill, forked, group_of};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// The number of bytes and slots in the slot cache.
fn kept() -> (usize, usize) {
    let WarmMemory { committed, slots, .. } = warm_memory();
    (committed, slots)
}

/// How many mappings of a memfd of that name this process has.
fn mappings(name: &str) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(&format!("/memfd:{name} "))).count()
}

#[test]
fn the_memory_of_a_group_serves_the_next() {
    alone("warm::the_memory_of_a_group_serves_the_next", || {
        for backing in backings() {
            set_warm_limit(0);
            set_warm_limit(64 * MIB);
            let is_kept = !matches!(backing, Backing::Directory(_));
            let (mut stats, mut addresses) = (Vec::new(), Vec::new());
            for round in 0..3 {
                assert_eq!(kept().1, if is_kept && round > 0 { 3 } else { 0 }, "{backing:?}");
                let group = group_of(backing.clone());
                addresses.push((0..3000).map(|_| group.copy(&[round; 100]).unwrap().as_ptr()).collect::<Vec<_>>());
                stats.push(group.stats());
            }
            // The statistics of a group are the same with warm and fresh memory.
            assert!(stats.iter().all(|later| *later == stats[0]));
            assert!(!is_kept || addresses.iter().all(|later| *later == addresses[0]));
            assert_eq!(kept(), if is_kept { (stats[0].committed, 3) } else { (0, 0) });
        }
    });
}

#[test]
fn zeroed_means_zero_in_warm_memory_too() {
    alone("warm::zeroed_means_zero_in_warm_memory_too", || {
        for backing in backings() {
            for _ in 0..3 {
                let group = group_of(backing.clone());
                for size in [100, 5000, 300_000, 5 * MIB] {
                    let mut block = group.alloc_zeroed(size).unwrap();
                    assert!(block.iter().all(|&byte| byte == 0));
                    block.fill(0xff);
                }
            }
        }
    });
}

#[test]
fn the_bound_is_kept_and_lowering_it_gives_memory_back() {
    alone("warm::the_bound_is_kept_and_lowering_it_gives_memory_back", || {
        set_warm_limit(2 * MIB);
        assert_eq!(warm_memory().limit, 2 * MIB);
        let groups = ["first", "second", "third"].map(|name| Options::new().base(MIB).name(name).open().unwrap());
        groups.iter().for_each(|group| fill(group, 1000, KIB));
        groups.into_iter().for_each(drop);
        assert!(kept().0 <= 2 * MIB && kept().1 == 2);
        assert_eq!(["first", "second", "third"].map(mappings), [0, 2, 2]);
        set_warm_limit(MIB);
        assert_eq!(["first", "second", "third"].map(mappings), [0, 0, 2]);
        set_warm_limit(0);
        assert_eq!((kept(), mappings("third")), ((0, 0), 0));
        fill(&Options::new().name("fourth").open().unwrap(), 10, 10);
        assert_eq!((kept(), mappings("fourth")), ((0, 0), 0));
    });
}

#[test]
fn a_group_larger_than_the_bound_finds_the_same_share_warm_in_every_round() {
    alone("warm::a_group_larger_than_the_bound_finds_the_same_share_warm_in_every_round", || {
        set_warm_limit(MIB);
        let mut rounds = Vec::new();
        for _ in 0..4 {
            fill(&MemGroup::new().unwrap(), 3000, KIB); // 64 KiB to 2 MiB, six slots
            rounds.push(kept());
        }
        assert!(rounds[0].0 > MIB / 2 && rounds[0].1 == 4, "{rounds:?}");
        assert!(rounds.iter().all(|round| *round == rounds[0]), "{rounds:?}");
    });
}

#[test]
fn rounds_after_the_first_do_not_fault() {
    alone("warm::rounds_after_the_first_do_not_fault", || {
        for backing in [Backing::Memfd, Backing::Anonymous] {
            let round = || {
                let group = group_of(backing.clone());
                (0..1000).for_each(|_| group.alloc(100).unwrap().fill(1));
                let large = group.alloc(10 * MIB).unwrap();
                match group.protect(large) {
                    Ok(protected) => {
                        assert_eq!(protected.iter().step_by(4096).map(|&byte| usize::from(byte)).max(), Some(0))
                    }
                    Err(error) => assert_eq!(error, memgroup::Error::NoMirror),
                }
            };
            // So many rounds, because malloc's heap grows a little in the first ones.
            (0..300).for_each(|_| round());
            let before = faults();
            (0..100).for_each(|_| round());
            assert_eq!(faults() - before, 0, "{backing:?}");
        }
    });
}

/// Page faults of this process so far.
fn faults() -> i64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    usage.minor_page_faults() + usage.major_page_faults()
}

#[test]
fn warm_memory_never_causes_a_refusal_for_address_space() {
    alone("warm::warm_memory_never_causes_a_refusal_for_address_space", || {
        drop(Options::new().base(200 * MIB).open().unwrap().alloc(100));
        assert_eq!(kept().1, 1);
        let pages: usize =
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        limit_resource(libc::RLIMIT_AS, (pages * 4096 + 100 * MIB) as u64);
        let group = Options::new().base(128 * MIB).open().unwrap();
        group.alloc(100).unwrap().fill(1);
        assert_eq!(kept(), (0, 0));
        // Groups that end later are kept again.
        drop(group);
        assert_eq!(kept().1, 1);
    });
}

#[test]
fn warm_memory_never_causes_a_refusal_for_headroom() {
    alone("warm::warm_memory_never_causes_a_refusal_for_headroom", || {
        set_warm_limit(usize::MAX);
        if memory_available() < 2 * GIB {
            return eprintln!("skipped: needs two gibibytes of memory");
        }
        MemGroup::new().unwrap().alloc(768 * MIB).unwrap().fill(1);
        assert!(kept().0 >= 768 * MIB);
        // More than is available now, including the kernel's free lists, but less than is available without warm
        // memory.
        MemGroup::new().unwrap().alloc(memory_available() + 512 * MIB).unwrap();
    });
}

#[test]
fn kept_slots_hold_no_unfaulted_bytes() {
    alone("warm::kept_slots_hold_no_unfaulted_bytes", || {
        set_warm_limit(usize::MAX);
        let available = memory_available();
        for base in [64 * KIB, 65 * KIB + 1] {
            // Of different sizes, so that neither can reuse the slot of the other.
            let group = MemGroup::with_base(base).unwrap();
            let mut block = group.alloc(available / 5 * 4).unwrap();
            assert!(MemGroup::with_base(67 * KIB).unwrap().alloc(available / 5 * 4).is_err());
            block[..MIB].fill(1);
        }
    });
}

fn memory_available() -> usize {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * KIB
}

#[test]
fn a_child_begins_without_warm_memory_and_sees_no_later_contents() {
    alone("warm::a_child_begins_without_warm_memory_and_sees_no_later_contents", || {
        for backing in [Backing::Memfd, Backing::Anonymous] {
            set_warm_limit(0);
            set_warm_limit(7 * MIB);
            let live = group_of(backing.clone());
            live.alloc(10).unwrap();
            fill(&group_of(backing.clone()), 10, 10);
            assert_eq!(kept().1, 1);
            let old = group_of(backing.clone()).alloc(10).unwrap().as_ptr();
            assert!(forked(|| {
                let begins_empty = warm_memory() == WarmMemory { limit: 7 * MIB, committed: 0, slots: 0 };
                let sees_nothing = group_of(backing.clone()).alloc(10).unwrap().iter().all(|&byte| byte == 0);
                // It keeps the slots of its own groups, but not those of its parent's.
                let keeps_its_own = kept().1 == 1;
                live.alloc(10).unwrap();
                begins_empty && keeps_its_own && sees_nothing
            }));
            // Warm slots were hidden from the child and are still warm; slots in use were visible to the child.
            assert_eq!(kept().1, 1);
            drop(live);
            assert_eq!(kept().1, 1);
            assert_eq!(group_of(backing).alloc(10).unwrap().as_ptr(), old);
        }
    });
}

#[test]
fn kept_slots_are_hidden_from_a_child_and_inherited_again_once_reused() {
    alone("warm::kept_slots_are_hidden_from_a_child_and_inherited_again_once_reused", || {
        let name = "hidden-test";
        let group = || memgroup::Options::new().name(name).open().unwrap();
        group().alloc(10).unwrap();
        assert_eq!((kept().1, mappings(name)), (1, 2));
        for _ in 0..2 {
            assert!(forked(|| mappings(name) == 0));
            assert_eq!((kept().1, mappings(name)), (1, 2));
        }
        let group = group();
        let block = group.copy(b"for the child").unwrap();
        assert!(forked(|| mappings(name) == 2 && &block[..] == b"for the child"));
    });
}

/// A fork takes time after the child exists. The memory of a group that ends meanwhile must not be reused.
#[test]
fn a_slot_that_ends_during_a_fork_is_not_kept() {
    static IS_FORKING: AtomicBool = AtomicBool::new(false);
    extern "C" fn linger() {
        IS_FORKING.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
    }
    alone("warm::a_slot_that_ends_during_a_fork_is_not_kept", || {
        // SAFETY: the handler does what the C library allows a parent. As the first, it runs before those of the groups.
        assert_eq!(unsafe { libc::pthread_atfork(None, Some(linger), None) }, 0);
        let mut group = MemGroup::new().unwrap();
        let other = MemGroup::new().unwrap();
        let addresses =
            [group.copy(b"the child's").unwrap().as_ptr().addr(), other.copy(b"the child's").unwrap().as_ptr().addr()];
        let child = std::thread::spawn(move || {
            forked(|| {
                std::thread::sleep(Duration::from_millis(500));
                addresses.into_iter().all(|address| {
                    let seen: *const [u8; 11] = std::ptr::with_exposed_provenance(address);
                    // SAFETY: the child inherited the mapping, and no code in it has ended the group.
                    unsafe { seen.read_volatile() == *b"the child's" }
                })
            })
        });
        while !IS_FORKING.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        drop(other);
        group.reset();
        let next = MemGroup::new().unwrap();
        for group in [&group, &next] {
            group.copy(b"not for it!").unwrap();
        }
        assert!(child.join().unwrap());
    });
}

#[test]
fn a_child_that_ends_its_parents_group_keeps_none_of_its_slots() {
    alone("warm::a_child_that_ends_its_parents_group_keeps_none_of_its_slots", || {
        let mut group = Some(MemGroup::new().unwrap());
        group.as_ref().unwrap().alloc(10).unwrap();
        assert!(forked(|| {
            drop(group.take());
            kept() == (0, 0)
        }));
    });
}

#[test]
fn threads_share_warm_slots_but_never_a_byte() {
    alone("warm::threads_share_warm_slots_but_never_a_byte", || {
        set_warm_limit(MIB); // too small for all, so that slots are evicted
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                scope.spawn(move || {
                    for round in 0..300usize {
                        let group = MemGroup::new().unwrap();
                        let blocks: Vec<_> = (0..200).map(|_| group.copy(&[thread; 1000 + 37]).unwrap()).collect();
                        assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == thread)), "round {round}");
                        if round % 50 == 0 {
                            set_warm_limit(round % 100 * MIB);
                        }
                    }
                });
            }
        });
        set_warm_limit(0);
        assert_eq!((kept(), mappings("memgroup")), ((0, 0), 0));
    });
}

#[test]
fn no_more_is_resident_than_a_group_accounts_for() {
    alone("warm::no_more_is_resident_than_a_group_accounts_for", || {
        set_warm_limit(0);
        for backing in [Backing::Memfd, Backing::Anonymous] {
            // From 16 MiB on slots have huge pages, where the system offers any.
            for base in [64 * KIB, 2 * MIB, 8 * MIB, 16 * MIB, 17 * MIB + 1] {
                let group = Options::new().backing(backing.clone()).base(base).open().unwrap();
                let first = group.alloc(1).unwrap();
                for size in [100, 5000, base / 4, 100, base / 4] {
                    group.alloc(size).unwrap().fill(1);
                    let stats = group.stats();
                    let found = resident(first.as_ptr().addr(), stats.slots[0].capacity);
                    assert!(found <= stats.committed, "{backing:?}, base {base}: {found} of {}", stats.committed);
                    assert_eq!(stats.slots.len(), 1);
                }
            }
        }
    });
}

/// The number of resident bytes of that range.
fn resident(start: usize, len: usize) -> usize {
    let mut pages = vec![0u8; len / 4096];
    // SAFETY: mincore checks the addresses, and there is a byte for each page.
    let result = unsafe { libc::mincore(std::ptr::without_provenance_mut(start), len, pages.as_mut_ptr()) };
    assert_eq!(result, 0);
    4096 * pages.iter().filter(|&&state| state & 1 == 1).count()
}
