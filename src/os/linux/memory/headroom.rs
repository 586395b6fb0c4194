//! How much memory the machine and the cgroups of this process can still give, shared out among all groups of the
//! process.
//!
//! It is a snapshot: others commit at the same time, so it can be wrong the moment it is taken. Where the kernel does
//! not say, everything is granted.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cgroup::{CgroupRoom, Levels, Look};
use super::machine::{MachineMemory, is_strict};
use super::overcommit;
use super::text::Text;
use crate::os::fork::{self, SharedPerProcess};

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
    /// Whether the kernel promised no more than it has when the last question was answered.
    is_strict: AtomicBool,
    /// Held for a question, so that of two who ask at once the second knows of the first.
    asking: Mutex<Levels>,
}

static ACCOUNT: SharedPerProcess<Ledger> = SharedPerProcess::new();

/// Who cannot give as much as was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The machine has only so many bytes.
    Machine(usize),
    /// The kernel overcommits nothing, and promises only so many bytes.
    CommitLimit(usize),
    /// A memory cgroup has only that room.
    Cgroup(CgroupRoom),
}

/// What decides, beside the number of bytes, who can give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether they may be swapped out. What may not finds no room in swap either, though others could go there.
    pub(crate) may_swap: bool,
    /// Whether the kernel accounts for them when they are mapped, as for private memory. Pages of a memfd it accounts for
    /// when they are touched.
    pub(crate) is_accounted: bool,
}

/// Bytes that are being committed. Nobody else is promised them while it lives; then they are in memory, or in the
/// ledger of promises, or were not to be had.
#[derive(Debug)]
pub(crate) struct Grant {
    account: Option<&'static Ledger>,
    bytes: usize,
    /// Bytes beside, which are free again when it ends.
    extra: usize,
    terms: Terms,
}

impl Grant {
    /// A grant of nothing.
    pub(crate) const NOTHING: Self =
        Self { account: None, bytes: 0, extra: 0, terms: Terms { may_swap: true, is_accounted: true } };

    /// Whether the bytes must be in memory before anybody touches them: a touch that the kernel refuses is a SIGBUS.
    pub(crate) fn must_populate(&self) -> bool {
        let is_strict = || self.account.map_or_else(is_strict, |account| account.is_strict.load(Ordering::Relaxed));
        !self.terms.is_accounted && is_strict()
    }

    /// Whether about so many bytes more could have been had when this was granted.
    pub(crate) fn has_spare(&self, bytes: usize) -> bool {
        self.account.is_none_or(|account| account.slack.load(Ordering::Relaxed) >= bytes)
    }

    /// Claims so many bytes beside until this ends, for what is in memory twice meanwhile; whether they are to be had.
    pub(crate) fn claim_extra(&mut self, bytes: usize) -> bool {
        let is_had = self.account.is_none_or(|account| account.take(bytes, self.terms).is_ok());
        self.extra += if is_had { bytes } else { 0 };
        is_had
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(account) = self.account {
            account.pending.fetch_sub(self.bytes + self.extra, Ordering::Relaxed);
            account.allowance.fetch_add(self.extra, Ordering::Relaxed);
        }
    }
}

/// Claims bytes that are about to be committed, or says who cannot give them.
pub(crate) fn claim(bytes: usize, terms: Terms) -> Result<Grant, Shortage> {
    ACCOUNT.get().map_or(Ok(Grant { bytes, terms, ..Grant::NOTHING }), |account| account.claim(bytes, terms))
}

/// Says whether so many bytes could be claimed now, or who could not give them. Few are not worth a question.
pub(crate) fn check(bytes: usize, terms: Terms) -> Result<(), Shortage> {
    let account = if bytes < CHECK_ABOVE_BYTES { None } else { ACCOUNT.get() };
    account.map_or(Ok(()), |account| account.ask(bytes, terms, || ()))
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

    fn claim(&'static self, bytes: usize, terms: Terms) -> Result<Grant, Shortage> {
        self.take(bytes, terms)?;
        Ok(Grant { account: Some(self), bytes, extra: 0, terms })
    }

    /// Notes bytes as pending, off the allowance or after a question.
    fn take(&self, bytes: usize, terms: Terms) -> Result<(), Shortage> {
        let note = || {
            self.pending.fetch_add(bytes, Ordering::Relaxed);
        };
        if !self.spend(bytes) {
            return self.ask(bytes, terms, note);
        }
        note();
        Ok(())
    }

    /// Takes bytes off the allowance, if it is fresh and large enough.
    fn spend(&self, bytes: usize) -> bool {
        let is_fresh = milliseconds().saturating_sub(self.granted.load(Ordering::Relaxed)) < FRESH_FOR_MS;
        let take = |allowance: usize| allowance.checked_sub(bytes);
        is_fresh && self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Asks the machine and the cgroups whether they can give so many bytes beside those that are pending, and those
    /// that this process has promised and not yet touched. If so, does what is to be done before anybody else may ask.
    fn ask<R>(&self, bytes: usize, terms: Terms, then: impl FnOnce() -> R) -> Result<R, Shortage> {
        // Files are read. Before the lock, which holders may wait for.
        let _no_fork = fork::hold_off();
        let mut levels = self.lock();
        let pending = self.pending.load(Ordering::Relaxed);
        let is_strict = is_strict();
        self.is_strict.store(is_strict, Ordering::Relaxed);
        let mut machine = MachineMemory::look(terms.may_swap, is_strict && !terms.is_accounted);
        let mut room = levels.tightest(Look::Briefly);
        // Were nothing of what was promised touched yet, and it all fit, there would be no need to find out.
        let mut others = pending.saturating_add(overcommit::total());
        if slack(&machine, room.as_ref(), others, bytes).is_none() {
            others = pending.saturating_add(overcommit::unfaulted_bytes());
            let wanted = others.saturating_add(bytes);
            let text = Text::look();
            if machine.available() < wanted {
                machine.look_closely(text);
            }
            if room.as_ref().is_some_and(|room| room.available < wanted) {
                room = levels.tightest(Look::Closely { swap_free: machine.swap_free(), text });
            }
        }
        let Some(slack) = slack(&machine, room.as_ref(), others, bytes) else {
            return Err(shortage(&machine, room, others));
        };
        self.slack.store(slack, Ordering::Relaxed);
        self.allowance.store((slack / CHECK_SHARE).min(UNCHECKED_BYTES), Ordering::Relaxed);
        self.granted.store(milliseconds(), Ordering::Relaxed);
        Ok(then())
    }
}

/// What is left when others have theirs and `bytes` are given; `None` if they are not to be had.
fn slack(machine: &MachineMemory, room: Option<&CgroupRoom>, others: usize, bytes: usize) -> Option<usize> {
    let available = room.map_or(usize::MAX, |room| room.available).min(machine.available());
    available.checked_sub(others.checked_add(bytes)?)
}

/// Who has the least, and how much that is when others have theirs.
fn shortage(machine: &MachineMemory, room: Option<CgroupRoom>, others: usize) -> Shortage {
    let available = machine.available();
    match room {
        Some(room) if room.available <= available => {
            Shortage::Cgroup(CgroupRoom { available: room.available.saturating_sub(others), ..room })
        }
        _ if machine.is_at_commit_limit() => Shortage::CommitLimit(available.saturating_sub(others)),
        _ => Shortage::Machine(available.saturating_sub(others)),
    }
}

/// A clock that only runs forward, and is read in a few nanoseconds.
fn milliseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call. Refused, it stays 0, and every commit is a question.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1000).wrapping_add(time.tv_nsec as u64 / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{Backing, Mirrors};

    const TERMS: Terms = Terms { may_swap: true, is_accounted: false };

    /// What this machine can give.
    fn available() -> usize {
        match check(usize::MAX / 2, TERMS) {
            Err(
                Shortage::Machine(available)
                | Shortage::CommitLimit(available)
                | Shortage::Cgroup(CgroupRoom { available, .. }),
            ) => available,
            Ok(()) => unreachable!("no machine has that much"),
        }
    }

    #[test]
    fn promises_count_until_they_are_touched_or_gone() {
        let machine = available();
        assert!(machine > 1 << 20);
        let quarter = (machine / 4) & !0xfff;
        let mirrors = Mirrors::open(&Backing::Memfd, "promised", quarter, false).unwrap();
        mirrors.commit(0, quarter, false).unwrap();
        assert!(overcommit::total() >= quarter && overcommit::unfaulted_bytes() >= quarter);
        assert!(check(machine / 8 * 7, TERMS).is_err());
        assert!(available() < machine / 8 * 7);
        mirrors.commit(0, 64 << 20, true).unwrap(); // as a touch would
        assert!(overcommit::unfaulted_bytes() <= quarter - (64 << 20));
        drop(mirrors);
        check(machine / 8 * 5, TERMS).unwrap();
    }

    /// A ledger of its own, whatever other tests commit meanwhile.
    fn ledger() -> &'static Ledger {
        Box::leak(Box::default())
    }

    fn pending(ledger: &Ledger) -> usize {
        ledger.pending.load(Ordering::Relaxed)
    }

    #[test]
    fn what_is_being_committed_counts_until_it_is() {
        let account = ledger();
        let claimed = account.claim(1 << 20, TERMS).unwrap();
        assert_eq!(pending(account), 1 << 20);
        account.allowance.store(0, Ordering::Relaxed);
        account.pending.store(usize::MAX / 2, Ordering::Relaxed);
        assert!(account.claim(1, TERMS).is_err() && account.ask(1, TERMS, || ()).is_err());
        account.pending.store(1 << 20, Ordering::Relaxed);
        drop(account.claim(1, TERMS).unwrap());
        drop(claimed);
        assert_eq!(pending(account), 0);
    }

    #[test]
    fn what_is_in_memory_twice_counts_until_it_is_not() {
        let account = ledger();
        let mut grant = account.claim(4096, TERMS).unwrap();
        assert!(!grant.claim_extra(usize::MAX / 2));
        assert!(grant.claim_extra(8192) && grant.claim_extra(4096));
        assert_eq!(pending(account), 3 * 4096 + 4096);
        let granted = account.allowance.load(Ordering::Relaxed);
        drop(grant);
        assert_eq!((pending(account), account.allowance.load(Ordering::Relaxed)), (0, granted + 3 * 4096));
        assert!(Grant { account: None, ..Grant::NOTHING }.claim_extra(usize::MAX));
    }

    #[test]
    fn only_memory_that_is_accounted_for_when_touched_must_be_populated() {
        let account = ledger();
        let grant =
            |is_accounted| Grant { account: Some(account), bytes: 0, extra: 0, terms: Terms { is_accounted, ..TERMS } };
        assert!(!grant(false).must_populate());
        account.is_strict.store(true, Ordering::Relaxed);
        assert!(grant(false).must_populate() && !grant(true).must_populate());
        assert!(!Grant::NOTHING.must_populate());
    }

    #[test]
    fn an_allowance_is_spent_once_and_gets_old() {
        let account = Ledger::default();
        assert!(!account.spend(1));
        account.ask(1, TERMS, || ()).unwrap();
        let granted = account.allowance.load(Ordering::Relaxed);
        assert!((1..=UNCHECKED_BYTES).contains(&granted));
        account.granted.store(milliseconds() + 3_600_000, Ordering::Relaxed); // however slow this machine is
        assert!(account.spend(granted - 1) && account.spend(1) && !account.spend(1));
        account.allowance.store(granted, Ordering::Relaxed);
        account.granted.store(milliseconds() - FRESH_FOR_MS, Ordering::Relaxed);
        assert!(!account.spend(1));
    }

    #[test]
    fn the_least_of_machine_commit_limit_and_cgroup_decides() {
        let machine = MachineMemory::with(100, None);
        let room = |available| CgroupRoom { limit_file: "/".into(), limit: 0, usage: 0, available };
        assert_eq!(slack(&machine, None, 30, 20), Some(50));
        assert_eq!(slack(&machine, Some(&room(60)), 30, 20), Some(10));
        assert_eq!(slack(&machine, Some(&room(60)), 30, 31), None);
        assert_eq!(slack(&machine, Some(&room(1000)), 0, 101), None);
        assert_eq!(slack(&machine, None, usize::MAX, 1), None);
        assert_eq!(shortage(&machine, Some(room(1000)), 30), Shortage::Machine(70));
        assert_eq!(shortage(&machine, Some(room(60)), 30), Shortage::Cgroup(room(30)));
        let strict = MachineMemory::with(100, Some(80));
        assert_eq!(slack(&strict, None, 30, 20), Some(30));
        assert_eq!(shortage(&strict, None, 30), Shortage::CommitLimit(50));
        assert_eq!(shortage(&MachineMemory::with(100, Some(200)), None, 30), Shortage::Machine(70));
    }
}
