//! How much memory the machine and the cgroups of this process can still give, shared out among all groups of the
//! process.
//!
//! It is a snapshot: others commit at the same time, so it can be wrong the moment it is taken. Where the kernel does
//! not say, everything is granted.

use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cgroup::{CgroupRoom, Levels, Look};
use super::facts::meminfo_bytes;
use super::overcommit;
use crate::os::fork::{self, SharedPerProcess};
use crate::os::page_size;

/// After a question so many bytes may be committed without another one, ...
const UNCHECKED_BYTES: usize = 16 * 1024 * 1024;

/// ... or this share of what was left, if that is less: the rest of the program grows, too, ...
const CHECK_SHARE: usize = 8;

/// ... within so many milliseconds. A question costs some tens of microseconds.
const FRESH_FOR_MS: u64 = 10;

/// Whoever wants to know in advance whether more than this is to be had asks; less is claimed when it is needed.
const CHECK_ABOVE_BYTES: usize = 1024 * 1024;

/// What was left, and who has some of it. A forked child begins with a question.
#[derive(Debug, Default)]
struct Ledger {
    /// Being committed now: it may be in memory already or not.
    pending: AtomicUsize,
    /// What may be committed without a question.
    allowance: AtomicUsize,
    /// What was left beside when the last question was answered. No more than the allowance was taken from it since.
    slack: AtomicUsize,
    /// When it was granted, in milliseconds of a clock that only runs forward.
    granted: AtomicU64,
    /// Held for a question, so that of two who ask at once the second knows of the first.
    asking: Mutex<Levels>,
}

static ACCOUNT: SharedPerProcess<Ledger> = SharedPerProcess::new();

/// Who cannot give as much as was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The machine has only so many bytes.
    Machine(usize),
    /// A memory cgroup has only that room.
    Cgroup(CgroupRoom),
}

/// Bytes that are being committed. Nobody else is promised them while it lives; then they are in memory, or in the
/// ledger of promises, or were not to be had.
#[derive(Debug)]
pub(crate) struct Claim {
    account: Option<&'static Ledger>,
    bytes: usize,
}

impl Claim {
    /// A claim on nothing.
    pub(crate) const NOTHING: Self = Self { account: None, bytes: 0 };

    /// Whether about so many bytes more could have been had when this was granted.
    pub(crate) fn has_spare(&self, bytes: usize) -> bool {
        self.account.is_none_or(|account| account.slack.load(Ordering::Relaxed) >= bytes)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(account) = self.account {
            account.pending.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// Claims bytes that are about to be committed, or says who cannot give them. What may not be swapped out finds no room
/// in swap either, though others could go there.
pub(crate) fn claim(bytes: usize, may_swap: bool) -> Result<Claim, Shortage> {
    let Some(account) = ACCOUNT.get() else { return Ok(Claim::NOTHING) };
    if !account.spend(bytes) {
        return account.ask(bytes, may_swap, || account.claimed(bytes));
    }
    Ok(account.claimed(bytes))
}

/// Says whether so many bytes could be claimed now, or who could not give them. Few are not worth a question.
pub(crate) fn check(bytes: usize, may_swap: bool) -> Result<(), Shortage> {
    let account = if bytes < CHECK_ABOVE_BYTES { None } else { ACCOUNT.get() };
    account.map_or(Ok(()), |account| account.ask(bytes, may_swap, || ()))
}

/// The most memory that this process could ever have, in bytes; 0 where nobody knows.
pub(crate) fn most_memory() -> usize {
    let _no_fork = fork::hold_off(); // files are read
    let limit = ACCOUNT.get().and_then(|account| account.lock().limit());
    limit.unwrap_or(usize::MAX).min(super::machine_memory())
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Relaxed throughout: only the numbers matter, and those who ask hold the lock.

    fn claimed(&'static self, bytes: usize) -> Claim {
        self.pending.fetch_add(bytes, Ordering::Relaxed);
        Claim { account: Some(self), bytes }
    }

    /// Takes bytes off the allowance, if it is fresh and large enough.
    fn spend(&self, bytes: usize) -> bool {
        let is_fresh = milliseconds().saturating_sub(self.granted.load(Ordering::Relaxed)) < FRESH_FOR_MS;
        let take = |allowance: usize| allowance.checked_sub(bytes);
        is_fresh && self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Asks the machine and the cgroups whether they can give so many bytes beside those that are pending, and those
    /// that this process has promised and not yet touched. If so, does what is to be done before anybody else may ask.
    fn ask<R>(&self, bytes: usize, may_swap: bool, then: impl FnOnce() -> R) -> Result<R, Shortage> {
        // Files are read. Before the lock, which holders may wait for.
        let _no_fork = fork::hold_off();
        let mut levels = self.lock();
        let pending = self.pending.load(Ordering::Relaxed);
        let mut machine = MachineMemory::look(may_swap);
        let mut room = levels.tightest(Look::Briefly);
        // Were nothing of what was promised touched yet, and it all fit, there would be no need to find out.
        let mut others = pending.saturating_add(overcommit::total());
        if slack(&machine, room.as_ref(), others, bytes).is_none() {
            others = pending.saturating_add(overcommit::unfaulted_bytes());
            let wanted = others.saturating_add(bytes);
            if machine.available < wanted {
                machine.available = machine.available.saturating_add(on_cpu_lists());
            }
            if room.as_ref().is_some_and(|room| room.available < wanted) {
                room = levels.tightest(Look::Closely { swap_free: machine.swap_free });
            }
        }
        let Some(slack) = slack(&machine, room.as_ref(), others, bytes) else {
            return Err(match room {
                Some(room) if room.available <= machine.available => {
                    Shortage::Cgroup(CgroupRoom { available: room.available.saturating_sub(others), ..room })
                }
                _ => Shortage::Machine(machine.available.saturating_sub(others)),
            });
        };
        self.slack.store(slack, Ordering::Relaxed);
        self.allowance.store((slack / CHECK_SHARE).min(UNCHECKED_BYTES), Ordering::Relaxed);
        self.granted.store(milliseconds(), Ordering::Relaxed);
        Ok(then())
    }
}

/// What is left when others have theirs and `bytes` are given; `None` if they are not to be had.
fn slack(machine: &MachineMemory, room: Option<&CgroupRoom>, others: usize, bytes: usize) -> Option<usize> {
    let available = room.map_or(usize::MAX, |room| room.available).min(machine.available);
    available.checked_sub(others.checked_add(bytes)?)
}

/// A clock that only runs forward, and is read in a few nanoseconds.
fn milliseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call. Refused, it stays 0, and every commit is a question.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1000).wrapping_add(time.tv_nsec as u64 / 1_000_000)
}

/// What the kernel says of the machine.
#[derive(Debug)]
struct MachineMemory {
    /// Memory that the kernel calls available, and swap.
    available: usize,
    /// The swap in it.
    swap_free: usize,
}

impl MachineMemory {
    fn look(may_swap: bool) -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").ok();
        meminfo.and_then(|meminfo| parse(&meminfo, may_swap)).unwrap_or(Self { available: usize::MAX, swap_free: 0 })
    }
}

/// Pages that were freed a moment ago wait on lists of each CPU, hundreds of megabytes of them, and the kernel does not
/// call them available, though it takes them before it gives up. Without them, memory just given back would be refused.
fn on_cpu_lists() -> usize {
    fs::read_to_string("/proc/zoneinfo").map_or(0, |zones| count_listed(&zones).saturating_mul(page_size()))
}

fn count_listed(zones: &str) -> usize {
    let counts = zones.lines().filter_map(|line| line.trim().strip_prefix("count:"));
    counts.filter_map(|count| count.trim().parse::<usize>().ok()).sum()
}

fn parse(meminfo: &str, may_swap: bool) -> Option<MachineMemory> {
    let swap_free = if may_swap { meminfo_bytes(meminfo, "SwapFree").unwrap_or(0) } else { 0 };
    Some(MachineMemory { available: meminfo_bytes(meminfo, "MemAvailable")?.saturating_add(swap_free), swap_free })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{Backing, Mirrors};

    /// What this machine can give.
    fn available() -> usize {
        match check(usize::MAX / 2, true) {
            Err(Shortage::Machine(available) | Shortage::Cgroup(CgroupRoom { available, .. })) => available,
            Ok(()) => unreachable!("no machine has that much"),
        }
    }

    #[test]
    fn available_memory_and_free_swap_count() {
        let meminfo = "MemTotal:  9 kB\nMemFree:  1 kB\nMemAvailable:    2 kB\nSwapTotal: 9 kB\nSwapFree:  3 kB\n";
        let machine = parse(meminfo, true).unwrap();
        assert_eq!((machine.available, machine.swap_free), (5 * 1024, 3 * 1024));
        let machine = parse(meminfo, false).unwrap();
        assert_eq!((machine.available, machine.swap_free), (2 * 1024, 0));
        assert!(parse("MemTotal: 9 kB\n", true).is_none());
    }

    #[test]
    fn pages_on_the_lists_of_all_cpus_and_zones_count() {
        let zones = "Node 0, zone DMA\n  pages free 8\n  pagesets\n    cpu: 0\n              count:    3\n              high: 9\n    \
            cpu: 1\n              count: 4\nNode 0, zone Normal\n    cpu: 0\n              count: 100\n";
        assert_eq!(count_listed(zones), 107);
        assert_eq!(count_listed(""), 0);
    }

    // Both of these run at once, beside others that need a little.

    #[test]
    fn promises_count_until_they_are_touched_or_gone() {
        let machine = available();
        assert!(machine > 1 << 20);
        let quarter = (machine / 4) & !0xfff;
        let mirrors = Mirrors::open(&Backing::Memfd, "promised", quarter, false).unwrap();
        mirrors.commit(0, quarter, false).unwrap();
        assert!(overcommit::total() >= quarter && overcommit::unfaulted_bytes() >= quarter);
        assert!(check(machine / 8 * 7, true).is_err());
        assert!(available() < machine / 8 * 7);
        mirrors.commit(0, 64 << 20, true).unwrap(); // as a touch would
        assert!(overcommit::unfaulted_bytes() <= quarter - (64 << 20));
        drop(mirrors);
        check(machine / 8 * 5, true).unwrap();
    }

    #[test]
    fn what_is_being_committed_counts_until_it_is() {
        let machine = available();
        let claimed = claim(machine / 4, true).unwrap();
        assert!(claim(machine / 8 * 7, true).is_err());
        assert!(available() < machine / 8 * 7);
        drop(claimed);
        drop(claim(machine / 8 * 5, true).unwrap());
    }

    #[test]
    fn a_claim_knows_about_how_much_is_left() {
        let claimed = claim(4096, true).unwrap();
        assert!(claimed.has_spare(4096) && !claimed.has_spare(usize::MAX));
        assert!(Claim::NOTHING.has_spare(usize::MAX));
    }

    #[test]
    fn an_allowance_is_spent_once_and_gets_old() {
        let account = Ledger::default();
        assert!(!account.spend(1));
        account.ask(1, true, || ()).unwrap();
        let granted = account.allowance.load(Ordering::Relaxed);
        assert!((1..=UNCHECKED_BYTES).contains(&granted));
        account.granted.store(milliseconds() + 3_600_000, Ordering::Relaxed); // however slow this machine is
        assert!(account.spend(granted - 1) && account.spend(1) && !account.spend(1));
        account.allowance.store(granted, Ordering::Relaxed);
        account.granted.store(milliseconds() - FRESH_FOR_MS, Ordering::Relaxed);
        assert!(!account.spend(1));
    }

    #[test]
    fn the_least_of_machine_and_cgroup_decides() {
        let machine = MachineMemory { available: 100, swap_free: 0 };
        let room = |available| CgroupRoom { limit_file: "/".into(), limit: 0, usage: 0, available };
        assert_eq!(slack(&machine, None, 30, 20), Some(50));
        assert_eq!(slack(&machine, Some(&room(60)), 30, 20), Some(10));
        assert_eq!(slack(&machine, Some(&room(60)), 30, 31), None);
        assert_eq!(slack(&machine, Some(&room(1000)), 0, 101), None);
        assert_eq!(slack(&machine, None, usize::MAX, 1), None);
    }
}
