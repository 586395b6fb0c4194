//! Random histories against a plain model: all operations of a group, including forks and the bound on warm memory.

use std::ops::Range;

use memgroup::{Backing, Block, Error, List, Local, MemGroup, Options, Protected, ProtectedList};
use memgroup::{set_warm_limit, warm_memory};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

use crate::support::{alone, backings, cases, is_filled, wait_for};

#[derive(Debug, Clone)]
enum Step {
    Alloc {
        size: usize,
        align_shift: u32,
    },
    Zeroed(usize),
    Many(Vec<usize>),
    /// By a handle, which is made if necessary.
    Local(usize),
    DropLocal,
    Write {
        which: Index,
        byte: u8,
    },
    Protect(Index),
    Unprotect(Index),
    Join(Index),
    WarmLimit(usize),
    /// A child takes these steps while its parent continues.
    Fork(Vec<Step>),
}

#[derive(Debug, Clone)]
struct Round {
    steps: Vec<Step>,
    /// Whether it ends in a reset, or in the end of the group and a new group.
    resets: bool,
}

#[derive(Debug, Clone)]
struct Making {
    base: usize,
    limit: Option<usize>,
    backing: Backing,
}

impl Making {
    fn open(&self) -> MemGroup {
        Options::new().base(self.base).limit(self.limit).backing(self.backing.clone()).open().unwrap()
    }
}

fn makings() -> impl Strategy<Value = Making> {
    let limit = prop_oneof![3 => Just(None), 1 => (0..3_000_000usize).prop_map(Some)];
    (1..100_000usize, limit, prop::sample::select(backings().to_vec())).prop_map(|(base, limit, backing)| Making {
        base,
        limit,
        backing,
    })
}

fn step() -> impl Strategy<Value = Step> + Clone {
    let size = || prop_oneof![10 => 0..200usize, 3 => 0..20_000usize, 1 => 0..2_000_000usize];
    prop_oneof![
        6 => (size(), 0..13u32).prop_map(|(size, align_shift)| Step::Alloc { size, align_shift }),
        2 => size().prop_map(Step::Zeroed),
        2 => prop::collection::vec(prop_oneof![5 => 0..300usize, 1 => 0..50_000usize], 0..30).prop_map(Step::Many),
        4 => size().prop_map(Step::Local),
        1 => Just(Step::DropLocal),
        3 => (any::<Index>(), any::<u8>()).prop_map(|(which, byte)| Step::Write { which, byte }),
        2 => any::<Index>().prop_map(Step::Protect),
        2 => any::<Index>().prop_map(Step::Unprotect),
        1 => any::<Index>().prop_map(Step::Join),
        1 => prop_oneof![Just(0), 0..1_000_000usize, Just(64 << 20)].prop_map(Step::WarmLimit),
    ]
}

fn rounds(forks: u32) -> impl Strategy<Value = Vec<Round>> {
    let fork = prop::collection::vec(step(), 0..20).prop_map(Step::Fork);
    let steps = prop::collection::vec(prop_oneof![60 => step(), forks => fork], 1..120);
    prop::collection::vec((steps, any::<bool>()).prop_map(|(steps, resets)| Round { steps, resets }), 1..4)
}

enum Held<'g> {
    Writable(Block<'g>),
    Protected(Protected<'g>),
    List(List<'g>),
    ProtectedList(ProtectedList<'g>),
}

impl<'g> Held<'g> {
    fn parts(&self) -> Vec<&[u8]> {
        match self {
            Self::Writable(block) => vec![block],
            Self::Protected(protected) => vec![protected],
            Self::List(list) => list.iter().collect(),
            Self::ProtectedList(list) => list.iter().collect(),
        }
    }

    fn fill(&mut self, byte: u8) -> bool {
        match self {
            Self::Writable(block) => block.fill(byte),
            Self::List(list) => list.iter_mut().for_each(|bytes| bytes.fill(byte)),
            Self::Protected(_) | Self::ProtectedList(_) => return false,
        }
        true
    }

    /// Protected, if it was not and can be.
    fn protect(self, group: &MemGroup) -> Self {
        let has_mirror = *group.backing() != Backing::Anonymous;
        match self {
            Self::Writable(block) => match group.try_protect(block) {
                Ok(protected) => Self::Protected(protected),
                Err(refused) => {
                    assert!(!has_mirror && refused.error == Error::NoMirror);
                    Self::Writable(refused.value)
                }
            },
            Self::List(list) => match group.protect_many(list) {
                Ok(protected) => Self::ProtectedList(protected),
                Err(refused) => {
                    assert!(!has_mirror && refused.error == Error::NoMirror);
                    Self::List(refused.value)
                }
            },
            protected => protected,
        }
    }

    fn unprotect(self, group: &MemGroup) -> Self {
        match self {
            Self::Protected(protected) => Self::Writable(group.unprotect(protected).unwrap()),
            Self::ProtectedList(list) => Self::List(group.unprotect_many(list).unwrap()),
            writable => writable,
        }
    }
}

/// The result of one request and its expected contents. `homes` has its addresses in the read-write mirror.
struct Object<'g> {
    held: Held<'g>,
    byte: u8,
    homes: Vec<Range<usize>>,
}

impl<'g> Object<'g> {
    /// Makes one of a new, writable result.
    fn new(mut held: Held<'g>, byte: u8) -> Self {
        held.fill(byte);
        let homes = held.parts().iter().map(|part| part.as_ptr().addr()..part.as_ptr().addr() + part.len()).collect();
        Self { held, byte, homes }
    }

    fn check(&self) {
        let parts = self.held.parts();
        assert!(parts.iter().map(|part| part.len()).eq(self.homes.iter().map(Range::len)));
        assert!(parts.into_iter().all(|part| is_filled(part, self.byte)));
    }
}

/// A round of a history, in one process.
struct Story<'g> {
    group: &'g MemGroup,
    local: Option<Local<'g>>,
    objects: Vec<Object<'g>>,
    asked: usize,
    children: Vec<libc::pid_t>,
}

impl<'g> Story<'g> {
    fn new(group: &'g MemGroup) -> Self {
        Self { group, local: None, objects: Vec::new(), asked: 0, children: Vec::new() }
    }

    fn run(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.take(step));
        self.objects.iter().for_each(Object::check);
        self.check_homes();
        self.check_stats();
    }

    fn take(&mut self, step: &Step) {
        let (group, tag) = (self.group, self.objects.len() as u8);
        match step {
            Step::Alloc { size, align_shift } => {
                let layout = std::alloc::Layout::from_size_align(*size, 1 << align_shift).unwrap();
                let block = group.alloc_layout(layout);
                assert!(block.as_ref().map_or(0, |block| block.as_ptr().addr()).is_multiple_of(layout.align()));
                self.add(block.map(Held::Writable), tag);
            }
            Step::Zeroed(size) => {
                let block = group.alloc_zeroed(*size);
                assert!(block.as_ref().is_ok_and(|block| is_filled(block, 0)) || block.is_err());
                self.add(block.map(Held::Writable), tag);
            }
            Step::Many(sizes) => self.add(group.alloc_many(sizes).map(Held::List), tag),
            Step::Local(size) => {
                let local = self.local.get_or_insert_with(|| group.local().unwrap());
                let block = local.alloc(*size);
                self.add(block.map(Held::Writable), tag);
            }
            Step::DropLocal => self.local = None,
            Step::WarmLimit(limit) => {
                set_warm_limit(*limit);
                assert!(warm_memory().committed <= *limit);
            }
            Step::Fork(steps) => self.fork(steps),
            _ if self.objects.is_empty() => {}
            Step::Write { which, byte } => {
                let object = which.get_mut(&mut self.objects);
                if object.held.fill(*byte) {
                    object.byte = *byte;
                }
            }
            Step::Protect(which) => self.switch(which, |held| held.protect(group)),
            Step::Unprotect(which) => self.switch(which, |held| held.unprotect(group)),
            Step::Join(which) => {
                let (joined, byte) = match which.get(&self.objects) {
                    Object { held: Held::List(list), byte, .. } => (list.join(), *byte),
                    Object { held: Held::ProtectedList(list), byte, .. } => (list.join(), *byte),
                    _ => return,
                };
                assert!(joined.as_ref().is_ok_and(|block| is_filled(block, byte)) || joined.is_err());
                self.add(joined.map(Held::Writable), byte);
            }
        }
    }

    /// Keeps the result of a request; only the limit may cause a refusal.
    fn add(&mut self, handed_out: Result<Held<'g>, Error>, byte: u8) {
        match handed_out {
            Ok(held) => {
                let object = Object::new(held, byte);
                self.asked += object.homes.iter().map(Range::len).sum::<usize>();
                self.objects.push(object);
            }
            Err(error) => assert!(matches!(error, Error::Limit { .. }) && self.group.limit().is_some(), "{error}"),
        }
    }

    fn switch(&mut self, which: &Index, to: impl FnOnce(Held<'g>) -> Held<'g>) {
        let object = self.objects.swap_remove(which.index(self.objects.len()));
        self.objects.push(Object { held: to(object.held), ..object });
    }

    /// A child that allocates in the same group. It does not touch inherited memory, because its parent does meanwhile.
    fn fork(&mut self, steps: &[Step]) {
        // SAFETY: these histories run in a process of their own without other threads.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let story = || {
                let mut story = Self::new(self.group);
                story.local = self.local.take();
                story.run(steps);
            };
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(story));
            // SAFETY: _exit never returns and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(told.is_err())) };
        }
        self.children.push(pid);
    }

    fn check_homes(&self) {
        let homes = self.objects.iter().flat_map(|object| object.homes.clone());
        let mut homes: Vec<_> = homes.filter(|home| !home.is_empty()).collect();
        homes.sort_by_key(|home| home.start);
        assert!(homes.windows(2).all(|pair| pair[0].end <= pair[1].start), "two live blocks overlap");
    }

    fn check_stats(&self) {
        let stats = self.group.stats();
        assert!(stats.allocated >= self.asked);
        assert_eq!(stats.allocated, stats.slots.iter().map(|slot| slot.allocated).sum::<usize>());
        assert_eq!(stats.committed, stats.slots.iter().map(|slot| slot.committed).sum::<usize>());
        assert!(self.group.limit().is_none_or(|limit| stats.committed <= limit));
        assert!(stats.slots.iter().all(|slot| slot.allocated <= slot.committed && slot.committed <= slot.capacity));
        let mirrors = if *self.group.backing() == Backing::Anonymous { 1 } else { 2 };
        assert_eq!(stats.mapped, stats.slots.iter().map(|slot| mirrors * slot.capacity).sum::<usize>());
    }
}

impl Drop for Story<'_> {
    fn drop(&mut self) {
        let well = self.children.drain(..).filter(|&child| wait_for(child) != 0).count() == 0;
        assert!(well || std::thread::panicking(), "a child was not content");
    }
}

fn tell(making: &Making, rounds: &[Round]) {
    let mut group = making.open();
    for Round { steps, resets } in rounds {
        Story::new(&group).run(steps);
        if *resets {
            group.reset();
        } else {
            group.free();
            group = making.open();
        }
        let (left, warm) = (group.stats(), warm_memory());
        assert_eq!(left.allocated, 0);
        assert!(warm.committed <= warm.limit);
    }
}

fn tell_many(default: u32, forks: u32) {
    set_warm_limit(64 << 20);
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(default)) });
    let told = runner.run(&(makings(), rounds(forks)), |(making, rounds)| {
        tell(&making, &rounds);
        Ok(())
    });
    assert!(told.is_ok(), "{}", told.unwrap_err());
}

#[test]
fn no_history_breaks_a_group() {
    tell_many(200, 0);
}

#[test]
#[cfg_attr(heap, ignore = "forks")]
fn no_history_with_forks_breaks_a_group() {
    alone("history::no_history_with_forks_breaks_a_group", || tell_many(100, 2));
}
