//! The machine: processes and all that is theirs, and the operations that make and end them.

use super::anon_vma::{AnonVma, Link};
use super::arena::{Arena, Ix};
use super::page::{Entry, Leaf, Object, Page};
use super::process::{Process, new_leaf};
use super::vma::Vma;
use crate::rmap::policy::{Family, Policy, Rules};
use crate::rmap::room::{make_room, put_last};
use crate::rmap::{Counts, Error, PageId, ProcessId};

/// Pages in an address space: 256 TiB of 4 KiB.
pub const LIMIT: u64 = 1 << 36;

/// The most processes that live at once: Linux numbers no more (`PID_MAX_LIMIT`).
pub const MAX_PROCESSES: usize = 1 << 22;

/// Processes that fork, and one design of reverse mapping, which finds the processes that map a page.
///
/// Every operation does what the kernel does to the objects of reverse mapping, and counts the objects that it makes,
/// frees and visits (see [`counts`](Self::counts)). Nothing is timed, and there is no memory behind the pages.
pub struct Machine {
    pub(in crate::rmap) rules: Rules,
    pub(in crate::rmap) processes: Arena<Process>,
    /// First and last of all processes, by birth.
    pub(in crate::rmap) eldest: Option<Ix<Process>>,
    pub(in crate::rmap) youngest: Option<Ix<Process>>,
    pub(in crate::rmap) vmas: Arena<Vma>,
    pub(in crate::rmap) anon_vmas: Arena<AnonVma>,
    pub(in crate::rmap) links: Arena<Link>,
    pub(in crate::rmap) pages: Arena<Page>,
    pub(in crate::rmap) leaves: Arena<Leaf>,
    pub(in crate::rmap) objects: Arena<Object>,
    pub(in crate::rmap) totals: Totals,
}

/// What was ever made or done.
#[derive(Default)]
pub(in crate::rmap) struct Totals {
    pub(in crate::rmap) processes: u64,
    pub(in crate::rmap) vmas: u64,
    pub(in crate::rmap) anon_vmas: u64,
    pub(in crate::rmap) chains: u64,
    pub(in crate::rmap) pages: u64,
    pub(in crate::rmap) copies: u64,
    pub(in crate::rmap) visits: u64,
}

impl Machine {
    /// A machine without processes.
    pub fn new(policy: Policy) -> Self {
        Self::with_rules(policy.rules())
    }

    /// A machine of rules that no kernel had together: one fix without the other, say.
    pub fn with_rules(rules: Rules) -> Self {
        Self {
            rules,
            processes: Arena::new(),
            eldest: None,
            youngest: None,
            vmas: Arena::new(),
            anon_vmas: Arena::new(),
            links: Arena::new(),
            pages: Arena::new(),
            leaves: Arena::new(),
            objects: Arena::new(),
            totals: Totals::default(),
        }
    }

    /// The rules it follows.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// A new process without mappings and without a parent.
    ///
    /// # Errors
    /// [`Error::TooManyProcesses`], [`Error::NoMemory`].
    pub fn spawn(&mut self) -> Result<ProcessId, Error> {
        self.check_processes(1)?;
        self.processes.make_room(1, "processes")?;
        let process = self.new_process(0);
        Ok(self.name(process))
    }

    /// A child of a process: the same VMAs but for DONTFORK, chains as the design says, and page tables copied where
    /// there is an anon_vma.
    ///
    /// # Errors
    /// [`Error::Exited`], [`Error::TooManyProcesses`], [`Error::Full`], [`Error::NoMemory`].
    pub fn fork(&mut self, parent: ProcessId) -> Result<ProcessId, Error> {
        let parent = self.live(parent)?;
        self.check_processes(1)?;
        self.make_room_for_children(parent, 1)?;
        let child = self.fork_one(parent);
        Ok(self.name(child))
    }

    /// So many children, one after the other: all of them, or none and an error.
    ///
    /// # Errors
    /// As [`fork`](Self::fork).
    pub fn fork_many(&mut self, parent: ProcessId, children: u64) -> Result<Vec<ProcessId>, Error> {
        let parent = self.live(parent)?;
        self.check_processes(children)?;
        // No more than MAX_PROCESSES were let through, so this is lossless.
        let children = children as usize;
        let mut forked = Vec::new();
        make_room(&mut forked, children)?;
        self.make_room_for_children(parent, children)?;
        for _ in 0..children {
            let child = self.fork_one(parent);
            put_last(&mut forked, self.name(child));
        }
        Ok(forked)
    }

    fn fork_one(&mut self, parent: Ix<Process>) -> Ix<Process> {
        let pid = self.processes[parent].pid;
        let child = self.new_process(pid);
        let mut vmas = std::mem::take(&mut self.processes[child].vmas);
        let mut table = std::mem::take(&mut self.processes[child].table);
        for position in 0..self.processes[parent].vmas.len() {
            let source = self.processes[parent].vmas[position];
            let Vma { start, end, index, traits, anon_vma, .. } = self.vmas[source];
            if traits.dont_fork {
                continue;
            }
            let copy = self.new_vma(Vma { process: child, start, end, index, traits, ..Vma::default() });
            put_last(&mut vmas, copy);
            if traits.wipe_on_fork || traits.object.is_some() {
                continue;
            }
            self.fork_chain(source, copy);
            if anon_vma.is_some() || self.rules.family == Family::None {
                self.copy_entries(parent, &mut table, start, end);
            }
        }
        self.processes[child].vmas = vmas;
        self.processes[child].table = table;
        child
    }

    /// Copies the page table entries of `start..end` behind those in `table`. Neither side can write any more.
    fn copy_entries(&mut self, parent: Ix<Process>, table: &mut Vec<(u32, Ix<Leaf>)>, start: u64, end: u64) {
        let source = &self.processes[parent];
        for position in source.first_leaf(start)..source.table.len() {
            let (number, old) = source.table[position];
            if Leaf::first(number) >= end {
                break;
            }
            let mut from = self.leaves[old];
            // The VMA before this one may share the leaf.
            let mut into = match table.last() {
                Some(&(last, leaf)) if last == number => self.leaves[leaf],
                _ => Leaf::default(),
            };
            for (page, entry) in from.entries(number, start, end) {
                let entry = match entry {
                    Entry::Zero => Entry::Zero,
                    Entry::Present { page, .. } => {
                        self.pages[page].mapped += 1;
                        self.pages[page].has_owner = false;
                        Entry::Present { page, writable: false }
                    }
                    Entry::Swapped { page } => {
                        self.pages[page].swapped += 1;
                        self.pages[page].has_owner = false;
                        entry
                    }
                };
                from.set(page, entry);
                into.set(page, entry);
            }
            self.leaves[old] = from;
            if into.is_empty() {
                continue;
            }
            let new = match table.last() {
                Some(&(last, leaf)) if last == number => leaf,
                _ => {
                    let leaf = new_leaf(&mut self.leaves);
                    put_last(table, (number, leaf));
                    leaf
                }
            };
            self.leaves[new] = into;
        }
    }

    /// Ends a process: its page table, then its VMAs.
    ///
    /// # Errors
    /// [`Error::Exited`], if it has ended already.
    pub fn exit(&mut self, process: ProcessId) -> Result<(), Error> {
        let process = self.live(process)?;
        let mut table = std::mem::take(&mut self.processes[process].table);
        for (number, leaf) in table.drain(..) {
            for (_, entry) in self.leaves[leaf].entries(number, 0, u64::MAX) {
                self.drop_entry(entry);
            }
            self.leaves.remove(leaf);
        }
        let mut vmas = std::mem::take(&mut self.processes[process].vmas);
        for vma in vmas.drain(..) {
            self.end_vma(vma);
        }
        let Process { before, after, .. } = self.processes[process];
        match before {
            Some(before) => self.processes[before].after = after,
            None => self.eldest = after,
        }
        match after {
            Some(after) => self.processes[after].before = before,
            None => self.youngest = before,
        }
        self.processes[process].table = table;
        self.processes[process].vmas = vmas;
        self.processes[process].pid = 0;
        self.processes.remove(process);
        Ok(())
    }

    fn new_process(&mut self, parent: u64) -> Ix<Process> {
        let new = self.processes.take();
        self.totals.processes += 1;
        let before = self.youngest.replace(new);
        match before {
            Some(before) => self.processes[before].after = Some(new),
            None => self.eldest = Some(new),
        }
        let record = &mut self.processes[new];
        (record.pid, record.parent) = (self.totals.processes, parent);
        (record.before, record.after, record.context) = (before, None, None);
        new
    }

    pub(in crate::rmap) fn new_vma(&mut self, vma: Vma) -> Ix<Vma> {
        let new = self.vmas.take();
        self.totals.vmas += 1;
        if let Some(object) = vma.traits.object {
            self.objects[object].vmas += 1;
        }
        self.vmas[new] = vma;
        new
    }

    /// Ends a VMA, of which there are no page table entries any more. What its process knows of it is the caller's.
    pub(in crate::rmap) fn end_vma(&mut self, vma: Ix<Vma>) {
        self.unlink(vma);
        if let Some(object) = self.vmas[vma].traits.object {
            self.objects[object].vmas -= 1;
            if self.objects[object].vmas == 0 {
                let Object { pages, .. } = &mut self.objects[object];
                pages.drain(..).for_each(|(_, page)| self.pages.remove(page));
                self.objects.remove(object);
            }
        }
        self.vmas.remove(vma);
    }

    /// What a page loses with a page table entry that named it.
    pub(in crate::rmap) fn drop_entry(&mut self, entry: Entry) {
        let page = match entry {
            Entry::Zero => return,
            Entry::Present { page, .. } => {
                self.pages[page].mapped -= 1;
                page
            }
            Entry::Swapped { page } => {
                self.pages[page].swapped -= 1;
                page
            }
        };
        let Page { mapped, swapped, object, .. } = self.pages[page];
        if mapped == 0 && swapped == 0 && object.is_none() {
            self.pages.remove(page);
        }
    }

    /// The process of that name, if it lives.
    #[inline]
    pub(in crate::rmap) fn live(&self, process: ProcessId) -> Result<Ix<Process>, Error> {
        let is_the_same = |place: &Process| place.pid == process.pid;
        let lives = self.processes.get(process.place).is_some_and(is_the_same);
        if lives { Ok(process.place) } else { Err(Error::Exited { pid: process.pid }) }
    }

    /// The name of a process that lives.
    pub(in crate::rmap) fn name(&self, process: Ix<Process>) -> ProcessId {
        ProcessId { place: process, pid: self.processes[process].pid }
    }

    /// Whether a process has not exited.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.live(process).is_ok()
    }

    fn check_processes(&self, wanted: u64) -> Result<(), Error> {
        let live = self.processes.len();
        if wanted > (MAX_PROCESSES - live) as u64 {
            return Err(Error::TooManyProcesses { wanted, live: live as u64, most: MAX_PROCESSES as u64 });
        }
        Ok(())
    }

    /// Room for so many children of a process, with all that forks give them.
    fn make_room_for_children(&mut self, parent: Ix<Process>, children: usize) -> Result<(), Error> {
        let source = &self.processes[parent];
        let leaves = source.table.len();
        let (mut vmas, mut chains, mut links) = (0, 0, 0);
        for &vma in &source.vmas {
            let Vma { traits, anon_vma, links: entries, .. } = &self.vmas[vma];
            if traits.dont_fork {
                continue;
            }
            vmas += 1;
            if anon_vma.is_some() && !traits.wipe_on_fork {
                chains += 1;
                links += *entries as usize;
            }
        }
        match self.rules.family {
            Family::Chains => links += chains, // each gets an entry for an anon_vma of its own
            Family::Contexts => chains = chains.min(1),
            Family::None | Family::Shared => chains = 0,
        }
        // What there cannot be so many of is refused, and so these need not be exact beyond.
        let all = |each: usize| each.saturating_mul(children);
        self.vmas.make_room(all(vmas), "VMAs")?;
        self.leaves.make_room(all(leaves), "page tables")?;
        self.links.make_room(all(links), "chains")?;
        self.make_room_for_anon_vmas(all(chains))?;
        self.processes.make_room_with(children, "processes", |process| {
            make_room(&mut process.vmas, vmas)?;
            make_room(&mut process.table, leaves)
        })
    }

    /// Every process, by birth.
    pub(in crate::rmap) fn by_birth(&self) -> impl Iterator<Item = Ix<Process>> {
        std::iter::successors(self.eldest, |&process| self.processes[process].after)
    }

    /// The processes that live, by birth.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        self.by_birth().map(|process| self.name(process))
    }

    /// The pages that a process maps or has in swap, or that a shared mapping holds.
    pub fn pages(&self) -> impl Iterator<Item = PageId> {
        self.pages.iter().map(|(page, _)| PageId(self.pages.id(page)))
    }

    /// The numbers of existing objects, and of objects and operations in all.
    pub fn counts(&self) -> Counts {
        // Where a VMA is tied to its one anon_vma by itself, there are no objects in between.
        let chains = |count| if self.rules.family == Family::Chains { count } else { 0 };
        Counts {
            processes: self.processes.len() as u64,
            vmas: self.vmas.len() as u64,
            anon_vmas: self.anon_vmas.len() as u64,
            chains: chains(self.links.len() as u64),
            pages: self.pages.len() as u64,
            processes_total: self.totals.processes,
            vmas_total: self.totals.vmas,
            anon_vmas_total: self.totals.anon_vmas,
            chains_total: chains(self.totals.chains),
            pages_total: self.totals.pages,
            copies: self.totals.copies,
            visits: self.totals.visits,
        }
    }
}
