//! How far a slot is committed: what is accounted for, and in which pages the kernel finds it.

use std::iter::Sum;

use super::Slot;
use super::cache::Memory;
use crate::error::Error;
use crate::layout::{self, HugePages};
use crate::os::Mirrors;
use crate::os::headroom::Grant;
use crate::sync::Ordering;

/// What slots use, and what they committed for the sake of huge pages alone and do not use, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) used: usize,
    pub(crate) wasted: usize,
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self { used: sum.used + one.used, wasted: sum.wasted + one.wasted })
    }
}

impl Slot {
    /// How far to commit so that all below offset `end` is ready; `None` if it is. `elsewhere` says what the group's other
    /// slots use and waste.
    pub(crate) fn window(&self, end: usize, elsewhere: impl FnOnce() -> Usage) -> Option<layout::Commit> {
        let (ready, memory) = (self.cursor.ready(), self.own()?);
        if end <= ready {
            return None;
        }
        let small = layout::commit(ready, end, self.capacity, memory.mirrors.granule());
        Some(memory.mirrors.huge_page().map_or(small, |size| {
            let base = self.capacity >> self.index.get();
            let Usage { used, wasted } = elsewhere();
            let pages = HugePages::new(size, base, used + end, wasted).within(self.budget.remaining());
            pages.widen(small, ready, self.capacity)
        }))
    }

    /// What of it is used, and what was committed for the sake of huge pages alone and is not.
    pub(crate) fn usage(&self) -> Usage {
        let used = self.cursor.used();
        Usage { used, wasted: self.cursor.ready().saturating_sub(used.max(self.planned.load(Ordering::Relaxed))) }
    }

    /// Commits up to offset `to`, beyond what is ready, in huge pages where they are to be had and that are no more than
    /// `most_huge` bytes. Only the thread that holds the lock of the slot's table may.
    pub(crate) fn commit_to(&self, to: usize, most_huge: usize) -> Result<(), Error> {
        // What is borrowed is there.
        let Some(memory) = self.own() else { return Ok(()) };
        let (more, from) = self.cold_part(memory, to);
        let cold = if memory.mirrors.are_in_files() { 0 } else { to - from };
        let mut grant = self.budget.take(more, cold)?;
        let as_huge = cold <= most_huge && may_be_huge(&memory.mirrors, &mut grant, from, to);
        self.populate(&memory.mirrors, from, to, as_huge, &grant).inspect_err(|_| self.budget.give_back(more))?;
        self.extend(to, to);
        Ok(())
    }

    /// The same for the sake of huge pages alone: whether they may be had. If not, nothing is committed. Without them the slot
    /// would be committed up to `planned`.
    pub(crate) fn commit_huge(&self, to: usize, planned: usize, most_huge: usize) -> bool {
        let Some(memory) = self.own() else { return false };
        let (more, from) = self.cold_part(memory, to);
        let cold = to - from;
        let Ok(mut grant) = self.budget.take(more, cold) else { return false };
        let may_be_huge = cold <= most_huge && may_be_huge(&memory.mirrors, &mut grant, from, to);
        let done = may_be_huge && self.populate(&memory.mirrors, from, to, true, &grant).is_ok();
        match done {
            true => self.extend(to, planned),
            false => self.budget.give_back(more),
        }
        done
    }

    /// Has what is committed from now on consist of small pages alone; whether it would have been huge ones.
    pub(crate) fn use_small_pages(&self) -> bool {
        self.own().is_some_and(|memory| memory.mirrors.use_small_pages_from(self.cursor.ready()))
    }

    fn extend(&self, to: usize, planned: usize) {
        // Relaxed: only those who hold the lock of the slot's table look at it.
        self.planned.store(planned, Ordering::Relaxed);
        self.cursor.extend(to);
    }

    /// How many bytes the group has to answer for, if the slot is committed that far, and where those begin for which the
    /// machine is asked: they lie beyond the resident part.
    fn cold_part(&self, memory: &Memory, to: usize) -> (usize, usize) {
        let ready = self.cursor.ready();
        (to - ready, ready.max(memory.resident).min(to))
    }

    fn populate(&self, mirrors: &Mirrors, from: usize, to: usize, as_huge: bool, grant: &Grant) -> Result<(), Error> {
        let cold = to - from;
        if cold == 0 {
            return Ok(());
        }
        if self.budget.is_secret() {
            return mirrors.commit_locked(from, to).map_err(|unlocked| {
                unlocked.error(cold, || format!("locking {cold} bytes of slot {} in memory", self.index.get()))
            });
        }
        let ahead = cold <= layout::MAX_WINDOW.max(mirrors.granule()) || grant.must_populate();
        let committed = match as_huge {
            true => mirrors.commit_huge(from, to, ahead),
            false => mirrors.commit(from, to, ahead),
        };
        committed.map_err(|refusal| {
            // Some of it may be there now, and nobody knows how much.
            self.is_uncacheable.store(true, Ordering::Relaxed);
            refusal.during(format!("committing {cold} bytes of slot {}", self.index.get()))
        })
    }
}

/// Whether huge pages are to be made of what is committed from one offset to another: one fits, what the kernel holds twice
/// meanwhile is to be had, and it is not near its limits, for refusing takes it long.
fn may_be_huge(mirrors: &Mirrors, grant: &mut Grant, from: usize, to: usize) -> bool {
    // The rest of the program grows while a window of huge pages is used up, and nobody asks: by six times as much, if the
    // objects are tiny and each has one of Python's.
    const SPARE_HUGE_PAGES: usize = 8;
    mirrors.huge_page().is_some_and(|size| {
        let len = to.saturating_sub(layout::first_huge_page(from, size)) / size * size;
        let has_room = len > 0
            && grant.has_spare(size.saturating_mul(SPARE_HUGE_PAGES))
            && grant.claim_extra(len.min(size.saturating_mul(layout::MAX_COLLAPSED_AT_ONCE)));
        if len > 0 && !has_room {
            mirrors.skip_huge_pages();
        }
        has_room
    })
}
