//! VMAs: ranges of pages of one process, and what may be done with them.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::anon_vma::{AnonVma, Link};
use super::arena::Ix;
use super::page::Object;
use super::process::Process;

/// The permissions of a mapping: reading, writing, executing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prot(u8);

impl Prot {
    /// Nothing at all.
    pub const NONE: Self = Self(0);
    /// Reading.
    pub const READ: Self = Self(1);
    /// Reading and writing.
    pub const READ_WRITE: Self = Self(3);

    const LETTERS: [(char, u8); 3] = [('r', 1), ('w', 2), ('x', 4)];

    /// Whether any access is allowed. As on x86, memory that can be written or executed can be read.
    pub fn allows_reading(self) -> bool {
        self.0 != 0
    }

    /// Whether writing is allowed.
    pub fn allows_writing(self) -> bool {
        self.0 & 2 != 0
    }

    /// The letters of the permissions, as in `"rw"`; empty for none.
    pub fn letters(self) -> String {
        Self::LETTERS.iter().filter(|(_, bit)| self.0 & bit != 0).map(|(letter, _)| letter).collect()
    }
}

impl fmt::Display for Prot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Self::LETTERS.map(|(letter, bit)| if self.0 & bit != 0 { letter } else { '-' });
        shown.iter().try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// The letters name no protection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("prot must be made of the letters r, w and x, each at most once, or be empty, not {_0:?}")]
pub struct UnknownProt(pub String);

impl FromStr for Prot {
    type Err = UnknownProt;

    fn from_str(letters: &str) -> Result<Self, UnknownProt> {
        let mut prot = 0;
        for letter in letters.chars() {
            match Self::LETTERS.iter().find(|(known, _)| *known == letter) {
                Some((_, bit)) if prot & bit == 0 => prot |= bit,
                _ => return Err(UnknownProt(letters.into())),
            }
        }
        Ok(Self(prot))
    }
}

/// The advice about forks that `madvise` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// A child does not get the range.
    DontFork,
    /// Undoes [`DontFork`](Self::DontFork).
    DoFork,
    /// A child gets the range, empty.
    WipeOnFork,
    /// Undoes [`WipeOnFork`](Self::WipeOnFork).
    KeepOnFork,
}

impl Advice {
    const NAMES: [(&'static str, Self); 4] = [
        ("dontfork", Self::DontFork),
        ("dofork", Self::DoFork),
        ("wipeonfork", Self::WipeOnFork),
        ("keeponfork", Self::KeepOnFork),
    ];
}

/// There is no such advice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("advice must be \"dontfork\", \"dofork\", \"wipeonfork\" or \"keeponfork\", not {_0:?}")]
pub struct UnknownAdvice(pub String);

impl FromStr for Advice {
    type Err = UnknownAdvice;

    fn from_str(name: &str) -> Result<Self, UnknownAdvice> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, advice)| *advice).ok_or_else(|| UnknownAdvice(name.into()))
    }
}

/// What two VMAs must have in common to be one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::rmap) struct Traits {
    pub(in crate::rmap) prot: Prot,
    /// Counted as memory the machine may have to find (VM_ACCOUNT).
    pub(in crate::rmap) accounted: bool,
    pub(in crate::rmap) dont_fork: bool,
    pub(in crate::rmap) wipe_on_fork: bool,
    /// What a shared mapping shows; none for a private one.
    pub(in crate::rmap) object: Option<Ix<Object>>,
}

impl Traits {
    /// Of a new mapping.
    pub(in crate::rmap) fn new(prot: Prot, object: Option<Ix<Object>>) -> Self {
        let accounted = object.is_none() && prot.allows_writing();
        Self { prot, accounted, dont_fork: false, wipe_on_fork: false, object }
    }

    /// After `mprotect`. Accounting follows the right to write, but for what was written once, which stays accounted.
    pub(in crate::rmap) fn protected(self, prot: Prot, was_written: bool) -> Self {
        let accounted = match (self.object, prot.allows_writing()) {
            (Some(_), _) => self.accounted,
            (None, true) => true,
            (None, false) => self.accounted && was_written,
        };
        Self { prot, accounted, ..self }
    }

    /// After `madvise`.
    pub(in crate::rmap) fn advised(self, advice: Advice) -> Self {
        match advice {
            Advice::DontFork => Self { dont_fork: true, ..self },
            Advice::DoFork => Self { dont_fork: false, ..self },
            Advice::WipeOnFork => Self { wipe_on_fork: true, ..self },
            Advice::KeepOnFork => Self { wipe_on_fork: false, ..self },
        }
    }
}

/// A range of pages of one process that are alike.
pub(in crate::rmap) struct Vma {
    pub(in crate::rmap) process: Ix<Process>,
    /// Its page addresses.
    pub(in crate::rmap) start: u64,
    pub(in crate::rmap) end: u64,
    /// The index of its first page: its address, unless `mremap` has moved a VMA with pages.
    pub(in crate::rmap) index: u64,
    pub(in crate::rmap) traits: Traits,
    /// Its own anon_vma; none before the first write.
    pub(in crate::rmap) anon_vma: Option<Ix<AnonVma>>,
    /// Its chain, in the order of [`Link::older`].
    pub(in crate::rmap) newest: Option<Ix<Link>>,
    pub(in crate::rmap) oldest: Option<Ix<Link>>,
    /// How many entries the chain has.
    pub(in crate::rmap) links: u32,
}

impl Default for Vma {
    fn default() -> Self {
        Self {
            process: Ix::from_word(0),
            start: 0,
            end: 0,
            index: 0,
            traits: Traits::default(),
            anon_vma: None,
            newest: None,
            oldest: None,
            links: 0,
        }
    }
}

impl Vma {
    #[inline]
    pub(in crate::rmap) fn holds(&self, page: u64) -> bool {
        self.start <= page && page < self.end
    }

    /// The index of the page at an address of the VMA, or at its end.
    #[inline]
    pub(in crate::rmap) fn index_of(&self, page: u64) -> u64 {
        self.index + (page - self.start)
    }

    /// The address of the page with an index, if the VMA holds it.
    #[inline]
    pub(in crate::rmap) fn address_of(&self, index: u64) -> Option<u64> {
        let page = self.start + index.checked_sub(self.index)?;
        (page < self.end).then_some(page)
    }

    /// Whether another VMA begins where this one ends, with the index that follows.
    pub(in crate::rmap) fn continues_in(&self, next: &Self) -> bool {
        self.end == next.start && self.index_of(self.end) == next.index
    }

    pub(in crate::rmap) fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    #[inline]
    pub(in crate::rmap) fn is_shared(&self) -> bool {
        self.traits.object.is_some()
    }

    /// Whether the chain has exactly one entry: nothing of it came from a parent.
    pub(in crate::rmap) fn has_one_link(&self) -> bool {
        self.links == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protections_read_as_they_are_written() {
        for (letters, shown) in [("", "---"), ("r", "r--"), ("rw", "rw-"), ("rwx", "rwx"), ("xw", "-wx")] {
            let prot: Prot = letters.parse().unwrap();
            assert_eq!(prot.to_string(), shown);
            assert_eq!(prot.letters().parse(), Ok(prot));
        }
        for wrong in ["rr", "q", "r w", "R"] {
            assert_eq!(wrong.parse::<Prot>(), Err(UnknownProt(wrong.into())));
        }
    }

    #[test]
    fn accounting_is_dropped_only_by_what_was_never_written() {
        let new = Traits::new(Prot::READ_WRITE, None);
        assert!(new.accounted);
        assert!(!new.protected(Prot::READ, false).accounted);
        assert!(new.protected(Prot::READ, true).accounted);
        assert!(new.protected(Prot::READ, false).protected(Prot::READ_WRITE, false).accounted);
        assert!(!Traits::new(Prot::READ, None).accounted);
    }
}
