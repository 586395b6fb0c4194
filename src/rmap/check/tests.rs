//! Machines that are broken on purpose: what the checker says of each.

use super::super::{Machine, Mmap, Policy, Prot};
use super::*;
use crate::rmap::records::arena::Id;
use crate::rmap::records::vma::Traits;

/// A parent that wrote page 16 and a child that then wrote page 17. They map 16 and 17, and shared with each other 20;
/// the parent wrote 24 of its own later.
struct Two {
    machine: Machine,
    parent: Ix<Process>,
    child: Ix<Process>,
    /// The VMAs at page 16.
    parents: Ix<Vma>,
    childs: Ix<Vma>,
    /// What the parent wrote, and both map.
    page: Ix<Page>,
}

fn two(policy: Policy) -> Two {
    let mut machine = Machine::new(policy);
    let parent = machine.spawn().unwrap();
    machine.mmap(parent, Mmap::new(2).at(16)).unwrap();
    machine.mmap(parent, Mmap::new(1).at(20).shared()).unwrap();
    let page = machine.write(parent, 16).unwrap();
    machine.write(parent, 20).unwrap();
    let child = machine.fork(parent).unwrap();
    machine.write(child, 17).unwrap();
    machine.mmap(parent, Mmap::new(1).at(24)).unwrap();
    machine.write(parent, 24).unwrap();
    assert_eq!(machine.check(), []);
    let page = machine.page(page).unwrap();
    let (parent, child) = (machine.live(parent).unwrap(), machine.live(child).unwrap());
    let [parents, childs] = [parent, child].map(|process| machine.processes[process].vmas[0]);
    Two { machine, parent, child, parents, childs, page }
}

/// What the checker says once such a machine is broken.
fn said_in(policy: Policy, damage: impl FnOnce(&mut Machine, &Two)) -> Vec<String> {
    let mut whole = two(policy);
    let mut machine = std::mem::replace(&mut whole.machine, Machine::new(policy));
    damage(&mut machine, &whole);
    machine.check().iter().map(Broken::to_string).collect()
}

fn said(damage: impl FnOnce(&mut Machine, &Two)) -> Vec<String> {
    said_in(Policy::Modern, damage)
}

/// The newest entry of a VMA's chain.
fn newest(machine: &Machine, vma: Ix<Vma>) -> Ix<crate::rmap::records::anon_vma::Link> {
    machine.vmas[vma].newest.unwrap()
}

#[test]
fn a_mapping_that_is_freed() {
    let freed = |machine: &mut Machine, two: &Two| machine.pages[two.page].mapping = Some(Id::from_number(77));
    assert_eq!(
        said(freed),
        [
            "invariant 1: page 0, process 1, its mapping, anon_vma 77, is freed",
            "invariant 1: page 0, process 2, its mapping, anon_vma 77, is freed"
        ]
    );
    let freed_in_swap = |machine: &mut Machine, two: &Two| {
        let page = machine.page_name(two.page);
        machine.swap_out(page).unwrap();
        freed(machine, two);
    };
    assert_eq!(said(freed_in_swap), ["invariant 1: page 0, its mapping, anon_vma 77, is freed"]);
}

#[test]
fn a_page_that_is_not_found() {
    assert_eq!(
        said(|machine, two| machine.pages[two.page].mapping = None),
        [
            "invariant 2: page 0, process 1, it has no mapping, so no walk begins anywhere",
            "invariant 2: page 0, process 2, it has no mapping, so no walk begins anywhere"
        ]
    );
    let of_the_child = |machine: &mut Machine, two: &Two| {
        let own = machine.vmas[two.childs].anon_vma.unwrap();
        machine.pages[two.page].mapping = Some(machine.anon_vmas.id(own));
    };
    assert_eq!(
        said(of_the_child),
        ["invariant 2: page 0, process 1, the walk of its mapping, anon_vma 1, does not come to the process"]
    );
    assert_eq!(
        said(|machine, two| machine.pages[two.page].index = 17),
        [
            "invariant 2: page 0, process 1, it is mapped at page 16 and not where its index, 17, is",
            "invariant 2: page 0, process 2, it is mapped at page 16 and not where its index, 17, is"
        ]
    );
}

#[test]
fn chains_and_members_that_do_not_mirror_each_other() {
    let of_another = |machine: &mut Machine, two: &Two| {
        let link = newest(machine, two.childs);
        machine.links[link].vma = two.parents;
    };
    assert_eq!(
        said(of_another),
        [
            "invariant 3: process 2, the chain at page 16 has an entry of another VMA, or one twice",
            "invariant 3: process 2, anon_vma 0 has a member whose chain does not have it",
            "invariant 3: process 1, anon_vma 1 has a member whose chain does not have it",
            "invariant 3: process 2, an entry of the chain at page 16 is on one side only",
            "invariant 3: process 1, an entry of the chain at page 16 is on one side only",
            "invariant 6: members of anon_vma 0: 2 noted, 1 counted",
            "invariant 6: members of anon_vma 1: 1 noted, 0 counted"
        ]
    );
    let round = |machine: &mut Machine, two: &Two| {
        let oldest = machine.vmas[two.childs].oldest.unwrap();
        machine.links[oldest].older = machine.vmas[two.childs].newest;
    };
    assert_eq!(said(round), ["invariant 3: process 2, the chain at page 16 has an entry of another VMA, or one twice"]);
    let ends_elsewhere =
        |machine: &mut Machine, two: &Two| machine.vmas[two.childs].oldest = machine.vmas[two.childs].newest;
    assert_eq!(said(ends_elsewhere), ["invariant 3: process 2, the chain at page 16 ends elsewhere than it says"]);
    let lost = |machine: &mut Machine, two: &Two| {
        let link = newest(machine, two.childs);
        machine.vmas[two.childs].newest = machine.links[link].older;
    };
    assert_eq!(
        said(lost),
        [
            "invariant 2: page 2, process 2, the walk of its mapping, anon_vma 1, does not come to the process",
            "invariant 3: process 2, anon_vma 1 has a member whose chain does not have it",
            "invariant 3: process 2, an entry of the chain at page 16 is on one side only",
            "invariant 3: process 2, the chain at page 16 does not have its own anon_vma, 1",
            "invariant 6: process 2, entries of the chain at page 16: 2 noted, 1 counted",
            "invariant 6: members of anon_vma 1: 1 noted, 0 counted"
        ]
    );
    let of_another_list = |machine: &mut Machine, two: &Two| {
        let link = newest(machine, two.childs);
        machine.links[link].anon_vma = machine.vmas[two.parents].anon_vma.unwrap();
    };
    assert_eq!(
        said(of_another_list),
        [
            "invariant 2: page 2, process 2, the walk of its mapping, anon_vma 1, does not come to the process",
            "invariant 3: process 2, anon_vma 1 has a member whose chain does not have it",
            "invariant 3: process 2, an entry of the chain at page 16 is on one side only",
            "invariant 3: process 2, the chain at page 16 does not have its own anon_vma, 1",
            "invariant 6: members of anon_vma 1: 1 noted, 0 counted"
        ]
    );
    let no_member = |machine: &mut Machine, two: &Two| {
        let link = newest(machine, two.childs);
        machine.leave(link);
    };
    assert_eq!(
        said(no_member),
        [
            "invariant 3: process 2, an entry of the chain at page 16 is on one side only",
            "invariant 6: children of anon_vma 0: 2 noted, 1 counted",
            "invariant 6: references of anon_vma 1: 1 noted, 0 counted"
        ]
    );
    let out_of_order = |machine: &mut Machine, two: &Two| {
        // Behind the child's, and in the list of its start.
        (machine.vmas[two.parents].start, machine.vmas[two.parents].index) = (17, 17);
    };
    assert_eq!(
        said(out_of_order),
        [
            "invariant 2: page 0, process 1, the walk of its mapping, anon_vma 0, does not come to the process",
            "invariant 3: process 2, the members of anon_vma 0 are out of order at page 16",
            "invariant 6: process 1, there is a page table entry at page 16, where nothing is mapped"
        ]
    );
    let own = |machine: &mut Machine, two: &Two| machine.vmas[two.parents].anon_vma = machine.vmas[two.childs].anon_vma;
    assert_eq!(
        said(own),
        [
            "invariant 3: process 1, the chain at page 16 does not have its own anon_vma, 1",
            "invariant 6: VMAs of anon_vma 0: 1 noted, 0 counted",
            "invariant 6: VMAs of anon_vma 1: 1 noted, 2 counted"
        ]
    );
}

#[test]
fn a_chain_that_does_not_end_with_the_root() {
    let turned = |machine: &mut Machine, two: &Two| {
        let vma = &mut machine.vmas[two.childs];
        let (newest, oldest) = (vma.newest.unwrap(), vma.oldest.unwrap());
        (vma.newest, vma.oldest) = (Some(oldest), Some(newest));
        machine.links[oldest].older = Some(newest);
        machine.links[newest].older = None;
    };
    assert_eq!(said(turned), ["invariant 4: process 2, the chain at page 16 does not end with the root"]);
    // Where copies turn chains round, none is held to it.
    assert_eq!(said_in(Policy::AvcRc1, turned), [""; 0]);
}

#[test]
fn vmas_with_one_anon_vma_and_two_chains() {
    let none = |machine: &mut Machine, two: &Two| machine.vmas[two.childs].anon_vma = None;
    assert_eq!(
        said(none),
        [
            "invariant 5: process 2, the VMA at page 16 has a chain and no anon_vma",
            "invariant 6: VMAs of anon_vma 1: 1 noted, 0 counted"
        ]
    );
    let two_chains = |machine: &mut Machine, two: &Two| {
        let last = *machine.processes[two.parent].vmas.last().unwrap();
        machine.vmas[last].anon_vma = machine.vmas[two.parents].anon_vma;
    };
    assert_eq!(
        said(two_chains),
        [
            "invariant 3: process 1, the chain at page 24 does not have its own anon_vma, 0",
            "invariant 4: process 1, the chain at page 24 does not end with the root",
            "invariant 5: process 1, the VMAs at pages 16 and 24 have the same anon_vma, 0, and different chains",
            "invariant 6: VMAs of anon_vma 0: 1 noted, 2 counted",
            "invariant 6: VMAs of anon_vma 2: 1 noted, 0 counted"
        ]
    );
}

#[test]
fn counts_that_are_wrong() {
    type Damage = fn(&mut Machine, &Two);
    let wrong: [(Damage, &[&str]); 15] = [
        (
            |machine, two| machine.pages[two.page].mapped += 1,
            &["invariant 6: page 0, it notes 3 mappings and 0 places in swap, and page tables have 2 and 0"],
        ),
        (
            |machine, two| machine.pages[two.page].swapped += 1,
            &["invariant 6: page 0, it notes 2 mappings and 1 places in swap, and page tables have 2 and 0"],
        ),
        (
            |machine, _| {
                machine.pages.make_room(1, "pages").unwrap();
                machine.pages.take();
            },
            &["invariant 6: page 4, no process has it, and it was not freed"],
        ),
        (
            |machine, two| {
                let Machine { processes, leaves, .. } = machine;
                processes[two.child].set_entry(leaves, 30, Entry::Zero);
            },
            &["invariant 6: process 2, there is a page table entry at page 30, where nothing is mapped"],
        ),
        (
            |machine, two| machine.vmas[two.childs].links += 1,
            &["invariant 6: process 2, entries of the chain at page 16: 3 noted, 2 counted"],
        ),
        (
            |machine, two| {
                let own = machine.vmas[two.childs].anon_vma.unwrap();
                machine.anon_vmas[own].members += 1;
            },
            &["invariant 6: members of anon_vma 1: 2 noted, 1 counted"],
        ),
        (
            |machine, two| {
                let own = machine.vmas[two.childs].anon_vma.unwrap();
                machine.anon_vmas[own].active += 1;
            },
            &["invariant 6: VMAs of anon_vma 1: 2 noted, 1 counted"],
        ),
        (
            |machine, two| {
                let own = machine.vmas[two.childs].anon_vma.unwrap();
                machine.anon_vmas[own].children += 1;
            },
            &["invariant 6: children of anon_vma 1: 1 noted, 0 counted"],
        ),
        (
            |machine, two| {
                let own = machine.vmas[two.childs].anon_vma.unwrap();
                machine.anon_vmas[own].references += 1;
            },
            &["invariant 6: references of anon_vma 1: 2 noted, 1 counted"],
        ),
        (
            |machine, two| machine.vmas[two.childs].process = two.parent,
            &["invariant 6: process 2, it has a VMA of another process"],
        ),
        (
            |machine, two| machine.processes[two.parent].vmas.swap(1, 2),
            &[
                "invariant 6: process 1, there is a page table entry at page 20, where nothing is mapped",
                "invariant 6: process 1, its VMAs are out of order: [16..18, 24..25, 20..21]",
            ],
        ),
        (
            |machine, two| {
                machine.leaves.make_room(1, "page tables").unwrap();
                let leaf = crate::rmap::records::process::new_leaf(&mut machine.leaves);
                machine.processes[two.child].table.reserve(1);
                machine.processes[two.child].table.push((9, leaf));
            },
            &["invariant 6: process 2, empty page table leaves: 0 noted, 1 counted"],
        ),
        (
            |machine, _| {
                machine.leaves.make_room(1, "page tables").unwrap();
                machine.leaves.take();
            },
            &["invariant 6: page table leaves: 3 noted, 2 counted"],
        ),
        (
            |machine, _| {
                machine.processes.make_room(1, "processes").unwrap();
                machine.processes.take();
            },
            &["invariant 6: processes: 3 noted, 2 counted"],
        ),
        (
            |machine, _| {
                machine.vmas.make_room(1, "VMAs").unwrap();
                machine.objects.make_room(1, "shared mappings").unwrap();
                let object = Some(machine.objects.take());
                machine.new_vma(Vma { traits: Traits::new(Prot::READ, object), ..Vma::default() });
            },
            &["invariant 6: VMAs: 6 noted, 5 counted", "invariant 6: VMAs of a shared mapping: 1 noted, 0 counted"],
        ),
    ];
    for (damage, words) in wrong {
        assert_eq!(said(damage), words);
    }
}
