//! The owner handle: a model of its histories, many handles at once, limits, forks.

use std::alloc::Layout;
use std::panic::{AssertUnwindSafe, catch_unwind};

use memgroup::{Backing, Block, Error, Local, MemGroup, Options};
use proptest::prelude::*;

use crate::support::{alone, backings, cases, forked, group_of};

const MIB: usize = 1 << 20;

/// The allocating handle, the size, and the alignment.
#[derive(Debug, Clone)]
struct Request {
    /// A handle, or the shared group if no handle has that number.
    whose: usize,
    size: usize,
    align: usize,
    zeroed: bool,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let sizes = prop_oneof![10 => 0..300usize, 3 => 0..10_000usize, 1 => 0..100_000usize];
    let request = (0..4usize, sizes, 0..13u32, any::<bool>());
    let request = request.prop_map(|(whose, size, shift, zeroed)| Request { whose, size, align: 1 << shift, zeroed });
    prop::collection::vec(request, 1..150)
}

fn serve<'g>(group: &'g MemGroup, handles: &[Local<'g>], request: &Request) -> Block<'g> {
    let layout = Layout::from_size_align(request.size, request.align).unwrap();
    let local = handles.get(request.whose);
    if request.zeroed {
        let block =
            local.map_or_else(|| group.alloc_zeroed(request.size), |local| local.alloc_zeroed(request.size)).unwrap();
        assert!(block.iter().all(|&byte| byte == 0), "alloc_zeroed left something");
        return block;
    }
    let block = local.map_or_else(|| group.alloc_layout(layout), |local| local.alloc_layout(layout)).unwrap();
    assert!(block.as_ptr().addr().is_multiple_of(request.align));
    block
}

/// Fills every block with its owner's byte, then checks every byte. Returns the number of bytes.
fn claim<'g>(blocks: impl Iterator<Item = Block<'g>>) -> usize {
    let mut blocks: Vec<_> = blocks.collect();
    let byte_of = |number: usize| (number % 251 + 1) as u8;
    blocks.iter_mut().enumerate().for_each(|(number, block)| block.fill(byte_of(number)));
    for (number, block) in blocks.iter().enumerate() {
        assert!(block.iter().all(|&byte| byte == byte_of(number)), "a byte has two owners");
    }
    let mut homes: Vec<_> = blocks.iter().map(|block| block.as_ptr_range()).filter(|home| !home.is_empty()).collect();
    homes.sort_by_key(|home| home.start);
    assert!(homes.windows(2).all(|pair| pair[0].end <= pair[1].start), "two blocks overlap");
    blocks.iter().map(|block| block.len()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(100)))]

    #[test]
    fn no_history_gives_a_byte_two_owners(
        rounds in prop::collection::vec(requests(), 1..4), base in prop_oneof![Just(1), 1..200_000usize], handles in 1..4usize,
    ) {
        let mut group = Options::new().base(base).open().unwrap();
        for round in rounds {
            let handles: Vec<_> = (0..handles).map(|_| group.local().unwrap()).collect();
            let asked = claim(round.iter().map(|request| serve(&group, &handles, request)));
            drop(handles);
            let stats = group.stats();
            prop_assert!(stats.allocated >= asked);
            prop_assert!(stats.slots.iter().all(|slot| slot.allocated <= slot.committed));
            group.reset();
        }
    }

    #[test]
    fn a_handle_alone_leaves_no_remainder(sizes in prop::collection::vec(1..2000usize, 1..300)) {
        let group = MemGroup::new().unwrap();
        let local = group.local().unwrap();
        let blocks: Vec<_> = sizes.iter().map(|&size| local.alloc(size).unwrap()).collect();
        drop(local);
        let stats = group.stats();
        let asked: usize = blocks.iter().map(|block| block.len().next_multiple_of(16)).sum();
        // Chunks begin at cache lines, and a slot is two of them, or a little more.
        let wasted = stats.allocated.saturating_sub(asked);
        prop_assert!(wasted <= 3 * 64 * stats.slots.len(), "{wasted} bytes wasted");
    }
}

#[test]
fn the_rest_of_a_chunk_is_given_back() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    assert_eq!(group.stats().allocated, 0, "a handle takes nothing before it is used");
    local.alloc(100).unwrap();
    assert!(group.stats().allocated > 10_000, "no chunk was taken");
    drop(local);
    assert_eq!(group.stats().allocated, 100);
    // Unless memory after it was allocated.
    let local = group.local().unwrap();
    local.alloc(100).unwrap();
    group.alloc(100).unwrap();
    let before = group.stats().allocated;
    drop(local);
    assert_eq!(group.stats().allocated, before);
}

#[test]
fn memory_given_back_dirty_is_zeroed_for_a_zeroed_request() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    // A panic in the closure frees what was filled.
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        local.alloc_slice_fill_with(1000, |index| if index < 900 { 0xffu8 } else { panic!("as it should") }).unwrap();
    }));
    panicked.unwrap_err();
    assert!(local.alloc_zeroed(1000).unwrap().iter().all(|&byte| byte == 0));
    let again = catch_unwind(AssertUnwindSafe(|| {
        local.alloc_slice_fill_with(1000, |index| if index < 900 { 0xffu8 } else { panic!("as it should") }).unwrap();
    }));
    again.unwrap_err();
    drop(local);
    assert!(group.alloc_zeroed(2000).unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn every_byte_of_many_handles_has_one_owner() {
    const BLOCKS: usize = 200_000;
    let group = MemGroup::with_base(4096).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4u8)
            .map(|owner| {
                let group = &group;
                scope.spawn(move || {
                    let local = group.local().unwrap();
                    let sizes = (0..BLOCKS).map(|number| number * 7919 % 61 + 5000 * usize::from(number % 1000 == 0));
                    let fill = |(number, size)| {
                        // Some requests bypass the handle, and some handles are dropped meanwhile.
                        let mut block = match number % 50 {
                            0 => group.alloc(size),
                            1 => group.local().unwrap().alloc(size),
                            _ => local.alloc(size),
                        }
                        .unwrap();
                        block.fill(owner);
                        block
                    };
                    sizes.enumerate().map(fill).collect::<Vec<_>>()
                })
            })
            .collect();
        for (owner, thread) in (1..).zip(threads) {
            for block in thread.join().unwrap() {
                assert!(block.iter().all(|&byte| byte == owner), "a byte of {owner} was handed out twice");
            }
        }
    });
}

#[test]
fn a_handle_goes_to_another_thread_with_what_it_has() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    let mut first = local.copy(b"first").unwrap();
    let second = std::thread::scope(|scope| scope.spawn(move || local.copy(b"second").unwrap()).join().unwrap());
    first.make_ascii_uppercase();
    assert_eq!((&first[..], &second[..]), (&b"FIRST"[..], &b"second"[..]));
}

#[test]
fn blocks_of_a_handle_are_protected_like_any_other() {
    for backing in backings() {
        let group = group_of(backing.clone());
        let local = group.local().unwrap();
        for size in [0, 1, 100, 100_000] {
            let mut block = local.alloc(size).unwrap();
            block.fill(7);
            match group.protect(block) {
                Ok(protected) => {
                    assert!(protected.iter().all(|&byte| byte == 7) && protected.len() == size);
                    group.unprotect(protected).unwrap().fill(8);
                }
                Err(error) => assert_eq!((error, &backing), (Error::NoMirror, &Backing::Anonymous)),
            }
        }
    }
}

#[test]
fn a_limit_is_kept_and_used_up() {
    let limit = 100 * 4096;
    for size in [16, 4096, 12 * 4096 / 5] {
        let group = Options::new().limit(limit).open().unwrap();
        let local = group.local().unwrap();
        let mut taken = 0;
        let error = loop {
            match local.alloc(size) {
                Ok(_) => taken += size.next_multiple_of(16),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        // A smaller request may still succeed.
        let rest = std::iter::repeat_with(|| local.alloc(16)).take_while(Result::is_ok).count();
        let wasted = limit - taken - 16 * rest;
        // Chunks begin at cache lines.
        assert!(wasted < 1024, "{wasted} bytes wasted by blocks of {size}");
        assert!(group.stats().committed <= limit);
    }
}

#[test]
fn a_small_group_stays_small() {
    let group = MemGroup::with_base(4096).unwrap();
    let local = group.local().unwrap();
    local.alloc(100).unwrap();
    assert_eq!(group.stats().slots.len(), 1);
    assert_eq!(group.stats().committed, 4096);
}

#[test]
fn a_large_request_leaves_the_chunk_alone() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    let before = local.alloc(16).unwrap();
    local.alloc(10 * MIB).unwrap();
    let after = local.alloc(16).unwrap();
    assert_eq!(before.as_ptr().addr() + 16, after.as_ptr().addr());
}

#[test]
fn impossible_requests_are_refused_with_a_message() {
    let group = Options::new().limit(MIB).open().unwrap();
    let local = group.local().unwrap();
    for size in [usize::MAX, usize::MAX - 15, isize::MAX as usize, 1 << 47] {
        assert!(matches!(local.alloc(size), Err(Error::TooLarge { .. })), "{size}");
    }
    assert!(matches!(local.alloc(2 * MIB), Err(Error::Limit { .. })));
    let page = Layout::from_size_align(10, 8192).unwrap();
    assert_eq!(local.alloc_layout(page).unwrap_err(), Error::Align { align: 8192 });
    assert!(matches!(local.alloc_slice_fill_copy(usize::MAX / 2, 1u64), Err(Error::TooLarge { size: usize::MAX, .. })));
    assert!(matches!(
        local.alloc_slice_fill_with(2 * MIB, |_| panic!("there is no room") as u8),
        Err(Error::Limit { .. })
    ));
    #[repr(align(8192))]
    #[derive(Debug)]
    struct Wide(#[expect(dead_code, reason = "only its alignment counts")] u8);
    assert_eq!(local.alloc_value(Wide(1)).unwrap_err(), Error::Align { align: 8192 });
    // The handle stays usable.
    assert_eq!(&local.copy(b"still there").unwrap()[..], b"still there");
}

#[test]
fn values_slices_and_strings() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    let value = local.alloc_value((1u8, 2u64)).unwrap();
    let words = local.alloc_slice_copy(&[1u32, 2, 3]).unwrap();
    let names = local.alloc_slice_clone(&["a".to_string(), "b".to_string()]).unwrap();
    let squares = local.alloc_slice_fill_with(1000, |index| index * index).unwrap();
    let ones = local.alloc_slice_fill_copy(3, 1.5f64).unwrap();
    let text = local.alloc_str("grüße").unwrap();
    let none: &mut [u64] = local.alloc_slice_copy(&[]).unwrap();
    let units = local.alloc_slice_fill_with(5, |_| ()).unwrap();
    value.1 += 1;
    words[0] = 7;
    text.make_ascii_uppercase();
    names[0].push('!');
    assert_eq!((*value, &*words, &*ones, &*text), ((1, 3), &[7, 2, 3][..], &[1.5; 3][..], "GRüßE"));
    assert_eq!((names[0].as_str(), names[1].as_str(), none.len(), units.len()), ("a!", "b", 0, 5));
    assert!(squares.iter().enumerate().all(|(index, &square)| square == index * index));
    drop(std::mem::take(&mut names[0]));
    drop(std::mem::take(&mut names[1]));
}

#[test]
fn one_value_may_be_made_of_others_in_the_same_group() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    let rows = local.alloc_slice_fill_with(100, |row| local.alloc_slice_fill_copy(row, row).unwrap()).unwrap();
    assert!(rows.iter().enumerate().all(|(row, cells)| cells.len() == row && cells.iter().all(|&cell| cell == row)));
}

#[test]
fn a_panic_while_filling_drops_what_was_made_and_frees_the_room() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    let start = local.alloc(16).unwrap().as_ptr().addr();
    let counted = std::rc::Rc::new(());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let make = |index| if index < 5 { counted.clone() } else { panic!("as it should") };
        local.alloc_slice_fill_with(10, make).unwrap();
    }));
    panicked.unwrap_err();
    assert_eq!(std::rc::Rc::strong_count(&counted), 1);
    assert_eq!(local.alloc(16).unwrap().as_ptr().addr(), start + 16);
}

#[test]
fn empty_objects_have_aligned_addresses() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    for shift in 0..13 {
        let nothing = local.alloc_layout(Layout::from_size_align(0, 1 << shift).unwrap()).unwrap();
        assert!(
            nothing.as_ptr().addr().is_multiple_of(1 << shift) && !nothing.as_ptr().is_null() && nothing.is_empty()
        );
    }
    assert_eq!(&local.copy(b"").unwrap()[..], b"");
}

#[test]
#[cfg_attr(heap, ignore = "forks")]
fn parent_and_child_never_share_new_bytes_of_a_handle() {
    alone("local::parent_and_child_never_share_new_bytes_of_a_handle", || {
        for backing in backings() {
            let group = group_of(backing);
            let local = group.local().unwrap();
            let before = local.copy(b"from before").unwrap();
            let fill = |byte| {
                let mut blocks: Vec<_> = (0..5000).map(|_| local.alloc(100).unwrap()).collect();
                blocks.iter_mut().for_each(|block| block.fill(byte));
                blocks
            };
            let is_all =
                |blocks: &[Block<'_>], byte| blocks.iter().all(|block| block.iter().all(|&found| found == byte));
            let mine = fill(0xaa);
            assert!(forked(|| {
                let nothing_is_null = !local.alloc(0).unwrap().as_ptr().is_null();
                let theirs = fill(0xcc);
                let grandchild = forked(|| is_all(&fill(0xdd), 0xdd) && is_all(&theirs, 0xcc));
                grandchild && nothing_is_null && is_all(&theirs, 0xcc) && &before[..] == b"from before"
            }));
            assert!(is_all(&mine, 0xaa));
            // The parent goes on in the chunk that it had, and the child does not.
            let last = local.alloc(112).unwrap().as_ptr().addr();
            assert!(forked(|| local.alloc(112).unwrap().as_ptr().addr() != last + 112));
            assert_eq!(local.alloc(112).unwrap().as_ptr().addr(), last + 112);
            assert_eq!(&before[..], b"from before");
        }
    });
}

#[test]
#[cfg_attr(heap, ignore = "forks")]
fn a_child_drops_its_parents_handle_and_gives_nothing_back() {
    alone("local::a_child_drops_its_parents_handle_and_gives_nothing_back", || {
        let group = MemGroup::new().unwrap();
        let local = group.local().unwrap();
        local.alloc(100).unwrap();
        let before = group.stats().allocated;
        let mut local = Some(local);
        assert!(forked(|| {
            local = None;
            group.stats().allocated == before
        }));
        // The parent goes on in the chunk that it had.
        let local = local.unwrap();
        local.alloc(100).unwrap();
        assert_eq!(group.stats().allocated, before);
    });
}
