//! Pools: every object has one owner at a time, what is given back is reused, and each end finds the pool in order.

use std::alloc::Layout;
use std::collections::HashSet;

use memgroup::{Backing, Error, MemGroup, Options, PoolBlock, PoolHandle};
use proptest::prelude::*;

#[cfg(not(heap))]
use crate::support::{alone, backings, forked};
use crate::support::{cases, group_of, scaled};

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn what_was_given_back_last_is_handed_out_first() {
    let group = MemGroup::new().unwrap();
    let pool = group.pool(layout(64, 16), None).unwrap();
    let blocks: Vec<_> = (0..1000).map(|_| pool.alloc().unwrap()).collect();
    let given_back: Vec<_> = blocks.iter().map(|block| block.as_ptr()).collect();
    drop(blocks);
    let again: Vec<_> = (0..1000).map(|_| pool.alloc().unwrap()).collect();
    assert!(again.iter().map(|block| block.as_ptr()).eq(given_back.into_iter().rev()));
}

#[test]
fn objects_are_aligned_and_apart() {
    let group = MemGroup::new().unwrap();
    for (size, align) in [(0, 1), (1, 1), (7, 2), (64, 64), (100, 16), (5000, 4096)] {
        let pool = group.pool(layout(size, align), None).unwrap();
        let blocks: Vec<_> = (0..300).map(|_| pool.alloc().unwrap()).collect();
        let mut starts: Vec<_> = blocks.iter().map(|block| block.as_ptr().addr()).collect();
        assert!(blocks.iter().all(|block| block.len() == size));
        assert!(starts.iter().all(|start| start.is_multiple_of(align)));
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= size.max(1)));
    }
}

#[test]
#[cfg_attr(heap, ignore = "needs two mirrors")]
fn a_protected_object_is_the_same_bytes_and_gives_them_back_too() {
    let group = MemGroup::new().unwrap();
    let pool = group.pool(layout(32, 16), 1).unwrap();
    let mut block = pool.alloc().unwrap();
    block.fill(7);
    let writable = block.as_ptr();
    let protected = block.protect().unwrap();
    assert_ne!(protected.as_ptr(), writable);
    assert_eq!(&protected[..], [7; 32]);
    assert_eq!(pool.alloc().unwrap_err(), Error::PoolFull { capacity: 1 });
    let mut block = protected.unprotect();
    assert_eq!(block.as_mut_ptr().cast_const(), writable);
    drop(block.protect().unwrap());
    assert_eq!(pool.alloc().unwrap().as_ptr(), writable);
}

#[test]
fn an_object_that_cannot_be_protected_is_given_back_to_its_owner() {
    let group = group_of(Backing::Anonymous);
    let pool = group.pool(layout(32, 16), None).unwrap();
    let refused = pool.alloc().unwrap().protect().unwrap_err();
    assert_eq!(refused.error, Error::NoMirror);
    assert_eq!(pool.stats().used, 1);
    drop(refused);
    assert_eq!(pool.stats().used, 0);
}

#[test]
fn wrong_layouts_are_refused_and_name_the_remedy() {
    let group = MemGroup::new().unwrap();
    assert_eq!(group.pool(layout(8, 8192), None).unwrap_err(), Error::Align { align: 8192 });
    let huge = layout(isize::MAX as usize - 4096, 4096);
    assert!(matches!(group.pool(huge, None), Err(Error::TooLarge { .. })));
    let pool = group.pool(layout(8, 8), 2).unwrap();
    let _both = (pool.alloc().unwrap(), pool.alloc().unwrap());
    let full = pool.alloc().unwrap_err().to_string();
    assert!(full.contains("all 2 objects of this pool are in use") && full.contains("capacity"), "{full}");
}

#[test]
fn a_pool_grows_up_to_the_limit_and_works_on() {
    let group = Options::new().limit(1 << 20).open().unwrap();
    let pool = group.pool(layout(1000, 8), None).unwrap();
    let mut blocks = Vec::new();
    let error = loop {
        match pool.alloc() {
            Ok(block) => blocks.push(block),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Limit { .. }));
    // All of the limit is used but for less than the end of each slot.
    assert!(blocks.len() > 1000, "{}", blocks.len());
    blocks.truncate(10);
    let again: Vec<_> = (0..500).map(|_| pool.alloc().unwrap()).collect();
    assert_eq!((again.len() + blocks.len(), pool.stats().used), (510, 510));
}

#[test]
fn a_reset_needs_the_pool_gone_and_the_next_one_starts_empty() {
    let mut group = MemGroup::new().unwrap();
    for _ in 0..3 {
        let pool = group.pool(layout(64, 16), None).unwrap();
        assert_eq!(pool.stats().free, 0);
        let blocks: Vec<_> = (0..100).map(|_| pool.alloc().unwrap()).collect();
        assert_eq!(pool.stats().used, 100);
        drop(blocks);
        drop(pool);
        group.reset();
        assert_eq!(group.stats().allocated, 0);
    }
}

#[test]
fn what_secret_objects_held_is_overwritten_when_they_are_given_back() {
    let group = Options::new().secret(true).open().unwrap();
    let pool = group.pool(layout(48, 16), None).unwrap();
    let mut block = pool.alloc().unwrap();
    block.fill(0xaa);
    drop(block);
    assert_eq!(&pool.alloc().unwrap()[..], [0; 48]);
    let local = pool.local().unwrap();
    let mut block = local.alloc().unwrap();
    block.fill(0xaa);
    drop(block);
    assert_eq!(&pool.alloc().unwrap()[..], [0; 48]);
}

#[test]
fn a_handle_keeps_some_objects_ready_and_gives_them_back() {
    let group = MemGroup::new().unwrap();
    let pool = group.pool(layout(64, 16), None).unwrap();
    let local = pool.local().unwrap();
    let blocks: Vec<_> = (0..1000).map(|_| local.alloc().unwrap()).collect();
    let last = blocks[0].as_ptr();
    drop(blocks.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(local.alloc().unwrap().as_ptr(), last);
    assert!(pool.stats().used <= 128, "{:?}", pool.stats());
    drop(local);
    assert_eq!(pool.stats().used, 0);
}

/// `cargo test --release --test contract -- --ignored --nocapture memory_is_flat`: some seconds.
#[test]
#[ignore = "a hundred million objects: for a release build"]
fn memory_is_flat_over_a_hundred_million_objects() {
    let group = MemGroup::new().unwrap();
    let pool = group.pool(layout(64, 64), None).unwrap();
    let local = pool.local().unwrap();
    let mut shared: [_; 16] = std::array::from_fn(|_| pool.alloc().unwrap());
    let mut own: [_; 16] = std::array::from_fn(|_| local.alloc().unwrap());
    let memory = || (resident(), group.stats().allocated, pool.stats());
    let mut rounds = |many: usize| {
        for round in 0..many {
            shared[round % 16] = pool.alloc().unwrap();
            own[round % 16] = local.alloc().unwrap();
            shared[round % 16][0] = round as u8;
            own[round % 16][0] = round as u8;
        }
    };
    rounds(1000);
    let before = memory();
    rounds(50_000_000);
    let after = memory();
    println!("{before:?} before, {after:?} after");
    assert_eq!((after.1, after.2), (before.1, before.2));
    assert!(after.0 <= before.0 + 256 * 1024);
}

/// Bytes of the process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn every_object_has_one_owner_while_four_threads_take_and_give_back() {
    let rounds = scaled(1_000_000, 300);
    let group = MemGroup::with_base(4096).unwrap();
    let pool = group.pool(layout(16, 16), None).unwrap();
    std::thread::scope(|scope| {
        for owner in 1..=4u8 {
            let pool = &pool;
            scope.spawn(move || {
                let mut held: [Option<PoolBlock<'_>>; 7] = Default::default();
                for round in 0..rounds {
                    let place = &mut held[round * 5 % 7];
                    // Nobody else has written to it since.
                    assert!(place.take().is_none_or(|block| block.iter().all(|&byte| byte == owner)));
                    let mut block = pool.alloc().unwrap();
                    block.fill(owner);
                    *place = Some(block);
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.used, stats.retired), (0, 0));
    assert!(stats.free >= 7, "{stats:?}");
}

#[test]
fn objects_that_other_threads_give_back_have_one_owner() {
    let rounds = scaled(200_000, 200);
    let group = MemGroup::new().unwrap();
    let pool = group.pool(layout(8, 8), 64).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<PoolBlock<'_>>();
    std::thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            for (number, block) in receiver.iter().enumerate() {
                assert_eq!(&block[..], number.to_ne_bytes());
            }
        });
        let local = pool.local().unwrap();
        for number in 0..rounds {
            // Those that the handle keeps are never sent.
            let kept = local.alloc();
            let mut block = loop {
                match pool.alloc() {
                    Ok(block) => break block,
                    Err(_) => std::thread::yield_now(),
                }
            };
            block.copy_from_slice(&number.to_ne_bytes());
            sender.send(block).unwrap();
            drop(kept);
        }
        drop(sender);
    });
    drop(pool.alloc().unwrap());
    assert_eq!(pool.stats().used, 0);
}

#[cfg(not(heap))]
#[test]
fn a_child_hands_out_no_object_of_its_parent() {
    alone("pool::a_child_hands_out_no_object_of_its_parent", || {
        for backing in backings() {
            let group = group_of(backing.clone());
            let pool = group.pool(layout(64, 16), None).unwrap();
            let local = pool.local().unwrap();
            let mut kept: Vec<_> = (0..200).map(|_| pool.alloc().unwrap()).collect();
            let mut kept_by_handle: Vec<_> = (0..200).map(|_| local.alloc().unwrap()).collect();
            kept.iter_mut().for_each(|block| block.fill(1));
            kept_by_handle.iter_mut().for_each(|block| block.fill(2));
            drop(kept.drain(100..));
            drop(kept_by_handle.drain(100..));
            let homes = |blocks: &[PoolBlock<'_>]| blocks.iter().map(|block| block.as_ptr()).collect::<HashSet<_>>();
            let before = homes(&kept);
            assert!(forked(|| {
                // What dies here stays the parent's.
                kept.clear();
                kept_by_handle.clear();
                let mine: Vec<_> = (0..500).map(|_| pool.alloc().unwrap()).collect();
                let mut mine_by_handle: Vec<_> = (0..500).map(|_| local.alloc().unwrap()).collect();
                mine_by_handle.iter_mut().for_each(|block| block.fill(3));
                homes(&mine).is_disjoint(&before) && pool.stats().free < 1000
            }));
            assert!(kept.iter().all(|block| block.iter().all(|&byte| byte == 1)));
            assert!(kept_by_handle.iter().all(|block| block.iter().all(|&byte| byte == 2)));
            // What a child may still use is not handed out again; what was free before the fork is.
            kept.clear();
            kept_by_handle.clear();
            let retired = if backing == Backing::Anonymous { 0 } else { 200 };
            assert_eq!(pool.stats().retired, retired);
            let free = pool.stats().free;
            let again: Vec<_> = (0..free).map(|_| pool.alloc().unwrap()).collect();
            assert_eq!(homes(&again).is_disjoint(&before), retired > 0);
        }
    });
}

#[cfg(not(heap))]
#[test]
fn forks_under_load_leave_every_object_one_owner() {
    alone("pool::forks_under_load_leave_every_object_one_owner", || {
        let group = MemGroup::new().unwrap();
        let pool = group.pool(layout(32, 16), None).unwrap();
        let (together, done) = (std::sync::Barrier::new(3), std::sync::atomic::AtomicBool::new(false));
        let done = &done;
        std::thread::scope(|scope| {
            for owner in 1..=2u8 {
                let (pool, together) = (&pool, &together);
                scope.spawn(move || {
                    together.wait();
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let mut blocks = [(); 50].map(|()| pool.alloc().unwrap());
                        blocks.iter_mut().for_each(|block| block.fill(owner));
                        assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == owner)));
                    }
                });
            }
            together.wait();
            for _ in 0..scaled(50, 1) {
                assert!(forked(|| {
                    let mut blocks = [(); 500].map(|()| pool.alloc().unwrap());
                    blocks.iter_mut().for_each(|block| block.fill(0xcc));
                    blocks.iter().all(|block| block.iter().all(|&byte| byte == 0xcc))
                }));
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    });
}

/// One step of a history: take an object, or give one back, through the pool or through a handle.
#[derive(Debug, Clone, Copy)]
enum Step {
    Take(bool),
    GiveBack(bool, usize),
    Protect(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<bool>().prop_map(Step::Take),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(local, at)| Step::GiveBack(local, at)),
        1 => any::<usize>().prop_map(Step::Protect),
    ];
    prop::collection::vec(step, 1..400)
}

/// The objects in use that one handle has handed out, and the byte that each was filled with.
struct Held<'p, H: PoolHandle>(Vec<(PoolBlock<'p, H>, u8)>);

impl<'p, H: PoolHandle> Held<'p, H> {
    /// Keeps an object. Its address must be new to the set of those in use.
    fn keep(&mut self, mut block: PoolBlock<'p, H>, byte: u8, in_use: &mut HashSet<*const u8>) {
        assert!(in_use.insert(block.as_ptr()), "an object has two owners");
        block.fill(byte);
        self.0.push((block, byte));
    }

    /// Takes one out, after checking its bytes.
    fn take(&mut self, at: usize, in_use: &mut HashSet<*const u8>) -> Option<(PoolBlock<'p, H>, u8)> {
        let at = at.checked_rem(self.0.len())?;
        let (block, byte) = self.0.swap_remove(at);
        assert!(block.iter().all(|&found| found == byte), "a byte has two owners");
        assert!(in_use.remove(&block.as_ptr()));
        Some((block, byte))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(100)))]

    /// The plain model is the set of addresses in use.
    #[test]
    fn no_history_gives_an_object_two_owners(steps in steps(), size in 1..200usize, capacity in 1..300usize) {
        let group = MemGroup::with_base(4096).unwrap();
        let pool = group.pool(layout(size, 8), capacity).unwrap();
        let local = pool.local().unwrap();
        let (mut shared, mut owned, mut in_use) = (Held(Vec::new()), Held(Vec::new()), HashSet::new());
        let full = |error| assert_eq!(error, Error::PoolFull { capacity });
        for (number, step) in steps.into_iter().enumerate() {
            let byte = number as u8;
            match step {
                Step::Take(false) => pool.alloc().map_or_else(full, |block| shared.keep(block, byte, &mut in_use)),
                Step::Take(true) => local.alloc().map_or_else(full, |block| owned.keep(block, byte, &mut in_use)),
                Step::GiveBack(false, at) => drop(shared.take(at, &mut in_use)),
                Step::GiveBack(true, at) => drop(owned.take(at, &mut in_use)),
                Step::Protect(at) => {
                    if let Some((block, byte)) = shared.take(at, &mut in_use) {
                        let protected = block.protect().unwrap();
                        prop_assert!(protected.iter().all(|&found| found == byte));
                        shared.keep(protected.unprotect(), byte, &mut in_use);
                    }
                }
            }
            let stats = pool.stats();
            prop_assert!(in_use.len() <= stats.used && stats.used + stats.free <= capacity, "{:?}", stats);
        }
        drop((shared, owned));
        drop(local);
        prop_assert_eq!(pool.stats().used, 0);
    }
}
