//! anon_vmas and the chains that tie VMAs to them: preparing, cloning, unlinking.

use super::arena::{Id, Ix};
use super::context;
use super::machine::Machine;
use super::vma::Vma;
use crate::rmap::Error;
use crate::rmap::policy::{CloneOrder, Family, Mapping, Order, Reuse};
use crate::rmap::room::{make_room, put};

/// What a page's mapping points to: the VMAs that the page can be mapped in.
pub(in crate::rmap) struct AnonVma {
    pub(in crate::rmap) root: Ix<AnonVma>,
    /// Itself, for a root.
    pub(in crate::rmap) parent: Id<AnonVma>,
    /// One while it has members, and for a root one for each of its descendants; for a context one for each child.
    pub(in crate::rmap) references: u32,
    /// anon_vmas with this parent; a root is its own child.
    pub(in crate::rmap) children: u32,
    /// VMAs that have this one as their own.
    pub(in crate::rmap) active: u32,
    pub(in crate::rmap) members: u32,
    /// The members: one list, or for an interval tree a list for each index of a first page, by that.
    pub(in crate::rmap) lists: Vec<List>,
    /// Where it is in the tree of contexts.
    pub(in crate::rmap) family: context::Family,
}

impl Default for AnonVma {
    fn default() -> Self {
        let none = Ix::from_word(0);
        let parent = Id::from_number(0);
        let family = context::Family::default();
        Self { root: none, parent, references: 0, children: 0, active: 0, members: 0, lists: Vec::new(), family }
    }
}

/// The most VMAs that become members of an anon_vma by one change of ranges: three at each of two ranges, and one that
/// moves.
const MOST_NEW_MEMBERS: usize = 7;

/// Members in the order of insertion.
#[derive(Clone, Copy)]
pub(in crate::rmap) struct List {
    pub(in crate::rmap) index: u64,
    pub(in crate::rmap) first: Ix<Link>,
    pub(in crate::rmap) last: Ix<Link>,
}

/// One entry of a chain (anon_vma_chain): that a VMA is a member of an anon_vma.
pub(in crate::rmap) struct Link {
    pub(in crate::rmap) vma: Ix<Vma>,
    pub(in crate::rmap) anon_vma: Ix<AnonVma>,
    /// The next entry of the VMA's chain.
    pub(in crate::rmap) older: Option<Ix<Link>>,
    /// Neighbours in the anon_vma's list.
    pub(in crate::rmap) before: Option<Ix<Link>>,
    pub(in crate::rmap) after: Option<Ix<Link>>,
}

impl Default for Link {
    fn default() -> Self {
        Self { vma: Ix::from_word(0), anon_vma: Ix::from_word(0), older: None, before: None, after: None }
    }
}

/// The ends of a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Newest,
    Oldest,
}

impl Machine {
    /// Makes sure that a private VMA has an anon_vma, before its first page. Not for designs without.
    pub(in crate::rmap) fn prepare(&mut self, vma: Ix<Vma>) {
        if self.vmas[vma].anon_vma.is_some() || self.rules.family == Family::None {
            return;
        }
        let anon_vma = match self.rules.family {
            Family::Contexts => self.context_for(vma, None),
            _ => self.neighbours_anon_vma(vma).unwrap_or_else(|| self.new_anon_vma(None)),
        };
        self.join(vma, anon_vma);
    }

    /// Room for what [`prepare`](Self::prepare) makes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::NoMemory`].
    pub(in crate::rmap) fn make_room_to_prepare(&mut self, vma: Ix<Vma>) -> Result<(), Error> {
        if self.vmas[vma].anon_vma.is_some() || self.rules.family == Family::None {
            return Ok(());
        }
        self.links.make_room(1, "chains")?;
        match self.anon_vma_at_hand(vma) {
            Some(anon_vma) => make_room(&mut self.anon_vmas[anon_vma].lists, 1),
            None => self.make_room_for_anon_vmas(1),
        }
    }

    /// Room for new anon_vmas, each with members at one place.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::NoMemory`].
    pub(in crate::rmap) fn make_room_for_anon_vmas(&mut self, more: usize) -> Result<(), Error> {
        self.anon_vmas.make_room_with(more, "anon_vmas", |anon_vma| make_room(&mut anon_vma.lists, 1))
    }

    /// Room for so many more places of members in every anon_vma of a chain.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(in crate::rmap) fn make_room_in_chain(&mut self, vma: Ix<Vma>, places: usize) -> Result<(), Error> {
        if self.rules.walk == Order::List {
            return Ok(()); // all members are at one
        }
        let mut next = self.vmas[vma].newest;
        while let Some(link) = next {
            let Link { anon_vma, older, .. } = self.links[link];
            let anon_vma = &mut self.anon_vmas[anon_vma];
            make_room(&mut anon_vma.lists, places.min(anon_vma.members as usize + MOST_NEW_MEMBERS))?;
            next = older;
        }
        Ok(())
    }

    /// The anon_vma that a VMA gets instead of a new one: its process's context, or a neighbour's.
    fn anon_vma_at_hand(&self, vma: Ix<Vma>) -> Option<Ix<AnonVma>> {
        match self.rules.family {
            Family::Contexts => self.context(self.vmas[vma].process),
            _ => self.neighbours_anon_vma(vma),
        }
    }

    /// The anon_vma of a neighbour (next, then previous) that could be one VMA with this one but for its protection.
    fn neighbours_anon_vma(&self, vma: Ix<Vma>) -> Option<Ix<AnonVma>> {
        let this = &self.vmas[vma];
        let process = &self.processes[this.process];
        let position = process.position(&self.vmas, this.start);
        let next = process.vmas.get(position + 1).filter(|&&next| this.continues_in(&self.vmas[next]));
        let previous = position.checked_sub(1).map(|position| &process.vmas[position]);
        let previous = previous.filter(|&&previous| self.vmas[previous].continues_in(this));
        [next, previous].into_iter().flatten().map(|&neighbour| &self.vmas[neighbour]).find_map(|neighbour| {
            let traits = super::vma::Traits { prot: this.traits.prot, ..neighbour.traits };
            (traits == this.traits && neighbour.has_one_link()).then_some(neighbour.anon_vma).flatten()
        })
    }

    /// A new anon_vma: a root, or a child of the parent VMA's own.
    pub(super) fn new_anon_vma(&mut self, parent: Option<Ix<AnonVma>>) -> Ix<AnonVma> {
        let new = self.anon_vmas.take();
        self.totals.anon_vmas += 1;
        let root = parent.map_or(new, |parent| self.anon_vmas[parent].root);
        let parent = parent.unwrap_or(new);
        let parent_id = self.anon_vmas.id(parent);
        let record = &mut self.anon_vmas[new];
        (record.root, record.parent, record.references) = (root, parent_id, 1);
        (record.children, record.active, record.members) = (0, 0, 0);
        record.lists.clear();
        record.family = context::Family::default();
        // For a root, parent and root are itself.
        self.anon_vmas[parent].children += 1;
        if root != new {
            let needed = if self.rules.family == Family::Contexts { parent } else { root };
            self.anon_vmas[needed].references += 1;
        }
        new
    }

    /// Makes a VMA a member of an anon_vma, which is its own.
    fn join(&mut self, vma: Ix<Vma>, anon_vma: Ix<AnonVma>) {
        self.link(vma, anon_vma, End::Newest);
        self.adopt(vma, anon_vma);
    }

    /// Makes an anon_vma of its chain the VMA's own.
    fn adopt(&mut self, vma: Ix<Vma>, anon_vma: Ix<AnonVma>) {
        self.vmas[vma].anon_vma = Some(anon_vma);
        self.anon_vmas[anon_vma].active += 1;
    }

    /// Gives the child's VMA, which has no chain yet, what the design says.
    pub(in crate::rmap) fn fork_chain(&mut self, parent: Ix<Vma>, child: Ix<Vma>) {
        let Some(own) = self.vmas[parent].anon_vma else { return };
        if self.rules.family == Family::Contexts {
            let context = self.context_for(child, Some(own));
            return self.join(child, context);
        }
        let abandoned = self.copy_chain(parent, child);
        match self.rules.family {
            Family::None | Family::Contexts => {}
            Family::Shared => self.adopt(child, own),
            Family::Chains => {
                let anon_vma = abandoned.unwrap_or_else(|| {
                    let new = self.new_anon_vma(Some(own));
                    self.link(child, new, End::Newest);
                    new
                });
                if abandoned.is_some() && self.rules.allocates_first {
                    self.totals.anon_vmas += 1;
                    self.totals.chains += 1;
                }
                self.adopt(child, anon_vma);
            }
        }
    }

    /// Gives another VMA of the same process the same chain and the same anon_vma: for splits and merges.
    pub(in crate::rmap) fn clone_chain(&mut self, from: Ix<Vma>, to: Ix<Vma>) {
        if let Some(own) = self.vmas[from].anon_vma {
            self.copy_chain(from, to);
            self.adopt(to, own);
        }
    }

    /// Copies a chain. Returns the anon_vma of it that a fork takes over instead of making one.
    fn copy_chain(&mut self, from: Ix<Vma>, to: Ix<Vma>) -> Option<Ix<AnonVma>> {
        let own = self.vmas[from].anon_vma;
        let end = match self.rules.clone_order {
            CloneOrder::Keeps => End::Oldest,
            CloneOrder::Reverses => End::Newest,
        };
        let mut abandoned = None;
        let mut next = self.vmas[from].newest;
        while let Some(link) = next {
            let Link { anon_vma, older, .. } = self.links[link];
            next = older;
            self.link(to, anon_vma, end);
            let AnonVma { children, active, .. } = self.anon_vmas[anon_vma];
            let is_free = match self.rules.reuse {
                Reuse::Never => false,
                Reuse::Degree => own != Some(anon_vma) && children + active < 2,
                Reuse::LastAbandoned => children < 2 && active == 0,
                Reuse::FirstAbandoned => abandoned.is_none() && children < 2 && active == 0,
            };
            if is_free {
                abandoned = Some(anon_vma);
            }
        }
        abandoned
    }

    /// Takes a VMA out of every anon_vma of its chain; ends those that are left empty.
    pub(in crate::rmap) fn unlink(&mut self, vma: Ix<Vma>) {
        if let Some(own) = self.vmas[vma].anon_vma.take() {
            self.anon_vmas[own].active -= 1;
        }
        // The entries of those that are left empty stay chained until the end: that needs no memory.
        let (mut empty, mut last_empty) = (None, None::<Ix<Link>>);
        let mut next = self.vmas[vma].newest.take();
        while let Some(link) = next {
            self.leave(link);
            let Link { anon_vma, older, .. } = self.links[link];
            next = older;
            if self.anon_vmas[anon_vma].members > 0 {
                self.links.remove(link);
                continue;
            }
            if self.rules.family == Family::Contexts {
                self.links.remove(link);
                self.let_go_of_context(anon_vma);
                continue;
            }
            if let Some(parent) = self.anon_vmas.find(self.anon_vmas[anon_vma].parent) {
                self.anon_vmas[parent].children -= 1;
            }
            self.links[link].older = None;
            match last_empty.replace(link) {
                Some(last) => self.links[last].older = Some(link),
                None => empty = Some(link),
            }
        }
        (self.vmas[vma].oldest, self.vmas[vma].links) = (None, 0);
        while let Some(link) = empty {
            let Link { anon_vma, older, .. } = self.links[link];
            empty = older;
            self.links.remove(link);
            let root = self.anon_vmas[anon_vma].root;
            if self.let_go(anon_vma) && root != anon_vma {
                self.let_go(root);
            }
        }
    }

    /// Drops one reference. Whether it was the last.
    pub(super) fn let_go(&mut self, anon_vma: Ix<AnonVma>) -> bool {
        self.anon_vmas[anon_vma].references -= 1;
        let is_last = self.anon_vmas[anon_vma].references == 0;
        if is_last {
            self.anon_vmas.remove(anon_vma);
        }
        is_last
    }

    /// Moves the ends of a VMA. A tree, which sorts by index, takes it out and in again, as the kernel does.
    pub(in crate::rmap) fn reshape(&mut self, vma: Ix<Vma>, start: u64, end: u64) {
        let is_sorted = self.rules.walk == Order::Tree;
        if is_sorted {
            self.each_link(vma, Self::leave);
        }
        let record = &mut self.vmas[vma];
        // In this order: a VMA that grows downwards has an index of at least what it grows by.
        record.index = record.index + start - record.start;
        (record.start, record.end) = (start, end);
        if is_sorted {
            self.each_link(vma, Self::enter);
        }
    }

    fn each_link(&mut self, vma: Ix<Vma>, visit: fn(&mut Self, Ix<Link>)) {
        let mut next = self.vmas[vma].newest;
        while let Some(link) = next {
            visit(self, link);
            next = self.links[link].older;
        }
    }

    /// Adds an entry to a chain, at one of its ends.
    fn link(&mut self, vma: Ix<Vma>, anon_vma: Ix<AnonVma>, end: End) {
        let link = self.links.take();
        self.totals.chains += 1;
        let record = &mut self.vmas[vma];
        record.links += 1;
        let older = if end == End::Newest { record.newest } else { None };
        match (end, record.oldest) {
            (_, None) => (record.newest, record.oldest) = (Some(link), Some(link)),
            (End::Newest, Some(_)) => record.newest = Some(link),
            (End::Oldest, Some(last)) => {
                record.oldest = Some(link);
                self.links[last].older = Some(link);
            }
        }
        self.links[link] = Link { vma, anon_vma, older, before: None, after: None };
        self.enter(link);
    }

    /// What an anon_vma's members are sorted by, before insertion.
    #[inline]
    fn key(&self, vma: Ix<Vma>) -> u64 {
        match self.rules.walk {
            Order::List => 0,
            Order::Tree => self.vmas[vma].index,
        }
    }

    /// Makes the VMA of a link a member of its anon_vma, behind all of the same key.
    fn enter(&mut self, link: Ix<Link>) {
        let Link { vma, anon_vma, .. } = self.links[link];
        let key = self.key(vma);
        let anon_vma = &mut self.anon_vmas[anon_vma];
        anon_vma.members += 1;
        let before = match anon_vma.lists.binary_search_by_key(&key, |list| list.index) {
            Ok(position) => Some(std::mem::replace(&mut anon_vma.lists[position].last, link)),
            Err(position) => {
                put(&mut anon_vma.lists, position, List { index: key, first: link, last: link });
                None
            }
        };
        (self.links[link].before, self.links[link].after) = (before, None);
        if let Some(before) = before {
            self.links[before].after = Some(link);
        }
    }

    /// Undoes [`enter`](Self::enter).
    pub(in crate::rmap) fn leave(&mut self, link: Ix<Link>) {
        let Link { vma, anon_vma, before, after, .. } = self.links[link];
        let key = self.key(vma);
        if let Some(before) = before {
            self.links[before].after = after;
        }
        if let Some(after) = after {
            self.links[after].before = before;
        }
        let anon_vma = &mut self.anon_vmas[anon_vma];
        anon_vma.members -= 1;
        if before.is_some() && after.is_some() {
            return;
        }
        if let Ok(position) = anon_vma.lists.binary_search_by_key(&key, |list| list.index) {
            let list = &mut anon_vma.lists[position];
            match (before, after) {
                (None, None) => drop(anon_vma.lists.remove(position)),
                (None, Some(after)) => list.first = after,
                (Some(before), _) => list.last = before,
            }
        }
    }

    /// The anon_vma of a VMA that a rule means.
    pub(in crate::rmap) fn mapping(&self, vma: Ix<Vma>, rule: Mapping) -> Option<Id<AnonVma>> {
        let vma = &self.vmas[vma];
        let anon_vma = match rule {
            Mapping::None => None,
            Mapping::Own => vma.anon_vma,
            Mapping::Oldest => vma.oldest.map(|link| self.links[link].anon_vma),
            Mapping::Root => vma.anon_vma.map(|own| self.anon_vmas[own].root),
        };
        anon_vma.map(|anon_vma| self.anon_vmas.id(anon_vma))
    }

    /// The anon_vmas of a VMA's chain, newest first.
    pub(in crate::rmap) fn chain(&self, vma: Ix<Vma>) -> impl Iterator<Item = Ix<AnonVma>> {
        self.links_of(vma).map(|link| self.links[link].anon_vma)
    }

    /// The entries of a VMA's chain, newest first.
    pub(in crate::rmap) fn links_of(&self, vma: Ix<Vma>) -> impl Iterator<Item = Ix<Link>> {
        std::iter::successors(self.vmas[vma].newest, |&link| self.links[link].older)
    }

    /// The entries that make the members of an anon_vma, in the order of a walk.
    pub(in crate::rmap) fn members(&self, anon_vma: Ix<AnonVma>) -> impl Iterator<Item = Ix<Link>> {
        let lists = self.anon_vmas[anon_vma].lists.iter();
        lists.flat_map(|list| std::iter::successors(Some(list.first), |&link| self.links[link].after))
    }
}
