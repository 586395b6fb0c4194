//! Many threads, one group: every byte has one owner.

use std::sync::{Barrier, Mutex, RwLock};

use memgroup::{Block, List, MemGroup};

use crate::support::{fill, scaled};

const THREADS: u8 = 4;

/// Pseudo-random sizes that differ for each thread.
fn sizes(owner: u8) -> impl Iterator<Item = usize> {
    (usize::from(owner)..).map(|number| number * 7919 % 61)
}

#[test]
fn every_byte_has_one_owner() {
    let blocks = scaled(1_000_000, 200);
    let group = MemGroup::with_base(4096).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS)
            .map(|owner| {
                let group = &group;
                scope.spawn(move || {
                    let stamped = |size| {
                        let mut block = group.alloc(size).unwrap();
                        block.fill(owner);
                        block
                    };
                    sizes(owner).take(blocks).map(stamped).collect::<Vec<_>>()
                })
            })
            .collect();
        let owned: Vec<_> = (1..).zip(threads).map(|(owner, thread)| (owner, thread.join().unwrap())).collect();
        check(&group, owned);
    });
}

/// No byte lost its owner's stamp, and no byte was handed out twice, which stamps of one owner would not show.
fn check(group: &MemGroup, owned: Vec<(u8, Vec<Block<'_>>)>) {
    let mut homes = Vec::new();
    for (owner, blocks) in &owned {
        for block in blocks {
            assert!(block.iter().all(|&byte| byte == *owner), "a byte of {owner} was handed out twice");
            homes.push((block.as_ptr().addr(), block.len().max(1)));
        }
    }
    homes.sort_unstable();
    assert!(homes.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "two blocks overlap");
    assert!(group.stats().allocated >= homes.iter().map(|home| home.1).sum());
}

#[test]
fn every_byte_has_one_owner_during_all_other_operations() {
    let (rounds, objects) = (scaled(40, 2), scaled(2500, 40));
    let group = RwLock::new(MemGroup::with_base(4096).unwrap());
    let together = Barrier::new(usize::from(THREADS));
    let first_pages = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for owner in 1..=THREADS {
            let (group, together, first_pages) = (&group, &together, &first_pages);
            scope.spawn(move || {
                for round in 0..rounds {
                    use_in_every_way(&group.read().unwrap(), owner, objects);
                    together.wait();
                    // No thread holds a block any more.
                    if round % usize::from(THREADS) == usize::from(owner) - 1 {
                        let mut group = group.write().unwrap();
                        group.reset();
                        first_pages.lock().unwrap().push(group.alloc(1).unwrap().as_ptr().addr());
                    }
                    together.wait();
                }
            });
        }
    });
    // Each reset reused the same memory.
    let first_pages = first_pages.into_inner().unwrap();
    assert!(first_pages.len() == rounds && first_pages.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Blocks, some of them zeroed, lists and a handle's objects: stamped, and all checked at the end.
fn use_in_every_way(group: &MemGroup, owner: u8, objects: usize) {
    let local = group.local().unwrap();
    let (mut blocks, mut lists, mut slices) = (Vec::new(), Vec::<List<'_>>::new(), Vec::new());
    for (number, size) in (0..objects).zip(sizes(owner)) {
        match number % 50 {
            0 => {
                let list = group.alloc_many(&[size, 0, 10 * size, 3]).unwrap();
                lists.push(stamp_list(list, owner));
            }
            1 => {
                let zeroed = group.alloc_zeroed(100 * size).unwrap();
                assert!(zeroed.iter().all(|&byte| byte == 0));
                blocks.push(stamp(zeroed, owner));
            }
            2..25 => slices.push(local.alloc_slice_copy(&vec![owner; size]).unwrap()),
            25..35 => blocks.push(stamp(local.alloc(size).unwrap(), owner)),
            _ => blocks.push(stamp(group.alloc(size).unwrap(), owner)),
        }
        // Sometimes the last bytes are given back, for other threads to take.
        if number % 400 == 399 {
            group.local().unwrap().alloc(40).unwrap();
        }
    }
    let of_blocks = blocks.iter().flat_map(|block| block.iter());
    let of_lists = lists.iter().flat_map(List::iter).flatten();
    let of_slices = slices.iter().flat_map(|slice| slice.iter());
    assert!(of_blocks.chain(of_lists).chain(of_slices).all(|&byte| byte == owner), "a byte of {owner} has two owners");
}

fn stamp(mut block: Block<'_>, owner: u8) -> Block<'_> {
    block.fill(owner);
    block
}

fn stamp_list(mut list: List<'_>, owner: u8) -> List<'_> {
    list.iter_mut().for_each(|bytes| bytes.fill(owner));
    list
}

#[test]
fn slots_are_opened_once() {
    let group = MemGroup::with_base(4096).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| fill(&group, scaled(2000, 50), 4000));
        }
    });
    let indices: Vec<_> = group.stats().slots.iter().map(|slot| slot.index).collect();
    let mut unique = indices.clone();
    unique.dedup();
    assert_eq!(indices, unique);
}
