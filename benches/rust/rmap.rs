//! The reverse-mapping model: random histories of small families, in each design.

use criterion::Criterion;
use memgroup::rmap::{Machine, Mmap, Policy, ProcessId};

use crate::outcome::or_exit;
use crate::pass::Pass;
use crate::report::Row;

const WORK: &str = "rmap-history";

/// Operations in one iteration. Each is one call that succeeds: a fork, an exit or a write, about a third of each.
const OPERATIONS: usize = HISTORIES * LENGTH;

/// Histories in one iteration. Each has a family of its own: before 3.19, one that lives long is slow, in a kernel as
/// here, because its chains grow with every generation.
const HISTORIES: usize = 100;

/// Operations that are counted in one history. Making the first process and ending the last ones comes on top.
const LENGTH: usize = 100;

/// The maximum number of live processes of the family.
const FAMILY: usize = 8;

/// Pages of the one VMA that all of them have, and where they begin.
const PAGES: u64 = 4;
const START: u64 = 16;

/// Measures every design and returns the comparisons.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    let mut bench = criterion.benchmark_group(pass.group_of(WORK));
    for policy in Policy::ALL {
        bench.bench_function(policy.name(), |bencher| {
            let mut family = Family::new(policy);
            bencher.iter(|| (0..HISTORIES).for_each(|_| family.live()));
        });
    }
    bench.finish();
    let row = |policy: Policy| Row::new(WORK, policy.name(), Policy::Scan24.name()).operations(OPERATIONS);
    Policy::ALL[1..].iter().map(|&policy| row(policy)).collect()
}

/// Processes that fork, write and exit.
struct Family {
    machine: Machine,
    processes: Vec<ProcessId>,
    /// State of a xorshift generator, so that every design gets the same history.
    random: u64,
}

impl Family {
    fn new(policy: Policy) -> Self {
        Self { machine: Machine::new(policy), processes: Vec::new(), random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// One history.
    fn live(&mut self) {
        let first = or_exit(self.machine.spawn());
        or_exit(self.machine.mmap(first, Mmap::new(PAGES).at(START)));
        self.processes.push(first);
        for _ in 0..LENGTH {
            self.operate();
        }
        for process in self.processes.drain(..) {
            or_exit(self.machine.exit(process));
        }
    }

    /// One operation: a fork, a write or an exit; if one is impossible, another.
    #[inline(always)]
    fn operate(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let which = (self.random >> 8) as usize % self.processes.len();
        let process = self.processes[which];
        match (self.random >> 32) % 3 {
            0 if self.processes.len() < FAMILY => self.processes.push(or_exit(self.machine.fork(process))),
            1 if self.processes.len() > 1 => {
                or_exit(self.machine.exit(process));
                self.processes.swap_remove(which);
            }
            _ => {
                or_exit(self.machine.write(process, START + (self.random >> 48) % PAGES));
            }
        }
    }
}
