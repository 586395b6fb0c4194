//! The checker: what must be true of a machine after every operation, whatever happened.

use std::collections::BTreeMap;
use std::fmt;

use super::policy::{CloneOrder, Family, Order};
use super::records::anon_vma::AnonVma;
use super::records::arena::{Arena, Ix};
use super::records::machine::Machine;
use super::records::page::{Entry, Page};
use super::records::process::Process;
use super::records::vma::Vma;
use super::{PageId, ProcessId};

/// A condition that always holds in a correct design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No page's mapping is a freed anon_vma.
    Dangling = 1,
    /// Every process that maps a page is found by the walk of that page.
    Unreachable = 2,
    /// The chains of VMAs and the members of anon_vmas mirror each other.
    Mirror = 3,
    /// The last of a chain is its root, where chains keep their order.
    Root = 4,
    /// In one process, VMAs with the same anon_vma have the same chain: merging relies on it.
    SameChain = 5,
    /// Every count equals a recount.
    Count = 6,
}

impl Invariant {
    /// Its number in the list of invariants, from 1.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// One invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// Of which page, if it is about one.
    pub page: Option<PageId>,
    /// Of which process, if it is about one.
    pub process: Option<ProcessId>,
    /// A description that names the objects.
    pub reason: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: ", self.invariant.number())?;
        if let Some(page) = self.page {
            write!(f, "page {}, ", page.number())?;
        }
        if let Some(process) = self.process {
            write!(f, "process {}, ", process.pid())?;
        }
        f.write_str(&self.reason)
    }
}

impl Machine {
    /// Every broken invariant, those of pages first; none in a correct design. It inspects the whole state.
    pub fn check(&self) -> Vec<Broken> {
        let mut check = Check { machine: self, broken: Vec::new() };
        check.pages();
        check.links();
        check.chains();
        check.counts();
        check.broken.sort_by_key(|broken| broken.invariant);
        check.broken
    }
}

struct Check<'m> {
    machine: &'m Machine,
    broken: Vec<Broken>,
}

impl Check<'_> {
    fn report(&mut self, invariant: Invariant, page: Option<Ix<Page>>, process: Option<Ix<Process>>, reason: String) {
        let page = page.map(|page| self.machine.page_name(page));
        let process = process.map(|process| self.machine.name(process));
        self.broken.push(Broken { invariant, page, process, reason });
    }

    fn report_count(&mut self, process: Option<Ix<Process>>, what: impl fmt::Display, noted: u64, counted: u64) {
        if noted != counted {
            let reason = format!("{what}: {noted} noted, {counted} counted");
            self.report(Invariant::Count, None, process, reason);
        }
    }

    /// 1 and 2, from every page table, and the counts of pages.
    fn pages(&mut self) {
        let machine = self.machine;
        let mut counted = vec![(0u32, 0u32); machine.pages.places()];
        for process in machine.by_birth() {
            for (address, entry) in machine.processes[process].entries(&machine.leaves) {
                let vma = machine.processes[process].vma_at(&machine.vmas, address);
                if vma.is_none() {
                    let reason = format!("there is a page table entry at page {address}, where nothing is mapped");
                    self.report(Invariant::Count, None, Some(process), reason);
                }
                match entry {
                    Entry::Zero => {}
                    Entry::Swapped { page } => counted[page.get()].1 += 1,
                    Entry::Present { page, .. } => {
                        counted[page.get()].0 += 1;
                        self.mapped(process, address, page, vma);
                    }
                }
            }
        }
        for (page, record) in machine.pages.iter() {
            let (mapped, swapped) = counted[page.get()];
            if (record.mapped, record.swapped) != (mapped, swapped) {
                let reason = format!(
                    "it notes {} mappings and {} places in swap, and page tables have {mapped} and {swapped}",
                    record.mapped, record.swapped,
                );
                self.report(Invariant::Count, Some(page), None, reason);
            }
            if mapped == 0 && swapped == 0 && record.object.is_none() {
                self.report(Invariant::Count, Some(page), None, "no process has it, and it was not freed".into());
            }
            let dangles = record.mapping.is_some_and(|mapping| machine.anon_vmas.find(mapping).is_none());
            if dangles && mapped == 0 {
                self.report(Invariant::Dangling, Some(page), None, freed(record));
            }
        }
    }

    /// That a process that maps a page is found from it.
    fn mapped(&mut self, process: Ix<Process>, address: u64, page: Ix<Page>, vma: Option<Ix<Vma>>) {
        let (machine, record) = (self.machine, &self.machine.pages[page]);
        let index = vma.map(|vma| machine.vmas[vma].index_of(address));
        if index.is_some_and(|index| record.index != index) {
            let reason = format!("it is mapped at page {address} and not where its index, {}, is", record.index);
            self.report(Invariant::Unreachable, Some(page), Some(process), reason);
        }
        if machine.rules.family == Family::None || record.object.is_some() {
            return; // every VMA, or every one that shows it, is looked at
        }
        let Some(mapping) = record.mapping else {
            let reason = "it has no mapping, so no walk begins anywhere".into();
            return self.report(Invariant::Unreachable, Some(page), Some(process), reason);
        };
        let Some(anon_vma) = machine.anon_vmas.find(mapping) else {
            return self.report(Invariant::Dangling, Some(page), Some(process), freed(record));
        };
        // By the mirror, which is checked as well, the members have the VMA if its chain has the anon_vma.
        let is_found = vma.is_some_and(|vma| {
            self.chain(vma).any(|other| match machine.rules.family {
                Family::Contexts => machine.descends(other, anon_vma),
                _ => other == anon_vma,
            })
        });
        if !is_found {
            let reason =
                format!("the walk of its mapping, anon_vma {}, does not come to the process", mapping.number());
            self.report(Invariant::Unreachable, Some(page), Some(process), reason);
        }
    }

    /// 3: each link is once in a chain and once among the members, of the two that it names.
    fn links(&mut self) {
        const IN_CHAIN: u8 = 1;
        const AMONG_MEMBERS: u8 = 2;
        let machine = self.machine;
        let mut seen = vec![0u8; machine.links.places()];
        'vmas: for (vma, record) in machine.vmas.iter() {
            let (mut last, mut entries) = (None, 0);
            for link in machine.links_of(vma) {
                if seen[link.get()] != 0 || machine.links[link].vma != vma {
                    let reason =
                        format!("the chain at page {} has an entry of another VMA, or one twice", record.start);
                    self.report(Invariant::Mirror, None, Some(record.process), reason);
                    continue 'vmas; // it could go round for ever
                }
                seen[link.get()] = IN_CHAIN;
                (last, entries) = (Some(link), entries + 1);
            }
            if last != record.oldest {
                let reason = format!("the chain at page {} ends elsewhere than it says", record.start);
                self.report(Invariant::Mirror, None, Some(record.process), reason);
            }
            let what = format_args!("entries of the chain at page {}", record.start);
            self.report_count(Some(record.process), what, record.links.into(), entries);
        }
        for (anon_vma, record) in machine.anon_vmas.iter() {
            let number = machine.anon_vmas.id(anon_vma).number();
            let mut last_index = 0;
            let mut members = 0;
            for link in machine.members(anon_vma) {
                let vma = machine.links[link].vma;
                if machine.links[link].anon_vma != anon_vma || seen[link.get()] != IN_CHAIN {
                    let process = machine.vmas[vma].process;
                    let reason = format!("anon_vma {number} has a member whose chain does not have it");
                    self.report(Invariant::Mirror, None, Some(process), reason);
                    break;
                }
                seen[link.get()] |= AMONG_MEMBERS;
                members += 1;
                let Vma { process, start, index, .. } = machine.vmas[vma];
                if machine.rules.walk == Order::Tree && index < last_index {
                    let reason = format!("the members of anon_vma {number} are out of order at page {start}");
                    self.report(Invariant::Mirror, None, Some(process), reason);
                }
                last_index = index;
            }
            self.report_count(None, format_args!("members of anon_vma {number}"), record.members.into(), members);
        }
        for (link, record) in machine.links.iter() {
            if seen[link.get()] != IN_CHAIN | AMONG_MEMBERS {
                let vma = &machine.vmas[record.vma];
                let reason = format!("an entry of the chain at page {} is on one side only", vma.start);
                self.report(Invariant::Mirror, None, Some(vma.process), reason);
            }
        }
    }

    /// 4 and 5.
    fn chains(&mut self) {
        let machine = self.machine;
        // Those of contexts are of one entry, and never copied.
        let is_copied = machine.rules.family != Family::Contexts;
        let keeps_order = is_copied && machine.rules.clone_order == CloneOrder::Keeps;
        for process in machine.by_birth() {
            let mut first_with = BTreeMap::new();
            for &vma in &machine.processes[process].vmas {
                let record = &machine.vmas[vma];
                let Some(own) = record.anon_vma else {
                    if record.newest.is_some() {
                        let reason = format!("the VMA at page {} has a chain and no anon_vma", record.start);
                        self.report(Invariant::SameChain, None, Some(process), reason);
                    }
                    continue;
                };
                let number = machine.anon_vmas.id(own).number();
                let chain = self.comparable_chain(vma, keeps_order);
                if !chain.contains(&own.word()) {
                    let reason = format!("the chain at page {} does not have its own anon_vma, {number}", record.start);
                    self.report(Invariant::Mirror, None, Some(process), reason);
                }
                if keeps_order && chain.last() != Some(&machine.anon_vmas[own].root.word()) {
                    let reason = format!("the chain at page {} does not end with the root", record.start);
                    self.report(Invariant::Root, None, Some(process), reason);
                }
                let (other, first) = first_with.entry(own.word()).or_insert_with(|| (record.start, chain.clone()));
                if *first != chain {
                    let reason = format!(
                        "the VMAs at pages {other} and {} have the same anon_vma, {number}, and different chains",
                        record.start
                    );
                    self.report(Invariant::SameChain, None, Some(process), reason);
                }
            }
        }
    }

    /// The anon_vmas of a chain, which is followed no further than there are entries: a broken one can go round for
    /// ever.
    fn chain(&self, vma: Ix<Vma>) -> impl Iterator<Item = Ix<AnonVma>> {
        self.machine.chain(vma).take(self.machine.links.len())
    }

    /// A chain by places, newest first; sorted where copies do not keep the order.
    fn comparable_chain(&self, vma: Ix<Vma>, keeps_order: bool) -> Vec<u32> {
        let mut chain: Vec<_> = self.chain(vma).map(Ix::word).collect();
        if !keeps_order {
            chain.sort_unstable();
        }
        chain
    }

    /// 6, but for pages and members, which are counted on the way.
    fn counts(&mut self) {
        let machine = self.machine;
        let mut vmas = 0;
        let mut leaves = 0;
        let mut active = vec![0u32; machine.anon_vmas.places()];
        let mut shown = vec![0u32; machine.objects.places()];
        for process in machine.by_birth() {
            let record = &machine.processes[process];
            vmas += record.vmas.len() as u64;
            leaves += record.table.len() as u64;
            let ranges: Vec<_> = record.vmas.iter().map(|&vma| machine.vmas[vma].range()).collect();
            if ranges.iter().any(|range| range.is_empty()) || ranges.windows(2).any(|pair| pair[0].end > pair[1].start)
            {
                self.report(Invariant::Count, None, Some(process), format!("its VMAs are out of order: {ranges:?}"));
            }
            for &vma in &record.vmas {
                if machine.vmas[vma].process != process {
                    self.report(Invariant::Count, None, Some(process), "it has a VMA of another process".into());
                }
                if let Some(own) = machine.vmas[vma].anon_vma {
                    active[own.get()] += 1;
                }
                if let Some(object) = machine.vmas[vma].traits.object {
                    shown[object.get()] += 1;
                }
            }
            self.report_count(Some(process), "empty page table leaves", 0, {
                record.table.iter().filter(|&&(_, leaf)| machine.leaves[leaf].is_empty()).count() as u64
            });
        }
        self.report_count(None, "processes", machine.processes.len() as u64, machine.by_birth().count() as u64);
        self.report_count(None, "VMAs", machine.vmas.len() as u64, vmas);
        self.report_count(None, "page table leaves", machine.leaves.len() as u64, leaves);
        for (object, record) in machine.objects.iter() {
            self.report_count(None, "VMAs of a shared mapping", record.vmas.into(), shown[object.get()].into());
        }
        let (children, references) = self.descents();
        for (anon_vma, record) in machine.anon_vmas.iter() {
            let number = machine.anon_vmas.id(anon_vma).number();
            let mut compare = |what: &str, noted: u32, counts: &[u32]| {
                let what = format_args!("{what} of anon_vma {number}");
                self.report_count(None, what, noted.into(), counts[anon_vma.get()].into());
            };
            compare("VMAs", record.active, &active);
            compare("children", record.children, &children);
            compare("references", record.references, &references);
        }
    }

    /// Children and references of every anon_vma, by place. Those without members have left their parents, but for contexts,
    /// which stay for their children.
    fn descents(&self) -> (Vec<u32>, Vec<u32>) {
        let anon_vmas: &Arena<AnonVma> = &self.machine.anon_vmas;
        let mut children = vec![0; anon_vmas.places()];
        let mut references = vec![0; anon_vmas.places()];
        for (anon_vma, record) in anon_vmas.iter() {
            let is_context = self.machine.rules.family == Family::Contexts;
            let parent = anon_vmas.find(record.parent);
            references[anon_vma.get()] += u32::from(record.members > 0);
            if let Some(parent) = parent.filter(|_| is_context || record.members > 0) {
                children[parent.get()] += 1;
            }
            if let Some(needed) = if is_context { parent } else { Some(record.root) }
                && record.root != anon_vma
            {
                references[needed.get()] += 1;
            }
        }
        (children, references)
    }
}

/// What to say of a page whose mapping is gone.
fn freed(page: &Page) -> String {
    let number = page.mapping.map_or(0, |mapping| mapping.number());
    format!("its mapping, anon_vma {number}, is freed")
}

#[cfg(test)]
mod tests;
