//! Threads: the same requests by one of them or shared by two, from one group and from `malloc`.

use std::alloc::Layout;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use memgroup::{Local, MemGroup};

use crate::outcome::or_exit;
use crate::pass::Pass;
use crate::report::Row;
use crate::sizes::{RANGES, ROUND, layouts};

const WORK: &str = "two-threads";

/// How often all threads together go through the sequence of requests: so long that it does not matter which of them is
/// woken first, and less than the 64 MiB above which malloc keeps no memory of a thread's own.
const TURNS: usize = 50;

/// A source of memory for several threads.
trait Pool: Sync + Sized {
    const NAME: &'static str;

    /// The share of one thread.
    type Hand<'p>
    where
        Self: 'p;

    fn new() -> Self;
    fn hand(&self) -> Self::Hand<'_>;
    fn alloc(hand: &mut Self::Hand<'_>, layout: Layout) -> *mut u8;

    /// Takes everything back and keeps the memory.
    fn reset(&mut self);
}

/// A group, and for each thread an owner handle.
struct Handles(MemGroup);

impl Pool for Handles {
    const NAME: &'static str = "memgroup-local";
    type Hand<'p> = Local<'p>;

    fn new() -> Self {
        Self(or_exit(MemGroup::new()))
    }

    fn hand(&self) -> Local<'_> {
        or_exit(self.0.local())
    }

    #[inline(always)]
    fn alloc(hand: &mut Local<'_>, layout: Layout) -> *mut u8 {
        or_exit(hand.alloc_layout(layout)).as_mut_ptr()
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// A group that the threads share as it is.
struct Shared(MemGroup);

impl Pool for Shared {
    const NAME: &'static str = "memgroup-shared";
    type Hand<'p> = &'p MemGroup;

    fn new() -> Self {
        Self(or_exit(MemGroup::new()))
    }

    fn hand(&self) -> &MemGroup {
        &self.0
    }

    #[inline(always)]
    fn alloc(hand: &mut &MemGroup, layout: Layout) -> *mut u8 {
        or_exit(hand.alloc_layout(layout)).as_mut_ptr()
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// `malloc`, and for each thread the list of allocations to free.
struct Malloc;

impl Pool for Malloc {
    const NAME: &'static str = "box";
    type Hand<'p> = Vec<Box<[MaybeUninit<u8>]>>;

    fn new() -> Self {
        Self
    }

    fn hand(&self) -> Vec<Box<[MaybeUninit<u8>]>> {
        Vec::new()
    }

    #[inline(always)]
    fn alloc(hand: &mut Vec<Box<[MaybeUninit<u8>]>>, layout: Layout) -> *mut u8 {
        hand.push(Box::new_uninit_slice(layout.size()));
        hand.last_mut().map_or(std::ptr::null_mut(), |bytes| bytes.as_mut_ptr().cast())
    }

    fn reset(&mut self) {}
}

/// Measures all of them and returns the comparisons.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    let layouts = layouts(&RANGES[0]);
    let mut bench = criterion.benchmark_group(pass.group_of(WORK));
    bench.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(1)).sample_size(20);
    let [one_local, two_local] = measure::<Handles>(&mut bench, &layouts);
    let [one_shared, two_shared] = measure::<Shared>(&mut bench, &layouts);
    bench.sample_size(10);
    let [one_box, two_box] = measure::<Malloc>(&mut bench, &layouts);
    let rows = vec![
        Row::new(WORK, &two_local, &one_local),
        Row::new(WORK, &two_shared, &one_shared),
        Row::new(WORK, &two_box, &one_box),
        Row::new(WORK, &two_local, &two_shared),
        Row::new(WORK, &two_local, &two_box),
        Row::new(WORK, &two_shared, &two_box),
    ];
    rows.into_iter().map(|row| row.operations(TURNS * ROUND)).collect()
}

/// Times one thread and two. Returns the benchmarks' names.
fn measure<P: Pool>(bench: &mut BenchmarkGroup<'_, WallTime>, layouts: &[Layout]) -> [String; 2] {
    [1, 2].map(|threads| {
        let name = format!("{}-by-{threads}", P::NAME);
        let mut pool = P::new();
        bench.bench_function(&name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| round(&mut pool, threads, layouts)).sum());
        });
        name
    })
}

/// All requests, in equal parts by so many threads that begin together: how long the slowest took. Neither starting the
/// threads nor making what they allocate with is timed.
fn round<P: Pool>(pool: &mut P, threads: usize, layouts: &[Layout]) -> Duration {
    pool.reset();
    let (pool, begin) = (&*pool, &Barrier::new(threads));
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || {
                    let mut hand = pool.hand();
                    begin.wait();
                    let start = Instant::now();
                    take_all::<P>(black_box(&mut hand), black_box(layouts), TURNS / threads);
                    start.elapsed()
                })
            })
            .collect();
        let took = running.into_iter().map(|thread| or_exit(thread.join().map_err(|_| "a thread panicked")));
        took.max().unwrap_or_default()
    })
}

#[inline(never)]
fn take_all<P: Pool>(hand: &mut P::Hand<'_>, layouts: &[Layout], turns: usize) {
    for _ in 0..turns {
        for &layout in layouts {
            black_box(P::alloc(hand, layout));
        }
    }
}
