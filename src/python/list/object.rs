//! `MemList`: which objects of a layout it shows, through which mirror, and how their memory is reached.
//!
//! What Python calls is in `class`, what is done with the bytes in `contents`.

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyMemoryView;

use crate::Error;
use crate::list::inspect::{Records, taken};
use crate::list::{Columns, ListLayout, Part, Span};
use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::MemBlock;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::lease::Lease;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Claim, RawBlock, count};
use crate::python::group::state::Runs;
use crate::python::list::column::Column;
use crate::python::list::live::LiveList;
use crate::share::ShareError;
use crate::share::list::{Described, Outgoing};
use crate::slot::Mirror;

/// Many allocations made in one call: a sequence of blocks that compares by content.
///
/// It consists of columns, with 16 bytes for each block, or none if all have one size; indexing makes a block object.
/// Slices share the columns. Lists are made by a group's `alloc_many`, `protect` and `unprotect`, and keep their group
/// alive. Every use of a list of a freed group raises ValueError.
#[pyclass(frozen, sequence, module = "memgroup")]
pub(crate) struct MemList {
    group: Py<MemGroup>,
    layout: Arc<ListLayout>,
    part: Part,
    epoch: u64,
    mirror: Mirror,
    /// Of the object of a pool that the blocks are parts of.
    lease: Option<Lease>,
    /// What `sizes` and `offsets` show, once somebody has asked.
    columns: [PyOnceLock<Py<Column>>; 2],
    /// What other processes are told of it, once it was sent.
    described: OnceLock<Described>,
}

impl MemList {
    /// A list of new blocks.
    pub(crate) fn of<'py>(group: &Bound<'py, MemGroup>, columns: Columns, zero: bool) -> PyResult<Bound<'py, Self>> {
        let py = group.py();
        let Runs { runs, epoch } = group.get().alloc_many_raw(py, &columns)?;
        let list = Self::new(group, ListLayout::new(columns, runs), epoch);
        if zero {
            // SAFETY: the list is writable.
            list.access(py, None, list.layout.columns().extent(), |list| unsafe { list.clear() })?;
        }
        Bound::new(py, list)
    }

    /// A list of what is placed already.
    pub(crate) fn of_placed<'py>(
        group: &Bound<'py, MemGroup>,
        layout: ListLayout,
        epoch: u64,
    ) -> PyResult<Bound<'py, Self>> {
        Bound::new(group.py(), Self::new(group, layout, epoch))
    }

    /// A list of parts of blocks, through the mirror that these are seen through.
    pub(crate) fn of_parts<'py>(
        group: &Bound<'py, MemGroup>,
        layout: ListLayout,
        epoch: u64,
        mirror: Mirror,
        lease: Option<Lease>,
    ) -> PyResult<Bound<'py, Self>> {
        Bound::new(group.py(), Self { mirror, lease, ..Self::new(group, layout, epoch) })
    }

    /// A list of some of the blocks.
    pub(super) fn of_taken<'py>(&self, py: Python<'py>, layout: ListLayout) -> PyResult<Bound<'py, Self>> {
        Self::of_parts(self.group.bind(py), layout, self.epoch, self.mirror, self.share_lease())
    }

    /// Works on the memory of the records, if these and something else of the group are there.
    pub(super) fn with_records<R: Send>(
        &self,
        py: Python<'_>,
        other: Option<Claim>,
        many: usize,
        work: impl FnOnce(Records<'_>) -> R + Send,
    ) -> PyResult<R> {
        self.access_claimed(py, other, many, |list| {
            // SAFETY: the list was just found in those slots, and has the mirror that it shows.
            work(unsafe { Records::new(list.slots, list.layout, list.part, list.mirror) })
        })
    }

    fn new(group: &Bound<'_, MemGroup>, layout: ListLayout, epoch: u64) -> Self {
        let part = Part::all(layout.columns().len());
        let (group, layout) = (group.clone().unbind(), Arc::new(layout));
        Self {
            group,
            layout,
            part,
            epoch,
            mirror: Mirror::ReadWrite,
            lease: None,
            columns: [PyOnceLock::new(), PyOnceLock::new()],
            described: OnceLock::new(),
        }
    }

    pub(crate) fn group(&self) -> &Py<MemGroup> {
        &self.group
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn mirror(&self) -> Mirror {
        self.mirror
    }

    pub(crate) fn layout(&self) -> &Arc<ListLayout> {
        &self.layout
    }

    pub(crate) fn part(&self) -> Part {
        self.part
    }

    pub(crate) fn columns(&self) -> &Columns {
        self.layout.columns()
    }

    /// What `sizes` shows.
    pub(crate) fn sizes_view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let [sizes, _] = &self.columns;
        Column::view(
            sizes.get_or_try_init(py, || Column::sizes(py, &self.layout, self.part).map(Bound::unbind))?.bind(py),
        )
    }

    /// What `offsets` shows.
    pub(crate) fn starts_view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let [_, starts] = &self.columns;
        Column::view(
            starts.get_or_try_init(py, || Column::starts(py, &self.layout, self.part).map(Bound::unbind))?.bind(py),
        )
    }

    /// What `sizes` and `offsets` show, in copies of the caller's own.
    pub(crate) fn table<'py>(&self, py: Python<'py>) -> PyResult<[Bound<'py, PyMemoryView>; 2]> {
        let (sizes, starts) =
            (Column::sizes(py, &self.layout, self.part)?, Column::starts(py, &self.layout, self.part)?);
        Ok([Column::view(&sizes)?, Column::view(&starts)?])
    }

    /// How many blocks there are or, in a freed list, were.
    pub(crate) fn len(&self) -> usize {
        self.part.len()
    }

    /// The same list through a mirror of the caller's choice.
    pub(crate) fn through<'py>(
        group: &Bound<'py, MemGroup>,
        list: &Bound<'py, Self>,
        to: Mirror,
    ) -> PyResult<Bound<'py, Self>> {
        let (py, this) = (group.py(), list.get());
        group.get().check_open(py)?;
        if !this.belongs_to(group.as_unbound()) {
            return Err(Error::Foreign.into());
        }
        this.check_mirror(py, to)??;
        if (this.mirror, to) == (Mirror::ReadWrite, Mirror::ReadOnly) {
            group.get().while_slots_there(py, this.claim(), |slots| {
                for span in this.layout.extents(this.part) {
                    // SAFETY: the span is of the list that was just found there.
                    count(unsafe { slots.get(span.slot) }.protected(), span.len);
                }
            })?;
        }
        Bound::new(py, Self { mirror: to, ..this.shared(py) })
    }

    /// Says why the list cannot be seen through a mirror, if it cannot.
    pub(crate) fn check_mirror(&self, py: Python<'_>, to: Mirror) -> PyResult<Result<(), Error>> {
        self.group.get().try_with_state(py, |state| {
            let slots = state.check(self.claim())?;
            let mut runs = self.layout.runs()[self.layout.runs_of(self.part.reach())].iter();
            // A list of nothing is as its group is.
            if self.len() == 0 && self.mirror != to && !state.group().has_mirror() {
                return Ok(Err(Error::NoMirror));
            }
            // SAFETY: they are slots of the list that was just found there.
            Ok(runs.try_for_each(|run| unsafe { slots.get(run.slot) }.check_mirror(to)))
        })
    }

    /// What another process is told of the list, and the memory that goes along.
    pub(crate) fn outgoing(&self, py: Python<'_>) -> PyResult<Result<Outgoing, ShareError>> {
        match self.described(py)? {
            // Found there again by whoever keeps a reset off.
            Ok(described) => {
                self.group.get().try_with_state(py, |state| state.check(self.claim()).map(|_| Ok(described.outgoing())))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// What other processes are told of the list. Made by the first call, which writes its columns to the group.
    fn described(&self, py: Python<'_>) -> PyResult<Result<Described, ShareError>> {
        self.check(py)?;
        if let Some(described) = self.described.get() {
            return Ok(Ok(described.clone()));
        }
        let whole = match self.part == Part::all(self.layout.columns().len()) {
            true => None,
            false => Some(py.detach(|| taken(&self.layout, self.part, 0..self.part.len()))?),
        };
        let layout = whole.as_ref().unwrap_or(&self.layout);
        let described = self.group.get().describe_list(py, self.claim(), layout)?;
        // Two threads that come first have described it twice, and either will do.
        Ok(described.inspect(|described| drop(self.described.set(described.clone()))))
    }

    /// Whether the list is of that group.
    pub(crate) fn belongs_to(&self, group: &Py<MemGroup>) -> bool {
        self.group.is(group)
    }

    /// Whether the bytes are still there: asked before anything else, so that no use of a freed list goes unnoticed.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.group.get().check(py, self.claim())
    }

    pub(crate) fn check_writable(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        if !self.is_protected() {
            return Ok(());
        }
        Err(PyTypeError::new_err(match self.check_mirror(py, Mirror::ReadWrite)? {
            Ok(()) => "this list is protected: the group's unprotect() gives a writable one",
            Err(_) => {
                "this list shows memory that was borrowed read-only: the group's copy_many(list) gives a writable one"
            }
        }))
    }

    /// Which block and which byte of it lie so many bytes behind those: never the end of a block, and behind the last one none.
    pub(crate) fn advanced(&self, mut index: usize, mut offset: usize, by: usize) -> (usize, usize) {
        offset = offset.saturating_add(by);
        while index < self.part.len() {
            let size = self.layout.columns().size(self.part.object(index));
            if offset < size {
                return (index, offset);
            }
            offset -= size;
            index += 1;
        }
        (index, 0)
    }

    /// A list exports nothing itself, so a gentle end frees it.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Claim {
        Claim::of_epoch(self.epoch)
    }

    pub(crate) fn is_protected(&self) -> bool {
        self.mirror == Mirror::ReadOnly || self.group.get().is_frozen()
    }

    fn shared(&self, py: Python<'_>) -> Self {
        let Self { part, epoch, mirror, .. } = *self;
        let (group, layout) = (self.group.clone_ref(py), Arc::clone(&self.layout));
        Self {
            group,
            layout,
            part,
            epoch,
            mirror,
            lease: self.share_lease(),
            columns: [PyOnceLock::new(), PyOnceLock::new()],
            described: OnceLock::new(),
        }
    }

    /// Another lease of the object that the blocks are parts of, if it is a pool's.
    pub(crate) fn share_lease(&self) -> Option<Lease> {
        self.lease.as_ref().map(Lease::share)
    }

    pub(crate) fn with_part<'py>(&self, py: Python<'py>, part: Part) -> PyResult<Bound<'py, Self>> {
        Bound::new(py, Self { part, ..self.shared(py) })
    }

    /// The block at an index, which must be less than the length.
    #[inline]
    pub(crate) fn block<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, MemBlock>> {
        self.block_of(py, self.layout.object(self.part.object(at)))
    }

    #[inline]
    fn block_of<'py>(&self, py: Python<'py>, span: Span) -> PyResult<Bound<'py, MemBlock>> {
        let group = self.group.bind(py);
        let Span { slot, offset, len } = span;
        let raw = group.get().while_slots_there(py, self.claim(), |slots| {
            // SAFETY: it is a slot of the list.
            let there = unsafe { slots.get(slot) };
            // SAFETY: the objects of a list lie within their slots.
            let address = unsafe { there.address(offset, self.mirror) };
            address.map(|address| RawBlock { address, len, slot, epoch: self.epoch })
        })?;
        MemBlock::with_lease(group, raw.ok_or(Error::NoMirror)?, self.mirror, self.share_lease())
    }

    /// The size of all blocks, if they are of one.
    pub(crate) fn size_of_all(&self) -> Option<usize> {
        let size = |at| self.columns().size(self.part.object(at));
        let first = if self.len() == 0 { 0 } else { size(0) };
        let is_one = self.columns().uniform_sizes().is_some() || (1..self.len()).all(|at| size(at) == first);
        is_one.then_some(first)
    }

    /// One block over all of the list's, which are of one size, if they lie at one distance in one slot.
    pub(crate) fn rows<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Option<Rows<'py>>> {
        let (layout, part) = (&self.layout, self.part);
        if layout.runs_of(part.reach()).len() != 1 {
            return Ok(None);
        }
        let start = |at| layout.columns().start(part.object(at)) as isize;
        let distance = if self.len() < 2 { size as isize } else { start(1) - start(0) };
        let are_at_one = |at: &usize| start(*at) - start(at - 1) == distance;
        if layout.columns().uniform_sizes().is_none() && !(1..self.len()).all(|at| are_at_one(&at)) {
            return Ok(None);
        }
        let lowest = if distance < 0 { self.len() - 1 } else { 0 };
        let len = (self.len() - 1) * distance.unsigned_abs() + size;
        let block = self.block_of(py, Span { len, ..layout.object(part.object(lowest)) })?;
        Ok(Some(Rows { block, first: if distance < 0 { len - size } else { 0 }, distance }))
    }

    /// Works on the list, and on another bytes-like object, if both are still there.
    pub(super) fn access<R: Send>(
        &self,
        py: Python<'_>,
        other: Option<&BytesLike<'_>>,
        many: usize,
        work: impl FnOnce(&LiveList<'_>) -> R + Send,
    ) -> PyResult<R> {
        let bytes = other.map_or(NO_BYTES, BytesLike::bytes);
        self.access_all(py, other.and_then(BytesLike::claim), bytes, many, work)
    }

    /// Works on the list, if it and something else of the group are still there.
    pub(super) fn access_claimed<R: Send>(
        &self,
        py: Python<'_>,
        other: Option<Claim>,
        many: usize,
        work: impl FnOnce(&LiveList<'_>) -> R + Send,
    ) -> PyResult<R> {
        self.access_all(py, other, NO_BYTES, many, work)
    }

    fn access_all<R: Send>(
        &self,
        py: Python<'_>,
        claim: Option<Claim>,
        other: Bytes,
        many: usize,
        work: impl FnOnce(&LiveList<'_>) -> R + Send,
    ) -> PyResult<R> {
        let (layout, part, mirror) = (&*self.layout, self.part, self.mirror);
        self.group.get().access_slots(py, self.claim(), claim, many, move |slots| {
            work(&LiveList { slots, layout, part, mirror, other: { other } })
        })
    }

    /// About how much work it is to look at every block for so many bytes.
    pub(super) fn many(&self, bytes: usize) -> usize {
        self.part.len().saturating_mul(bytes.max(1))
    }
}

/// Blocks of one size as the rows of a matrix: one block over all of them, where in it the first begins, and how far it is from
/// one to the next.
pub(crate) struct Rows<'py> {
    pub(crate) block: Bound<'py, MemBlock>,
    pub(crate) first: usize,
    pub(crate) distance: isize,
}

const NO_BYTES: Bytes = Bytes { start: std::ptr::dangling_mut(), len: 0 };
