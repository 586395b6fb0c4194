//! Long work on the objects of a list: by several threads at once, and in rounds, between which others are heard.

use std::iter::Enumerate;
use std::ops::Range;
use std::slice::ChunksMut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a round is, in which nobody is heard.
const ROUND: Duration = Duration::from_millis(50);

/// Bytes of a piece, about: small beside what a round does.
const PIECE_BYTES: usize = 1 << 20;

/// A thread for fewer bytes costs more than it saves.
const BYTES_PER_THREAD: usize = 4 << 20;

/// What looking at an object costs beside its bytes, in bytes.
const OBJECT_BYTES: usize = 16;

/// As many threads as the processors that this process may use can run, for work on so many objects and bytes.
pub(crate) fn threads_for(objects: usize, nbytes: usize) -> usize {
    match work(objects, nbytes) / BYTES_PER_THREAD {
        0 | 1 => 1,
        // By the processors that it may run on, and what its cgroups allow.
        useful => thread::available_parallelism().map_or(1, usize::from).min(useful),
    }
}

fn work(objects: usize, nbytes: usize) -> usize {
    nbytes.saturating_add(objects.saturating_mul(OBJECT_BYTES))
}

/// One answer for each of some objects, of which pieces are worked on by whichever thread comes next.
pub(crate) struct Rounds<'a, T> {
    pieces: Mutex<Enumerate<ChunksMut<'a, T>>>,
    /// Objects in each piece but the last.
    size: usize,
    objects: usize,
    done: AtomicUsize,
}

impl<'a, T: Send> Rounds<'a, T> {
    /// For objects of so many bytes together.
    pub(crate) fn new(answers: &'a mut [T], nbytes: usize) -> Self {
        let objects = answers.len();
        let size = (PIECE_BYTES / (work(objects, nbytes) / objects.max(1)).max(1)).max(1);
        Self { pieces: Mutex::new(answers.chunks_mut(size).enumerate()), size, objects, done: AtomicUsize::new(0) }
    }

    /// How many objects are done.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Works for a round by at most so many threads, this one among them; whether that was all.
    pub(crate) fn run(&self, threads: usize, work: impl Fn(Range<usize>, &mut [T]) + Sync) -> bool {
        let begin = Instant::now();
        let work_on = || {
            while let Some((at, answers)) = self.next() {
                let objects = at * self.size..at * self.size + answers.len();
                let many = objects.len();
                work(objects, answers);
                self.done.fetch_add(many, Ordering::Relaxed);
                if begin.elapsed() >= ROUND {
                    break;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads.min(self.objects.div_ceil(self.size)) {
                // Where no thread is to be had, fewer will do.
                if thread::Builder::new().spawn_scoped(scope, work_on).is_err() {
                    break;
                }
            }
            work_on();
        });
        self.done() == self.objects
    }

    fn next(&self) -> Option<(usize, &'a mut [T])> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_worked_on_once_by_however_many_threads() {
        for (objects, nbytes, threads) in [(0, 0, 4), (1, 1 << 30, 4), (1000, 1 << 28, 1), (100_000, 1 << 26, 3)] {
            let mut answers = vec![0; objects];
            let rounds = Rounds::new(&mut answers, nbytes);
            let mut many = 0;
            while !rounds.run(threads, |at, answers| at.zip(answers).for_each(|(at, answer)| *answer += at + 1)) {
                many += 1;
                assert!(rounds.done() < objects && many < 1000);
            }
            assert_eq!(answers, (1..=objects).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_round_ends_after_a_while() {
        let mut answers = vec![(); 100];
        let rounds = Rounds::new(&mut answers, 100 << 20);
        let slow = |_: Range<usize>, _: &mut [()]| thread::sleep(ROUND / 4);
        assert!(!rounds.run(2, slow));
        assert!(rounds.done() < 50);
    }

    #[test]
    fn little_work_is_for_one_thread() {
        assert_eq!(threads_for(1000, 100_000), 1);
        assert!(threads_for(1 << 20, 1 << 30) >= 1);
    }
}
