//! Free objects as a stack of numbers: the two words that make taking and giving back lock-free.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No object. The number of an object is stored as one more.
const NONE: u32 = 0;

/// A stack of numbers, last in, first out. Below each number lies the one that its *link* names; the links are the
/// caller's.
///
/// The head holds the number on top, and beside it a tag that every pop raises. Without the tag, a thread that has read
/// the head and the link below could not see that others have since popped both and pushed the first again: it would
/// make an object the top that somebody owns (the ABA problem). With it, that thread's exchange fails, unless just 2^32
/// pops came in between.
#[derive(Debug, Default)]
pub(super) struct FreeStack {
    head: AtomicU64,
}

impl FreeStack {
    /// Takes the number on top; `None` if there is none.
    #[inline(always)]
    pub(super) fn pop<'a>(&self, link: impl Fn(u32) -> &'a AtomicU32) -> Option<u32> {
        // Acquire pairs with the Release in push: the link was written before, and so was what the object's last owner
        // wrote.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let index = number(head)?;
            // Another thread may have popped the number since and changed its link. Then the tag has changed, too.
            let below = link(index).load(Ordering::Relaxed);
            let new = pack(tag(head).wrapping_add(1), below);
            match self.head.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    /// Puts numbers on top that are linked with each other from `first` to `last`, whose link is this. They are the
    /// caller's.
    #[inline(always)]
    pub(super) fn push(&self, first: u32, last: &AtomicU32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            last.store(head as u32, Ordering::Relaxed);
            let new = pack(tag(head), first + 1);
            match self.head.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// How many numbers there are, of at most `most`. Others that push and pop meanwhile make it inexact.
    pub(super) fn count<'a>(&self, most: usize, link: impl Fn(u32) -> &'a AtomicU32) -> usize {
        let top = number(self.head.load(Ordering::Acquire));
        let below = |&index: &u32| number(u64::from(link(index).load(Ordering::Acquire)));
        std::iter::successors(top, below).take(most).count()
    }
}

/// Makes the link of an object name another one.
pub(super) fn set_link(link: &AtomicU32, below: u32) {
    link.store(below + 1, Ordering::Relaxed);
}

fn number(head: u64) -> Option<u32> {
    match head as u32 {
        NONE => None,
        stored => Some(stored - 1),
    }
}

fn tag(head: u64) -> u32 {
    (head >> u32::BITS) as u32
}

fn pack(tag: u32, stored: u32) -> u64 {
    u64::from(tag) << u32::BITS | u64::from(stored)
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    use super::*;

    const OBJECTS: usize = 3;

    /// A stack that holds all of its objects, and the bytes of each.
    struct Objects {
        stack: FreeStack,
        links: [AtomicU32; OBJECTS],
        bytes: [UnsafeCell<u8>; OBJECTS],
    }

    impl Objects {
        fn all_free() -> Arc<Self> {
            let objects = Self {
                stack: FreeStack::default(),
                links: std::array::from_fn(|_| AtomicU32::new(0)),
                bytes: std::array::from_fn(|_| UnsafeCell::new(0)),
            };
            (0..OBJECTS as u32).rev().for_each(|index| objects.push(index));
            Arc::new(objects)
        }

        /// Takes an object and writes to it. Loom ends the test if another owner is not known to be done.
        fn pop(&self) -> Option<u32> {
            let index = self.stack.pop(|index| &self.links[index as usize])?;
            // SAFETY: the object was just taken; that it is nobody else's is what the test is for.
            self.bytes[index as usize].with_mut(|byte| unsafe { *byte += 1 });
            Some(index)
        }

        fn push(&self, index: u32) {
            self.stack.push(index, &self.links[index as usize]);
        }

        fn count(&self) -> usize {
            self.stack.count(OBJECTS + 1, |index| &self.links[index as usize])
        }
    }

    fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
        builder.check(body);
    }

    #[test]
    fn an_object_has_one_owner_at_a_time() {
        model(3, || {
            let objects = Objects::all_free();
            let threads = [(); 2].map(|()| {
                let objects = Arc::clone(&objects);
                loom::thread::spawn(move || {
                    for _ in 0..2 {
                        if let Some(index) = objects.pop() {
                            objects.push(index);
                        }
                    }
                })
            });
            let mine = objects.pop();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(objects.count() + mine.iter().count(), OBJECTS);
        });
    }

    /// One thread takes two objects and gives the first back, while the other takes one: if it had read the head before
    /// and exchanged it after, the second object would be on top though it is taken.
    #[test]
    fn an_object_that_is_back_on_top_is_not_taken_for_what_was_there_before() {
        model(4, || {
            let objects = Objects::all_free();
            let other = Arc::clone(&objects);
            let thread = loom::thread::spawn(move || {
                let (first, second) = (other.pop().unwrap(), other.pop());
                other.push(first);
                second
            });
            let mine = [objects.pop(), objects.pop()];
            let theirs = thread.join().unwrap();
            let mut taken: Vec<_> = mine.into_iter().chain([theirs]).flatten().collect();
            taken.sort_unstable();
            assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "{taken:?} have two owners");
            assert_eq!(objects.count() + taken.len(), OBJECTS);
        });
    }

    #[test]
    fn chains_are_pushed_whole() {
        model(3, || {
            let objects = Objects::all_free();
            let other = Arc::clone(&objects);
            let thread = loom::thread::spawn(move || {
                let (Some(first), Some(second)) = (other.pop(), other.pop()) else { return };
                set_link(&other.links[first as usize], second);
                other.stack.push(first, &other.links[second as usize]);
            });
            if let Some(index) = objects.pop() {
                objects.push(index);
            }
            thread.join().unwrap();
            assert_eq!(objects.count(), OBJECTS);
        });
    }
}
