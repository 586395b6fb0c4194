//! The examples of reverse mapping, and figures that can be calculated by hand.

use std::time::Instant;

use memgroup::rmap::{
    Advice, Broken, CloneOrder, Counts, Error, Family, Invariant, Kernel, Machine, Mmap, Mremap, PageId, Policy,
    ProcessId, Prot, Rules,
};

/// A page of most stories.
const PAGE: u64 = 16;

/// Policies that find every process.
const CORRECT: [Policy; 7] = [
    Policy::Scan24,
    Policy::Shared26,
    Policy::Avc34,
    Policy::Avc36,
    Policy::Degree319,
    Policy::Modern,
    Policy::Linux70,
];

/// A machine with a process that has `vmas` VMAs of a page each.
fn family_of(policy: Policy, vmas: u64) -> (Machine, ProcessId) {
    let mut machine = Machine::new(policy);
    let first = machine.spawn().unwrap();
    for _ in 0..vmas {
        machine.mmap(first, Mmap::new(1)).unwrap();
    }
    (machine, first)
}

fn write_all(machine: &mut Machine, process: ProcessId) {
    for vma in machine.vmas(process).unwrap() {
        machine.write(process, vma.start).unwrap();
    }
}

fn objects(machine: &Machine) -> (u64, u64) {
    let Counts { anon_vmas, chains, anon_vmas_total, chains_total, .. } = machine.counts();
    assert_eq!((anon_vmas, chains), (anon_vmas_total, chains_total), "nobody has exited");
    (anon_vmas, chains)
}

fn invariants(broken: &[Broken]) -> Vec<Invariant> {
    let mut invariants: Vec<_> = broken.iter().map(|broken| broken.invariant).collect();
    invariants.dedup();
    invariants
}

// Closed forms: with K written VMAs and P processes, K·P anon_vmas and K·Σ(depth + 1) chain entries

#[test]
fn a_star_of_a_thousand_children() {
    for policy in [Policy::Linux70, Policy::Modern, Policy::Avc36] {
        let (mut machine, first) = family_of(policy, 10);
        write_all(&mut machine, first);
        machine.fork_many(first, 1_000).unwrap();
        assert_eq!(objects(&machine), (10_010, 20_010));
        assert_eq!(machine.check(), []);
    }
}

#[test]
fn a_chain_of_a_hundred_forks() {
    for policy in [Policy::Linux70, Policy::Modern, Policy::Avc36] {
        let (mut machine, first) = family_of(policy, 10);
        write_all(&mut machine, first);
        (0..100).fold(first, |parent, _| machine.fork(parent).unwrap());
        assert_eq!(objects(&machine), (1_010, 51_510));
        assert_eq!(machine.check(), []);
    }
}

#[test]
fn a_binary_tree_of_depth_eight() {
    for policy in [Policy::Linux70, Policy::Modern, Policy::Avc36] {
        let (mut machine, first) = family_of(policy, 10);
        write_all(&mut machine, first);
        let mut leaves = vec![first];
        for _ in 0..8 {
            leaves = leaves.into_iter().flat_map(|parent| machine.fork_many(parent, 2).unwrap()).collect();
        }
        assert_eq!(machine.counts().processes, 511);
        assert_eq!(objects(&machine), (5_110, 40_970));
        assert_eq!(machine.check(), []);
    }
}

#[test]
fn shared_and_untouched_mappings_cost_nothing() {
    for policy in Policy::ALL {
        let (mut machine, first) = family_of(policy, 10);
        let shared = machine.mmap(first, Mmap::new(4).shared()).unwrap();
        let start = machine.vma(shared).unwrap().start;
        machine.write(first, start).unwrap();
        machine.read(first, PAGE).unwrap(); // mapping the page of zeros makes no anon_vma
        let children = machine.fork_many(first, 20).unwrap();
        assert_eq!(objects(&machine), (0, 0));
        // All readers share the one page.
        let page = machine.read(children[7], start).unwrap();
        assert_eq!(page, machine.page_at(first, start).unwrap());
        assert_eq!(machine.mapped_by(page.unwrap()).unwrap(), [first, children[7]]);
        assert_eq!(machine.check(), []);
    }
}

#[test]
fn one_list_for_a_family_has_no_chains() {
    let (mut machine, first) = family_of(Policy::Shared26, 10);
    write_all(&mut machine, first);
    machine.fork_many(first, 1_000).unwrap();
    assert_eq!(objects(&machine), (10, 0));
}

#[test]
fn a_lineage_in_which_each_parent_exits() {
    let lengths = [Policy::Avc34, Policy::Avc36, Policy::Degree319, Policy::Modern, Policy::Linux70].map(|policy| {
        let (mut machine, first) = family_of(policy, 1);
        write_all(&mut machine, first);
        let last = (0..400).fold(first, |parent, _| {
            let child = machine.fork(parent).unwrap();
            machine.exit(parent).unwrap();
            child
        });
        assert_eq!(machine.check(), []);
        machine.vmas(last).unwrap()[0].chain.len()
    });
    assert_eq!(lengths[..2], [401, 401]);
    assert!(lengths[2] <= 3);
    assert_eq!(lengths[3..], [3, 3]);
}

// The seed: the process that faults a page in first decides where every walk searches for it

/// A touches a page and forks B; the page is swapped out; B faults it in first, then A.
fn seed(rules: Rules) -> (Machine, [ProcessId; 2], PageId) {
    let mut machine = Machine::with_rules(rules);
    let parent = machine.spawn().unwrap();
    machine.mmap(parent, Mmap::new(1).at(PAGE)).unwrap();
    let page = machine.write(parent, PAGE).unwrap();
    let child = machine.fork(parent).unwrap();
    let out = machine.swap_out(page).unwrap();
    assert_eq!((out.unmapped, out.left), (2, 0));
    assert_eq!(machine.read(child, PAGE), Ok(Some(page)));
    assert_eq!(machine.read(parent, PAGE), Ok(Some(page)));
    (machine, [parent, child], page)
}

#[test]
fn the_first_chains_lose_a_page_and_then_its_way_back() {
    let (mut machine, [parent, child], page) = seed(Policy::AvcRc1.rules());
    let broken = machine.check();
    assert_eq!(broken.len(), 1);
    let lost = &broken[0];
    assert_eq!((lost.invariant, lost.page, lost.process), (Invariant::Unreachable, Some(page), Some(parent)));
    assert!(lost.to_string().starts_with("invariant 2: page 0, process 1, the walk of its mapping, anon_vma 1, "));
    // The kernel cannot take the page from A any more.
    let walk = machine.walk(page).unwrap();
    assert_eq!(walk.places.iter().map(|(process, _)| *process).collect::<Vec<_>>(), [child]);

    machine.exit(child).unwrap();
    let broken = machine.check();
    assert_eq!(broken.len(), 1);
    let lost = &broken[0];
    assert_eq!((lost.invariant, lost.page, lost.process), (Invariant::Dangling, Some(page), Some(parent)));
    assert_eq!(lost.reason, "its mapping, anon_vma 1, is freed");
    assert_eq!(machine.swap_out(page).map(|out| (out.unmapped, out.left)), Ok((0, 1)));
}

#[test]
fn every_other_design_finds_the_page() {
    for policy in CORRECT {
        let (mut machine, [parent, child], page) = seed(policy.rules());
        assert_eq!(machine.check(), [], "{policy}");
        machine.exit(child).unwrap();
        assert_eq!(machine.check(), [], "{policy}");
        assert_eq!(machine.mapped_by(page).unwrap(), [parent]);
        assert_eq!(machine.swap_out(page).unwrap().left, 0);
    }
}

/// ea90002b without 646d87b4: the oldest anon_vma, with chains that every fork reverses.
fn oldest_alone() -> Rules {
    Rules { clone_order: CloneOrder::Reverses, ..Policy::Avc34.rules() }
}

#[test]
fn taking_the_oldest_without_keeping_the_order_is_clean_at_depth_1() {
    let (mut machine, [_, child], _) = seed(oldest_alone());
    assert_eq!(machine.check(), []);
    machine.exit(child).unwrap();
    assert_eq!(machine.check(), []);
}

#[test]
fn taking_the_oldest_without_keeping_the_order_dangles_at_depth_2() {
    let deep = |rules: Rules| {
        let mut machine = Machine::with_rules(rules);
        let grandparent = machine.spawn().unwrap();
        machine.mmap(grandparent, Mmap::new(1).at(PAGE)).unwrap();
        let page = machine.write(grandparent, PAGE).unwrap();
        let parent = machine.fork(grandparent).unwrap();
        let child = machine.fork(parent).unwrap();
        machine.swap_out(page).unwrap();
        machine.read(child, PAGE).unwrap();
        machine.read(grandparent, PAGE).unwrap();
        let before = invariants(&machine.check());
        machine.exit(child).unwrap();
        machine.exit(parent).unwrap();
        (before, invariants(&machine.check()))
    };
    assert_eq!(deep(oldest_alone()), (vec![Invariant::Unreachable], vec![Invariant::Dangling]));
    for policy in CORRECT {
        assert_eq!(deep(policy.rules()), (vec![], vec![]), "{policy}");
    }
}

#[test]
fn keeping_the_order_without_taking_the_oldest_does_not_help() {
    let (machine, _, _) = seed(Rules { clone_order: CloneOrder::Keeps, ..Policy::AvcRc1.rules() });
    assert_eq!(invariants(&machine.check()), [Invariant::Unreachable]);
}

// Counting children and VMAs together: an anon_vma in use is taken for an abandoned one, twice

#[test]
fn counting_degrees_hands_out_one_anon_vma_twice() {
    let story = |policy| {
        let mut machine = Machine::new(policy);
        let first = machine.spawn().unwrap();
        machine.mmap(first, Mmap::new(2).at(PAGE)).unwrap();
        let read_only_first_page = |machine: &mut Machine, process| machine.mprotect(process, PAGE, 1, Prot::READ);
        machine.write(first, PAGE).unwrap();
        let second = machine.fork(first).unwrap();
        let third = machine.fork(second).unwrap();
        machine.exit(second).unwrap();
        // It takes over the anon_vma of the second, so that the third has an anon_vma without children.
        let fourth = machine.fork(third).unwrap();
        for process in [third, fourth] {
            read_only_first_page(&mut machine, process).unwrap();
        }
        let fifth = machine.fork(fourth).unwrap();
        machine.exit(third).unwrap();
        machine.mprotect(fifth, PAGE, 1, Prot::READ_WRITE).unwrap();
        let page = machine.write(fifth, PAGE).unwrap();
        let sixth = machine.fork(fifth).unwrap();
        let twice = machine.check();
        // Both VMAs of the sixth have that anon_vma, so they may merge, and one chain is lost.
        read_only_first_page(&mut machine, sixth).unwrap();
        machine.mprotect(sixth, PAGE, 1, Prot::READ_WRITE).unwrap();
        let merged = machine.check();
        machine.exit(fifth).unwrap();
        (machine, page, sixth, [twice, merged])
    };
    let (machine, page, sixth, [twice, merged]) = story(Policy::Degree319);
    assert_eq!(invariants(&twice), [Invariant::SameChain]);
    assert_eq!(twice[0].process, Some(sixth));
    assert_eq!((merged[0].invariant, merged[0].page), (Invariant::Unreachable, Some(page)));
    let last = machine.check();
    assert_eq!((last[0].invariant, last[0].page, last[0].process), (Invariant::Dangling, Some(page), Some(sixth)));

    for policy in [Policy::Shared26, Policy::Avc34, Policy::Avc36, Policy::Modern, Policy::Linux70] {
        let (machine, _, _, before) = story(policy);
        assert_eq!(before, [vec![], vec![]], "{policy}");
        assert_eq!(machine.check(), [], "{policy}");
    }
}

// 7.0: every copy reverses the chain, and the first abandoned anon_vma is taken over

/// The chain of a process's first VMA, newest first.
fn chain(machine: &Machine, process: ProcessId) -> Vec<u64> {
    machine.vmas(process).unwrap()[0].chain.iter().map(|anon_vma| anon_vma.number()).collect()
}

#[test]
fn a_line_of_forks_has_its_chains_reversed_since_7_0() {
    let chains = |policy| {
        let (mut machine, first) = family_of(policy, 1);
        write_all(&mut machine, first);
        let mut line = vec![first];
        for _ in 0..3 {
            line.push(machine.fork(line[line.len() - 1]).unwrap());
        }
        line[1..].iter().map(|&process| chain(&machine, process)).collect::<Vec<_>>()
    };
    assert_eq!(chains(Policy::Modern), [vec![1, 0], vec![2, 1, 0], vec![3, 2, 1, 0]]);
    assert_eq!(chains(Policy::Linux70), [vec![1, 0], vec![2, 0, 1], vec![3, 1, 0, 2]]);
}

#[test]
fn the_shortest_history_that_tells_7_0_from_before() {
    let story = |policy| {
        let (mut machine, first) = family_of(policy, 1);
        write_all(&mut machine, first);
        let mut line = vec![first];
        for _ in 0..4 {
            line.push(machine.fork(line[line.len() - 1]).unwrap());
        }
        machine.exit(line[1]).unwrap();
        machine.exit(line[2]).unwrap();
        let totals = |machine: &Machine| (machine.counts().anon_vmas_total, machine.counts().chains_total);
        let before = totals(&machine);
        let last = machine.fork(line[4]).unwrap();
        assert_eq!(machine.check(), []);
        let made = (totals(&machine).0 - before.0, totals(&machine).1 - before.1);
        (machine.vmas(last).unwrap()[0].anon_vma.unwrap().number(), made)
    };
    assert_eq!(story(Policy::Modern), (1, (0, 5)));
    // One of each was allocated before there was one to take over, and freed again.
    assert_eq!(story(Policy::Linux70), (2, (1, 6)));
}

// Moving pages

fn rules_of(kernel: &str) -> Rules {
    kernel.parse::<Kernel>().unwrap().rules()
}

/// A process of that kernel with one page, which it has written.
fn written_under(kernel: &str) -> (Machine, ProcessId, PageId) {
    let mut machine = Machine::with_rules(rules_of(kernel));
    let first = machine.spawn().unwrap();
    machine.mmap(first, Mmap::new(1).at(PAGE)).unwrap();
    let page = machine.write(first, PAGE).unwrap();
    (machine, first, page)
}

#[test]
fn a_page_moves_to_its_only_writer_but_from_5_9_to_5_18() {
    for (kernel, moves) in [("5.8", true), ("5.10.46", false), ("5.10.223", false), ("5.19", true), ("7.2", true)] {
        let (mut machine, first, page) = written_under(kernel);
        let child = machine.fork(first).unwrap();
        machine.exit(first).unwrap();
        assert_eq!(machine.write(child, PAGE), Ok(page));
        let mapping = machine.graph().pages[0].mapping;
        assert_eq!(mapping == machine.vmas(child).unwrap()[0].anon_vma, moves, "{kernel}");
        assert_eq!(machine.check(), []);
    }
}

#[test]
fn a_moved_page_keeps_its_index_and_is_found() {
    for policy in CORRECT {
        let (mut machine, first) = family_of(policy, 0);
        machine.mmap(first, Mmap::new(4).at(PAGE)).unwrap();
        let pages = [PAGE, PAGE + 1, PAGE + 2, PAGE + 3].map(|page| machine.write(first, page).unwrap());
        let child = machine.fork(first).unwrap();
        let moved = machine.mremap(first, Mremap { page: PAGE + 1, pages: 2, to: 100, dont_unmap: false }).unwrap();
        let row = machine.vma(moved).unwrap();
        assert_eq!((row.start, row.end, row.index), (100, 102, PAGE + 1));
        assert_eq!(machine.page_at(first, 100), Ok(Some(pages[1])));
        assert_eq!(machine.page_at(first, PAGE + 1), Err(Error::Unmapped { pid: 1, page: PAGE + 1 }));
        assert_eq!(machine.check(), [], "{policy}");
        for page in pages {
            assert_eq!(machine.mapped_by(page).unwrap(), [first, child]);
            assert_eq!(machine.swap_out(page).unwrap().left, 0, "{policy}");
        }
        assert_eq!(machine.read(first, 101), Ok(Some(pages[2])));
        // Back where it was, it is one VMA again.
        machine.mremap(first, Mremap { page: 100, pages: 2, to: PAGE + 1, dont_unmap: false }).unwrap();
        assert_eq!(ranges(&machine, first), [(PAGE, PAGE + 4, "rw-".into())]);
        assert_eq!(machine.check(), [], "{policy}");
    }
}

#[test]
fn a_range_that_stays_mapped_loses_its_pages_and_its_chain() {
    for policy in CORRECT {
        let (mut machine, first) = family_of(policy, 0);
        machine.mmap(first, Mmap::new(1).at(PAGE)).unwrap();
        let page = machine.write(first, PAGE).unwrap();
        machine.mremap(first, Mremap { page: PAGE, pages: 1, to: 100, dont_unmap: true }).unwrap();
        let [left, moved] = machine.vmas(first).unwrap().try_into().unwrap();
        assert_eq!((left.anon_vma, moved.anon_vma.is_some()), (None, policy != Policy::Scan24));
        assert_eq!((machine.page_at(first, PAGE), machine.page_at(first, 100)), (Ok(None), Ok(Some(page))));
        let new = machine.write(first, PAGE).unwrap();
        assert_ne!(new, page);
        assert_eq!(machine.check(), [], "{policy}");
    }
}

// 1583aa278f5f is in 5.13, 838bb60dc215 in 7.3; they were found by the chains that forks copy in real kernels.
#[test]
fn a_range_that_stays_mapped_kept_its_chain_until_5_13() {
    for (kernel, keeps) in [("5.10.46", true), ("5.10.223", true), ("5.12", true), ("5.13", false), ("7.2.13", false)] {
        let (mut machine, first, page) = written_under(kernel);
        machine.mremap(first, Mremap { page: PAGE, pages: 1, to: 100, dont_unmap: true }).unwrap();
        let child = machine.fork(first).unwrap();
        assert_eq!(machine.vmas(child).unwrap()[0].anon_vma.is_some(), keeps, "{kernel}");
        // A walk looks there, too.
        assert_eq!(machine.walk(page).unwrap().places.len(), if keeps { 4 } else { 2 }, "{kernel}");
        assert_eq!(machine.check(), [], "{kernel}");
    }
}

#[test]
fn a_range_that_stays_mapped_stays_apart_from_7_3_on() {
    let whole = [(PAGE, PAGE + 16, "rw-".into())];
    let apart = [(PAGE, PAGE + 9, "rw-".into()), (PAGE + 9, PAGE + 16, "rw-".into())];
    let kernels = [("6.1.176", false), ("6.12.117", true), ("6.18.44", false), ("7.2.13", true), ("7.3", true)];
    for (kernel, stays) in kernels {
        for dont_unmap in [true, false] {
            let mut machine = Machine::with_rules(rules_of(kernel));
            let first = machine.spawn().unwrap();
            machine.mmap(first, Mmap::new(16).at(PAGE)).unwrap();
            machine.mremap(first, Mremap { page: PAGE + 7, pages: 1, to: PAGE + 9, dont_unmap }).unwrap();
            match (dont_unmap, stays) {
                (true, true) => assert_eq!(ranges(&machine, first), apart, "{kernel}"),
                (true, false) => assert_eq!(ranges(&machine, first), whole, "{kernel}"),
                (false, _) => assert_eq!(ranges(&machine, first)[1], (PAGE + 8, PAGE + 16, "rw-".into()), "{kernel}"),
            }
            assert_eq!(machine.check(), [], "{kernel}");
        }
    }
}

/// A page is moved away and back, beside a new mapping that nobody has touched, which grows over it.
fn moved_beside_untouched(rules: Rules, dont_unmap: bool) -> (Machine, PageId) {
    let mut machine = Machine::with_rules(rules);
    let process = machine.spawn().unwrap();
    machine.mmap(process, Mmap::new(1).at(PAGE)).unwrap();
    let page = machine.write(process, PAGE).unwrap();
    machine.mremap(process, Mremap { page: PAGE, pages: 1, to: 100, dont_unmap: false }).unwrap();
    machine.mmap(process, Mmap::new(1).at(PAGE - 1)).unwrap();
    machine.mremap(process, Mremap { page: 100, pages: 1, to: PAGE, dont_unmap }).unwrap();
    assert_eq!(machine.page_at(process, PAGE), Ok(Some(page)));
    (machine, page)
}

#[test]
fn from_6_16_on_a_moved_page_dangled_until_the_chain_was_inherited() {
    for dont_unmap in [false, true] {
        for kernel in ["6.16", "6.17.13", "6.18.7"] {
            let (machine, page) = moved_beside_untouched(rules_of(kernel), dont_unmap);
            let [broken] = machine.check().try_into().unwrap();
            assert_eq!((broken.invariant, broken.page), (Invariant::Dangling, Some(page)), "{kernel}");
        }
        // Before, the two stayed apart; since, the one inherits the chain of the other.
        for (kernel, vmas) in [("6.1.176", 2), ("6.15.11", 2), ("6.18.8", 1), ("6.19", 1), ("7.2", 1)] {
            let (machine, page) = moved_beside_untouched(rules_of(kernel), dont_unmap);
            assert_eq!(machine.check(), [], "{kernel}");
            let process = machine.processes().next().unwrap();
            let found = machine.walk(page).unwrap().places;
            assert_eq!((found.len(), found[0].0), (1, process));
            assert_eq!(machine.vmas(process).unwrap().len(), vmas + usize::from(dont_unmap), "{kernel}");
        }
    }
}

#[test]
fn moves_that_are_refused() {
    let (mut machine, first) = family_of(Policy::NEWEST, 0);
    machine.mmap(first, Mmap::new(4).at(PAGE)).unwrap();
    machine.mprotect(first, PAGE + 2, 2, Prot::READ).unwrap();
    let before = machine.graph();
    let mut message =
        |page, pages, to| machine.mremap(first, Mremap { page, pages, to, dont_unmap: false }).unwrap_err().to_string();
    assert_eq!(
        message(PAGE, 4, 100),
        "the range from page 16 on is of several VMAs of process 1, the next from page 18 on: mremap each"
    );
    assert_eq!(
        message(PAGE, 2, 17),
        "pages 16 to 17 and the same number from page 17 on overlap: move them elsewhere first"
    );
    assert_eq!(message(PAGE + 2, 3, 100), "page 20 is not mapped in process 1: mmap it first");
    assert_eq!(message(40, 1, 100), "page 40 is not mapped in process 1: mmap it first");
    assert!(message(PAGE, 0, 100).contains("no range"));
    assert!(message(PAGE, 1, memgroup::rmap::LIMIT).contains("no range"));
    assert_eq!(machine.graph(), before);
}

// Three statements that are often repeated, and wrong

/// 1 process, 30 children, 30 children of each. A page all share, one a child has copied, one a grandchild has.
fn three_generations(policy: Policy) -> (Machine, [PageId; 3]) {
    let mut machine = Machine::new(policy);
    let first = machine.spawn().unwrap();
    machine.mmap(first, Mmap::new(3).at(PAGE)).unwrap();
    for page in PAGE..PAGE + 3 {
        machine.write(first, page).unwrap();
    }
    let children = machine.fork_many(first, 30).unwrap();
    let copied = machine.write(children[11], PAGE + 1).unwrap();
    let grandchildren: Vec<_> = children.iter().map(|&child| machine.fork_many(child, 30).unwrap()).collect();
    let private = machine.write(grandchildren[5][17], PAGE + 2).unwrap();
    let shared = machine.page_at(first, PAGE).unwrap().unwrap();
    assert_eq!(machine.check(), []);
    (machine, [shared, copied, private])
}

#[test]
fn an_anon_vma_lists_all_descendants() {
    for policy in [Policy::Avc36, Policy::Degree319, Policy::Modern, Policy::Linux70] {
        let (machine, pages) = three_generations(policy);
        assert_eq!(pages.map(|page| machine.walk_visits(page).unwrap()), [931, 31, 1], "{policy}");
        assert_eq!(pages.map(|page| machine.unmap_visits(page).unwrap()), [931, 31, 1], "{policy}");
    }
    for policy in [Policy::Scan24, Policy::Shared26, Policy::Avc34] {
        let (machine, pages) = three_generations(policy);
        assert_eq!(pages.map(|page| machine.walk_visits(page).unwrap()), [931; 3], "{policy}");
    }
}

#[test]
fn taking_the_oldest_gave_up_the_gain() {
    let visits = [Policy::Shared26, Policy::AvcRc1, Policy::Avc34, Policy::Avc36, Policy::Modern].map(|policy| {
        let (mut machine, first) = family_of(policy, 1);
        write_all(&mut machine, first);
        let children = machine.fork_many(first, 1_000).unwrap();
        let page = machine.write(children[500], PAGE).unwrap();
        machine.walk_visits(page).unwrap()
    });
    assert_eq!(visits, [1_001, 1, 1_001, 1, 1]);
}

#[test]
fn a_copy_on_write_removes_no_chain_entry() {
    for policy in Policy::ALL {
        let (mut machine, first) = family_of(policy, 1);
        write_all(&mut machine, first);
        let child = machine.fork(first).unwrap();
        let before = machine.counts();
        let (old, new) = (machine.page_at(child, PAGE).unwrap().unwrap(), machine.write(child, PAGE).unwrap());
        let after = machine.counts();
        assert_ne!(old, new);
        assert_eq!(after, Counts { pages: 2, pages_total: 2, copies: 1, ..before });
        // The price: the walk of the parent's page still visits the child.
        if policy != Policy::Scan24 {
            assert_eq!(machine.walk_visits(old).unwrap(), 2);
        }
        assert_eq!(machine.mapped_by(old).unwrap(), [first]);
    }
}

// The headline of 2010

/// 1 process, `width` children, `width` children of each, each of which has copied the page; and what is walked to
/// unmap the page of the first, of a child, of a grandchild.
fn headline(policy: Policy, width: u64) -> (Machine, [u64; 3]) {
    let (mut machine, first) = family_of(policy, 1);
    write_all(&mut machine, first);
    let children = machine.fork_many(first, width).unwrap();
    let mut some = [machine.page_at(first, PAGE).unwrap().unwrap(); 3];
    for &child in &children {
        some[1] = machine.write(child, PAGE).unwrap();
        for grandchild in machine.fork_many(child, width).unwrap() {
            some[2] = machine.write(grandchild, PAGE).unwrap();
        }
        // What the children copied is the child's alone again.
        machine.write(child, PAGE).unwrap();
    }
    let visits = some.map(|page| machine.walk_visits(page).unwrap());
    for page in some {
        let out = machine.swap_out(page).unwrap();
        assert_eq!((out.unmapped, out.left), (1, 0));
    }
    (machine, visits)
}

#[test]
fn a_family_of_thirty_times_thirty() {
    for (policy, visits) in [
        (Policy::Scan24, [931, 931, 931]),
        (Policy::Shared26, [931, 931, 931]),
        // The child's page was moved to the child's own when it became the child's alone; the copy never was.
        (Policy::Avc34, [931, 31, 931]),
        (Policy::Avc36, [931, 31, 1]),
        (Policy::Modern, [931, 31, 1]),
        (Policy::CowContext, [931, 31, 1]),
    ] {
        let (machine, walked) = headline(policy, 30);
        assert_eq!(walked, visits, "{policy}");
        assert_eq!(machine.check(), []);
    }
}

/// `cargo test --release --test contract -- --ignored --nocapture the_headline_of_2010`: some seconds, some 600 MiB.
#[test]
#[ignore = "a million processes: for a release build, on a machine with 4 GiB"]
fn the_headline_of_2010() {
    for policy in Policy::ALL {
        let start = Instant::now();
        let (machine, visits) = headline(policy, 1_000);
        let took = start.elapsed();
        let counts = machine.counts();
        assert_eq!(counts.processes, 1_001_001);
        let expected = match policy {
            Policy::Scan24 | Policy::Shared26 => [1_001_001; 3],
            Policy::Avc34 => [1_001_001, 1_001, 1_001_001],
            _ => [1_001_001, 1_001, 1],
        };
        assert_eq!(visits, expected);
        let peak = peak_memory();
        println!(
            "{policy}: {took:.2?}, {} anon_vmas, {} chains, walks of {visits:?}, peak {peak} KiB",
            counts.anon_vmas, counts.chains
        );
        assert!(peak < 4 << 20, "more than 4 GiB");
    }
}

/// The peak memory of this process, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

// Ranges

fn ranges(machine: &Machine, process: ProcessId) -> Vec<(u64, u64, String)> {
    let vmas = machine.vmas(process).unwrap().into_iter();
    vmas.map(|vma| (vma.start, vma.end, vma.prot.to_string())).collect()
}

#[test]
fn splits_copy_chains_and_merges_give_them_back() {
    for policy in Policy::ALL {
        let mut machine = Machine::new(policy);
        let first = machine.spawn().unwrap();
        machine.mmap(first, Mmap::new(10).at(PAGE)).unwrap();
        machine.write(first, PAGE).unwrap();
        let child = machine.fork(first).unwrap();
        let before = machine.counts();
        machine.mprotect(child, PAGE + 3, 2, Prot::READ).unwrap();
        let split = |start, end, prot: &str| (PAGE + start, PAGE + end, prot.to_string());
        assert_eq!(ranges(&machine, child), [split(0, 3, "rw-"), split(3, 5, "r--"), split(5, 10, "rw-")]);
        if policy.rules().family == Family::Chains {
            assert_eq!(machine.counts().chains, before.chains + 4);
        }
        assert_eq!(machine.counts().anon_vmas, before.anon_vmas);
        assert_eq!(machine.check(), []);
        machine.mprotect(child, PAGE + 3, 2, Prot::READ_WRITE).unwrap();
        assert_eq!(ranges(&machine, child), [split(0, 10, "rw-")]);
        assert_eq!(machine.counts().chains, before.chains);
        machine.munmap(child, PAGE + 3, 2).unwrap();
        assert_eq!(ranges(&machine, child), [split(0, 3, "rw-"), split(5, 10, "rw-")]);
        assert_eq!(machine.check(), []);
    }
}

#[test]
fn accounting_that_differs_keeps_neighbours_apart() {
    let mut machine = Machine::new(Policy::Modern);
    let process = machine.spawn().unwrap();
    machine.mmap(process, Mmap::new(2).at(PAGE)).unwrap();
    // Written and then read-only: accounted. Read-only from the start: not.
    machine.write(process, PAGE).unwrap();
    machine.mprotect(process, PAGE, 2, Prot::READ).unwrap();
    machine.mmap(process, Mmap::new(2).at(PAGE + 2).prot(Prot::READ)).unwrap();
    assert_eq!(ranges(&machine, process).len(), 2);
    assert_eq!(machine.vmas(process).unwrap().iter().map(|vma| vma.accounted).collect::<Vec<_>>(), [true, false]);
    // To be written, it is accounted, and they are one.
    machine.mprotect(process, PAGE, 4, Prot::READ_WRITE).unwrap();
    assert_eq!(ranges(&machine, process), [(PAGE, PAGE + 4, "rw-".into())]);
}

#[test]
fn neighbours_share_an_anon_vma_until_one_has_inherited_it() {
    let mut machine = Machine::new(Policy::Modern);
    let first = machine.spawn().unwrap();
    machine.mmap(first, Mmap::new(2).at(PAGE)).unwrap();
    machine.mmap(first, Mmap::new(2).at(PAGE + 2).prot("rwx".parse().unwrap())).unwrap();
    machine.write(first, PAGE + 2).unwrap();
    let child = machine.fork(first).unwrap();
    machine.write(first, PAGE).unwrap();
    machine.write(child, PAGE).unwrap();
    let own = |process| machine.vmas(process).unwrap().into_iter().map(|vma| vma.anon_vma).collect::<Vec<_>>();
    assert_eq!(own(first)[0], own(first)[1]);
    assert_ne!(own(child)[0], own(child)[1]);
    assert_eq!(machine.check(), []);
}

#[test]
fn a_mapping_beside_another_grows_it_unless_it_came_from_a_parent() {
    let mut machine = Machine::new(Policy::Modern);
    let first = machine.spawn().unwrap();
    machine.mmap(first, Mmap::new(2).at(PAGE)).unwrap();
    machine.write(first, PAGE).unwrap();
    let child = machine.fork(first).unwrap();
    for process in [first, child] {
        machine.mmap(process, Mmap::new(2).at(PAGE + 2)).unwrap();
    }
    assert_eq!((ranges(&machine, first).len(), ranges(&machine, child).len()), (1, 2));
    // One that is left to choose stays a page away from all.
    let alone = machine.mmap(first, Mmap::new(2)).unwrap();
    assert_eq!(machine.vma(alone).unwrap().start, PAGE + 5);
}

#[test]
fn advice_keeps_ranges_from_children() {
    for policy in Policy::ALL {
        let mut machine = Machine::new(policy);
        let first = machine.spawn().unwrap();
        machine.mmap(first, Mmap::new(6).at(PAGE)).unwrap();
        for page in PAGE..PAGE + 6 {
            machine.write(first, page).unwrap();
        }
        machine.madvise(first, PAGE, 2, Advice::DontFork).unwrap();
        machine.madvise(first, PAGE + 2, 2, Advice::WipeOnFork).unwrap();
        let child = machine.fork(first).unwrap();
        let seen = |page| machine.page_at(child, page).map(|page| page.is_some());
        assert_eq!(seen(PAGE), Err(Error::Unmapped { pid: 2, page: PAGE }));
        assert_eq!((seen(PAGE + 2), seen(PAGE + 4)), (Ok(false), Ok(true)));
        let wiped = &machine.vmas(child).unwrap()[0];
        assert!(wiped.wipe_on_fork && wiped.anon_vma.is_none() && wiped.chain.is_empty());
        machine.madvise(first, PAGE, 6, Advice::DoFork).unwrap();
        machine.madvise(first, PAGE, 6, Advice::KeepOnFork).unwrap();
        assert_eq!(machine.vmas(first).unwrap().len(), 1);
        let child = machine.fork(first).unwrap();
        assert_eq!(machine.vmas(child).unwrap().len(), 1);
        assert_eq!(machine.check(), []);
    }
}

#[test]
fn a_page_mapped_by_one_process_moves_to_its_own_anon_vma() {
    let (mut machine, first) = family_of(Policy::Modern, 1);
    write_all(&mut machine, first);
    let child = machine.fork(first).unwrap();
    let page = machine.page_at(child, PAGE).unwrap().unwrap();
    assert_eq!(machine.walk_visits(page), Ok(2));
    machine.exit(first).unwrap();
    assert_eq!(machine.write(child, PAGE), Ok(page)); // not copied: no other process has it
    let row = machine.graph().pages.remove(0);
    assert_eq!(row.mapping, machine.vmas(child).unwrap()[0].anon_vma);
    assert_eq!(machine.counts().copies, 0);
}

#[test]
fn a_page_in_swap_is_copied_even_when_one_maps_it() {
    for policy in CORRECT {
        let (mut machine, first) = family_of(policy, 1);
        write_all(&mut machine, first);
        let child = machine.fork(first).unwrap();
        let page = machine.page_at(first, PAGE).unwrap().unwrap();
        machine.swap_out(page).unwrap();
        assert_eq!(machine.swap_out(page), Err(Error::NotMapped { page }));
        let copy = machine.write(child, PAGE).unwrap();
        assert_ne!(copy, page);
        // The last process that has the page becomes its owner again.
        assert_eq!(machine.write(first, PAGE), Ok(page));
        assert_eq!((machine.counts().copies, machine.check()), (1, vec![]));
    }
}

// Errors

#[test]
fn errors_say_which_page_and_which_process() {
    let (mut machine, first) = family_of(Policy::Modern, 1);
    let child = machine.fork(first).unwrap();
    machine.exit(child).unwrap();
    let message = |error: Result<(), Error>| error.unwrap_err().to_string();
    let exited = "process 2 has exited: start another, by spawn() or fork()";
    assert_eq!(message(machine.write(child, PAGE).map(drop)), exited);
    assert_eq!(message(machine.exit(child)), exited);
    // Its table row is reused, and its id stays invalid.
    let third = machine.fork(first).unwrap();
    assert_eq!(third.pid(), 3);
    assert_eq!(message(machine.read(child, PAGE).map(drop)), exited);
    let unmapped = "page 99 is not mapped in process 1: mmap it first";
    assert_eq!(message(machine.write(first, 99).map(drop)), unmapped);
    assert_eq!(message(machine.mprotect(first, PAGE, 2, Prot::READ)), unmapped.replace("99", "17"));
    machine.mprotect(first, PAGE, 1, Prot::NONE).unwrap();
    let denied = "page 16 of process 1 is mapped ---, which does not allow reading: mprotect it first";
    assert_eq!(message(machine.read(first, PAGE).map(drop)), denied);
    assert!(matches!(machine.mmap(first, Mmap::new(2).at(PAGE - 1)), Err(Error::Taken { pid: 1, page: PAGE })));
    for pages in [0, u64::MAX, memgroup::rmap::LIMIT + 1] {
        assert!(matches!(machine.mmap(first, Mmap::new(pages)), Err(Error::Range { .. })));
        assert!(matches!(machine.munmap(first, 1, pages), Err(Error::Range { .. })));
    }
    assert!(matches!(machine.mmap(first, Mmap::new(memgroup::rmap::LIMIT)), Err(Error::NoHole { .. })));
    let gone = PageId::from_number(77);
    assert_eq!(message(machine.swap_out(gone).map(drop)), "page 77 is gone: no process maps it or has it in swap");
    assert!(matches!(machine.fork_many(first, u64::MAX), Err(Error::TooManyProcesses { .. })));
    assert_eq!(machine.counts().processes, 2);
    assert_eq!(machine.check(), []);
}

#[test]
fn policies_have_names() {
    for policy in Policy::ALL {
        assert_eq!(policy.name().parse(), Ok(policy));
    }
    let unknown = "latest".parse::<Policy>().unwrap_err().to_string();
    assert!(unknown.starts_with("policy must be one of \"scan24\", ") && unknown.ends_with(", not \"latest\""));
}
