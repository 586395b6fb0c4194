//! What a group may commit, and what it has.

use crate::error::Error;
use crate::os::headroom::{self, Grant, Terms};
use crate::sync::{AtomicUsize, Ordering};

/// The bytes a group and all its slots have committed, against the most they may. Shared by a group and its slots,
/// because a slot can outlive the group.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<usize>,
    /// Whether they may never leave memory, nor be found there by whoever has it next.
    is_secret: bool,
    /// Whether they may be in huge pages.
    wants_huge_pages: bool,
    /// Whether the kernel accounts for them as they are mapped: they are private.
    is_accounted: bool,
    committed: AtomicUsize,
}

impl Budget {
    /// A budget of at most `limit` bytes.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { limit, is_secret: false, wants_huge_pages: true, is_accounted: false, committed: AtomicUsize::new(0) }
    }

    /// The same for secrets or, as it was, for what is none.
    pub(crate) fn secret(self, is_secret: bool) -> Self {
        Self { is_secret, ..self }
    }

    /// The same in huge pages where they are to be had, as it was, or in small ones only.
    pub(crate) fn huge_pages(self, wants_huge_pages: bool) -> Self {
        Self { wants_huge_pages, ..self }
    }

    /// The same for memory that the kernel accounts for as it is mapped or, as it was, as it is touched.
    pub(crate) fn accounted(self, is_accounted: bool) -> Self {
        Self { is_accounted, ..self }
    }

    fn terms(&self) -> Terms {
        Terms { may_swap: !self.is_secret, is_accounted: self.is_accounted }
    }

    pub(crate) fn wants_huge_pages(&self) -> bool {
        self.wants_huge_pages
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.is_secret
    }

    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit
    }

    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Ordering::Relaxed)
    }

    /// Bytes that may be committed before the limit is reached.
    pub(crate) fn remaining(&self) -> usize {
        self.limit.unwrap_or(usize::MAX).saturating_sub(self.committed())
    }

    /// Accounts for `bytes` more, or says why that cannot be and accounts for nothing. The machine is asked for `cold`
    /// of them only: the others it has given already, or they are in files on a disk. They are claimed until they are
    /// committed.
    ///
    /// Only one thread at a time takes: the one that holds the lock of the table.
    pub(crate) fn take(&self, bytes: usize, cold: usize) -> Result<Grant, Error> {
        // Relaxed throughout: only the numbers matter; nothing else is published through them.
        let committed = self.committed();
        let limit = self.limit.unwrap_or(usize::MAX);
        if committed.checked_add(bytes).is_none_or(|sum| sum > limit) {
            return Err(Error::Limit { wanted: bytes, committed, limit });
        }
        let grant = match cold > 0 {
            true => headroom::claim(cold, self.terms()).map_err(|shortage| shortage.refusing(cold))?,
            false => Grant::NOTHING,
        };
        self.committed.fetch_add(bytes, Ordering::Relaxed);
        Ok(grant)
    }

    /// Says whether `bytes` more could be accounted for now, in however many steps, or why not; as for
    /// [`take`](Self::take) the machine is asked for `cold` of them.
    pub(crate) fn check(&self, bytes: usize, cold: usize) -> Result<(), Error> {
        let committed = self.committed();
        let limit = self.limit.unwrap_or(usize::MAX);
        if committed.checked_add(bytes).is_none_or(|sum| sum > limit) {
            return Err(Error::Limit { wanted: bytes, committed, limit });
        }
        match cold > 0 {
            true => headroom::check(cold, self.terms()).map_err(|shortage| shortage.refusing(cold)),
            false => Ok(()),
        }
    }

    /// Gives back what [`take`](Self::take) accounted for.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.committed.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_short(taken: Result<(), Error>) -> bool {
        matches!(taken, Err(Error::Headroom { .. } | Error::CommitLimit { .. } | Error::Cgroup { .. }))
    }

    #[test]
    fn a_limit_counts_every_byte() {
        let budget = Budget::new(Some(100));
        budget.take(60, 60).unwrap();
        assert_eq!(budget.take(41, 0).map(drop), Err(Error::Limit { wanted: 41, committed: 60, limit: 100 }));
        budget.take(40, 0).unwrap();
        budget.give_back(100);
        assert_eq!(budget.committed(), 0);
    }

    #[test]
    #[cfg_attr(heap, ignore = "asks the machine")]
    fn more_than_the_machine_has_is_refused_and_not_counted() {
        let budget = Budget::new(None);
        assert!(is_short(budget.take(1 << 60, 1 << 60).map(drop)));
        assert_eq!(budget.committed(), 0);
        budget.take(4096, 4096).unwrap();
    }

    #[test]
    fn what_the_machine_has_given_already_is_not_asked_for_again() {
        let budget = Budget::new(None);
        budget.take(1 << 60, 4096).unwrap();
        assert_eq!(budget.committed(), 1 << 60);
    }

    #[test]
    #[cfg_attr(heap, ignore = "asks the machine")]
    fn a_check_says_what_take_would_and_counts_nothing() {
        let budget = Budget::new(Some(100));
        budget.take(60, 60).unwrap();
        assert_eq!(budget.check(40, 1 << 10), Ok(()));
        assert_eq!(budget.check(41, 0), Err(Error::Limit { wanted: 41, committed: 60, limit: 100 }));
        assert!(is_short(Budget::new(None).check(1 << 60, 1 << 60)));
        assert_eq!(Budget::new(None).check(1 << 60, 4096), Ok(()));
        assert_eq!(Budget::new(None).check(1 << 60, 0), Ok(()));
        assert_eq!(budget.committed(), 60);
    }

    #[test]
    fn files_on_a_disk_may_exceed_memory() {
        Budget::new(None).take(usize::MAX / 2, 0).unwrap();
    }
}
