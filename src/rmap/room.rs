//! Room: memory for what an operation makes is asked for before anything changes, so that it is done wholly or not at all.

use super::Error;

/// Makes sure that `more` can be pushed without another allocation.
///
/// # Errors
/// [`Error::NoMemory`].
#[inline]
pub(super) fn make_room<T>(vector: &mut Vec<T>, more: usize) -> Result<(), Error> {
    #[cfg(test)]
    return tests::make_room(vector, more);
    #[cfg(not(test))]
    if more <= vector.capacity() - vector.len() { Ok(()) } else { grow(vector, more) }
}

/// Puts a value into a vector that has room for it.
#[inline]
pub(super) fn put<T>(vector: &mut Vec<T>, position: usize, value: T) {
    debug_assert!(vector.len() < vector.capacity(), "nobody made room");
    vector.insert(position, value);
}

/// Puts a value at the end of a vector that has room for it.
#[inline]
pub(super) fn put_last<T>(vector: &mut Vec<T>, value: T) {
    debug_assert!(vector.len() < vector.capacity(), "nobody made room");
    vector.push(value);
}

#[cfg(not(test))]
#[cold]
fn grow<T>(vector: &mut Vec<T>, more: usize) -> Result<(), Error> {
    vector.try_reserve(more).map_err(|_| Error::NoMemory)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::{Advice, Error, Machine, Mmap, Mremap, PageId, Policy, ProcessId, Prot};

    thread_local! {
        /// How many more times this thread is given memory; none for ever so often.
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// No more than is asked for, so that what was not asked for is noticed where it is used.
    pub(super) fn make_room<T>(vector: &mut Vec<T>, more: usize) -> Result<(), Error> {
        match LEFT.get() {
            Some(0) => return Err(Error::NoMemory),
            left => LEFT.set(left.map(|left| left - 1)),
        }
        vector.try_reserve_exact(more).map_err(|_| Error::NoMemory)
    }

    /// Pages that histories play in.
    const START: u64 = 16;
    const PAGES: u64 = 10;

    /// What an operation gives, as far as another one may need it.
    type Outcome = Result<(), Error>;

    struct History {
        machine: Machine,
        /// State of a xorshift generator.
        random: u64,
    }

    impl History {
        fn below(&mut self, end: u64) -> u64 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.random >> 16) % end
        }

        fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
            all[self.below(all.len() as u64) as usize]
        }

        /// A random operation, to be done as often as it takes.
        fn operation(&mut self) -> Box<dyn Fn(&mut Machine) -> Outcome> {
            let living: Vec<ProcessId> = self.machine.processes().collect();
            let process = self.one_of(&living);
            let page = START + self.below(PAGES);
            let pages = 1 + self.below(START + PAGES - page);
            let prot = self.one_of(&[Prot::READ_WRITE, Prot::READ_WRITE, Prot::READ]);
            let advice = self.one_of(&[Advice::DontFork, Advice::DoFork, Advice::WipeOnFork, Advice::KeepOnFork]);
            let known: Vec<PageId> = self.machine.pages().collect();
            let to = START + self.below(2 * PAGES);
            match self.below(26) {
                0 => Box::new(|machine| machine.spawn().map(drop)),
                1..4 => Box::new(move |machine| machine.fork(process).map(drop)),
                4 => Box::new(move |machine| machine.fork_many(process, pages).map(drop)),
                5..8 if living.len() > 5 => Box::new(move |machine| machine.exit(process)),
                8..14 => Box::new(move |machine| machine.write(process, page).map(drop)),
                14 => Box::new(move |machine| machine.read(process, page).map(drop)),
                15..18 => Box::new(move |machine| machine.mprotect(process, page, pages, prot)),
                18 => Box::new(move |machine| machine.madvise(process, page, pages, advice)),
                19 => Box::new(move |machine| machine.munmap(process, page, pages)),
                20 if !known.is_empty() => {
                    let page = self.one_of(&known);
                    Box::new(move |machine| machine.swap_out(page).map(drop))
                }
                21 if !known.is_empty() => {
                    let page = self.one_of(&known);
                    Box::new(move |machine| machine.walk(page).and(machine.mapped_by(page)).map(drop))
                }
                22 | 23 => {
                    let wanted = Mremap { page, pages, to, dont_unmap: to.is_multiple_of(2) };
                    Box::new(move |machine| machine.mremap(process, wanted).map(drop))
                }
                number => {
                    let wanted = Mmap { shared: number == 24, ..Mmap::new(pages).at(page).prot(prot) };
                    Box::new(move |machine| machine.mmap(process, wanted).map(drop))
                }
            }
        }
    }

    /// Does an operation with memory for nothing, for one vector, for two, and so on until it succeeds. How often it
    /// failed.
    fn starve(machine: &mut Machine, operation: &dyn Fn(&mut Machine) -> Outcome) -> u32 {
        let before = (machine.counts(), machine.graph());
        for given in 0.. {
            LEFT.set(Some(given));
            let outcome = operation(machine);
            LEFT.set(None);
            if outcome != Err(Error::NoMemory) {
                return given;
            }
            assert_eq!((machine.counts(), machine.graph()), before, "refused at allocation {given}");
        }
        0
    }

    #[test]
    fn without_memory_nothing_changes_and_nothing_is_lost() {
        let mut refusals = 0;
        for policy in Policy::ALL {
            for seed in 1..=60 {
                let mut history =
                    History { machine: Machine::new(policy), random: 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed) };
                let first = history.machine.spawn().unwrap();
                history.machine.mmap(first, Mmap::new(PAGES).at(START)).unwrap();
                for _ in 0..60 {
                    if history.machine.counts().processes > 24 {
                        break;
                    }
                    let operation = history.operation();
                    refusals += starve(&mut history.machine, operation.as_ref());
                    let is_sound = !matches!(policy, Policy::AvcRc1 | Policy::Degree319);
                    let broken = history.machine.check();
                    assert!(!is_sound || broken.is_empty(), "{policy}, seed {seed}: {}", broken[0]);
                }
                // No memory is needed to give everything back.
                LEFT.set(Some(0));
                for process in history.machine.processes().collect::<Vec<_>>() {
                    history.machine.exit(process).unwrap();
                }
                LEFT.set(None);
                let counts = history.machine.counts();
                assert_eq!((counts.vmas, counts.anon_vmas, counts.chains, counts.pages), (0, 0, 0, 0), "{policy}");
            }
        }
        assert!(refusals > 10_000, "{refusals}");
    }
}
