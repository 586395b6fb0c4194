//! Lists in other processes: a list's columns are written to its group, so that a list of any length is one message.
//!
//! The table has where each object begins and then the size of each, if these are not all one, and behind them the
//! runs, each of three numbers: its first object, which of the message's segments it lies in, and where.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::Error;
use crate::fallible;
use crate::group::MemGroup;
use crate::list::{Columns, ListLayout};
use crate::os::{ReceivedFile, SharedFile};
use crate::share::outbox::Sending;
use crate::share::wire::{self, Extent, OBJECT_BYTES, Object, RUN_BYTES, SegmentId};
use crate::share::{Arrived, Malformed, ShareError, extent, file_of, range};
use crate::slot::{LiveSlots, SlotPtr, SlotRef};

/// What a message says of a list, and the memory that it needs, which is there for as long as the list.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) object: Object,
    pub(crate) files: Vec<Arc<SharedFile>>,
}

/// The same on its way to another process.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) object: Object,
    pub(crate) files: Vec<Sending>,
}

impl Described {
    /// Keeps the memory from being used again until it was sent. To be called while the group cannot be reset.
    pub(crate) fn outgoing(&self) -> Outgoing {
        let files = self.files.iter().map(|file| Sending::new(Arc::clone(file))).collect();
        Outgoing { object: self.object.clone(), files }
    }
}

/// A run of a list that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArrivedRun {
    pub(crate) first: usize,
    /// Number of its memory among what arrived with the list.
    pub(crate) memory: usize,
    pub(crate) offset: usize,
}

/// The slots of a list, and what of each the list's objects take.
struct Hulls<'a>(Vec<(SlotRef<'a>, usize, usize)>);

/// Describes a whole list, and writes its table to the group.
///
/// # Errors
/// [`ShareError::NotShared`], [`ShareError::Group`] for memory.
///
/// # Safety
/// The list must lie in those slots.
pub(crate) unsafe fn describe(
    group: &MemGroup,
    layout: &ListLayout,
    slots: LiveSlots<'_>,
) -> Result<Described, ShareError> {
    let mut hulls = Hulls(Vec::new());
    for run in 0..layout.runs().len() {
        let (slot, start, end) = reach(layout, run);
        // SAFETY: the list lies in those slots, by contract.
        hulls.add(unsafe { slots.get(slot) }, start, end);
    }
    hulls.fill_holes(layout)?;
    let mut files = Vec::new();
    for &(slot, ..) in &hulls.0 {
        files.push(Arc::clone(file_of(slot.get())?));
    }
    let columns = layout.columns();
    let wire = wire::Columns {
        objects: columns.len() as u64,
        runs: layout.runs().len() as u64,
        uniform: columns.uniform_sizes().map(|(size, stride)| (size as u64, stride as u64)),
        align: columns.align() as u64,
        segments: files.iter().map(|file| SegmentId(file.id())).collect(),
    };
    let bytes = wire.table_bytes().and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.ok_or(Error::Table { objects: columns.len(), bytes: OBJECT_BYTES as usize })?;
    let table = group.alloc_raw(bytes, align_of::<u64>())?;
    // SAFETY: so many bytes were just taken, which nobody else knows.
    unsafe { write(Writer(table.address), layout, &hulls) };
    let (extent, file) = extent(table.slot.get(), table.slot.offset_of(table.address), bytes)?;
    files.push(file);
    Ok(Described { object: Object::List(extent, wire), files })
}

/// Where the objects of a run begin and end in their slot.
fn reach(layout: &ListLayout, run: usize) -> (SlotPtr, usize, usize) {
    let (columns, last) = (layout.columns(), layout.end_of(run) - 1);
    let run = layout.runs()[run];
    let len = columns.start(last) + columns.size(last) - columns.start(run.first);
    (run.slot, run.offset, run.offset + len)
}

impl Hulls<'_> {
    /// So many runs are looked at one by one.
    const FEW_RUNS: usize = 64;

    /// Number of a slot.
    fn number(&self, slot: SlotPtr) -> usize {
        self.0.iter().position(|(known, ..)| known.as_ptr() == slot).unwrap_or(0)
    }

    /// Finds memory for what of the objects was never touched, and as little else as can be.
    fn fill_holes(&self, layout: &ListLayout) -> Result<(), Error> {
        if layout.runs().len() > Self::FEW_RUNS {
            return self.0.iter().try_for_each(|(slot, start, end)| slot.fill_holes(*start, *end));
        }
        (0..layout.runs().len()).try_for_each(|run| {
            let (slot, start, end) = reach(layout, run);
            self.0[self.number(slot)].0.fill_holes(start, end)
        })
    }
}

impl<'a> Hulls<'a> {
    fn add(&mut self, slot: SlotRef<'a>, start: usize, end: usize) {
        match self.0.iter_mut().find(|(known, ..)| known.as_ptr() == slot.as_ptr()) {
            Some((_, first, last)) => (*first, *last) = ((*first).min(start), (*last).max(end)),
            None => self.0.push((slot, start, end)),
        }
    }
}

/// Writes numbers one behind the other.
struct Writer(NonNull<u8>);

impl Writer {
    /// # Safety
    /// There must be room for another.
    unsafe fn push(&mut self, number: usize) {
        // SAFETY: there is room for a number, which need not be aligned, by contract.
        unsafe { self.0.cast::<u64>().write_unaligned((number as u64).to_le()) };
        // SAFETY: the same: what follows the number is within the room or at its end.
        self.0 = unsafe { self.0.add(size_of::<u64>()) };
    }
}

/// # Safety
/// There must be room for the table of the list, which lies in those slots.
unsafe fn write(mut to: Writer, layout: &ListLayout, hulls: &Hulls<'_>) {
    let columns = layout.columns();
    if columns.uniform_sizes().is_none() {
        // SAFETY: the table has so many starts.
        (0..columns.len()).for_each(|object| unsafe { to.push(columns.start(object)) });
        // SAFETY: and as many sizes behind them.
        (0..columns.len()).for_each(|object| unsafe { to.push(columns.size(object)) });
    }
    for run in layout.runs() {
        for number in [run.first, hulls.number(run.slot), run.offset] {
            // SAFETY: and three numbers for each run behind those.
            unsafe { to.push(number) };
        }
    }
}

/// The columns and the runs of a list that arrived. All its bytes are there, and in memory.
///
/// # Errors
/// [`ShareError::Malformed`], [`ShareError::Unfit`] and [`ShareError::Uncommitted`] for a list that is none, [`ShareError::Group`] for
/// memory.
pub(crate) fn read(arrived: &Arrived) -> Result<(Columns, Vec<ArrivedRun>), ShareError> {
    let (Object::List(extent, wire), Some(table)) = (&arrived.object, arrived.memory.first()) else {
        return Err(Malformed::new("it is no list").into());
    };
    let memory = &arrived.memory[1..];
    // Copied before anything is looked at: the sender may change them meanwhile.
    let mut numbers = Reader { table, offset: extent.offset as usize };
    let objects = wire.objects as usize;
    let align = wire.align as usize;
    let columns = match wire.uniform {
        Some((size, stride)) => {
            let (size, stride) = (size as usize, stride as usize);
            let columns = Columns::uniform(objects, size, align, crate::layout::MAX_SLOT_BYTES);
            let columns = columns.ok().filter(|columns| columns.uniform_sizes() == Some((size, stride)));
            columns.ok_or(Malformed::new("its objects are not as far apart as their size and alignment say"))?
        }
        None => {
            let (starts, sizes) = (numbers.take(objects)?, numbers.take(objects)?);
            Columns::of_table(starts, sizes, align).ok_or(Malformed::new("its objects overlap, or end nowhere"))?
        }
    };
    let numbers = numbers.take(3 * wire.runs as usize)?;
    let (runs, _) = numbers.as_chunks::<3>();
    let runs = fallible::collect(runs.iter().map(|&[first, memory, offset]| ArrivedRun { first, memory, offset }))?;
    check(&columns, &runs, memory).map(|()| (columns, runs))
}

/// Finds what is wrong with the runs of a list.
fn check(columns: &Columns, runs: &[ArrivedRun], memory: &[Arc<ReceivedFile>]) -> Result<(), ShareError> {
    let mut hulls = vec![(u64::MAX, 0_u64); memory.len()];
    for (index, run) in runs.iter().enumerate() {
        let end = runs.get(index + 1).map_or(columns.len(), |next| next.first);
        let is_in_turn = if index == 0 { run.first == 0 } else { true };
        if !is_in_turn || run.first >= end || end > columns.len() {
            return Err(Malformed::new("its runs are out of their order").into());
        }
        let hull = hulls.get_mut(run.memory).ok_or(Malformed::new("it lies in memory that it does not name"))?;
        let len = columns.start(end - 1) + columns.size(end - 1) - columns.start(run.first);
        let extent = Extent { segment: SegmentId::default(), offset: run.offset as u64, len: len as u64 };
        if runs.len() <= Hulls::FEW_RUNS {
            range(&memory[run.memory], &extent)?;
        }
        let end = extent.offset.checked_add(extent.len).ok_or(Malformed::new("it ends nowhere"))?;
        *hull = (hull.0.min(extent.offset), hull.1.max(end));
    }
    if runs.len() > Hulls::FEW_RUNS {
        for (memory, &(start, end)) in memory.iter().zip(&hulls) {
            let len = end.saturating_sub(start);
            range(memory, &Extent { segment: SegmentId::default(), offset: start.min(end), len })?;
        }
    }
    Ok(())
}

/// Takes numbers from a table that is there, one behind the other.
struct Reader<'a> {
    table: &'a ReceivedFile,
    offset: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<Vec<usize>, ShareError> {
        let mut numbers: Vec<usize> = Vec::new();
        fallible::reserve(&mut numbers, count)?;
        let from = self.table.start().as_ptr().wrapping_add(self.offset);
        let bytes = count * size_of::<usize>();
        // SAFETY: the table is there with so many bytes, for as many has the extent that was found in the memory; and there is room
        // for as many numbers.
        unsafe { libc::memcpy(numbers.as_mut_ptr().cast(), from.cast(), bytes) };
        // SAFETY: so many numbers were just copied, and any bytes are some.
        unsafe { numbers.set_len(count) };
        self.offset += bytes;
        Ok(numbers)
    }
}

const _: () = assert!(size_of::<usize>() == size_of::<u64>() && RUN_BYTES == 24);
#[cfg(target_endian = "big")]
compile_error!("the tables of lists are read as they are, in little-endian order");
