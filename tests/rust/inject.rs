//! Every system call of the crate fails once, with every possible error: the result is the right error, nothing is
//! lost, and the next request succeeds.

use std::collections::BTreeSet;
use std::fs;

use memgroup::{Backing, Error, MemGroup, Options, set_warm_limit, warm_memory};

use crate::injector::{BASE, CALLS, failing, watched};
use crate::support::{alone, forked};

const NAME: &str = "injected";
const MIB: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Memfd,
    Directory,
    Anonymous,
    Secret,
    SecretAnonymous,
}

impl Kind {
    fn open(self) -> Result<MemGroup, Error> {
        let backing = match self {
            Self::Memfd | Self::Secret => Backing::Memfd,
            Self::Directory => Backing::Directory(std::env::temp_dir()),
            Self::Anonymous | Self::SecretAnonymous => Backing::Anonymous,
        };
        let is_secret = matches!(self, Self::Secret | Self::SecretAnonymous);
        Options::new().base(BASE).name(NAME).backing(backing).secret(is_secret).open()
    }
}

/// Operations on some groups while a call fails.
struct Scenario {
    name: &'static str,
    groups: usize,
    act: fn(Kind, &mut Vec<MemGroup>) -> Result<(), Error>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "construct",
        groups: 0,
        act: |kind, groups| {
            // More than the pages of the free list.
            for _ in 0..10 {
                groups.push(kind.open()?);
            }
            Ok(())
        },
    },
    Scenario {
        name: "small",
        groups: 1,
        act: |_, groups| {
            for _ in 0..700 {
                groups[0].alloc(100)?.fill(1);
            }
            Ok(())
        },
    },
    Scenario { name: "large", groups: 1, act: |_, groups| groups[0].alloc(MIB).map(|mut block| block.fill(1)) },
    Scenario {
        name: "huge",
        groups: 1,
        act: |_, groups| {
            let mut block = groups[0].alloc(3 * MIB)?;
            block[3 * MIB - 1] = 1;
            Ok(())
        },
    },
    Scenario {
        name: "zeroed",
        groups: 1,
        act: |_, groups| {
            assert!(groups[0].alloc_zeroed(300_000)?.iter().all(|&byte| byte == 0));
            Ok(())
        },
    },
    Scenario {
        name: "alloc_many",
        groups: 1,
        act: |_, groups| {
            let sizes: Vec<usize> = (0..200).map(|number| number * 10).collect();
            groups[0].alloc_many(&sizes)?.fill_from(&vec![3; sizes.iter().sum()])?;
            groups[0].alloc_uniform(50, 5000)?.iter_mut().for_each(|block| block.fill(4));
            Ok(())
        },
    },
    Scenario {
        name: "protect",
        groups: 1,
        act: |_, groups| {
            let block = groups[0].copy(&[5; 5000])?;
            match groups[0].protect(block) {
                Ok(protected) => assert!(protected.iter().all(|&byte| byte == 5)),
                Err(error) => assert_eq!(error, Error::NoMirror),
            }
            Ok(())
        },
    },
    Scenario {
        name: "local",
        groups: 1,
        act: |_, groups| {
            let local = groups[0].local()?;
            for _ in 0..300 {
                local.alloc(1000)?.fill(6);
            }
            Ok(())
        },
    },
    Scenario {
        name: "reset",
        groups: 1,
        act: |_, groups| {
            groups[0].alloc(300_000)?.fill(7);
            groups[0].reset();
            groups[0].alloc(400_000)?.fill(8);
            groups[0].reset();
            Ok(())
        },
    },
    Scenario {
        name: "free",
        groups: 2,
        act: |_, groups| {
            groups[0].alloc(300_000)?.fill(9);
            groups[1].alloc(100)?.fill(9);
            groups.drain(..).for_each(MemGroup::free);
            Ok(())
        },
    },
    Scenario {
        name: "warm",
        groups: 1,
        act: |kind, groups| {
            set_warm_limit(64 * MIB);
            groups[0].alloc(300_000)?.fill(1);
            groups.clear();
            for _ in 0..2 {
                let next = kind.open()?;
                next.alloc(300_000)?.fill(2);
                next.alloc(MIB)?.fill(2);
            }
            set_warm_limit(MIB);
            set_warm_limit(0);
            assert_eq!(warm_memory().slots, 0);
            Ok(())
        },
    },
    Scenario {
        name: "fork",
        groups: 1,
        act: |kind, groups| {
            set_warm_limit(64 * MIB);
            groups[0].alloc(1000)?.fill(1);
            kind.open()?.alloc(300_000)?.fill(1);
            // The child's calls are watched, too.
            assert!(forked(|| {
                let first = groups[0].alloc(1000).map(|mut block| block.fill(2));
                let second = kind.open().and_then(|group| group.alloc(1000).map(|mut block| block.fill(3)));
                // One call fails at most.
                (is_usable(groups) || is_usable(groups)) && (first.is_ok() || second.is_ok())
            }));
            groups[0].alloc(1000)?.fill(4);
            groups[0].reset();
            groups[0].alloc(1000)?.fill(5);
            Ok(())
        },
    },
];

/// Whether groups serve requests, and keep the contents.
fn is_usable(groups: &[MemGroup]) -> bool {
    groups.iter().all(|group| {
        let Ok(kept) = group.copy(&[0xaa; 1000]) else { return false };
        let Ok(large) = group.copy(&[0xbb; 100_000]) else { return false };
        kept.iter().all(|&byte| byte == 0xaa) && large.iter().all(|&byte| byte == 0xbb)
    })
}

/// The resources of a process: descriptors, mappings of slots' files, and bytes of anonymous memory.
#[derive(Debug, PartialEq)]
struct Belongings {
    descriptors: usize,
    mirrors: usize,
    anonymous: usize,
}

impl Belongings {
    fn now() -> Self {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let (mut mirrors, mut anonymous) = (0, 0);
        for line in maps.lines() {
            // Addresses, access, offset, device, inode and perhaps a path.
            let mut words = line.split_whitespace();
            let (start, end) = words.next().and_then(|addresses| addresses.split_once('-')).unwrap();
            let [start, end] = [start, end].map(|address| usize::from_str_radix(address, 16).unwrap());
            mirrors += usize::from(line.ends_with("(deleted)"));
            // The allocator's arenas, which grow and shrink, begin at multiples of 64 MiB.
            let is_plain = words.next() == Some("rw-p") && words.nth(3).is_none();
            anonymous += if is_plain && !start.is_multiple_of(64 * MIB) { end - start } else { 0 };
        }
        Self { descriptors, mirrors, anonymous }
    }
}

/// The results for one kind of group.
#[derive(Default)]
struct Tally {
    failed: usize,
    errors: usize,
    calls: BTreeSet<&'static str>,
}

fn inject(kind: Kind, scenario: &Scenario, tally: &mut Tally) {
    let once = |fail: Option<(usize, usize, i32)>| {
        let mut groups: Vec<_> = (0..scenario.groups).map(|_| kind.open().unwrap()).collect();
        let (result, is_reached) = match fail {
            Some((call, n, error)) => failing(call, n, error, || (scenario.act)(kind, &mut groups)),
            None => ((scenario.act)(kind, &mut groups), false),
        };
        assert!(is_usable(&groups), "a group is useless");
        assert!(is_usable(&[kind.open().unwrap()]), "no group can be made");
        drop(groups);
        set_warm_limit(0);
        (result, is_reached)
    };
    // Fill the free list of pages, and read all values that are read once in a process's life.
    for _ in 0..2 {
        once(None).0.unwrap();
    }
    let mut before = Belongings::now();
    for (index, call) in CALLS.iter().enumerate() {
        // Where no files are made, only what the kernel says of itself is opened, and if it says nothing the reason is
        // all one.
        let is_all_one = call.name == "openat" && kind != Kind::Directory;
        for &error in call.errors.iter().take(if is_all_one { 2 } else { call.errors.len() }) {
            for n in 1.. {
                let at = format!("{} of a {kind:?} group, {} number {n}: error {error}", scenario.name, call.name);
                let (result, is_reached) = once(Some((index, n, error)));
                let after = Belongings::now();
                match result {
                    Ok(()) => {}
                    Err(Error::Os { code, .. }) => {
                        tally.errors += 1;
                        assert_eq!(code, error, "{at}");
                    }
                    Err(other) => unreachable!("{at}: {other}"),
                }
                assert_eq!(before.descriptors, after.descriptors, "{at}");
                // Memory that the kernel refuses to unmap stays, so that no other mapping gets its addresses: both
                // mirrors, of which perhaps a part is locked and shown on its own, and the guards.
                if call.name == "munmap" {
                    assert!(after.mirrors <= before.mirrors + 5, "{at}: {before:?} {after:?}");
                } else {
                    assert_eq!(before, after, "{at}");
                }
                before = after;
                if !is_reached {
                    break;
                }
                tally.failed += 1;
                tally.calls.insert(call.name);
                assert!(n < 2000, "{at}: there is no end to it");
            }
        }
    }
}

fn every_call_fails_once(test: &str, kind: Kind, expected: &[&str]) {
    alone(test, || {
        let tally = watched(|| {
            let mut tally = Tally::default();
            if matches!(kind, Kind::Secret | Kind::SecretAnonymous)
                && kind.open().unwrap().alloc(16 * MIB).is_err_and(|error| matches!(error, Error::Unlocked { .. }))
            {
                eprintln!("skipped: RLIMIT_MEMLOCK is too low");
                return None;
            }
            set_warm_limit(0);
            SCENARIOS.iter().for_each(|scenario| inject(kind, scenario, &mut tally));
            Some(tally)
        });
        let tally = match tally {
            Ok(Some(tally)) => tally,
            Ok(None) => return,
            Err(error) => return eprintln!("skipped: calls cannot be made to fail here (seccomp): {error}"),
        };
        println!("{kind:?}: {} failures, {} of which were errors", tally.failed, tally.errors);
        let missing: Vec<_> = expected.iter().filter(|call| !tally.calls.contains(*call)).collect();
        assert!(missing.is_empty(), "these never came: {missing:?} ({:?} did)", tally.calls);
        assert!(tally.errors > 50, "{}", tally.errors);
    });
}

#[test]
fn memfd_groups_survive_every_failure() {
    let expected = ["memfd_create", "ftruncate", "mmap", "munmap", "fcntl", "madvise", "prlimit", "openat"];
    every_call_fails_once("inject::memfd_groups_survive_every_failure", Kind::Memfd, &expected);
}

#[test]
fn groups_in_a_directory_survive_every_failure() {
    let expected = ["ftruncate", "mmap", "munmap", "madvise", "prlimit", "openat"];
    every_call_fails_once("inject::groups_in_a_directory_survive_every_failure", Kind::Directory, &expected);
}

#[test]
fn anonymous_groups_survive_every_failure() {
    let expected = ["mmap", "mprotect", "munmap", "madvise", "openat"];
    every_call_fails_once("inject::anonymous_groups_survive_every_failure", Kind::Anonymous, &expected);
}

#[test]
fn secret_groups_survive_every_failure() {
    let expected = ["memfd_create", "ftruncate", "mmap", "munmap", "fcntl", "madvise", "mlock", "openat"];
    every_call_fails_once("inject::secret_groups_survive_every_failure", Kind::Secret, &expected);
}

#[test]
fn anonymous_secret_groups_survive_every_failure() {
    let expected = ["mmap", "mprotect", "munmap", "madvise", "mlock", "openat"];
    every_call_fails_once("inject::anonymous_secret_groups_survive_every_failure", Kind::SecretAnonymous, &expected);
}
