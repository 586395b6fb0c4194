//! `cargo bench`: the cost of allocating, protecting and freeing, compared with alternatives.
//!
//! Criterion measures, three times through; the run ends with a Markdown table of ratios, made of this run only.
//!
//! ```text
//! cargo bench                      everything: some three minutes
//! cargo bench -- alloc-warm        what matches; the table is followed by what is missing
//! cargo bench -- --test            each benchmark once, nothing measured
//! ```
//!
//! `python benches/run.py` runs this and the Python suite. It sets `MEMGROUP_BENCH_ROWS` to the path of a file, which
//! gets the rows as JSON.

mod alloc;
mod cycle;
mod estimates;
mod free;
mod local;
mod malloc;
mod outcome;
mod pass;
mod peers;
mod pool;
mod protect;
mod report;
mod rmap;
mod singly;
mod sizes;
mod threads;
mod windows;

use std::time::{Duration, SystemTime};

use criterion::Criterion;

use crate::estimates::Estimates;
use crate::outcome::or_exit;
use crate::pass::Pass;
use crate::report::Row;

fn main() {
    let estimates = Estimates::since(SystemTime::now());
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(30)
        // Enough for a median, and done at once. Criterion's default is meant for many threads.
        .nresamples(5_000)
        .without_plots()
        .configure_from_args();

    malloc::keep_freed_memory();
    // A group that is measured alone gets fresh memory from the kernel and gives it back.
    memgroup::set_warm_limit(0);
    let mut rows = Vec::new();
    for pass in Pass::all() {
        // The rows are the same in every pass; only the measurements differ.
        rows = run(&mut criterion, pass);
    }
    criterion.final_summary();
    report::print(&rows, &estimates);
    if let Some(path) = std::env::var_os("MEMGROUP_BENCH_ROWS") {
        or_exit(report::write(&rows, &estimates, path.as_ref()));
    }
}

/// Measures everything once and returns the comparisons.
fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    let rows = [
        alloc::run(criterion, pass),
        protect::run(criterion, pass),
        free::run(criterion, pass),
        threads::run(criterion, pass),
        pool::run(criterion, pass),
        cycle::run(criterion, pass),
        windows::run(criterion, pass),
        rmap::run(criterion, pass),
    ];
    rows.into_iter().flatten().collect()
}
