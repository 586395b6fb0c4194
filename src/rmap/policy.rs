//! The designs that Linux has had, as one table of rules.

use std::fmt;
use std::str::FromStr;

/// A design of reverse mapping, named after what it does and the kernel that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Linux 2.4: no way back from a page; every VMA of every process is looked at.
    Scan24,
    /// Linux 2.6.0 to 2.6.33: one anon_vma for a whole family.
    Shared26,
    /// Linux 2.6.34-rc1 (5beb4930): chains, with the bug.
    AvcRc1,
    /// Linux 2.6.34 (ea90002b, 646d87b4): the bug fixed, and the gain given up.
    Avc34,
    /// Linux 2.6.36 (e8a03feb, 288468c3): the gain won back.
    Avc36,
    /// Linux 3.19 to 5.19: a fork takes over an anon_vma that seems abandoned, and is wrong at times.
    Degree319,
    /// Linux 6.0 to 6.19 (2555283e): a fork takes over an anon_vma that is abandoned.
    Modern,
    /// Linux 7.0 and later (bfc2b13b05a1): every copy turns the chain round, and another abandoned one is taken over.
    Linux70,
    /// Proposed in 2026 (LSF/MM/BPF), and in no kernel: one context for each process, and no chains.
    CowContext,
}

/// What a fork gives the child's VMA besides a copy of its parent's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Nothing: this design has no anon_vmas.
    None,
    /// Nothing: the one anon_vma of the family serves the child, too. There are no chain objects.
    Shared,
    /// An anon_vma of its own, unless it takes one over (see [`Reuse`]).
    Chains,
    /// A context: one for all VMAs of the process, a child of the parent process's.
    Contexts,
}

/// How a chain is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloneOrder {
    /// Every copy turns the chain round.
    Reverses,
    /// Newest first, as in the original.
    Keeps,
}

impl CloneOrder {
    /// The name, as in `"keeps"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reverses => "reverses",
            Self::Keeps => "keeps",
        }
    }
}

/// No order of cloning has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("clone_order must be \"keeps\" or \"reverses\", not {_0:?}")]
pub struct UnknownOrder(pub String);

impl FromStr for CloneOrder {
    type Err = UnknownOrder;

    fn from_str(name: &str) -> Result<Self, UnknownOrder> {
        let known = [Self::Keeps, Self::Reverses].into_iter().find(|order| order.name() == name);
        known.ok_or_else(|| UnknownOrder(name.into()))
    }
}

/// Which anon_vma of a VMA's chain a page's mapping is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// None: pages have no way back.
    None,
    /// The VMA's own anon_vma.
    Own,
    /// The last one of the chain, whatever the order says that is.
    Oldest,
    /// The root of the VMA's own anon_vma.
    Root,
}

/// When a fork takes over an anon_vma of the parent's chain instead of making one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reuse {
    /// Never.
    Never,
    /// The first from the oldest that is not the parent VMA's own and has fewer than two children and VMAs together.
    Degree,
    /// The last of the parent VMA's chain that has fewer than two children and no VMA of its own.
    LastAbandoned,
    /// The first of the parent VMA's chain that has fewer than two children and no VMA of its own.
    FirstAbandoned,
}

/// Whether a range with an anon_vma that is moved beside a VMA without one becomes part of it, if they are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfaulted {
    /// They stay two VMAs.
    Apart,
    /// They become one. If `mremap` has brought the range, the anon_vma is lost: **a bug**.
    Loses,
    /// They become one, with the chain of the range.
    Inherits,
}

/// What becomes of a range whose pages are moved, but which stays mapped (`MREMAP_DONTUNMAP`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    /// It keeps its chain.
    KeepsChain,
    /// It loses its chain, if it is a whole VMA.
    LosesChain,
    /// The same, and it does not become one with the range that the pages are moved to.
    StaysApart,
}

/// What holds an anon_vma's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// A list: a walk looks at every member.
    List,
    /// An interval tree: a walk looks at the members that can hold the page, by start, then by insertion.
    Tree,
}

/// The rules in which the designs differ. All else is common to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// What a fork gives the child's VMA.
    pub family: Family,
    /// How a chain is copied.
    pub clone_order: CloneOrder,
    /// Mapping of a new page: first write, or copy on write.
    pub new_page: Mapping,
    /// Mapping of a page that several share, set when it comes back from swap.
    pub swapped_in: Mapping,
    /// Whether a place in swap notes that one process alone had the page, which is then its own also when it reads the page.
    pub notes_owner: bool,
    /// Whether a mapping that is set stays when the page's map count goes from 0 to 1 again.
    pub set_once: bool,
    /// Whether a write to a page that no other process maps sets its mapping to the writer's own anon_vma.
    pub moves: bool,
    /// When a fork takes over an anon_vma.
    pub reuse: Reuse,
    /// Whether a fork allocates an anon_vma and its entry before it looks for one to take over, and frees them again.
    pub allocates_first: bool,
    /// What becomes of a range with an anon_vma beside a VMA without one.
    pub unfaulted: Unfaulted,
    /// What becomes of a range whose pages are moved, but which stays mapped.
    pub left: Left,
    /// What holds an anon_vma's members.
    pub walk: Order,
}

impl Policy {
    /// All of them, oldest first; the last is in no kernel.
    pub const ALL: [Self; 9] = [
        Self::Scan24,
        Self::Shared26,
        Self::AvcRc1,
        Self::Avc34,
        Self::Avc36,
        Self::Degree319,
        Self::Modern,
        Self::Linux70,
        Self::CowContext,
    ];

    /// The design of the newest kernel.
    pub const NEWEST: Self = Self::Linux70;

    /// The rules of the design, as the last kernel had them that had the design.
    pub fn rules(self) -> Rules {
        use CloneOrder::{Keeps, Reverses};
        use Family::{Chains, Contexts, Shared};
        use Left::{LosesChain, StaysApart};
        use Mapping::{None, Oldest, Own, Root};
        use Order::{List, Tree};
        use Reuse::{Degree, FirstAbandoned, LastAbandoned, Never};
        use Unfaulted::{Apart, Inherits};
        #[rustfmt::skip]
        let (family, clone_order, new_page, swapped_in, notes_owner, set_once, moves, reuse, allocates_first, unfaulted, left, walk) = match self {
            //                 family        clone     new page  swapped  owner  once   moves  reuse           before unfaulted left        walk
            Self::Scan24    => (Family::None, Keeps,    None,     None,    false, false, false, Never,          false, Apart,    LosesChain, List),
            Self::Shared26  => (Shared,       Keeps,    Own,      Own,     false, false, false, Never,          false, Apart,    LosesChain, List),
            Self::AvcRc1    => (Chains,       Reverses, Own,      Own,     false, false, true,  Never,          false, Apart,    LosesChain, List),
            Self::Avc34     => (Chains,       Keeps,    Oldest,   Oldest,  false, false, true,  Never,          false, Apart,    LosesChain, List),
            Self::Avc36     => (Chains,       Keeps,    Own,      Root,    false, true,  true,  Never,          false, Apart,    LosesChain, List),
            Self::Degree319 => (Chains,       Keeps,    Own,      Root,    true,  true,  true,  Degree,         false, Apart,    LosesChain, Tree),
            Self::Modern    => (Chains,       Keeps,    Own,      Root,    true,  true,  true,  LastAbandoned,  false, Inherits, LosesChain, Tree),
            Self::Linux70   => (Chains,       Reverses, Own,      Root,    true,  true,  true,  FirstAbandoned, true,  Inherits, StaysApart, Tree),
            Self::CowContext => (Contexts,     Keeps,    Own,      Root,    true,  true,  true,  Never,          false, Inherits, StaysApart, List),
        };
        Rules {
            family,
            clone_order,
            new_page,
            swapped_in,
            notes_owner,
            set_once,
            moves,
            reuse,
            allocates_first,
            unfaulted,
            left,
            walk,
        }
    }

    /// The name, as in `"modern"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scan24 => "scan24",
            Self::Shared26 => "shared26",
            Self::AvcRc1 => "avc_rc1",
            Self::Avc34 => "avc_34",
            Self::Avc36 => "avc_36",
            Self::Degree319 => "degree319",
            Self::Modern => "modern",
            Self::Linux70 => "linux70",
            Self::CowContext => "cow_context",
        }
    }

    /// The kernels that had it. Long-term series took the later ones, too: see [`Kernel`](super::Kernel).
    pub fn kernel(self) -> &'static str {
        match self {
            Self::Scan24 => "2.4",
            Self::Shared26 => "2.6.0 to 2.6.33",
            Self::AvcRc1 => "2.6.34-rc1",
            Self::Avc34 => "2.6.34",
            Self::Avc36 => "2.6.36",
            Self::Degree319 => "3.19 to 5.19",
            Self::Modern => "6.0 to 6.19",
            Self::Linux70 => "7.0 on",
            Self::CowContext => "none: proposed in 2026",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No policy has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy must be one of {}, not {_0:?}", Policy::ALL.map(|policy| format!("{:?}", policy.name())).join(", "))]
pub struct UnknownPolicy(pub String);

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| UnknownPolicy(name.into()))
    }
}
