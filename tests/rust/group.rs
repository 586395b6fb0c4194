//! Allocation, protection, reset: where requests are placed and what they cost.

use std::alloc::Layout;

use memgroup::{Backing, Error, MAX_ALIGN, MemGroup, Options};

use crate::support::{backings, fill, group_of, unless_too_small_a_machine};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;

/// The maximum that is committed ahead of a request: a huge page.
const WINDOW: usize = 2 * MIB;

fn slots_in_use(group: &MemGroup) -> Vec<usize> {
    group.stats().slots.iter().map(|slot| slot.index).collect()
}

#[test]
fn a_block_holds_its_contents_with_every_backing() {
    for backing in backings() {
        let group = group_of(backing);
        let mut blocks: Vec<_> = (1..200).map(|size| group.alloc(size).unwrap()).collect();
        for (number, block) in blocks.iter_mut().enumerate() {
            assert_eq!(block.len(), number + 1);
            block.fill(number as u8);
        }
        for (number, block) in blocks.iter().enumerate() {
            assert!(block.iter().all(|&byte| byte == number as u8));
        }
    }
}

#[test]
fn a_new_group_maps_nothing() {
    let stats = MemGroup::new().unwrap().stats();
    assert_eq!((stats.mapped, stats.committed, stats.allocated), (0, 0, 0));
}

#[test]
fn empty_blocks_have_addresses_of_their_own() {
    let group = MemGroup::new().unwrap();
    let (first, second) = (group.alloc(0).unwrap(), group.alloc(0).unwrap());
    assert!(first.is_empty() && second.is_empty());
    assert_ne!(first.as_ptr(), second.as_ptr());
}

#[test]
fn alignment_is_kept_through_both_mirrors() {
    let group = MemGroup::new().unwrap();
    for shift in 0..=MAX_ALIGN.ilog2() {
        let align = 1 << shift;
        group.alloc_layout(Layout::from_size_align(1, 1).unwrap()).unwrap();
        let block = group.alloc_layout(Layout::from_size_align(3, align).unwrap()).unwrap();
        assert_eq!(block.as_ptr().addr() % align, 0);
        assert_eq!(group.protect(block).unwrap().as_ptr().addr() % align, 0);
    }
    assert_eq!(group.alloc(1).unwrap().as_ptr().addr() % 16, 0);
}

#[test]
fn an_alignment_beyond_a_page_is_refused() {
    let group = MemGroup::new().unwrap();
    let layout = Layout::from_size_align(1, 2 * MAX_ALIGN).unwrap();
    assert_eq!(group.alloc_layout(layout).unwrap_err(), Error::Align { align: 2 * MAX_ALIGN });
}

#[test]
#[cfg_attr(heap, ignore = "needs two mirrors")]
fn protect_and_unprotect_show_the_same_bytes() {
    let group = MemGroup::new().unwrap();
    let mut block = group.copy(b"written before").unwrap();
    block[0] = b'W';
    let writable = block.as_ptr();
    let protected = group.protect(block).unwrap();
    assert_eq!(&protected[..], b"Written before");
    assert_ne!(protected.as_ptr(), writable);
    let mut block = group.unprotect(protected).unwrap();
    assert_eq!(block.as_ptr(), writable);
    block[8..14].copy_from_slice(b"after!");
    assert_eq!(group.protect(block).unwrap().into_slice(), b"Written after!");
}

#[test]
fn protected_blocks_can_be_read_by_many_threads() {
    let group = MemGroup::new().unwrap();
    let protected = group.protect(group.copy(&[7; 1000]).unwrap()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(protected.iter().all(|&byte| byte == 7)));
        }
    });
}

#[test]
fn a_block_that_cannot_be_protected_is_given_back() {
    let anonymous = group_of(Backing::Anonymous);
    let refused = anonymous.try_protect(anonymous.copy(b"abc").unwrap()).unwrap_err();
    assert_eq!(refused.error, Error::NoMirror);
    assert_eq!(&refused.value[..], b"abc");

    let (ours, theirs) = (MemGroup::new().unwrap(), MemGroup::new().unwrap());
    let refused = ours.try_protect(theirs.copy(b"abc").unwrap()).unwrap_err();
    assert_eq!(refused.error, Error::Foreign);
    let protected = theirs.protect(refused.value).unwrap();
    let refused = ours.try_unprotect(protected).unwrap_err();
    assert_eq!((refused.error, &refused.value[..]), (Error::Foreign, &b"abc"[..]));
}

#[test]
fn zeroed_means_zero_after_a_reset_too() {
    let mut group = MemGroup::new().unwrap();
    assert!(group.alloc_zeroed(5000).unwrap().iter().all(|&byte| byte == 0));
    group.alloc(5000).unwrap().fill(0xff);
    group.reset();
    assert!(group.alloc_zeroed(10_000).unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn a_reset_keeps_the_memory_and_begins_at_the_front() {
    let mut group = MemGroup::new().unwrap();
    let first = group.alloc(100).unwrap().as_ptr();
    fill(&group, 1000, 1000);
    let before = group.stats();
    group.reset();
    let after = group.stats();
    assert_eq!((after.mapped, after.committed, after.allocated), (before.mapped, before.committed, 0));
    assert_eq!(group.alloc(100).unwrap().as_ptr(), first);
}

#[test]
fn slots_double_and_fill_in_turn() {
    let group = MemGroup::with_base(64 * KIB).unwrap();
    while group.stats().slots.len() < 5 {
        group.alloc(KIB).unwrap();
    }
    for (number, slot) in group.stats().slots.iter().enumerate() {
        assert_eq!((slot.index, slot.capacity), (number, (64 * KIB) << number));
        assert!(number == 4 || slot.allocated == slot.capacity, "{slot:?}");
    }
}

#[test]
fn a_large_request_jumps_and_small_ones_stay() {
    let group = MemGroup::with_base(64 * KIB).unwrap();
    group.alloc(100).unwrap();
    group.alloc(MIB).unwrap();
    assert_eq!(slots_in_use(&group), [0, 4]);
    fill(&group, 100, 100);
    assert_eq!(slots_in_use(&group), [0, 4]);
}

#[test]
fn a_huge_request_takes_no_small_one_along_however_full_the_slot_was() {
    for filled in (0..64 * KIB).step_by(1000) {
        let group = MemGroup::with_base(64 * KIB).unwrap();
        group.alloc(filled).unwrap();
        let Some(_) = unless_too_small_a_machine(group.alloc(GIB)) else { return };
        fill(&group, 5000, 100);
        let large = group.stats().slots.into_iter().find(|slot| slot.index >= 14).unwrap();
        assert_eq!(large.allocated, GIB, "after {filled} bytes");
        assert!(slots_in_use(&group).len() <= 5, "after {filled} bytes: {:?}", slots_in_use(&group));
    }
}

#[test]
fn a_slot_jumped_to_serves_the_next_large_request() {
    let group = MemGroup::with_base(64 * KIB).unwrap();
    for _ in 0..3 {
        group.alloc(300 * KIB).unwrap();
    }
    assert_eq!(slots_in_use(&group), [3, 4]);
}

#[test]
fn the_unused_ends_of_earlier_slots_are_used() {
    let group = MemGroup::with_base(64 * KIB).unwrap();
    group.alloc(60 * KIB).unwrap(); // leaves a tail of 4 KiB in slot 0
    group.alloc(8 * KIB).unwrap(); // small enough to leave slot 0: slot 1 is current now
    while group.stats().slots[1].allocated + 2 * KIB <= 128 * KIB {
        group.alloc(2 * KIB).unwrap();
    }
    assert_eq!(slots_in_use(&group), [0, 1]);
    group.alloc(2 * KIB).unwrap();
    group.alloc(2 * KIB).unwrap();
    assert_eq!(slots_in_use(&group), [0, 1], "the tail of slot 0 was not used");
    group.alloc(2 * KIB).unwrap();
    assert_eq!(slots_in_use(&group), [0, 1, 2]);
}

#[test]
fn huge_tiny_huge() {
    let group = MemGroup::with_base(64 * KIB).unwrap();
    let Some(_) = unless_too_small_a_machine(group.alloc(GIB)) else { return };
    group.alloc(100).unwrap();
    let Some(_) = unless_too_small_a_machine(group.alloc(GIB)) else { return };
    let asked = 2 * GIB + 100 + 1_000_000 * 100;
    for _ in 0..1_000_000 {
        group.alloc(100).unwrap();
    }
    let stats = group.stats();
    let padding = 12 * 1_000_001; // 100 bytes at 16-byte alignment
    let tails: usize = stats.slots.iter().map(|slot| slot.capacity - slot.allocated).map(|tail| tail.min(112)).sum();
    assert!(stats.committed <= asked + padding + WINDOW + tails, "{} for {asked}", stats.committed);
    let large: Vec<_> = stats.slots.iter().filter(|slot| slot.capacity >= GIB).map(|slot| slot.allocated).collect();
    assert_eq!(large, [GIB, GIB], "small blocks were driven into the large slots");
}

#[test]
fn a_block_of_more_than_4_gib_works_at_both_ends() {
    let group = MemGroup::new().unwrap();
    let size = 5 * GIB + 3;
    let Some(mut block) = unless_too_small_a_machine(group.alloc(size)) else { return };
    block[0] = 1;
    block[4 * GIB + 1] = 2;
    block[size - 1] = 3;
    let protected = group.protect(block).unwrap();
    assert_eq!((protected[0], protected[4 * GIB + 1], protected[size - 1]), (1, 2, 3));
    assert_eq!(protected.len(), size);
}

#[test]
fn small_groups_commit_little() {
    let group = MemGroup::new().unwrap();
    group.alloc(1).unwrap();
    assert!(group.stats().committed <= 64 * KIB);
}

#[test]
#[cfg_attr(heap, ignore = "asks the kernel")]
fn bad_options_are_refused_with_a_remedy() {
    for base in [0, usize::MAX] {
        assert_eq!(MemGroup::with_base(base).unwrap_err(), Error::Base { base });
    }
    let name = Options::new().name("a\0b").open().unwrap_err();
    assert!(name.to_string().contains("without NUL"), "{name}");
    let missing = Options::new().backing(Backing::Directory("/nonexistent".into())).open().unwrap_err();
    assert!(missing.to_string().contains("name a directory that exists"), "{missing}");
}

#[test]
fn absurd_sizes_are_refused_and_change_nothing() {
    let group = MemGroup::new().unwrap();
    for size in [usize::MAX, isize::MAX as usize, 1 << 47] {
        assert!(matches!(group.alloc(size).unwrap_err(), Error::TooLarge { .. }), "{size}");
    }
    // A slot of this size could be mapped, but no machine has as much memory.
    assert!(matches!(
        group.alloc(1 << 44).unwrap_err(),
        Error::Headroom { .. } | Error::Cgroup { .. } | Error::Os { .. }
    ));
    assert_eq!(group.stats().allocated, 0);
    assert_eq!(group.stats().committed, 0);
    group.alloc(100).unwrap();
}

#[test]
fn a_full_group_says_so() {
    let groups = [(); 4].map(|()| MemGroup::with_base(memgroup::MAX_SLOT_BYTES).unwrap());
    // A process has address space for none of these slots on x86-64, and for one on arm64: the kernel refuses, and
    // there is no panic.
    assert!(matches!(groups.iter().find_map(|group| group.alloc(1).err()), Some(Error::Os { .. })));
}

#[test]
fn debug_shows_what_it_is() {
    let group = Options::new().name("results").open().unwrap();
    let block = group.alloc(3).unwrap();
    assert!(format!("{group:?}").contains("results"));
    assert_eq!(format!("{block:?}"), "Block(3 bytes in slot 0)");
    assert_eq!(format!("{:?}", group.protect(block).unwrap()), "Protected(3 bytes in slot 0)");
}
