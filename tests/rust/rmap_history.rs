//! Random histories of the reverse-mapping model: the checker after every operation, and the designs against each
//! other.

use memgroup::rmap::{Advice, Machine, Mmap, Mremap, PageId, Policy, ProcessId, Prot};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRng, TestRunner};

/// The number of pages of a history, so few that ranges touch.
const START: u64 = 16;
const PAGES: u64 = 12;

/// Histories for each policy.
const HISTORIES: u32 = 1_000;

#[derive(Debug, Clone)]
enum Step {
    Mmap { at: u64, pages: u64, prot: Prot, shared: bool },
    Munmap { at: u64, pages: u64 },
    Mprotect { at: u64, pages: u64, prot: Prot },
    Madvise { at: u64, pages: u64, advice: Advice },
    Mremap(Mremap),
    Write(Index, u64),
    Read(Index, u64),
    Fork(Index),
    Exit(Index),
    SwapOut(Index),
    Spawn,
}

/// A step and, where it is about one, the process.
type Move = (Index, Step);

/// Basic steps: writing, reading, forking, exiting, swapping.
fn living() -> BoxedStrategy<Step> {
    let page = START..START + PAGES;
    prop_oneof![
        8 => (any::<Index>(), page.clone()).prop_map(|(who, page)| Step::Write(who, page)),
        4 => (any::<Index>(), page).prop_map(|(who, page)| Step::Read(who, page)),
        5 => any::<Index>().prop_map(Step::Fork),
        3 => any::<Index>().prop_map(Step::Exit),
        3 => any::<Index>().prop_map(Step::SwapOut),
    ]
    .boxed()
}

/// Steps that change VMAs.
fn changing() -> BoxedStrategy<Step> {
    let range = || (START..START + PAGES, 1..=6u64);
    let prot = || prop_oneof![3 => Just(Prot::READ_WRITE), 2 => Just(Prot::READ), 1 => Just(Prot::NONE)];
    let advice =
        prop_oneof![Just(Advice::DontFork), Just(Advice::DoFork), Just(Advice::WipeOnFork), Just(Advice::KeepOnFork)];
    prop_oneof![
        3 => (range(), prot(), prop::bool::weighted(0.1))
            .prop_map(|((at, pages), prot, shared)| Step::Mmap { at, pages, prot, shared }),
        2 => range().prop_map(|(at, pages)| Step::Munmap { at, pages }),
        6 => (range(), prot()).prop_map(|((at, pages), prot)| Step::Mprotect { at, pages, prot }),
        2 => (range(), advice).prop_map(|((at, pages), advice)| Step::Madvise { at, pages, advice }),
        3 => (range(), START..START + 2 * PAGES, any::<bool>())
            .prop_map(|((page, pages), to, dont_unmap)| Step::Mremap(Mremap { page, pages, to, dont_unmap })),
        1 => Just(Step::Spawn),
    ]
    .boxed()
}

/// Steps that split and merge VMAs between forks.
fn merging() -> BoxedStrategy<Step> {
    let page = START..START + 2;
    let prot = prop_oneof![2 => Just(Prot::READ_WRITE), 1 => Just(Prot::READ)];
    prop_oneof![
        3 => (any::<Index>(), page.clone()).prop_map(|(who, page)| Step::Write(who, page)),
        4 => any::<Index>().prop_map(Step::Fork),
        3 => any::<Index>().prop_map(Step::Exit),
        4 => (page, prot).prop_map(|(at, prot)| Step::Mprotect { at, pages: 1, prot }),
    ]
    .boxed()
}

/// The kinds of histories.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Pages and processes come and go.
    Living,
    /// VMAs are changed as well.
    Changing,
    /// A long line of forks over two pages, which are protected apart and together again.
    Merging,
}

fn history(kind: Kind) -> BoxedStrategy<Vec<Move>> {
    let (step, longest) = match kind {
        Kind::Living => (living(), 60),
        Kind::Changing => (prop_oneof![3 => living(), 2 => changing()].boxed(), 60),
        Kind::Merging => (merging(), 200),
    };
    prop::collection::vec((any::<Index>(), step), 1..longest).boxed()
}

/// A machine with one process that has the whole range mapped.
fn beginning(policy: Policy) -> Machine {
    let mut machine = Machine::new(policy);
    let first = machine.spawn().unwrap();
    machine.mmap(first, Mmap::new(PAGES).at(START)).unwrap();
    machine
}

fn any_process(machine: &Machine, who: &Index) -> Option<ProcessId> {
    let all: Vec<_> = machine.processes().collect();
    (!all.is_empty()).then(|| *who.get(&all))
}

/// Executes a step if possible. An error is fine, and must change nothing.
fn play(machine: &mut Machine, (who, step): &Move) {
    // The whole state, for the steps that do many things.
    let is_step_of_many = !matches!(step, Step::Write(..) | Step::Read(..) | Step::Fork(_) | Step::Exit(_));
    let before = (machine.counts(), is_step_of_many.then(|| machine.graph()));
    let Some(process) = any_process(machine, who) else {
        machine.spawn().unwrap();
        return;
    };
    let outcome = match step {
        Step::Mmap { at, pages, prot, shared } => {
            let wanted = Mmap { pages: *pages, prot: *prot, shared: *shared, at: Some(*at) };
            machine.mmap(process, wanted).map(drop)
        }
        Step::Munmap { at, pages } => machine.munmap(process, *at, *pages),
        Step::Mprotect { at, pages, prot } => machine.mprotect(process, *at, *pages, *prot),
        Step::Madvise { at, pages, advice } => machine.madvise(process, *at, *pages, *advice),
        Step::Mremap(wanted) => machine.mremap(process, *wanted).map(drop),
        Step::Write(who, page) => {
            let process = any_process(machine, who).unwrap_or(process);
            machine.write(process, *page).map(drop)
        }
        Step::Read(who, page) => {
            let process = any_process(machine, who).unwrap_or(process);
            machine.read(process, *page).map(drop)
        }
        Step::Fork(_) if machine.processes().count() >= 12 => Ok(()),
        Step::Fork(who) => {
            let process = any_process(machine, who).unwrap_or(process);
            machine.fork(process).map(drop)
        }
        Step::Exit(_) if machine.processes().count() == 1 => Ok(()),
        Step::Exit(who) => {
            let process = any_process(machine, who).unwrap_or(process);
            machine.exit(process)
        }
        Step::SwapOut(which) => {
            let pages: Vec<_> = machine.pages().collect();
            if pages.is_empty() { Ok(()) } else { machine.swap_out(*which.get(&pages)).map(drop) }
        }
        Step::Spawn => machine.spawn().map(drop),
    };
    if let Err(error) = outcome {
        assert_eq!(
            (machine.counts(), before.1.is_some().then(|| machine.graph())),
            before,
            "{error} and yet something changed"
        );
    }
}

/// Whether the checker finds anything in `HISTORIES` random histories, after any operation of them.
fn is_clean(policy: Policy, kind: Kind) -> bool {
    // The same histories each time, so that the test always catches a broken design.
    let config = Config { cases: HISTORIES, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&history(kind), |moves| {
        let mut machine = beginning(policy);
        for one in &moves {
            play(&mut machine, one);
            let broken = machine.check();
            prop_assert!(broken.is_empty(), "after {one:?}: {}", broken[0]);
        }
        Ok(())
    });
    if let Err(why) = &outcome {
        println!("{policy}: {why}");
    }
    outcome.is_ok()
}

fn clean_in(kind: Kind, policies: &[Policy]) -> Vec<Policy> {
    policies.iter().copied().filter(|&policy| is_clean(policy, kind)).collect()
}

const ALL_BUT_RC1: [Policy; 8] = [
    Policy::Scan24,
    Policy::Shared26,
    Policy::Avc34,
    Policy::Avc36,
    Policy::Degree319,
    Policy::Modern,
    Policy::Linux70,
    Policy::CowContext,
];
const CORRECT: [Policy; 7] = [
    Policy::Scan24,
    Policy::Shared26,
    Policy::Avc34,
    Policy::Avc36,
    Policy::Modern,
    Policy::Linux70,
    Policy::CowContext,
];

#[test]
fn with_swapping_alone_only_the_first_chains_break() {
    assert_eq!(clean_in(Kind::Living, &Policy::ALL), ALL_BUT_RC1);
}

#[test]
fn the_correct_designs_stand_any_change_of_ranges() {
    assert_eq!(clean_in(Kind::Changing, &CORRECT), CORRECT);
}

#[test]
fn with_merges_after_forks_counting_degrees_breaks() {
    let policies = [Policy::Degree319, Policy::Modern, Policy::Linux70];
    assert_eq!(clean_in(Kind::Merging, &policies), policies[1..]);
}

/// Every page with the processes that map it, and those that have it in swap. Pages are numbered in order.
fn holders(machine: &Machine) -> Vec<(PageId, Vec<ProcessId>, Vec<ProcessId>)> {
    let pages = machine.graph().pages.into_iter();
    pages.map(|page| (page.page, page.mapped_by, page.swapped_by)).collect()
}

/// The same, moving single pages: which VMAs are one, and can be moved as one, differs between the designs.
fn comparable((who, step): Move) -> Move {
    match step {
        Step::Mremap(wanted) => (who, Step::Mremap(Mremap { pages: 1, ..wanted })),
        other => (who, other),
    }
}

proptest! {
    #![proptest_config(Config { cases: HISTORIES, ..Config::default() })]

    #[test]
    fn the_correct_designs_agree_on_who_maps_a_page(moves in history(Kind::Changing)) {
        let mut machines = CORRECT.map(beginning);
        for one in &moves.into_iter().map(comparable).collect::<Vec<_>>() {
            for machine in &mut machines {
                play(machine, one);
            }
            let [first, others @ ..] = machines.each_ref().map(holders);
            for (other, policy) in others.iter().zip(&CORRECT[1..]) {
                prop_assert_eq!(&first, other, "{} after {:?}", policy, one);
            }
        }
    }

    #[test]
    fn a_walk_visits_every_process_that_maps_a_page_and_unmapping_ends_with_the_last(moves in history(Kind::Changing)) {
        for policy in CORRECT {
            let mut machine = beginning(policy);
            for one in &moves {
                play(&mut machine, one);
            }
            for page in machine.pages().collect::<Vec<_>>() {
                let walk = machine.walk(page).unwrap();
                let visits = machine.unmap_visits(page).unwrap();
                let mapped_by = machine.mapped_by(page).unwrap();
                prop_assert_eq!(machine.walk_visits(page).unwrap(), walk.visits);
                prop_assert!(walk.places.len() as u64 <= walk.visits && visits <= walk.visits);
                prop_assert!(mapped_by.iter().all(|holder| walk.places.iter().any(|(found, _)| found == holder)));
                prop_assert!(visits >= mapped_by.len() as u64);
                if !mapped_by.is_empty() {
                    let before = machine.counts().visits;
                    let outcome = machine.swap_out(page).unwrap();
                    prop_assert_eq!((outcome.visits, outcome.unmapped, outcome.left), (visits, mapped_by.len() as u64, 0));
                    prop_assert_eq!(machine.counts().visits - before, visits);
                    prop_assert_eq!(machine.mapped_by(page).unwrap(), []);
                }
            }
            prop_assert_eq!(machine.check(), []);
        }
    }

    #[test]
    fn when_all_have_exited_nothing_is_left(moves in history(Kind::Changing)) {
        // Broken designs free everything, too: they lose the walk to a page, not the page.
        for policy in Policy::ALL {
            let mut machine = beginning(policy);
            for one in &moves {
                play(&mut machine, one);
            }
            for process in machine.processes().collect::<Vec<_>>() {
                machine.exit(process).unwrap();
            }
            let counts = machine.counts();
            prop_assert_eq!((counts.vmas, counts.anon_vmas, counts.chains, counts.pages), (0, 0, 0, 0), "{}", policy);
        }
    }
}
