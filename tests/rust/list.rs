//! Lists: many allocations from one call, against a plain model and against single allocations.

use std::ops::Range;

use memgroup::{Backing, Error, List, MemGroup, Options};
use proptest::prelude::*;

use crate::limits::limit_resource;
use crate::support::{alone, backings, cases, fill, group_of, unless_too_small_a_machine};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;

fn homes(list: &List<'_>) -> Vec<Range<usize>> {
    list.iter().map(|bytes| bytes.as_ptr().addr()..bytes.as_ptr().addr() + bytes.len()).collect()
}

fn check_disjoint(mut homes: Vec<Range<usize>>) {
    homes.retain(|home| !home.is_empty());
    homes.sort_by_key(|home| home.start);
    assert!(homes.windows(2).all(|pair| pair[0].end <= pair[1].start), "two live blocks overlap");
}

/// The number of contiguous runs of a list.
fn stretches(list: &List<'_>) -> usize {
    let homes = homes(list);
    let breaks = homes.windows(2).filter(|pair| pair[0].end.next_multiple_of(16) != pair[1].start).count();
    breaks + usize::from(!homes.is_empty())
}

fn allocated(group: &MemGroup) -> Vec<(usize, usize)> {
    group.stats().slots.iter().map(|slot| (slot.index, slot.allocated)).collect()
}

#[test]
fn a_list_holds_its_contents_with_every_backing() {
    for backing in backings() {
        let group = group_of(backing);
        let sizes: Vec<usize> = (0..5000).map(|number| number * 7919 % 331).collect();
        let data: Vec<u8> = (0..sizes.iter().sum()).map(|byte: usize| (byte % 251) as u8).collect();
        let mut list = group.alloc_many(&sizes).unwrap();
        assert_eq!((list.len(), list.nbytes()), (sizes.len(), data.len()));
        list.fill_from(&data).unwrap();
        assert_eq!(list.join().unwrap()[..], data[..]);
        let mut rest = &data[..];
        for (bytes, &size) in list.iter().zip(&sizes) {
            assert_eq!(bytes, rest.split_off(..size).unwrap());
            assert_eq!(bytes.as_ptr().addr() % 16, 0);
        }
        let last = data.len() - sizes[4999]..;
        assert_eq!(list.into_blocks().next_back().unwrap()[..], data[last]);
    }
}

#[test]
#[cfg_attr(heap, ignore = "needs two mirrors")]
fn a_list_is_protected_as_a_whole() {
    let group = MemGroup::new().unwrap();
    let mut list = group.alloc_many(&[3, 0, 5]).unwrap();
    list.fill_from(b"abcdefgh").unwrap();
    let writable = list[2].as_ptr();
    let protected = group.protect_many(list).unwrap();
    assert_eq!(protected.iter().collect::<Vec<_>>(), [&b"abc"[..], b"", b"defgh"]);
    assert_ne!(protected[2].as_ptr(), writable);
    assert_eq!(&protected.join().unwrap()[..], b"abcdefgh");
    let mut list = group.unprotect_many(protected).unwrap();
    assert_eq!(list[2].as_ptr(), writable);
    list[0].copy_from_slice(b"ABC");
    assert_eq!(&group.protect_many(list).unwrap()[0], b"ABC");
}

#[test]
fn a_list_that_cannot_be_protected_is_given_back() {
    let anonymous = group_of(Backing::Anonymous);
    let refused = anonymous.protect_many(anonymous.alloc_many(&[1, 2]).unwrap()).unwrap_err();
    assert_eq!((refused.error, refused.value.len()), (Error::NoMirror, 2));
    let (ours, theirs) = (MemGroup::new().unwrap(), MemGroup::new().unwrap());
    let refused = ours.protect_many(theirs.alloc_uniform(3, 1).unwrap()).unwrap_err();
    assert_eq!(refused.error, Error::Foreign);
    let refused = ours.unprotect_many(theirs.protect_many(refused.value).unwrap()).unwrap_err();
    assert_eq!((refused.error, refused.value.len()), (Error::Foreign, 3));
}

#[test]
fn filling_takes_exactly_as_many_bytes() {
    let group = MemGroup::new().unwrap();
    let mut list = group.alloc_uniform(2, 3).unwrap();
    list.fill_from(b"abcdef").unwrap();
    for given in [0, 5, 7] {
        assert_eq!(list.fill_from(&vec![0; given]), Err(Error::Length { nbytes: 6, given }));
    }
    assert_eq!(&list.join().unwrap()[..], b"abcdef");
}

#[test]
fn an_empty_list_takes_nothing() {
    let group = MemGroup::new().unwrap();
    for mut list in [group.alloc_many(&[]).unwrap(), group.alloc_uniform(0, 100).unwrap()] {
        assert!(list.is_empty() && list.iter().next().is_none() && list.get(0).is_none());
        list.fill_from(b"").unwrap();
        assert_eq!(list.into_blocks().count(), 0);
    }
    assert!(allocated(&group).is_empty());
}

#[test]
fn one_past_the_end_is_none_and_panics_as_a_slice_does() {
    let group = MemGroup::new().unwrap();
    let mut list = group.alloc_many(&[1]).unwrap();
    assert!(list.get(1).is_none() && list.get_mut(1).is_none());
    assert!(std::panic::catch_unwind(|| list[1].len()).is_err());
}

#[test]
fn a_long_list_lies_in_few_stretches_and_fills_slots_in_turn() {
    let group = MemGroup::with_base(64 * KIB).unwrap();
    let sizes: Vec<usize> = (0..200_000).map(|number| 16 + number * 7919 % 497).collect();
    let list = group.alloc_many(&sizes).unwrap();
    assert!(stretches(&list) < 32, "{}", stretches(&list));
    let stats = group.stats();
    for slot in &stats.slots[..stats.slots.len() - 1] {
        assert!(slot.capacity - slot.allocated < 512 + 16, "{slot:?}");
    }
    check_disjoint(homes(&list));
}

#[test]
fn a_list_goes_where_single_requests_would_keep_it() {
    // After a large one skipped slot 0, small ones stay there, in lists or alone.
    let group = MemGroup::with_base(64 * KIB).unwrap();
    let list = group.alloc_many(&[100, MIB, 100, 100]).unwrap();
    assert_eq!(list[2].as_ptr().addr(), list[0].as_ptr().addr() + 112);
    drop(list);
    assert_eq!(allocated(&group), [(0, 324), (4, MIB)]);
}

#[test]
fn a_large_object_takes_no_small_ones_along() {
    let group = MemGroup::with_base(64 * KIB).unwrap();
    let mut sizes = vec![100; 100_000];
    (sizes[50], sizes[700]) = (40 * MIB, 30 * MIB);
    let list = group.alloc_many(&sizes).unwrap();
    assert_eq!(list.len(), 100_000);
    // Slots of 64 and of 32 MiB: there is room after the large ones, and it stays free.
    let large: Vec<_> = allocated(&group).into_iter().filter(|&(index, _)| index >= 9).collect();
    assert_eq!(large, [(9, 30 * MIB), (10, 40 * MIB)]);
    // No memory is committed in skipped slots, and the slots between are not open.
    assert!(group.stats().committed < 86 * MIB, "{}", group.stats().committed);
    assert!(group.stats().slots.iter().all(|slot| slot.index <= 7 || slot.index >= 9));
    fill(&group, 1000, 100);
    assert_eq!(allocated(&group)[allocated(&group).len() - 2..], large);
}

#[test]
fn an_object_of_a_gibibyte_is_one_of_many() {
    let group = MemGroup::with_base(64 * KIB).unwrap();
    if unless_too_small_a_machine(MemGroup::new().unwrap().alloc(GIB)).is_none() {
        return;
    }
    let mut list = group.alloc_many(&[100, GIB, 100]).unwrap();
    list[1][GIB - 1] = 1;
    assert_eq!(allocated(&group), [(0, 212), (14, GIB)]);
}

#[test]
fn committed_memory_is_used_up_within_a_limit() {
    let mut group = Options::new().base(64 * KIB).limit(420 * KIB).open().unwrap();
    // Less than the size of each of the first three slots.
    drop(group.alloc_uniform(21, 20 * KIB).unwrap());
    assert_eq!(group.stats().committed, 420 * KIB);
    group.reset();
    let mut list = group.alloc_uniform(420, KIB).unwrap();
    list.iter_mut().for_each(|bytes| bytes.fill(1));
    check_disjoint(homes(&list));
    assert!(matches!(group.alloc(1), Err(Error::Limit { .. })));
}

#[test]
#[cfg_attr(heap, ignore = "asks the kernel")]
fn room_in_open_slots_is_used_up_when_no_more_can_be_opened() {
    alone("list::room_in_open_slots_is_used_up_when_no_more_can_be_opened", || {
        let group = MemGroup::with_base(4096).unwrap();
        group.alloc(600 * KIB).unwrap(); // opens a slot of a mebibyte
        group.alloc(100).unwrap();
        limit_resource(libc::RLIMIT_NOFILE, 0);
        let before = allocated(&group);
        let error = group.alloc_uniform(428, KIB).unwrap_err();
        assert!(matches!(error, Error::Os { code: libc::EMFILE, .. }), "{error}");
        assert_eq!(allocated(&group), before);
        // Three in slot 0 and the rest after the large one.
        assert_eq!(group.alloc_uniform(427, KIB).unwrap().nbytes(), 427 * KIB);
    });
}

#[test]
fn large_and_small_by_turns_stay_together() {
    let group = MemGroup::with_base(4096).unwrap();
    let sizes: Vec<usize> = (0..2000).map(|number| if number % 2 == 0 { 20_000 } else { 100 }).collect();
    let list = group.alloc_many(&sizes).unwrap();
    assert!(stretches(&list) < 40, "{}", stretches(&list));
    check_disjoint(homes(&list));
}

#[test]
fn a_list_is_kept_to_the_limit_and_uses_it_up() {
    let limit = 100 * 4096;
    let group = Options::new().limit(limit).open().unwrap();
    assert!(matches!(group.alloc_uniform(101, 4096).unwrap_err(), Error::Limit { .. }));
    assert_eq!((group.stats().committed, group.stats().allocated), (0, 0));
    let list = group.alloc_uniform(100, 4096).unwrap();
    assert_eq!(list.nbytes(), limit);
    assert!(group.alloc(1).is_err());
}

#[test]
fn a_list_that_finds_no_room_gives_everything_back() {
    let group = Options::new().base(64 * KIB).limit(MIB).open().unwrap();
    group.alloc(100).unwrap();
    let (before, window) = (allocated(&group), group.stats().committed);
    // Less than the limit altogether. But the first object goes to slot 0, where a window is committed, and the others
    // jump.
    for last in [100 * KIB, 200 * KIB] {
        let sizes = [KIB, MIB - window / 2 - last, last];
        let Err(Error::Limit { wanted, .. }) = group.alloc_many(&sizes) else { panic!("not refused") };
        assert!(wanted >= sizes[1] + sizes[2], "it was refused at once, for {wanted} bytes");
        let after: Vec<_> = allocated(&group).into_iter().filter(|slot| slot.1 > 0).collect();
        assert_eq!(after, before, "{sizes:?}");
    }
    // Memory that was committed meanwhile is used.
    group.alloc_many(&[KIB, MIB - 2 * window - 100 * KIB, 100 * KIB]).unwrap();
}

#[test]
fn one_object_too_large_refuses_all() {
    let group = MemGroup::with_base(4096).unwrap();
    let largest = 4096 << 31;
    let error = group.alloc_many(&[1, 2, largest + 1, 3]).unwrap_err();
    assert_eq!(error, Error::TooLarge { size: largest + 1, largest });
    assert_eq!(group.alloc_uniform(1, usize::MAX).unwrap_err(), Error::TooLarge { size: usize::MAX, largest });
    assert!(group.alloc_uniform(usize::MAX, usize::MAX >> 40).is_err());
    assert!(group.alloc_uniform(usize::MAX, 0).is_err());
    assert!(allocated(&group).is_empty());
}

#[test]
fn lists_and_blocks_of_many_threads_share_no_byte() {
    const THREADS: u8 = 4;
    let group = MemGroup::with_base(4096).unwrap();
    std::thread::scope(|scope| {
        for owner in 1..=THREADS {
            let group = &group;
            scope.spawn(move || {
                let mut lists = Vec::new();
                let mut blocks = Vec::new();
                for round in 0..200 {
                    let sizes: Vec<usize> = (0..100).map(|number| (number + round) * 7919 % 401).collect();
                    let mut list = group.alloc_many(&sizes).unwrap();
                    list.iter_mut().for_each(|bytes| bytes.fill(owner));
                    lists.push(list);
                    let mut block = group.alloc(round).unwrap();
                    block.fill(owner);
                    blocks.push(block);
                    // Refused at the end of the search, with other threads allocating in between.
                    assert!(group.alloc_many(&[100, 5000, usize::MAX]).is_err());
                }
                assert!(lists.iter().flat_map(List::iter).flatten().all(|&byte| byte == owner));
                assert!(blocks.iter().flat_map(|block| block.iter()).all(|&byte| byte == owner));
            });
        }
    });
}

#[test]
fn refused_lists_and_others_blocks_share_no_byte() {
    let group = Options::new().base(4096).limit(8 * MIB).open().unwrap();
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            // Small enough for the first check, too large in the end: large objects skip slots and leave too little
            // room.
            let sizes = [3000, 2 * MIB, 30_000, 5 * MIB + 500 * KIB];
            (0..3000).filter(|_| group.alloc_many(&sizes).is_err()).count()
        });
        let mut blocks = Vec::new();
        while !refused.is_finished() && blocks.len() < 40_000 {
            let Ok(mut block) = group.alloc(blocks.len() % 100) else { break };
            block.fill(blocks.len() as u8);
            blocks.push(block);
        }
        assert!(refused.join().unwrap() > 0);
        for (number, block) in blocks.iter().enumerate() {
            assert!(block.iter().all(|&byte| byte == number as u8), "block {number}");
        }
    });
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![20 => 0..200usize, 5 => 0..20_000usize, 1 => 0..1_000_000usize];
    prop::collection::vec(size, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(150)))]

    #[test]
    fn lists_between_blocks_overlap_nothing_and_keep_their_order(
        rounds in prop::collection::vec((sizes(), 0..3000usize), 1..5), base in 1..100_000usize,
    ) {
        let mut group = MemGroup::with_base(base).unwrap();
        for _ in 0..2 {
            let mut lists = Vec::new();
            let mut singles = Vec::new();
            let mut asked = 0;
            for (number, (sizes, single)) in rounds.iter().enumerate() {
                let mut list = group.alloc_many(sizes).unwrap();
                prop_assert_eq!(list.iter().map(<[u8]>::len).collect::<Vec<_>>(), sizes.clone());
                prop_assert!(list.iter().all(|bytes| bytes.as_ptr().addr() % 16 == 0));
                for (object, bytes) in list.iter_mut().enumerate() {
                    bytes.fill((number * 31 + object) as u8);
                }
                lists.push(list);
                let mut block = group.alloc(*single).unwrap();
                block.fill(number as u8);
                singles.push(block);
                asked += sizes.iter().sum::<usize>() + single;
            }
            for (number, list) in lists.iter().enumerate() {
                for (object, bytes) in list.iter().enumerate() {
                    prop_assert!(bytes.iter().all(|&byte| byte == (number * 31 + object) as u8));
                    prop_assert_eq!(list.get(object).unwrap().as_ptr(), bytes.as_ptr());
                }
                prop_assert!(list.iter().rev().map(<[u8]>::len).eq(rounds[number].0.iter().rev().copied()));
            }
            for (number, block) in singles.iter().enumerate() {
                prop_assert!(block.iter().all(|&byte| byte == number as u8));
            }
            let all = singles.iter().map(|block| block.as_ptr().addr()..block.as_ptr().addr() + block.len());
            check_disjoint(lists.iter().flat_map(homes).chain(all).collect());
            let stats = group.stats();
            prop_assert!(stats.allocated >= asked);
            prop_assert!(stats.slots.iter().all(|slot| slot.allocated <= slot.committed));
            drop((lists, singles));
            group.reset();
        }
    }

    #[test]
    fn with_a_limit_a_list_is_allocated_whole_or_not_at_all(
        before in 0..200_000usize, rounds in prop::collection::vec(sizes(), 1..6), limit in 0..2_000_000usize,
    ) {
        let group = Options::new().base(4096).limit(limit).open().unwrap();
        let _ = group.alloc(before);
        for sizes in rounds {
            let used = group.stats().allocated;
            match group.alloc_many(&sizes) {
                Ok(mut list) => {
                    list.iter_mut().for_each(|bytes| bytes.fill(1));
                    prop_assert!(group.stats().allocated >= used + list.nbytes());
                }
                // Nothing was allocated after it, so all bytes were given back.
                Err(error) => {
                    prop_assert!(matches!(error, Error::Limit { .. }), "{}", error);
                    prop_assert_eq!(group.stats().allocated, used);
                }
            }
            prop_assert!(group.stats().committed <= limit);
        }
    }
}
