//! Allocation: a round of requests from memory that is warm, and from memory that the kernel has yet to give.

use std::alloc::{Layout, System};
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use blink_alloc::{BlinkAlloc, SyncBlinkAlloc};
use bumpalo::Bump;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput};
use mimalloc::MiMalloc;

use crate::local::LocalLayout;
use crate::malloc;
use crate::pass::Pass;
use crate::peers::{AnonymousGroup, Boxes, FetchAdd, GroupAlloc, GroupLayout, Integer, Memory, Peer};
use crate::report::Row;
use crate::singly::Singly;
use crate::sizes::{RANGES, ROUND, layouts};

/// Measures all allocation and says what is to be compared.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    RANGES.iter().flat_map(|range| [warm(criterion, pass, range), cold(criterion, pass, range)]).flatten().collect()
}

fn warm(criterion: &mut Criterion, pass: Pass, range: &RangeInclusive<usize>) -> Vec<Row> {
    let (work, layouts) = (name("alloc-warm", range), layouts(range));
    let mut group = open(criterion, pass, &work);
    // Those with a goal, and whom it is measured by, longer and side by side.
    group.measurement_time(Duration::from_millis(1_500)).sample_size(60);
    measure_warm::<GroupAlloc>(&mut group, &layouts);
    measure_warm::<FetchAdd>(&mut group, &layouts);
    measure_warm::<GroupLayout>(&mut group, &layouts);
    measure_warm::<LocalLayout>(&mut group, &layouts);
    measure_warm::<Bump>(&mut group, &layouts);
    measure_warm::<SyncBlinkAlloc>(&mut group, &layouts);
    group.measurement_time(Duration::from_millis(800)).sample_size(30);
    measure_warm::<Integer>(&mut group, &layouts);
    measure_warm::<BlinkAlloc>(&mut group, &layouts);
    measure_warm::<Boxes>(&mut group, &layouts);
    measure_warm::<bump_scope::Bump>(&mut group, &layouts);
    measure_warm::<Singly<System>>(&mut group, &layouts);
    measure_warm::<Singly<MiMalloc>>(&mut group, &layouts);

    let mut rows = vec![
        Row::new(&work, GroupAlloc::NAME, FetchAdd::NAME),
        Row::new(&work, GroupLayout::NAME, FetchAdd::NAME),
        Row::new(&work, LocalLayout::NAME, Bump::NAME),
        Row::new(&work, LocalLayout::NAME, BlinkAlloc::NAME),
        Row::new(&work, LocalLayout::NAME, Integer::NAME),
    ];
    let others = [Integer::NAME, Bump::NAME, BlinkAlloc::NAME, Boxes::NAME];
    rows.extend(others.map(|other| Row::new(&work, GroupAlloc::NAME, other)));
    let more = [bump_scope::Bump::NAME, Singly::<System>::NAME, Singly::<MiMalloc>::NAME];
    rows.extend(more.map(|other| Row::new(&work, GroupAlloc::NAME, other)));
    let shared = [GroupAlloc::NAME, GroupLayout::NAME];
    rows.extend(shared.map(|ours| Row::new(&work, ours, SyncBlinkAlloc::NAME)));
    per_request(rows)
}

fn cold(criterion: &mut Criterion, pass: Pass, range: &RangeInclusive<usize>) -> Vec<Row> {
    let (work, layouts) = (name("alloc-cold", range), layouts(range));
    let mut group = open(criterion, pass, &work);
    measure_cold::<GroupAlloc>(&mut group, &layouts);
    measure_cold::<LocalLayout>(&mut group, &layouts);
    measure_cold::<AnonymousGroup>(&mut group, &layouts);
    measure_cold::<Bump>(&mut group, &layouts);
    measure_cold::<BlinkAlloc>(&mut group, &layouts);
    measure_cold::<SyncBlinkAlloc>(&mut group, &layouts);
    measure_cold::<Boxes>(&mut group, &layouts);
    measure_cold::<bump_scope::Bump>(&mut group, &layouts);
    measure_cold::<Singly<System>>(&mut group, &layouts);

    let others = [AnonymousGroup::NAME, Bump::NAME, BlinkAlloc::NAME, SyncBlinkAlloc::NAME, Boxes::NAME];
    let more = [bump_scope::Bump::NAME, Singly::<System>::NAME];
    let mut rows = vec![Row::new(&work, LocalLayout::NAME, Bump::NAME)];
    rows.extend(others.iter().chain(&more).map(|other| Row::new(&work, GroupAlloc::NAME, other)));
    per_request(rows)
}

/// Rounds in memory that rounds before it have faulted in. Only the requests are timed, not the reset.
fn measure_warm<P: Peer>(group: &mut BenchmarkGroup<'_, WallTime>, layouts: &[Layout]) {
    let mut peer = P::new();
    group.bench_function(P::NAME, |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| warm_round(&mut peer, layouts)).sum());
    });
}

fn warm_round<P: Peer>(peer: &mut P, layouts: &[Layout]) -> Duration {
    peer.reset();
    let start = Instant::now();
    take_all(black_box(peer), black_box(layouts));
    start.elapsed()
}

/// Rounds of a new allocator, which has to get every page from the kernel. Its end is not timed.
fn measure_cold<M: Memory>(group: &mut BenchmarkGroup<'_, WallTime>, layouts: &[Layout]) {
    group.bench_function(M::NAME, |bencher| {
        bencher.iter_batched(malloc::return_freed_memory, |()| cold_round::<M>(layouts), BatchSize::PerIteration);
    });
}

fn cold_round<M: Memory>(layouts: &[Layout]) -> M {
    let mut memory = M::new();
    fill_all(black_box(&mut memory), black_box(layouts));
    memory
}

// A separate function for each peer, so that its machine code can be found and compared.
#[inline(never)]
fn take_all<P: Peer>(peer: &mut P, layouts: &[Layout]) {
    for &layout in layouts {
        black_box(peer.alloc(layout));
    }
}

#[inline(never)]
fn fill_all<M: Memory>(memory: &mut M, layouts: &[Layout]) {
    for &layout in layouts {
        let address = black_box(memory.alloc(layout));
        // SAFETY: the trait promises that many valid bytes, and no other code has their address.
        unsafe { address.write_bytes(1, layout.size()) };
    }
}

fn name(kind: &str, range: &RangeInclusive<usize>) -> String {
    format!("{kind}-{}-{}", range.start(), range.end())
}

fn open<'c>(criterion: &'c mut Criterion, pass: Pass, work: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(pass.group_of(work));
    group.throughput(Throughput::Elements(ROUND as u64));
    group
}

/// Criterion measures rounds; the table shows single requests.
fn per_request(rows: Vec<Row>) -> Vec<Row> {
    rows.into_iter().map(|row| row.operations(ROUND)).collect()
}
