//! Protecting and unprotecting one block, compared with the system calls that do it to a page.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use memgroup::{Block, MemGroup};
use memmap2::MmapMut;

use crate::outcome::or_exit;
use crate::pass::Pass;
use crate::report::Row;

const WORK: &str = "protect-unprotect";
const GROUP: &str = "memgroup";
const SYSTEM: &str = "mprotect-pair";

/// Bytes in a block. An odd size: a block need not be a page, nor begin at one.
const BLOCK: usize = 100;

/// Bytes in a page, the smallest unit of `mprotect`.
const PAGE: usize = memgroup::MAX_ALIGN;

/// Measures both and returns the comparisons.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    let mut bench = criterion.benchmark_group(pass.group_of(WORK));
    bench.measurement_time(Duration::from_millis(1_500)).sample_size(60);
    let group = or_exit(MemGroup::new());
    bench.bench_function(GROUP, |bencher| {
        bencher.iter_custom(|trips| {
            let block = or_exit(group.alloc(BLOCK));
            timed(trips, block, |block| through_mirrors(&group, block))
        });
    });
    bench.bench_function(SYSTEM, |bencher| bencher.iter_custom(|trips| timed(trips, touched_page(), through_kernel)));
    bench.finish();
    vec![Row::new(WORK, GROUP, SYSTEM)]
}

/// The time of so many trips, each of which begins with what the one before it returned.
fn timed<T>(trips: u64, start_with: T, trip: impl Fn(T) -> T) -> Duration {
    let start = Instant::now();
    let end_with = (0..trips).fold(start_with, |value, _| black_box(trip(value)));
    let elapsed = start.elapsed();
    drop(end_with);
    elapsed
}

#[inline(always)]
fn through_mirrors<'g>(group: &MemGroup, block: Block<'g>) -> Block<'g> {
    let protected = black_box(or_exit(group.protect(block)));
    or_exit(group.unprotect(protected))
}

#[inline(always)]
fn through_kernel(page: MmapMut) -> MmapMut {
    let read_only = black_box(or_exit(page.make_read_only()));
    or_exit(read_only.make_mut())
}

/// A mapping of one page with memory behind it.
fn touched_page() -> MmapMut {
    let mut page = or_exit(MmapMut::map_anon(PAGE));
    page.fill(1);
    page
}
