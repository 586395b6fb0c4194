//! Whole lives, again and again: someone new is made, asked, written to and dropped. A service does this all day.

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

/// Where memory comes from: kept from the life before, or from the kernel.
const WARM: &str = "memgroup-warm";
const COLD: &str = "memgroup-cold";
const WARM_ANONYMOUS: &str = "memgroup-anonymous-warm";

/// One buffer, which is there all the time and written over and over: what the machine can do.
const MEMSET: &str = "memset";

const MIB: usize = 1 << 20;

/// Measures all lives and says what is to be compared.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    let small = lives(criterion, pass, SMALL, 1000, 100);
    let mut large = lives(criterion, pass, LARGE, 64, MIB);
    large.push(Row::new(LARGE, WARM, MEMSET));
    large.push(Row::new(LARGE, WARM_ANONYMOUS, MEMSET));
    [small, large].into_iter().flatten().collect()
}

/// Lives in which `count` blocks of `size` bytes are asked for.
fn lives(criterion: &mut Criterion, pass: Pass, work: &str, count: usize, size: usize) -> Vec<Row> {
    let layouts = vec![or_exit(Layout::from_size_align(size, memgroup::DEFAULT_ALIGN)); count];
    let mut group = criterion.benchmark_group(pass.group_of(work));
    group.throughput(Throughput::Bytes((count * size) as u64)).measurement_time(Duration::from_millis(800));
    let others = [Bump::NAME, BlinkAlloc::NAME, Boxes::NAME];
    measure::<Bump>(&mut group, Bump::NAME, &layouts);
    measure::<BlinkAlloc>(&mut group, BlinkAlloc::NAME, &layouts);
    measure::<Boxes>(&mut group, Boxes::NAME, &layouts);
    measure::<GroupAlloc>(&mut group, COLD, &layouts);
    // Only here: everything else measures what the kernel gives and takes.
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

// A function of its own for each peer, so that its machine code can be found and compared.
#[inline(never)]
fn live<M: Memory>(layouts: &[Layout]) {
    let mut memory = M::new();
    for &layout in layouts {
        let address = black_box(memory.alloc(layout));
        // SAFETY: the trait promises that many bytes, which nobody else knows of.
        unsafe { address.write_bytes(1, layout.size()) };
    }
    drop(black_box(memory));
}

fn memset(group: &mut BenchmarkGroup<'_, WallTime>, size: usize) {
    let mut buffer = vec![1u8; size];
    group.bench_function(MEMSET, |bencher| bencher.iter(|| black_box(&mut buffer).fill(black_box(1))));
}
