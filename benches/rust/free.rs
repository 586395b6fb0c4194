//! The end: of a group of few large objects, of one of many small ones, and of boxes of the same sizes. Nothing is kept
//! warm here: a group's memory goes back to the kernel.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, SamplingMode};
use memgroup::MemGroup;

use crate::malloc;
use crate::outcome::or_exit;
use crate::pass::Pass;
use crate::report::Row;

const WORK: &str = "free-64-MB";

/// Bytes in all objects together. Either count divides it into multiples of the default alignment, so that no gaps make
/// one group larger than the other.
const TOTAL: usize = 64_000_000;

/// The numbers of objects: few large ones, or many small ones.
const COUNTS: [usize; 2] = [1_000, 1_000_000];

/// Measures every end and returns the comparisons.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    let mut bench = criterion.benchmark_group(pass.group_of(WORK));
    // Filling 64 MB for every measurement takes longer than freeing it, so there are few measurements.
    bench.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(2)).sample_size(20);
    let group = COUNTS.map(|count| measure(&mut bench, "memgroup", count, group_of, MemGroup::free));
    bench.measurement_time(Duration::from_millis(800)).sample_size(10);
    let kept = COUNTS.map(|count| measure(&mut bench, "box-kept", count, boxes_of, drop));
    let returned = COUNTS.map(|count| measure(&mut bench, "box-returned", count, boxes_of, drop_and_return));
    bench.finish();

    let many_to_few = |[few, many]: &[String; 2]| Row::new(WORK, many, few);
    let mut rows = vec![many_to_few(&group), many_to_few(&kept), many_to_few(&returned)];
    for boxes in [&kept, &returned] {
        rows.extend(group.iter().zip(boxes).map(|(group, boxes)| Row::new(WORK, group, boxes)));
    }
    rows
}

/// Times the end of `count` objects. Returns the benchmark's name.
fn measure<T>(
    bench: &mut BenchmarkGroup<'_, WallTime>,
    kind: &str,
    count: usize,
    make: fn(usize) -> T,
    end: fn(T),
) -> String {
    let name = format!("{kind}-of-{count}");
    let make_anew = || {
        malloc::return_freed_memory();
        make(count)
    };
    bench.bench_function(&name, |bencher| bencher.iter_batched(make_anew, end, BatchSize::PerIteration));
    name
}

fn group_of(count: usize) -> MemGroup {
    let group = or_exit(MemGroup::new());
    for _ in 0..count {
        or_exit(group.alloc(TOTAL / count)).fill(1);
    }
    group
}

fn boxes_of(count: usize) -> Vec<Box<[u8]>> {
    (0..count).map(|_| vec![1; TOTAL / count].into_boxed_slice()).collect()
}

fn drop_and_return(boxes: Vec<Box<[u8]>>) {
    drop(boxes);
    malloc::return_freed_memory();
}
