//! What a fresh page costs: faulted in as it is touched, committed ahead in windows, or as part of a huge page. The
//! sizes of windows in `layout` are chosen by this.

use std::ptr::NonNull;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use memmap2::{MmapMut, MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MmapAdvise, madvise};

use crate::outcome::or_exit;
use crate::pass::Pass;
use crate::report::Row;

const KIB: usize = 1 << 10;
const PAGE: usize = 4 * KIB;

/// Bytes committed in one round: the widest window.
const TOTAL: usize = 8 << 20;

/// In KiB.
const WINDOWS: [usize; 10] = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];

/// The source of the memory.
#[derive(Clone, Copy)]
enum From {
    Memfd,
    Anonymous,
}

/// Measures every way of committing, against faulting page by page.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    [("windows-memfd", From::Memfd), ("windows-anonymous", From::Anonymous)]
        .into_iter()
        .flat_map(|(work, from)| {
            let mut group = criterion.benchmark_group(pass.group_of(work));
            group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_millis(500)).sample_size(10);
            measure(&mut group, "fault", from, touch);
            let names = WINDOWS.map(|window| {
                let name = format!("{window}-KiB");
                measure(&mut group, &name, from, |memory| populate(memory, window * KIB));
                name
            });
            // Without huge pages on the system, these cost the same as the others.
            let huge = ["huge-fault", "huge-2048-KiB"];
            measure(&mut group, huge[0], from, |memory| {
                ask_for_huge_pages(memory);
                touch(memory);
            });
            measure(&mut group, huge[1], from, |memory| {
                ask_for_huge_pages(memory);
                populate(memory, 2048 * KIB);
            });
            let names = names.into_iter().chain(huge.map(String::from));
            names.map(|name| Row::new(work, &name, "fault").operations(TOTAL / PAGE)).collect::<Vec<_>>()
        })
        .collect()
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, from: From, commit: impl Fn(&MmapRaw)) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let round = |_| {
                let memory = map(from);
                let start = Instant::now();
                commit(&memory);
                start.elapsed()
            };
            (0..rounds).map(round).sum()
        });
    });
}

fn map(from: From) -> MmapRaw {
    match from {
        From::Memfd => {
            let file = or_exit(memfd_create("windows", MFdFlags::MFD_CLOEXEC));
            or_exit(nix::unistd::ftruncate(&file, TOTAL as i64));
            or_exit(MmapOptions::new().len(TOTAL).map_raw(&file))
        }
        From::Anonymous => or_exit(MmapMut::map_anon(TOTAL)).into(),
    }
}

fn touch(memory: &MmapRaw) {
    for page in (0..TOTAL).step_by(PAGE) {
        let first = memory.as_mut_ptr().wrapping_add(page);
        // SAFETY: it lies in the mapping, and no other code has its address.
        unsafe { first.write_volatile(1) };
    }
}

fn populate(memory: &MmapRaw, window: usize) {
    for start in (0..TOTAL).step_by(window) {
        or_exit(advise(memory, start, window, MmapAdvise::MADV_POPULATE_WRITE));
    }
}

fn ask_for_huge_pages(memory: &MmapRaw) {
    // Kernels without huge pages refuse, and the benchmark measures that, too.
    let _none = advise(memory, 0, TOTAL, MmapAdvise::MADV_HUGEPAGE);
}

fn advise(memory: &MmapRaw, start: usize, len: usize, advice: MmapAdvise) -> nix::Result<()> {
    let Some(first) = NonNull::new(memory.as_mut_ptr().wrapping_add(start)) else { return Ok(()) };
    // SAFETY: the range lies in the mapping; neither advice changes a byte of it.
    unsafe { madvise(first.cast(), len, advice) }
}
