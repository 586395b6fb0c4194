//! Room for a whole list: one atomic operation for each slot touched, and all of it or nothing.

use super::columns::Columns;
use super::layout::Run;
use crate::error::Error;
use crate::fallible;
use crate::group::slot_table::SlotTable;
use crate::group::{MemGroup, becomes_current, commit};
use crate::layout::MAX_SLOTS;
use crate::slot::{LiveSlots, Slot, SlotRef};

impl MemGroup {
    /// Takes room for all objects of `columns`: the runs that they go to. On an error nothing is taken, but for what
    /// could not be [given back](Slot::give_back) because others have taken bytes behind it meanwhile.
    ///
    /// # Errors
    /// As [`alloc`](MemGroup::alloc).
    pub(crate) fn alloc_many_raw(&self, columns: &Columns) -> Result<Box<[Run]>, Error> {
        match self.try_alloc_many(columns) {
            Some(runs) => Ok(runs),
            None => self.alloc_many_slow(columns),
        }
    }

    /// The fast path, for a list that fits what is ready; `None` when it will not do.
    pub(crate) fn try_alloc_many(&self, columns: &Columns) -> Option<Box<[Run]>> {
        if columns.len() == 0 {
            return Some(Box::default());
        }
        let taken = self.try_alloc(columns.extent(), columns.align())?;
        let offset = taken.slot.offset_of(taken.address);
        Some([Run { first: 0, slot: taken.slot.as_ptr(), offset }].into())
    }

    /// The path that may commit memory and go through the slots.
    #[cold]
    pub(crate) fn alloc_many_slow(&self, columns: &Columns) -> Result<Box<[Run]>, Error> {
        let table = self.table()?;
        let _lock = table.lock();
        self.check_at_all(table, columns)?;
        let mut taking = Taking { columns, runs: Vec::new(), first: 0 };
        while taking.first < columns.len() {
            let alloc_in = |slot: &Slot, may_commit| taking.alloc_in(table, slot, may_commit);
            let (taken, slot) = self.alloc_locked(table, columns.size(taking.first), &alloc_in)?;
            taking.add(slot, taken)?;
        }
        taking.finish()
    }

    /// Refuses what certainly cannot be committed before any of it is: committed memory stays so.
    fn check_at_all(&self, table: &SlotTable, columns: &Columns) -> Result<(), Error> {
        // In each slot the padding behind the last object is not needed.
        let needed = columns.extent().saturating_sub(MAX_SLOTS * (columns.align() - 1));
        let idle: usize = table.iter().map(|slot| slot.idle()).sum();
        let given: usize = table.iter().map(|slot| slot.idle_or_resident()).sum();
        self.check_commit(needed.saturating_sub(idle), needed.saturating_sub(given))
    }
}

/// Objects that found room, until the rest has as well: else they are given back.
struct Taking<'a> {
    columns: &'a Columns,
    runs: Vec<TakenRun>,
    /// The first object that has no room yet.
    first: usize,
}

/// A run, and where its slot's cursor stood before.
struct TakenRun {
    run: Run,
    before: usize,
}

/// Room for so many of a list's objects, from the first without room on.
struct TakenObjects {
    /// Where the slot's cursor stood before.
    before: usize,
    /// Where the first object begins in the slot.
    offset: usize,
    objects: usize,
}

impl Taking<'_> {
    /// Takes room for as many objects as should go to that slot, if any can.
    fn alloc_in(&self, table: &SlotTable, slot: &Slot, may_commit: bool) -> Result<Option<TakenObjects>, Error> {
        let align = self.columns.align();
        loop {
            let room = if may_commit { slot.room(align) } else { slot.ready_room(align) };
            let objects = self.objects_for(table.current(), slot, room);
            let Some(last) = objects.checked_sub(1) else { return Ok(None) };
            let extent = self.columns.end(self.first + last) - self.columns.start(self.first);
            let reserved = match may_commit {
                // A list is made to be filled, however long it is.
                true => commit::alloc_locked(table, slot, extent, align, usize::MAX),
                false => Ok(slot.try_alloc_offsets(extent, align)),
            };
            match reserved {
                Ok(Some((before, offset))) => return Ok(Some(TakenObjects { before, offset, objects })),
                // Others have taken some of the room meanwhile.
                Ok(None) => {}
                // What is ready is used up before anybody hears of it.
                Err(error) => return self.alloc_in(table, slot, false)?.ok_or(error).map(Some),
            }
        }
    }

    /// How many of the objects are to go to a slot with so much room.
    fn objects_for(&self, current: Option<SlotRef<'_>>, slot: &Slot, room: usize) -> usize {
        let fitting = self.columns.fitting(self.first, room);
        let is_later = current.is_none_or(|current| current.index() < slot.index());
        let size = self.columns.size(self.first);
        if fitting == 0 || !is_later || becomes_current(current, size, slot.index()) {
            return fitting;
        }
        // They jump. Where there is no slot yet, what the first would hold is small.
        let rest = current.map_or(slot.capacity() >> slot.index().get(), |over| over.room(self.columns.align()));
        self.columns.jumping(self.first, fitting, rest)
    }

    /// Notes what was taken. On an error it is given back with the rest.
    fn add(&mut self, slot: SlotRef<'_>, taken: TakenObjects) -> Result<(), Error> {
        let run = Run { first: self.first, slot: slot.as_ptr(), offset: taken.offset };
        let end = self.first + taken.objects;
        if !self.runs.last().is_some_and(|last| self.continues(&last.run, &run, taken.before)) {
            let taken = TakenRun { run, before: taken.before };
            fallible::reserve(&mut self.runs, 1).inspect_err(|_| self.give_back(&taken, end))?;
            self.runs.push(taken);
        }
        self.first = end;
        Ok(())
    }

    /// Whether a run begins just where the objects before it would have it begin, and nobody took the padding in
    /// between: the cursor stood `before` where they ended.
    fn continues(&self, last: &Run, run: &Run, before: usize) -> bool {
        let began = self.columns.start(last.first);
        let distance = self.columns.start(run.first) - began;
        let ended = last.offset + self.columns.end(run.first - 1) - began;
        last.slot == run.slot && last.offset + distance == run.offset && ended == before
    }

    fn finish(mut self) -> Result<Box<[Run]>, Error> {
        let runs = fallible::collect(self.runs.iter().map(|taken| taken.run))?;
        self.runs.clear();
        Ok(runs.into_boxed_slice())
    }

    /// Gives a run of objects up to `end` back.
    fn give_back(&self, taken: &TakenRun, end: usize) {
        let TakenRun { run, before } = taken;
        let extent = self.columns.end(end - 1) - self.columns.start(run.first);
        // SAFETY: the slot is one of the table's, which is borrowed for as long as this takes.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: the run's slot is one of the table's, which is borrowed for as long as this takes.
        let slot = unsafe { slots.get(run.slot) };
        // SAFETY: the cursor of this slot stood there.
        let first = unsafe { slot.at(*before) }.addr().get();
        // Where others have taken bytes behind them, they stay taken until the group's end.
        // SAFETY: they were taken in one piece, nobody else knows of them, and they are let go here.
        unsafe { slot.give_back(first, first + run.offset + extent - before, false) };
    }
}

impl Drop for Taking<'_> {
    /// What is still here is of a list that did not find all its room.
    fn drop(&mut self) {
        let mut end = self.first;
        // The last first: behind it nothing of ours is left then.
        while let Some(taken) = self.runs.pop() {
            self.give_back(&taken, end);
            end = taken.run.first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_another_thread_took_in_between_are_no_part_of_a_run() {
        let group = MemGroup::with_base(1 << 20).unwrap();
        group.alloc(0).unwrap();
        let columns = Columns::uniform(20, 100, 4096, group.largest()).unwrap();
        let (table, slot) = (group.table().unwrap(), group.current().unwrap());
        let mut taking = Taking { columns: &columns, runs: Vec::new(), first: 0 };
        // No more could be committed, so what is ready is used up ...
        let lock = table.lock();
        let taken = taking.alloc_in(table, &slot, false).unwrap().unwrap();
        taking.add(slot, taken).unwrap();
        // ... another thread takes bytes of the padding, which needs no lock, and then more can be committed after all.
        let stranger = group.alloc(16).unwrap();
        let taken = taking.alloc_in(table, &slot, true).unwrap().unwrap();
        taking.add(slot, taken).unwrap();
        assert_eq!(taking.runs.len(), 2);
        drop(taking); // as if the rest had found no room
        drop(lock);
        let next = group.alloc(64 * 1024).unwrap();
        let next = next.as_ptr().addr()..next.as_ptr().addr() + next.len();
        assert!(!next.contains(&stranger.as_ptr().addr()));
    }
}
