//! Random histories against a plain model.

use std::ops::Range;

use memgroup::{Block, MemGroup, Options, Protected};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Alloc { size: usize, align_shift: u32 },
    Write { which: prop::sample::Index, byte: u8 },
    Protect(prop::sample::Index),
    Unprotect(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![10 => 0..200usize, 3 => 0..20_000usize, 1 => 0..2_000_000usize];
    let step = prop_oneof![
        6 => (sizes, 0..13u32).prop_map(|(size, align_shift)| Step::Alloc { size, align_shift }),
        3 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(which, byte)| Step::Write { which, byte }),
        2 => any::<prop::sample::Index>().prop_map(Step::Protect),
        2 => any::<prop::sample::Index>().prop_map(Step::Unprotect),
    ];
    prop::collection::vec(step, 1..120)
}

enum Held<'g> {
    Writable(Block<'g>),
    Protected(Protected<'g>),
}

impl Held<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Writable(block) => block,
            Self::Protected(protected) => protected,
        }
    }
}

/// A block and what should be in it. `home` is where it lies in the read-write mirror.
struct Object<'g> {
    held: Held<'g>,
    byte: u8,
    home: Range<usize>,
}

fn run(group: &MemGroup, steps: &[Step]) {
    let mut objects: Vec<Object<'_>> = Vec::new();
    let mut asked = 0;
    for step in steps {
        match step {
            Step::Alloc { size, align_shift } => {
                let layout = std::alloc::Layout::from_size_align(*size, 1 << align_shift).unwrap();
                let mut block = group.alloc_layout(layout).unwrap();
                block.fill(0);
                let start = block.as_ptr().addr();
                assert_eq!(start % layout.align(), 0);
                asked += size;
                objects.push(Object { held: Held::Writable(block), byte: 0, home: start..start + size });
            }
            _ if objects.is_empty() => {}
            Step::Write { which, byte } => {
                let object = which.get_mut(&mut objects);
                if let Held::Writable(block) = &mut object.held {
                    block.fill(*byte);
                    object.byte = *byte;
                }
            }
            Step::Protect(which) => switch(which, &mut objects, |held| match held {
                Held::Writable(block) => Held::Protected(group.protect(block).unwrap()),
                protected => protected,
            }),
            Step::Unprotect(which) => switch(which, &mut objects, |held| match held {
                Held::Protected(protected) => Held::Writable(group.unprotect(protected).unwrap()),
                writable => writable,
            }),
        }
    }
    check(group, &objects, asked);
}

fn switch<'g>(which: &prop::sample::Index, objects: &mut Vec<Object<'g>>, to: impl FnOnce(Held<'g>) -> Held<'g>) {
    let object = objects.swap_remove(which.index(objects.len()));
    objects.push(Object { held: to(object.held), ..object });
}

fn check(group: &MemGroup, objects: &[Object<'_>], asked: usize) {
    for object in objects {
        assert_eq!(object.held.bytes().len(), object.home.len());
        assert!(object.held.bytes().iter().all(|&byte| byte == object.byte));
    }
    let mut homes: Vec<_> = objects.iter().map(|object| object.home.clone()).filter(|home| !home.is_empty()).collect();
    homes.sort_by_key(|home| home.start);
    assert!(homes.windows(2).all(|pair| pair[0].end <= pair[1].start), "two live blocks overlap");

    let stats = group.stats();
    assert!(stats.allocated >= asked);
    assert_eq!(stats.allocated, stats.slots.iter().map(|slot| slot.allocated).sum::<usize>());
    assert_eq!(stats.committed, stats.slots.iter().map(|slot| slot.committed).sum::<usize>());
    assert!(stats.slots.iter().all(|slot| slot.allocated <= slot.committed && slot.committed <= slot.capacity));
    assert_eq!(stats.mapped, stats.slots.iter().map(|slot| 2 * slot.capacity).sum::<usize>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_history_breaks_a_group(rounds in prop::collection::vec(steps(), 1..4), base in 1..100_000usize) {
        let mut group = Options::new().base(base).open().unwrap();
        for steps in rounds {
            run(&group, &steps);
            group.reset();
        }
    }
}
