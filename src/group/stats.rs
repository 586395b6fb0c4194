//! What a group holds, in figures.

use super::MemGroup;
use crate::os::{self, HugePageObstacle};
use crate::slot::SlotStats;

/// The figures of a group. All but `slots` are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The open slots, smallest first; in a forked child, behind them those inherited from its parent.
    pub slots: Vec<SlotStats>,
    /// Handed out, gaps for alignment included.
    pub allocated: usize,
    /// Accounted for as memory in use, which `limit` limits.
    pub committed: usize,
    /// Committed bytes that are in huge pages.
    pub huge: usize,
    /// Why no more of them are; `None` if nothing stood in the way but sizes.
    pub huge_obstacle: Option<HugePageObstacle>,
    /// Address space taken by the mirrors.
    pub mapped: usize,
    /// Of other owners, shown by the group; see [`borrow`](MemGroup::borrow). In no other figure.
    pub borrowed: usize,
}

impl MemGroup {
    /// The figures of the group.
    pub fn stats(&self) -> Stats {
        self.stats_with(None)
    }

    /// What the group holds together with another one of the same budget.
    pub(crate) fn stats_with(&self, other: Option<&Self>) -> Stats {
        let groups = [Some(self), other];
        // Nothing is opened or committed while slots are counted: else the sums would be of different moments.
        let _locks = groups.map(|group| Some(group?.tables.get()?.lock()));
        let slots: Vec<_> = groups.iter().flatten().flat_map(|group| group.slots()).map(|slot| slot.stats()).collect();
        Stats {
            allocated: slots.iter().map(|slot| slot.allocated).sum(),
            huge: slots.iter().map(|slot| slot.huge).sum(),
            huge_obstacle: self.huge_page_obstacle(),
            mapped: slots.iter().map(|slot| slot.mapped).sum(),
            committed: self.budget.committed(),
            borrowed: self.borrowed_slots().map(|slot| slot.capacity()).sum(),
            slots,
        }
    }

    fn huge_page_obstacle(&self) -> Option<HugePageObstacle> {
        match &self.budget {
            budget if budget.is_secret() => Some(HugePageObstacle::Secret),
            budget if !budget.wants_huge_pages() => Some(HugePageObstacle::TurnedOff),
            _ => os::huge_page_obstacle(&self.backing),
        }
    }
}

impl std::fmt::Debug for MemGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = self.stats();
        f.debug_struct("MemGroup")
            .field("name", &self.name)
            .field("backing", &self.backing)
            .field("base", &self.base())
            .field("secret", &self.is_secret())
            .field("slots", &stats.slots.len())
            .field("allocated", &stats.allocated)
            .field("committed", &stats.committed)
            .field("borrowed", &stats.borrowed)
            .finish_non_exhaustive()
    }
}
