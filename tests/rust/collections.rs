//! Collections that live in a group, compared with those of the standard library.

use std::alloc::Layout;
use std::collections::{BTreeMap, HashMap as StdMap};
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use blart::TreeMap;
use hashbrown::HashMap;
use memgroup::{Local, MemGroup};
use proptest::prelude::*;

use crate::support::{alone, cases, forked};

/// Whether those bytes live in the group: only its own slots are mapped from a memfd of that name.
fn lives_in(name: &str, address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(name)).any(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let bound = |text| usize::from_str_radix(text, 16).unwrap();
        (bound(start)..bound(end)).contains(&address)
    })
}

/// The same operations on collections in a group and on those of the standard library.
fn compare<A: Allocator + Copy>(allocator: A, steps: &[(u16, u32)]) {
    let (mut vec, mut std_vec) = (Vec::new_in(allocator), std::vec::Vec::new());
    let (mut map, mut std_map) = (HashMap::new_in(allocator), StdMap::<u16, std::vec::Vec<u8>>::new());
    let (mut tree, mut std_tree) = (TreeMap::<[u8; 2], u32, 16, A>::new_in(allocator), BTreeMap::new());
    let mut list: Option<Box<Node<A>, A>> = None;
    for &(key, value) in steps {
        vec.push(value);
        std_vec.push(value);
        if value % 7 == 0 {
            vec.truncate(vec.len() / 2);
            vec.shrink_to_fit();
            std_vec.truncate(std_vec.len() / 2);
        }
        if value % 3 == 0 {
            assert_eq!(map.remove(&key).as_deref(), std_map.remove(&key).as_deref());
            assert_eq!(tree.remove(&key.to_be_bytes()), std_tree.remove(&key.to_be_bytes()));
        } else {
            let mut text = Vec::new_in(allocator);
            text.extend_from_slice(value.to_string().as_bytes());
            map.insert(key, text);
            std_map.insert(key, value.to_string().into_bytes());
            tree.try_insert(key.to_be_bytes(), value).unwrap();
            std_tree.insert(key.to_be_bytes(), value);
        }
        list = Some(Box::new_in(Node { value, next: list }, allocator));
    }
    assert_eq!(&vec[..], &std_vec[..]);
    assert!(map.len() == std_map.len() && std_map.iter().all(|(key, value)| map[key][..] == value[..]));
    assert!(tree.iter().eq(std_tree.iter()));
    let nodes = std::iter::successors(list.as_deref(), |node| node.next.as_deref());
    assert!(nodes.map(|node| node.value).eq(steps.iter().rev().map(|step| step.1)));
    // Node by node: a long list must not be dropped recursively.
    while let Some(mut node) = list {
        list = node.next.take();
    }
}

struct Node<A: Allocator> {
    value: u32,
    next: Option<Box<Node<A>, A>>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(50)))]

    #[test]
    fn collections_in_a_group_are_like_those_of_std(steps in prop::collection::vec((0..500u16, any::<u32>()), 0..1000)) {
        let group = MemGroup::with_base(4096).unwrap();
        compare(&group, &steps);
        compare(&group.local().unwrap(), &steps);
    }

    /// Blocks of one handle, allocated, resized and freed at random: contents are kept, and no byte has two owners.
    #[test]
    fn no_history_of_an_allocator_breaks_it(
        steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>(), 0..3000usize, 0..8u32), 1..200),
    ) {
        let group = MemGroup::new().unwrap();
        let local = group.local().unwrap();
        let mut blocks = Held { allocator: &local, blocks: std::vec::Vec::new(), next: 0 };
        for (what, which, size, shift) in steps {
            blocks.step(what, which, Layout::from_size_align(size, 1 << shift).unwrap());
        }
    }
}

/// Allocations, and the byte that fills each.
struct Held<A> {
    allocator: A,
    blocks: std::vec::Vec<(NonNull<u8>, Layout, u8)>,
    next: u8,
}

impl<A: Allocator> Held<A> {
    fn step(&mut self, what: u8, which: prop::sample::Index, layout: Layout) {
        if what == 0 || self.blocks.is_empty() {
            let zeroed = self.next.is_multiple_of(2);
            let made = if zeroed { self.allocator.allocate_zeroed(layout) } else { self.allocator.allocate(layout) };
            let block = made.unwrap().cast::<u8>();
            if zeroed {
                check(block, layout.size(), 0);
            }
            return self.fill(block, layout);
        }
        // Often the last one, which is where resizing in place and freeing happen.
        let len = self.blocks.len();
        let index = if which.index(3) == 0 { which.index(len) } else { len - 1 };
        let (block, old, byte) = self.blocks.swap_remove(index);
        check(block, old.size(), byte);
        if what == 1 {
            // SAFETY: the block is of that layout, and forgotten.
            return unsafe { self.allocator.deallocate(block, old) };
        }
        let (kept, is_zeroed) = (old.size().min(layout.size()), what == 2 && layout.size() > old.size());
        let resized = if layout.size() <= old.size() {
            // SAFETY: the block is of that layout, and the new one is not larger.
            unsafe { self.allocator.shrink(block, old, layout) }
        } else if is_zeroed {
            // SAFETY: the block is of that layout, and the new one is not smaller.
            unsafe { self.allocator.grow_zeroed(block, old, layout) }
        } else {
            // SAFETY: the same.
            unsafe { self.allocator.grow(block, old, layout) }
        };
        let resized = resized.unwrap().cast::<u8>();
        check(resized, kept, byte);
        if is_zeroed {
            // SAFETY: within the block.
            check(unsafe { resized.add(kept) }, layout.size() - kept, 0);
        }
        self.fill(resized, layout);
    }

    fn fill(&mut self, block: NonNull<u8>, layout: Layout) {
        assert!(block.addr().get().is_multiple_of(layout.align()));
        self.next = self.next.wrapping_add(1).max(1);
        // SAFETY: the block has so many bytes.
        unsafe { block.write_bytes(self.next, layout.size()) };
        self.blocks.push((block, layout, self.next));
    }
}

impl<A> Drop for Held<A> {
    fn drop(&mut self) {
        self.blocks.iter().for_each(|&(block, layout, byte)| check(block, layout.size(), byte));
    }
}

fn check(block: NonNull<u8>, size: usize, byte: u8) {
    // SAFETY: the block has so many bytes, all of them written to or zeroed.
    let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
    assert!(bytes.iter().all(|&found| found == byte), "a byte changed");
}

#[test]
fn a_vector_grows_and_shrinks_in_place() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    let mut vec = Vec::new_in(&local);
    vec.push(0u64);
    let home = vec.as_ptr();
    (1..2000).for_each(|number| vec.push(number));
    assert_eq!(vec.as_ptr(), home);
    vec.truncate(10);
    vec.shrink_to_fit();
    assert_eq!(vec.as_ptr(), home);
    let behind = Box::new_in(1u64, &local);
    assert_eq!(std::ptr::from_ref(&*behind), home.wrapping_add(10));
    drop(behind);
    // The last freed memory is reused.
    assert_eq!(std::ptr::from_ref(&*Box::new_in(2u64, &local)), home.wrapping_add(10));
    drop(vec);
    drop(local);
    assert_eq!(group.stats().allocated, 0);
}

#[test]
fn a_vector_never_grows_over_a_later_allocation() {
    let group = MemGroup::new().unwrap();
    let local = group.local().unwrap();
    let mut vec = Vec::new_in(&local);
    vec.extend([1u8; 100]);
    let mut behind = Vec::new_in(&local);
    behind.extend([2u8; 100]);
    vec.extend([1u8; 10_000]);
    behind.extend([2u8; 100_000]);
    assert!(vec.iter().all(|&byte| byte == 1) && behind.iter().all(|&byte| byte == 2));
}

#[test]
#[cfg_attr(heap, ignore = "asks the kernel")]
fn everything_lives_in_the_group() {
    // Alone, because warm memory of another test would keep its name.
    alone("collections::everything_lives_in_the_group", || {
        let group = memgroup::Options::new().name("collections-test").open().unwrap();
        let local = group.local().unwrap();
        let mut vec = Vec::new_in(&local);
        vec.push(1u8);
        let mut map = HashMap::new_in(&group);
        let value: &u8 = map.entry(1u8).or_insert(2);
        let boxed = Box::new_in(3u8, &local);
        for address in [vec.as_ptr(), std::ptr::from_ref(value), std::ptr::from_ref(&*boxed)] {
            assert!(lives_in("collections-test", address.addr()));
        }
    });
}

#[test]
fn threads_build_collections_in_one_group() {
    let group = MemGroup::new().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u32 {
            let group = &group;
            scope.spawn(move || {
                let steps: std::vec::Vec<_> =
                    (0..20_000u32).map(|step| ((step % 997) as u16, step * 31 + thread)).collect();
                compare(&group.local().unwrap(), &steps);
                compare(group, &steps[..2000]);
            });
        }
    });
}

#[test]
fn a_failed_allocation_leaves_the_vector_unchanged() {
    let group = memgroup::Options::new().limit(1 << 20).open().unwrap();
    let local = group.local().unwrap();
    let mut vec = Vec::new_in(&local);
    vec.extend(0..1000u32);
    vec.try_reserve(1 << 20).unwrap_err();
    assert!(vec.iter().copied().eq(0..1000));
    let wide = Layout::from_size_align(8192, 8192).unwrap();
    (&local).allocate(wide).unwrap_err();
    (&group).allocate(wide).unwrap_err();
}

#[test]
#[cfg_attr(heap, ignore = "forks")]
fn a_child_resizes_and_frees_what_it_inherited() {
    alone("collections::a_child_resizes_and_frees_what_it_inherited", || {
        let group = MemGroup::new().unwrap();
        let local: Local<'_> = group.local().unwrap();
        let vec_of = |len: u32| {
            let mut vec = Vec::new_in(&local);
            vec.extend(0..len);
            vec
        };
        let mut vec = vec_of(100);
        assert!(forked(|| {
            // The last allocation of the parent's chunk: the child must neither extend it nor free it there.
            let mut inherited = std::mem::replace(&mut vec, vec_of(0));
            let home = inherited.as_ptr();
            inherited.extend(100..5000);
            let grown = inherited.as_ptr() != home && inherited.iter().copied().eq(0..5000);
            drop(inherited);
            let theirs = vec_of(1000);
            grown && theirs.as_ptr() != home && theirs.iter().copied().eq(0..1000)
        }));
        let behind = Box::new_in(7u32, &local);
        assert!(vec.iter().copied().eq(0..100));
        let mut last = vec_of(10);
        assert!(forked(|| {
            let home = last.as_ptr();
            drop(std::mem::replace(&mut last, vec_of(0)));
            vec_of(10).as_ptr() != home
        }));
        last.extend(10..2000);
        assert!(*behind == 7 && last.iter().copied().eq(0..2000));
    });
}
