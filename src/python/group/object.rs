//! `MemGroup`: the group behind its lock, what it counts, and how its bytes are reached. What Python calls is in `class`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use crate::list::ListLayout;
use crate::os::fork;
use crate::python::group::lease::{Lease, PoolEpoch};
use crate::python::group::lender::{Lender, ReleaseDue, release_due};
use crate::python::group::lock::GroupLock;
use crate::python::group::pools::Pools;
use crate::python::group::raw::{Claim, Held, LiveBlock, RawBlock, count};
use crate::python::group::state::{EndRefused, GroupState, LetGo, Unavailable};
use crate::python::group::uses::Uses;
use crate::share::list::Described;
use crate::share::{self, ShareError};
use crate::slot::{LiveSlots, Mirror};

/// Work on this many bytes lets other Python threads run meanwhile.
const DETACH_ABOVE_BYTES: usize = 256 * 1024;

/// A group of allocations with one end: it frees all of its blocks in one step, never one alone.
///
/// Its memory is up to 32 slots, slot i of `base << i` bytes, each mapped twice: read-write and read-only. To protect a
/// block is to hand out its address in the read-only mirror. After a `with` block the group has ended gently: memory
/// that a memoryview or array still uses stays valid until that is gone.
///
/// Args:
///     base: Size of the first slot in bytes, rounded up to whole pages.
///     limit: The most bytes the group may commit, or None.
///     backing: Where the memory comes from: "memfd", "anonymous" (nothing can be protected), or a directory for
///         unlinked temporary files, by a path that is resolved now.
///     name: Shown in `repr`, in messages and in /proc/PID/maps (there, memory reused from another group has that
///         group's name).
///     secret: Whether the group's memory is locked in RAM, left out of core dumps, and overwritten with zeros when the
///         group is reset, freed or ends.
///     huge_pages: Whether large slots are committed in huge pages, if the kernel has some.
///     shared: Whether `send` can hand the group's objects to other processes. It takes two descriptors for each slot,
///         and the group's memory is not kept for later groups.
///
/// Raises:
///     TypeError: An argument is of the wrong type.
///     ValueError: `base` is 0, negative or absurd, `limit` negative, `name` unusable, `backing` a directory for
///         secrets, or a shared group is secret or of another backing than "memfd".
///     OSError: `backing` names a directory that is missing or cannot be written to.
#[pyclass(frozen, weakref, module = "memgroup")]
pub(crate) struct MemGroup {
    pub(super) lock: GroupLock<GroupState>,
    uses: Uses,
    /// Whether nobody can write to the group's memory, which its blocks then show as protected ones do.
    is_frozen: AtomicBool,
    pub(super) blocks: Tally,
    pub(super) requested: Tally,
    pools: Pools,
    /// The last: what the others had borrowed is given back.
    _release: ReleaseDue,
}

/// A count that only attached threads inside the group's lock raise.
#[derive(Default)]
pub(super) struct Tally(AtomicUsize);

impl Tally {
    #[inline(always)]
    pub(super) fn add(&self, more: usize) {
        count(&self.0, more);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl MemGroup {
    pub(crate) fn of(group: crate::MemGroup) -> PyResult<Self> {
        Ok(Self {
            lock: GroupLock::new(GroupState::new(group))?,
            uses: Uses::new().map_err(crate::os::Refusal::in_preparation)?,
            is_frozen: AtomicBool::new(false),
            blocks: Tally::default(),
            requested: Tally::default(),
            pools: Pools::new()?,
            _release: ReleaseDue,
        })
    }

    /// Shows the garbage collector the objects whose memory the group has borrowed, and nobody else but the group holds.
    pub(crate) fn visit_lenders(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.lock.while_collecting(|state| {
            let lenders = state.owners().filter_map(|owner| owner.downcast_ref::<Lender>());
            lenders.filter_map(Lender::exporter).try_for_each(|exporter| visit.call(exporter))
        })
    }

    /// The largest size that can ever be served.
    pub(crate) fn largest(&self, py: Python<'_>) -> usize {
        self.lock.with(py, |state| state.group().largest())
    }

    /// Whether what the group holds is not to be shown.
    pub(crate) fn is_secret(&self, py: Python<'_>) -> bool {
        self.lock.with(py, |state| state.group().is_secret())
    }

    /// Learns of the objects of a pool.
    pub(crate) fn add_pool(&self, py: Python<'_>, epoch: &Arc<PoolEpoch>) {
        self.pools.add(py, epoch);
    }

    /// Whether there have ever been pools of it.
    pub(crate) fn has_pools(&self) -> bool {
        self.pools.are_any()
    }

    /// A lease of the object of a pool that bytes are part of which were found by their address, if they are of one. Whoever passed
    /// the address holds the object meanwhile.
    #[inline(always)]
    pub(crate) fn lease_of(&self, py: Python<'_>, raw: RawBlock, mirror: Mirror) -> Option<Lease> {
        if self.has_pools() { self.find_lease(py, raw, mirror) } else { None }
    }

    #[cold]
    fn find_lease(&self, py: Python<'_>, raw: RawBlock, mirror: Mirror) -> Option<Lease> {
        if raw.len == 0 {
            return None;
        }
        let address = self.with_state(py, |state| {
            let slots = state.check(raw.claim()).ok()?;
            // SAFETY: the raw block is one of this group's, and was just found there.
            let slot = unsafe { LiveBlock::new(raw, slots) }.slot();
            match mirror {
                Mirror::ReadWrite => Some(raw.address),
                // SAFETY: the address lies in that mirror.
                Mirror::ReadOnly => Some(unsafe { slot.to_read_write(raw.address) }),
            }
        })?;
        self.pools.lease_at(py, address.addr().get())
    }

    /// Short work while nobody else uses the group.
    pub(crate) fn while_alone<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&GroupState) -> Result<R, Unavailable>,
    ) -> PyResult<R> {
        let result = self.lock.exclusive(py, |state| work(state));
        self.or_unavailable(py, result)
    }

    /// Counts a block.
    #[inline(always)]
    pub(crate) fn count(&self, size: usize) {
        self.blocks.add(1);
        self.requested.add(size);
    }

    /// Works on a raw block of this group, if it and something else of the group are still there. Work on many bytes lets other
    /// Python threads run; the end of the group waits for it.
    #[inline(always)]
    pub(crate) fn access<R: Send>(
        &self,
        py: Python<'_>,
        held: Held,
        other: Option<Claim>,
        many: usize,
        work: impl FnOnce(LiveBlock<'_>) -> R + Send,
    ) -> PyResult<R> {
        self.access_slots(py, held.claim(), other, many, move |slots| {
            // SAFETY: the raw block is one of this group's, and was just found there.
            work(unsafe { LiveBlock::new(held.raw, slots) })
        })
    }

    /// Works on the slots of a list of this group, if it and something else of the group are still there.
    #[inline(always)]
    pub(crate) fn access_slots<R: Send>(
        &self,
        py: Python<'_>,
        claim: Claim,
        other: Option<Claim>,
        many: usize,
        work: impl FnOnce(LiveSlots<'_>) -> R + Send,
    ) -> PyResult<R> {
        let run = |state: &GroupState| {
            if let Some(other) = other {
                state.check(other)?;
            }
            Ok(work(state.check(claim)?))
        };
        let result = if many < DETACH_ABOVE_BYTES { self.lock.with(py, run) } else { self.lock.detached(py, run) };
        self.or_unavailable(py, result)
    }

    /// Short work on the group by an attached thread, with the exception for one that has ended.
    #[inline(always)]
    pub(crate) fn try_with_state<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&GroupState) -> Result<R, Unavailable>,
    ) -> PyResult<R> {
        self.or_unavailable(py, self.lock.with(py, work))
    }

    #[inline(always)]
    pub(super) fn or_unavailable<R>(&self, py: Python<'_>, result: Result<R, Unavailable>) -> PyResult<R> {
        result.map_err(|unavailable| unavailable.error(&self.name(py)))
    }

    /// Sets the bytes of a raw block that was just taken to 0, if they are not.
    pub(crate) fn clear(&self, py: Python<'_>, raw: RawBlock) -> PyResult<()> {
        self.access(py, raw.into(), None, raw.len, |raw| {
            if !raw.slot().is_fresh() {
                // SAFETY: the bytes are mapped, and writable: the raw block is in the read-write mirror.
                unsafe { raw.bytes().clear() };
            }
        })
    }

    /// An error if a raw block or a list of this group is not there any more.
    pub(crate) fn check(&self, py: Python<'_>, claim: Claim) -> PyResult<()> {
        self.while_slots_there(py, claim, |_| ())
    }

    /// Does something while a raw block of this group is certainly there.
    #[inline(always)]
    pub(crate) fn while_there<R>(
        &self,
        py: Python<'_>,
        held: Held,
        work: impl FnOnce(LiveBlock<'_>) -> R,
    ) -> PyResult<R> {
        // SAFETY: the raw block is one of this group's, and was just found there.
        self.while_slots_there(py, held.claim(), |slots| work(unsafe { LiveBlock::new(held.raw, slots) }))
    }

    /// Does something while the slots of a list of this group are certainly there.
    #[inline(always)]
    pub(crate) fn while_slots_there<R>(
        &self,
        py: Python<'_>,
        claim: Claim,
        work: impl FnOnce(LiveSlots<'_>) -> R,
    ) -> PyResult<R> {
        self.try_with_state(py, |state| state.check(claim).map(work))
    }

    /// Does something while memory that the caller holds is certainly mapped; whether it was. For a thread that is detached.
    pub(crate) fn while_mapped(&self, work: impl FnOnce()) -> bool {
        self.lock.with_detached(|state| state.keeps_memory().then(work).is_some())
    }

    /// Whether nobody can write to the group's memory.
    #[inline(always)]
    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen.load(Ordering::Relaxed)
    }

    /// Takes the right to write away from everybody.
    ///
    /// # Errors
    /// BufferError, OSError, ValueError: see `MemGroup.freeze`.
    pub(crate) fn make_immutable(&self, py: Python<'_>) -> PyResult<()> {
        let frozen = self.lock.exclusive(py, |state| {
            let _no_fork = fork::hold_off();
            state.freeze(py, self.uses.writers(), || self.is_frozen.store(true, Ordering::Relaxed))
        });
        frozen.map_err(|refusal| refusal.error(&self.name(py)))
    }

    /// Takes something away from the group and ends it while other threads run. A child has it in its copy of the group, or
    /// not at all: no fork comes in between.
    fn let_go<T: Send, R: Send, E>(
        &self,
        py: Python<'_>,
        take: impl FnOnce(&mut GroupState) -> Result<T, E>,
        end: impl FnOnce(T) -> R + Send,
    ) -> Result<R, E> {
        let (taken, no_fork) = self.lock.exclusive(py, |state| {
            let no_fork = fork::hold_off();
            take(state).map(|taken| (taken, no_fork))
        })?;
        // Whoever forks may have the GIL, so forks go on before this thread waits for it.
        let ended = py.detach(move || {
            let _no_fork = no_fork;
            end(taken)
        });
        release_due(py);
        Ok(ended)
    }

    /// Frees all blocks and keeps the memory for the next epoch.
    ///
    /// # Errors
    /// BufferError: There are live views. ValueError: The group is freed.
    pub(crate) fn begin_anew(&self, py: Python<'_>) -> PyResult<()> {
        let reset = |state: &mut GroupState| {
            let let_go = state.reset(py, self.uses.views())?;
            self.is_frozen.store(false, Ordering::Relaxed);
            self.blocks.clear();
            self.requested.clear();
            Ok(let_go)
        };
        self.let_go(py, reset, drop).map_err(|refusal: EndRefused| refusal.error(&self.name(py)))
    }

    /// The strict end, or the forced one. Returns how many bytes exporters still hold.
    ///
    /// # Errors
    /// BufferError: There are live views, and `force` is false.
    pub(crate) fn give_back(&self, py: Python<'_>, force: bool) -> PyResult<usize> {
        let held = self.let_go(py, |state| state.free(py, self.uses.views(), force), LetGo::give_back);
        held.map_err(|refusal| refusal.error(&self.name(py)))
    }

    /// The gentle end.
    pub(crate) fn end(&self, py: Python<'_>) {
        let Ok(()) = self.let_go(py, |state| Ok::<_, Infallible>(state.end(py)), drop);
    }

    pub(crate) fn name(&self, py: Python<'_>) -> String {
        self.lock.with(py, |state| state.group().name().to_owned())
    }

    /// How many blocks were allocated since the group was made or reset.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.get()
    }

    /// How many bytes were asked for since then.
    pub(crate) fn requested(&self) -> usize {
        self.requested.get()
    }

    /// Who uses the group's memory.
    #[inline(always)]
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    pub(crate) fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        self.try_with_state(py, GroupState::check_open)
    }

    /// Counts a block less, which was taken back.
    pub(crate) fn uncount(&self, size: usize) {
        self.blocks.add(1_usize.wrapping_neg());
        self.recount(size, 0);
    }

    /// Counts a block that has `size` bytes instead of `before`.
    pub(crate) fn recount(&self, before: usize, size: usize) {
        self.requested.add(size.wrapping_sub(before));
    }

    /// Sees to it that there is memory for what numpy allocates.
    pub(crate) fn open_private(&self, py: Python<'_>) -> PyResult<()> {
        if self.with_state(py, |state| state.private().is_none()) {
            self.lock.exclusive(py, GroupState::open_private)?;
        }
        Ok(())
    }

    /// Describes a list for another process; see [`share::list::describe`].
    pub(crate) fn describe_list(
        &self,
        py: Python<'_>,
        claim: Claim,
        layout: &ListLayout,
    ) -> PyResult<Result<Described, ShareError>> {
        let described = self.lock.detached(py, |state| {
            let slots = state.check(claim)?;
            // SAFETY: the list was just found in those slots.
            Ok(unsafe { share::list::describe(state.group(), layout, slots) })
        });
        self.or_unavailable(py, described)
    }

    /// Short work on the group by an attached thread, whatever has become of it.
    pub(crate) fn with_state<R>(&self, py: Python<'_>, work: impl FnOnce(&GroupState) -> R) -> R {
        self.lock.with(py, work)
    }
}
