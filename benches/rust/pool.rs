//! Pools of objects of one size: taking one and giving one back, by one thread or by two at once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::array;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use memgroup::MemGroup;

use crate::outcome::or_exit;
use crate::pass::Pass;
use crate::report::Row;

/// What is measured, by the number of threads.
const WORKS: [(&str, usize); 2] = [("pool-64", 1), ("pool-64-two-threads", 2)];

/// Objects that a thread has at a time: a step takes one more and gives the oldest back.
const LIVE: usize = 16;

/// Steps of a thread in one iteration: so many that it does not matter which thread is woken first.
const STEPS: usize = 100_000;

/// Objects that pools of a fixed number are made with.
const ENOUGH: usize = 1024;

type Bytes = MaybeUninit<[u8; 64]>;

const LAYOUT: Layout = Layout::new::<Bytes>();

/// Peers that threads share, ours first.
const SHARED: [&str; 8] = [
    "memgroup-pool",
    "memgroup-local",
    "malloc",
    "sharded-slab",
    "object-pool",
    "lockfree-object-pool",
    "opool",
    "slab-locked",
];

/// Peers of one thread.
const SINGLE: [&str; 3] = ["slab", "opool-local", "plurality"];

/// Measures all of them and returns the comparisons.
pub fn run(criterion: &mut Criterion, pass: Pass) -> Vec<Row> {
    let mut rows = Vec::new();
    for (work, threads) in WORKS {
        let mut bench = criterion.benchmark_group(pass.group_of(work));
        measure_shared(&mut bench, threads);
        let singles: &[&str] = if threads == 1 { &SINGLE } else { &[] };
        if threads == 1 {
            measure_single(&mut bench);
        }
        for ours in &SHARED[..2] {
            let peers = SHARED[2..].iter().chain(singles);
            rows.extend(peers.map(|peer| Row::new(work, ours, peer).operations(STEPS)));
        }
    }
    rows
}

fn measure_shared(bench: &mut BenchmarkGroup<'_, WallTime>, threads: usize) {
    let mut peer = |name: &str, steps: &(dyn Fn() + Sync)| time(bench, name, threads, steps);
    let group = or_exit(MemGroup::new());
    let pool = or_exit(group.pool(LAYOUT, None));
    peer("memgroup-pool", &|| {
        churn(&mut (), |()| or_exit(pool.alloc()), |block| block.as_mut_ptr(), |(), block| drop(block));
    });
    peer("memgroup-local", &|| {
        let local = or_exit(pool.local());
        churn(&mut (), |()| or_exit(local.alloc()), |block| block.as_mut_ptr(), |(), block| drop(block));
    });
    peer("malloc", &|| {
        // SAFETY: the layout is not empty.
        let take = |(): &mut ()| unsafe { System.alloc(LAYOUT) };
        // SAFETY: `take` got it with the same layout, and it is given back once.
        churn(&mut (), take, |start| *start, |(), start| unsafe { System.dealloc(start, LAYOUT) });
    });
    let slab = sharded_slab::Slab::<Bytes>::new();
    peer("sharded-slab", &|| {
        // An object is a key: nothing is written, which would take another look-up.
        let take = |(): &mut ()| or_exit(slab.insert(Bytes::uninit()).ok_or("the slab is full"));
        churn(&mut (), take, |_| ptr::null_mut(), |(), key| _ = slab.remove(key));
    });
    let pool = object_pool::Pool::new(ENOUGH, || Box::new(Bytes::uninit()));
    peer("object-pool", &|| {
        let take = |(): &mut ()| or_exit(pool.try_pull().ok_or("the pool is empty"));
        churn(&mut (), take, |object| object.as_mut_ptr().cast(), |(), object| drop(object));
    });
    let pool = lockfree_object_pool::LinearObjectPool::new(|| Box::new(Bytes::uninit()), |_| ());
    peer("lockfree-object-pool", &|| {
        churn(&mut (), |()| pool.pull(), |object| object.as_mut_ptr().cast(), |(), object| drop(object));
    });
    let pool = opool::Pool::new_prefilled(ENOUGH, Boxes);
    peer("opool", &|| {
        churn(&mut (), |()| pool.get(), |object| object.as_mut_ptr().cast(), |(), object| drop(object));
    });
    let slab = Mutex::new(slab::Slab::<Bytes>::new());
    peer("slab-locked", &|| {
        churn(
            &mut (),
            |()| insert(&mut locked(&slab)),
            |object| object.1,
            |(), (key, _)| _ = locked(&slab).remove(key),
        );
    });
}

fn measure_single(bench: &mut BenchmarkGroup<'_, WallTime>) {
    let slab = &mut slab::Slab::<Bytes>::new();
    bench.bench_function("slab", |bencher| {
        bencher.iter(|| churn(slab, insert, |object| object.1, |slab, (key, _)| _ = slab.remove(key)));
    });
    let pool = opool::LocalPool::new_prefilled(ENOUGH, Boxes);
    bench.bench_function("opool-local", |bencher| {
        let start = |object: &mut opool::RefLocalGuard<'_, _, Box<Bytes>>| object.as_mut_ptr().cast();
        bencher.iter(|| churn(&mut (), |()| pool.get(), start, |(), object| drop(object)));
    });
    let pool = plurality::Pool::<Bytes>::new();
    bench.bench_function("plurality", |bencher| {
        let start = |object: &mut plurality::Alloc<'_, Bytes>| object.as_mut_ptr().cast();
        bencher.iter(|| churn(&mut (), |()| pool.alloc(Bytes::uninit()), start, |(), object| drop(object)));
    });
}

/// What the pools that make their own objects are told.
struct Boxes;

impl opool::PoolAllocator<Box<Bytes>> for Boxes {
    #[inline]
    fn allocate(&self) -> Box<Bytes> {
        Box::new(Bytes::uninit())
    }
}

fn locked(slab: &Mutex<slab::Slab<Bytes>>) -> MutexGuard<'_, slab::Slab<Bytes>> {
    slab.lock().unwrap_or_else(PoisonError::into_inner)
}

#[inline(always)]
fn insert(slab: &mut slab::Slab<Bytes>) -> (usize, *mut u8) {
    let entry = slab.vacant_entry();
    (entry.key(), entry.insert(Bytes::uninit()).as_mut_ptr().cast())
}

/// Times so many threads that begin together, each with all steps: how long the slowest took.
fn time(bench: &mut BenchmarkGroup<'_, WallTime>, name: &str, threads: usize, steps: &(dyn Fn() + Sync)) {
    bench.bench_function(name, |bencher| {
        if threads == 1 {
            return bencher.iter(steps);
        }
        bencher.iter_custom(|rounds| (0..rounds).map(|_| together(threads, steps)).sum());
    });
}

fn together(threads: usize, steps: &(dyn Fn() + Sync)) -> Duration {
    let begin = &Barrier::new(threads);
    thread::scope(|scope| {
        let timed = || {
            begin.wait();
            let start = Instant::now();
            steps();
            start.elapsed()
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(timed)).collect();
        let took = running.into_iter().map(|thread| or_exit(thread.join().map_err(|_| "a thread panicked")));
        took.max().unwrap_or_default()
    })
}

/// Takes an object, writes to it and gives the oldest back, again and again.
#[inline(never)]
fn churn<S, O>(
    source: &mut S,
    take: impl Fn(&mut S) -> O,
    start: impl Fn(&mut O) -> *mut u8,
    give_back: impl Fn(&mut S, O),
) {
    let mut live: [O; LIVE] = array::from_fn(|_| take(source));
    for step in 0..STEPS {
        let mut object = take(source);
        // The address and not the object: that is larger with some peers, and would be stored and loaded again.
        let first = black_box(start(&mut object));
        if !first.is_null() {
            // SAFETY: the object is this thread's, and larger than a byte.
            unsafe { first.write(step as u8) };
        }
        give_back(source, std::mem::replace(&mut live[step % LIVE], object));
    }
    live.into_iter().for_each(|object| give_back(source, object));
}
