//! Whole cycles: a new allocator is made, used, written to and dropped. A service does this all day.

use std::alloc::Layout;
use std::hint::black_box;
use std::time::Duration;

use blink_alloc::BlinkAlloc;
use bumpalo::Bump;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};

use crate::outcome::or_exit;
use crate::pass::Pass;
use crate::peers::{AnonymousGroup, Boxes, GroupAlloc, Memory, Peer};
use crate::report::Row;

const SMALL: &str = "cycle-1000-of-100";
const LARGE: &str = "cycle-64-of-1-MiB";

/// The source of the memory: kept from the cycle before, or fresh from the kernel.
const WARM: &str = "memgroup-warm";
const COLD: &str = "memgroup-cold";
const WARM_ANONYMOUS: &str = "memgroup-anonymous-warm";

/// One buffer that lives all the time and is overwritten again and again: the limit of the machine.
const MEMSET: &str = "memset";

const MIB: usize = 1 << 20;

/// Measures all cycles and returns the comparisons.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    let small = lives(criterion, pass, SMALL, 1000, 100);
    let mut large = lives(criterion, pass, LARGE, 64, MIB);
    large.push(Row::new(LARGE, WARM, MEMSET));
    large.push(Row::new(LARGE, WARM_ANONYMOUS, MEMSET));
    [small, large].into_iter().flatten().collect()
}

/// Cycles of `count` blocks of `size` bytes.
fn lives(criterion: &mut Criterion, pass: Pass, work: &str, count: usize, size: usize) -> Vec<Row> {
    let layouts = vec![or_exit(Layout::from_size_align(size, memgroup::DEFAULT_ALIGN)); count];
    let mut group = criterion.benchmark_group(pass.group_of(work));
    group.throughput(Throughput::Bytes((count * size) as u64)).measurement_time(Duration::from_millis(800));
    let others = [Bump::NAME, BlinkAlloc::NAME, Boxes::NAME];
    measure::<Bump>(&mut group, Bump::NAME, &layouts);
    measure::<BlinkAlloc>(&mut group, BlinkAlloc::NAME, &layouts);
    measure::<Boxes>(&mut group, Boxes::NAME, &layouts);
    measure::<GroupAlloc>(&mut group, COLD, &layouts);
    // Only here: all other benchmarks measure fresh memory.
    memgroup::set_warm_limit(128 * MIB);
    measure::<GroupAlloc>(&mut group, WARM, &layouts);
    measure::<AnonymousGroup>(&mut group, WARM_ANONYMOUS, &layouts);
    memgroup::set_warm_limit(0);
    memset(&mut group, count * size);

    let against = std::iter::once(COLD).chain(others);
    against.map(|other| Row::new(work, WARM, other)).collect()
}

fn measure<M: Memory>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, layouts: &[Layout]) {
    group.bench_function(name, |bencher| bencher.iter(|| live::<M>(black_box(layouts))));
}

// A separate function for each peer, so that its machine code can be found and compared.
#[inline(never)]
fn live<M: Memory>(layouts: &[Layout]) {
    let mut memory = M::new();
    for &layout in layouts {
        let address = black_box(memory.alloc(layout));
        // SAFETY: the trait promises that many valid bytes, and no other code has their address.
        unsafe { address.write_bytes(1, layout.size()) };
    }
    drop(black_box(memory));
}

fn memset(group: &mut BenchmarkGroup<'_, WallTime>, size: usize) {
    let mut buffer = vec![1u8; size];
    group.bench_function(MEMSET, |bencher| bencher.iter(|| black_box(&mut buffer).fill(black_box(1))));
}
