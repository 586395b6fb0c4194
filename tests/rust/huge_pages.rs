//! Large slots are committed in huge pages: how many, and what becomes of it where the kernel refuses.

use std::fs;

use memgroup::{Backing, HugePageObstacle, MemGroup, Options, set_warm_limit};
use proptest::prelude::*;

use crate::injector::{CALLS, failing, watched};
use crate::support::{alone, forked, is_filled};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const HUGE: usize = 2 * MIB;

/// The most that a group commits ahead in small pages.
const WINDOW: usize = 256 * KIB;

fn large_group(backing: Backing) -> MemGroup {
    Options::new().backing(backing).base(16 * HUGE).name("huge-pages").open().unwrap()
}

/// Whether the kernel gives huge pages of a memfd here, now; it may have none left.
fn are_to_be_had() -> bool {
    let group = large_group(Backing::Memfd);
    group.alloc(4 * HUGE).unwrap().fill(1);
    let found = group.stats().huge > 0;
    if !found {
        eprintln!("skipped: the kernel gives no huge pages");
    }
    found
}

/// Bytes in huge pages of the mapping that begins at an address, as the kernel says.
fn mapped_huge(start: usize) -> usize {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let first = format!("{start:x}-");
    let lines = smaps.lines().skip_while(|line| !line.starts_with(&first));
    let of_this = lines.skip(1).take_while(|line| !line.split(' ').next().unwrap().contains('-'));
    let fields = of_this.filter_map(|line| {
        let (name, kilobytes) = line.split_once(':')?;
        let is_huge = matches!(name, "ShmemPmdMapped" | "AnonHugePages");
        is_huge.then(|| kilobytes.trim().strip_suffix(" kB")?.parse::<usize>().ok()).flatten()
    });
    fields.sum::<usize>() * KIB
}

#[test]
fn both_mirrors_map_the_same_huge_pages() {
    alone("huge_pages::both_mirrors_map_the_same_huge_pages", || {
        let group = large_group(Backing::Memfd);
        let mut block = group.alloc(4 * HUGE).unwrap();
        block.fill(7);
        let huge = group.stats().huge;
        let writable = block.as_ptr().addr();
        let protected = group.protect(block).unwrap();
        assert!(is_filled(&protected, 7));
        // None where the kernel has none; all, unless making them turned out to be slow.
        assert!(huge <= group.stats().committed && huge.is_multiple_of(HUGE));
        assert_eq!(mapped_huge(writable), huge);
        // What was committed ahead was not looked at yet.
        assert_eq!(mapped_huge(protected.as_ptr().addr()), huge.min(4 * HUGE));
    });
}

#[test]
fn anonymous_groups_have_them_too_where_the_system_offers_them() {
    alone("huge_pages::anonymous_groups_have_them_too_where_the_system_offers_them", || {
        let group = large_group(Backing::Anonymous);
        let mut block = group.alloc(4 * HUGE).unwrap();
        block.fill(7);
        let (huge, committed) = (group.stats().huge, group.stats().committed);
        assert!(huge <= committed && huge.is_multiple_of(HUGE));
        // The kernel splits the mapping where the advice ends.
        assert!(mapped_huge(block.as_ptr().addr()) >= huge.min(4 * HUGE));
    });
}

#[test]
fn a_page_that_was_begun_with_small_ones_keeps_its_bytes_while_others_write_to_it() {
    alone("huge_pages::a_page_that_was_begun_with_small_ones_keeps_its_bytes_while_others_write_to_it", || {
        for backing in [Backing::Memfd, Backing::Anonymous] {
            for round in 0..8 {
                let group = Options::new().backing(backing.clone()).base(HUGE).huge_pages(true).open().unwrap();
                let mut small = group.alloc(MIB / 4).unwrap();
                let mut written = group.alloc(HUGE / 4).unwrap();
                small.fill(round);
                std::thread::scope(|scope| {
                    let writer = scope.spawn(|| {
                        for value in 0..200 {
                            written.fill(value);
                            assert!(is_filled(&written, value));
                        }
                    });
                    // The rest of the page, and the next one.
                    group.alloc(HUGE - MIB / 4 - HUGE / 4).unwrap().fill(77);
                    writer.join().unwrap();
                });
                assert!(is_filled(&small, round) && is_filled(&written, 199));
                if let Ok(protected) = group.protect(written) {
                    assert!(is_filled(&protected, 199));
                }
            }
        }
    });
}

#[test]
fn a_child_shares_them_and_makes_its_own() {
    alone("huge_pages::a_child_shares_them_and_makes_its_own", || {
        set_warm_limit(0);
        let group = large_group(Backing::Memfd);
        let mut block = group.alloc(2 * HUGE).unwrap();
        block.fill(1);
        let huge = group.stats().huge;
        let written = forked(|| {
            block[HUGE] = 2;
            let mut own = group.alloc(2 * HUGE).unwrap();
            own.fill(3);
            let is_whole = is_filled(&own, 3) && is_filled(&block[..HUGE], 1);
            is_whole && group.stats().huge >= huge
        });
        assert!(written && block[HUGE] == 2 && group.stats().huge == huge);
        let mut more = group.alloc(2 * HUGE).unwrap();
        more.fill(4);
        assert!(is_filled(&more, 4) && is_filled(&block[HUGE + 1..], 1));
    });
}

#[test]
fn a_base_of_two_mebibytes_begins_with_one() {
    alone("huge_pages::a_base_of_two_mebibytes_begins_with_one", || {
        let group = MemGroup::with_base(HUGE).unwrap();
        group.alloc(1).unwrap().fill(1);
        let (huge, committed) = (group.stats().huge, group.stats().committed);
        assert!((huge, committed) == (HUGE, HUGE) || huge == 0 && committed <= WINDOW, "{huge} of {committed}");
    });
}

#[test]
fn those_who_want_none_have_none() {
    alone("huge_pages::those_who_want_none_have_none", || {
        set_warm_limit(64 * MIB);
        large_group(Backing::Memfd).alloc(4 * HUGE).unwrap().fill(1);
        // Nor are those that another group has left taken for one that wants none.
        let group = Options::new().base(16 * HUGE).huge_pages(false).open().unwrap();
        let mut block = group.alloc(4 * HUGE).unwrap();
        block.fill(1);
        assert_eq!((group.stats().huge, mapped_huge(block.as_ptr().addr())), (0, 0));
        // Secrets have none in any case.
        let secret = Options::new().base(16 * HUGE).secret(true).open().unwrap();
        assert!(secret.alloc(1).is_err() || secret.stats().huge == 0);
        // It is only the next group that finds them again.
        let again = large_group(Backing::Memfd);
        again.alloc(1).unwrap();
        assert!(again.stats().huge <= again.stats().committed);
    });
}

#[test]
fn more_than_a_request_of_64_mebibytes_is_not_found_before_it_is_touched() {
    alone("huge_pages::more_than_a_request_of_64_mebibytes_is_not_found_before_it_is_touched", || {
        let group = MemGroup::new().unwrap();
        group.alloc(64 * MIB + 1).unwrap();
        assert_eq!(group.stats().huge, 0);
    });
}

#[test]
fn whatever_the_kernel_says_small_pages_do_and_nothing_is_tried_again_soon() {
    alone("huge_pages::whatever_the_kernel_says_small_pages_do_and_nothing_is_tried_again_soon", || {
        set_warm_limit(0);
        let Some(collapse) = CALLS.iter().position(|call| call.name == "collapse") else { unreachable!() };
        let work = || {
            let group = large_group(Backing::Memfd);
            let mut first = group.alloc(4 * HUGE).unwrap();
            first.fill(3);
            let mut second = group.alloc(4 * HUGE).unwrap();
            second.fill(4);
            let other = large_group(Backing::Memfd);
            other.alloc(4 * HUGE).unwrap().fill(5);
            let is_told = matches!(group.stats().huge_obstacle, Some(HugePageObstacle::Refused { .. }));
            is_told && is_filled(&first, 3) && is_filled(&second, 4) && group.stats().huge + other.stats().huge == 0
        };
        let injected = watched(|| {
            if !forked(|| large_group(Backing::Memfd).alloc(HUGE).is_ok() && are_to_be_had()) {
                return;
            }
            for &error in CALLS[collapse].errors {
                let (is_fine, is_reached) = failing(collapse, 1, error, || forked(work));
                assert!(is_fine && is_reached, "error {error}");
            }
            // The first time it is tried, and then not for a while.
            for is_first in [true, false] {
                assert_eq!(failing(collapse, 1, libc::EBUSY, work), (true, is_first));
            }
        });
        injected.unwrap_or_else(|error| eprintln!("skipped: calls cannot be made to fail here (seccomp): {error}"));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What huge pages are committed for in vain is an eighth at most of what the group holds.
    #[test]
    fn no_more_than_an_eighth_is_committed_for_their_sake(
        sizes in prop::collection::vec(prop_oneof![1..5000usize, 1..3 * MIB, 1..9 * MIB], 1..30),
    ) {
        let [with, without] = [true, false].map(|huge_pages| {
            let group = Options::new().huge_pages(huge_pages).open().unwrap();
            for &size in &sizes {
                group.alloc(size).unwrap();
            }
            group.stats()
        });
        prop_assert_eq!(with.allocated, without.allocated);
        // Of small pages, too, windows end elsewhere where the slot was committed in other steps.
        let windows = with.slots.len() * WINDOW;
        prop_assert!(with.committed <= without.committed + with.allocated / 8 + windows, "{with:?} {without:?}");
    }
}
