//! What a group may commit, and what it has.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;
use crate::sys;

/// The machine is asked what it has left each time so many bytes were committed: that costs some ten microseconds, next
/// to nothing beside the pages themselves.
const BETWEEN_QUESTIONS: usize = 16 * 1024 * 1024;

/// The bytes a group and all its slots have committed, against the most they may. Shared by a group and its slots,
/// because a slot can outlive the group.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<usize>,
    /// Whether the bytes must fit into the machine's memory.
    in_memory: bool,
    committed: AtomicUsize,
    /// Committed since the machine was last asked.
    unasked: AtomicUsize,
}

impl Budget {
    /// A budget of at most `limit` bytes, which must fit into memory unless they are in files on a disk.
    pub(crate) fn new(limit: Option<usize>, in_memory: bool) -> Self {
        Self { limit, in_memory, committed: AtomicUsize::new(0), unasked: AtomicUsize::new(0) }
    }

    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit
    }

    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Ordering::Relaxed)
    }

    /// Accounts for `bytes` more, or says why that cannot be and accounts for nothing.
    ///
    /// `untouched` is asked how much of what is committed the machine has not had to give yet. Only one thread at a time
    /// takes: the one that holds the lock of the table.
    pub(crate) fn take(&self, bytes: usize, untouched: impl FnOnce() -> usize) -> Result<(), Error> {
        // Relaxed throughout: only the numbers matter; nothing else is published through them.
        let committed = self.committed();
        let limit = self.limit.unwrap_or(usize::MAX);
        if committed.checked_add(bytes).is_none_or(|sum| sum > limit) {
            return Err(Error::Limit { wanted: bytes, committed, limit });
        }
        let unasked = self.unasked.load(Ordering::Relaxed).saturating_add(bytes);
        if self.in_memory && unasked >= BETWEEN_QUESTIONS {
            self.ask(bytes, untouched)?;
            self.unasked.store(0, Ordering::Relaxed);
        } else {
            self.unasked.store(unasked, Ordering::Relaxed);
        }
        self.committed.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what [`take`](Self::take) accounted for.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.committed.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Compares what is wanted with what the machine has left, less what was promised before and will still be touched.
    fn ask(&self, wanted: usize, untouched: impl FnOnce() -> usize) -> Result<(), Error> {
        let Some(available) = sys::headroom() else { return Ok(()) };
        // Were none of it touched yet it would still fit: no need to find out.
        if wanted.saturating_add(self.committed()) <= available {
            return Ok(());
        }
        let available = available.saturating_sub(untouched());
        if wanted <= available { Ok(()) } else { Err(Error::Headroom { wanted, available }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_counts_every_byte() {
        let budget = Budget::new(Some(100), true);
        budget.take(60, || 0).unwrap();
        assert_eq!(budget.take(41, || 0), Err(Error::Limit { wanted: 41, committed: 60, limit: 100 }));
        budget.take(40, || 0).unwrap();
        budget.give_back(100);
        assert_eq!(budget.committed(), 0);
    }

    #[test]
    fn promises_count_until_they_are_touched() {
        let machine = sys::headroom().unwrap();
        let budget = Budget::new(None, true);
        budget.take(machine / 2, || 0).unwrap();
        assert!(matches!(budget.take(machine / 4 * 3, || machine / 2), Err(Error::Headroom { .. })));
        assert_eq!(budget.committed(), machine / 2);
        // Touched, the first half would be gone from what is available; here nothing was.
        budget.take(machine / 4 * 3, || 0).unwrap();
    }

    #[test]
    fn files_on_a_disk_may_exceed_memory() {
        Budget::new(None, false).take(usize::MAX / 2, || 0).unwrap();
    }
}
