//! Many threads, one group: every byte has one owner.

use memgroup::MemGroup;

use crate::support::fill;

#[test]
fn every_byte_has_one_owner() {
    const THREADS: usize = 4;
    const BLOCKS: usize = 1_000_000;
    let group = MemGroup::with_base(4096).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS as u8)
            .map(|owner| {
                let group = &group;
                scope.spawn(move || {
                    let sizes = (0..BLOCKS).map(|number| number * 7919 % 61);
                    sizes
                        .map(|size| {
                            let mut block = group.alloc(size).unwrap();
                            block.fill(owner);
                            block
                        })
                        .collect::<Vec<_>>()
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
fn slots_are_opened_once() {
    let group = MemGroup::with_base(4096).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| fill(&group, 2000, 4000));
        }
    });
    let indices: Vec<_> = group.stats().slots.iter().map(|slot| slot.index).collect();
    let mut unique = indices.clone();
    unique.dedup();
    assert_eq!(indices, unique);
}
