//! What [`headroom`](crate::os::headroom) says where everything is granted.

use std::path::PathBuf;

#[derive(Debug)]
pub(crate) enum Shortage {
    Machine(usize),
    CommitLimit(usize),
    Cgroup(CgroupRoom),
}

#[derive(Debug)]
pub(crate) struct CgroupRoom {
    pub(crate) limit_file: PathBuf,
    pub(crate) limit: usize,
    pub(crate) usage: usize,
    pub(crate) available: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) may_swap: bool,
    pub(crate) is_accounted: bool,
}

#[derive(Debug)]
pub(crate) struct Grant;

impl Grant {
    pub(crate) const NOTHING: Self = Self;

    pub(crate) fn must_populate(&self) -> bool {
        false
    }

    pub(crate) fn has_spare(&self, _bytes: usize) -> bool {
        true
    }

    pub(crate) fn claim_extra(&mut self, _bytes: usize) -> bool {
        true
    }
}

pub(crate) fn claim(_bytes: usize, _terms: Terms) -> Result<Grant, Shortage> {
    Ok(Grant)
}

pub(crate) fn check(_bytes: usize, _terms: Terms) -> Result<(), Shortage> {
    Ok(())
}

pub(crate) fn most_memory() -> usize {
    1 << 30
}
