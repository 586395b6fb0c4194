//! Every interleaving of threads that open slots, commit them, and hand memory over from one group to the next.
//!
//! Loom runs each test once for each order in which the threads' steps can be seen. Slots lie on the heap (`os::heap`);
//! what an owner does to its bytes is a touch of their page's cell, which loom objects to unless it is known that the
//! last owner is done. So blocks are whole pages here, or have a page to themselves.

use loom::thread;

use crate::error::Error;
use crate::group::{MemGroup, Options};
use crate::os::fork;
use crate::slot::Taken;
use crate::slot::cache::{set_warm_limit, warm_memory};
use crate::sync::Arc;

const PAGE: usize = 4096;

/// Base of groups of which a slot has two commit windows.
const TWO_WINDOWS: usize = 8 * PAGE;

/// Tries all orders in which no thread is put aside more often than so: few bugs need more.
fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 10_000;
    builder.check(move || {
        // Not the environment's, which is read once.
        set_warm_limit(0);
        body();
    });
}

fn group_of(base: usize) -> MemGroup {
    Options::new().base(base).open().unwrap()
}

/// Takes a page and touches it: its address, or why there was none.
fn own_page(group: &MemGroup) -> Result<usize, Error> {
    let taken = group.alloc_raw(PAGE, PAGE)?;
    touch(&taken);
    Ok(taken.address.addr().get())
}

fn touch(taken: &Taken<'_>) {
    taken.slot.touch(taken.address);
}

/// Runs the same in two threads and in this one.
fn in_three_threads<T: Send + 'static>(group: &Arc<MemGroup>, work: fn(&MemGroup) -> T) -> Vec<T> {
    let others = [(); 2].map(|()| {
        let group = Arc::clone(group);
        thread::spawn(move || work(&group))
    });
    let mine = work(group);
    others.into_iter().map(|other| other.join().unwrap()).chain([mine]).collect()
}

/// Of what is committed nothing is counted twice or lost, and all is as it looks to others meanwhile.
fn check(group: &MemGroup) {
    let stats = group.stats();
    assert_eq!(stats.committed, stats.slots.iter().map(|slot| slot.committed).sum::<usize>());
    look(group);
}

/// No slot is there twice, and none hands out what is not there.
fn look(group: &MemGroup) {
    // First of all what no atomic guards.
    assert!(group.table().unwrap().iter().all(|slot| slot.mapped() == 2 * slot.capacity()));
    let stats = group.stats();
    assert!(stats.slots.is_sorted_by(|one, next| one.index < next.index));
    assert!(stats.slots.iter().all(|slot| slot.committed <= slot.capacity));
}

fn all_differ(mut addresses: Vec<usize>) {
    addresses.sort_unstable();
    assert!(addresses.windows(2).all(|pair| pair[0] < pair[1]), "two were given the same page");
}

#[test]
fn the_first_slot_is_opened_once() {
    model(3, || {
        let group = Arc::new(group_of(4 * PAGE));
        all_differ(in_three_threads(&group, |group| own_page(group).unwrap()));
        assert_eq!(group.stats().slots.len(), 1);
        check(&group);
    });
}

#[test]
fn who_looks_meanwhile_sees_whole_slots() {
    model(3, || {
        let group = Arc::new(group_of(PAGE));
        let theirs = Arc::clone(&group);
        let opener = thread::spawn(move || {
            own_page(&theirs).unwrap();
            own_page(&theirs).unwrap();
        });
        look(&group);
        opener.join().unwrap();
        assert_eq!(group.stats().slots.len(), 2);
    });
}

#[test]
fn a_window_is_committed_once() {
    model(3, || {
        let group = Arc::new(group_of(TWO_WINDOWS));
        let before = (0..3).map(|_| own_page(&group).unwrap());
        let mut pages: Vec<_> = before.collect();
        // One page is ready, and three threads need one.
        assert_eq!(group.stats().committed, 4 * PAGE);
        pages.extend(in_three_threads(&group, |group| own_page(group).unwrap()));
        all_differ(pages);
        assert_eq!(group.stats().committed, 8 * PAGE);
        check(&group);
    });
}

#[test]
fn a_full_slot_is_left_for_the_next_one_by_all() {
    model(2, || {
        let group = Arc::new(group_of(PAGE));
        let mut pages = vec![own_page(&group).unwrap()];
        // Two fit into slot 1; the third opens slot 2.
        pages.extend(in_three_threads(&group, |group| own_page(group).unwrap()));
        all_differ(pages);
        let stats = group.stats();
        assert_eq!(stats.slots.iter().map(|slot| slot.allocated / PAGE).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(group.current().unwrap().index().get(), 2);
        check(&group);
    });
}

#[test]
fn a_large_request_jumps_and_small_ones_stay() {
    model(2, || {
        let group = Arc::new(group_of(4 * PAGE));
        own_page(&group).unwrap();
        let theirs = Arc::clone(&group);
        let jumps = thread::spawn(move || {
            let taken = theirs.alloc_raw(4 * PAGE, PAGE).unwrap();
            touch(&taken);
            taken.slot.index().get()
        });
        all_differ((0..3).map(|_| own_page(&group).unwrap()).collect());
        assert_eq!(jumps.join().unwrap(), 1);
        assert_eq!(group.stats().slots.iter().map(|slot| slot.allocated / PAGE).collect::<Vec<_>>(), [4, 4]);
        check(&group);
    });
}

#[test]
fn a_limit_is_kept_and_used_up() {
    model(3, || {
        let group = Arc::new(Options::new().base(PAGE).limit(3 * PAGE).open().unwrap());
        own_page(&group).unwrap();
        let answers = in_three_threads(&group, own_page);
        let (pages, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        all_differ(pages.into_iter().map(Result::unwrap).collect());
        assert!(matches!(refused[..], [Err(Error::Limit { .. })]));
        assert_eq!(group.stats().committed, 3 * PAGE);
        check(&group);
    });
}

#[test]
fn the_last_of_two_holders_hands_the_memory_over_and_the_next_group_finds_all_done() {
    model(3, || {
        set_warm_limit(16 * PAGE);
        let mut group = group_of(PAGE);
        own_page(&group).unwrap();
        let slot = group.release().pop().unwrap();
        drop(group);
        let other = Arc::clone(&slot);
        let dropper = thread::spawn(move || {
            other.touch_first();
            drop(other);
        });
        // Another group may take the memory as soon as nobody holds it, and must not before.
        let next = thread::spawn(|| {
            let next = group_of(PAGE);
            own_page(&next).unwrap();
            check(&next);
        });
        drop(slot);
        dropper.join().unwrap();
        next.join().unwrap();
        let kept = warm_memory();
        assert!((1..=2).contains(&kept.slots) && kept.committed == kept.slots * PAGE, "{kept:?}");
    });
}

#[test]
fn two_groups_never_find_the_same_memory() {
    model(3, || {
        set_warm_limit(16 * PAGE);
        own_page(&group_of(PAGE)).unwrap();
        assert_eq!(warm_memory().slots, 1);
        let work = || {
            let group = group_of(PAGE);
            own_page(&group).unwrap();
            group
        };
        let other = thread::spawn(work);
        let mine = work();
        let other = other.join().unwrap();
        assert_eq!(warm_memory().slots, 0);
        all_differ([mine, other].iter().map(|group| group.current().unwrap().at_start()).collect());
    });
}

#[test]
fn a_lowered_bound_holds_whoever_adds_meanwhile() {
    model(3, || {
        set_warm_limit(16 * PAGE);
        let (first, second) = (group_of(PAGE), group_of(PAGE));
        own_page(&first).unwrap();
        own_page(&second).unwrap();
        let ends = [first, second].map(|group| thread::spawn(move || drop(group)));
        set_warm_limit(PAGE);
        for end in ends {
            end.join().unwrap();
        }
        let kept = warm_memory();
        assert!(kept.committed <= PAGE && kept.slots == kept.committed / PAGE, "{kept:?}");
    });
}

#[test]
fn what_was_given_back_dirty_is_cleared_for_the_next_owner() {
    model(3, || {
        let group = Arc::new(group_of(2 * PAGE));
        let first = group.alloc_raw(PAGE, PAGE).unwrap();
        touch(&first);
        // SAFETY: it was just taken.
        unsafe { first.address.write_bytes(0xff, PAGE) };
        let theirs = Arc::clone(&group);
        let zeroed = thread::spawn(move || {
            let block = theirs.alloc_zeroed(PAGE).unwrap();
            block.iter().all(|&byte| byte == 0)
        });
        let start = first.address.addr().get();
        // SAFETY: the page was taken, and from now on is nobody's.
        unsafe { first.slot.give_back(start, start + PAGE, true) };
        assert!(zeroed.join().unwrap());
    });
}

#[test]
fn threads_of_a_child_begin_one_table_with_slots_of_their_own() {
    model(3, || {
        let group = Arc::new(group_of(4 * PAGE));
        let inherited = own_page(&group).unwrap();
        fork::become_a_child();
        let mut pages = in_three_threads(&group, |group| own_page(group).unwrap());
        pages.push(inherited);
        all_differ(pages);
        // The parent's slot, in which nothing was taken since, behind the child's.
        let allocated: Vec<_> = group.stats().slots.iter().map(|slot| slot.allocated / PAGE).collect();
        assert_eq!(allocated, [3, 1]);
    });
}

#[test]
fn a_slot_that_ends_while_its_process_forks_is_hidden_from_the_child_or_not_kept() {
    model(3, || {
        set_warm_limit(16 * PAGE);
        let group = group_of(PAGE);
        own_page(&group).unwrap();
        let ends = thread::spawn(move || drop(group));
        fork::act_as_parent();
        ends.join().unwrap();
        if warm_memory().slots > 0 {
            let next = group_of(PAGE);
            own_page(&next).unwrap();
            assert_eq!(next.current().unwrap().times_hidden(), 1);
        }
    });
}
