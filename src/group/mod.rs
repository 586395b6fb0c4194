//! [`MemGroup`]: where a request is placed, and the one-shot end.

pub(crate) mod block;
pub(crate) mod local;
pub(crate) mod slot_table;

use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Refused};
use crate::layout::{DEFAULT_ALIGN, DEFAULT_BASE, MAX_ALIGN, SlotIndex, SlotSizes};
use crate::os::fork::{self, PerProcess};
use crate::os::{self, Backing, Refusal};
use crate::slot::budget::Budget;
use crate::slot::cache;
use crate::slot::{LiveSlots, Mirror, Slot, SlotRef, SlotStats, Taken};
use crate::sync::Arc;
pub use block::{Block, Protected};
pub use local::Local;
use slot_table::SlotTable;

/// How a group is to be made. The methods chain; [`open`](Options::open) ends the chain.
///
/// ```
/// let group = memgroup::Options::new().base(1 << 20).limit(64 << 20).name("results").open()?;
/// # Ok::<(), memgroup::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    base: usize,
    limit: Option<usize>,
    backing: Backing,
    name: String,
    secret: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { base: DEFAULT_BASE, limit: None, backing: Backing::default(), name: "memgroup".into(), secret: false }
    }
}

impl Options {
    /// The defaults: a base of 64 KiB, no limit, memfd backing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Size of the first slot in bytes, rounded up to whole pages; every later slot is twice the one before.
    pub fn base(mut self, bytes: usize) -> Self {
        self.base = bytes;
        self
    }

    /// The most bytes the group may commit.
    pub fn limit(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.limit = bytes.into();
        self
    }

    /// Where the memory comes from.
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = backing;
        self
    }

    /// A name for messages and for `/proc/PID/maps`, where memory that was kept from another group goes on under its name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether the group holds secrets: locked in memory, left out of core dumps, and overwritten with zeros when the group is
    /// reset or freed.
    ///
    /// ```
    /// let group = memgroup::Options::new().secret(true).open()?;
    /// let key = group.copy(b"correct horse")?;
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    pub fn secret(mut self, secret: bool) -> Self {
        self.secret = secret;
        self
    }

    /// Makes the group. No memory is mapped yet.
    ///
    /// # Errors
    /// [`Error::Base`] or [`Error::Name`] for a value out of range, [`Error::SecretInFiles`] for secrets in a directory,
    /// [`Error::Os`] for a directory that cannot be written to.
    pub fn open(self) -> Result<MemGroup, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let sizes = SlotSizes::new(self.base, os::page_size())?;
        if self.name.len() > os::MAX_NAME || self.name.contains('\0') {
            return Err(Error::Name { name: self.name, max: os::MAX_NAME });
        }
        let in_files = matches!(self.backing, Backing::Directory(_));
        if self.secret && in_files {
            return Err(Error::SecretInFiles);
        }
        os::check_backing(&self.backing)
            .map_err(|refusal| refusal.during(format!("making a file in {}", self.backing.describe())))?;
        Ok(MemGroup {
            tables: PerProcess::new(SlotTable::default()).map_err(Refusal::in_preparation)?,
            // Relaxed: only that no two are equal matters.
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            sizes,
            budget: Arc::new(Budget::new(self.limit).secret(self.secret)),
            backing: self.backing,
            name: self.name,
        })
    }
}

/// A group of allocations that share one end: memory is handed out, never taken back singly, and freed in one shot.
///
/// Allocation is lock-free as long as committed memory lasts, and safe from any thread. Dropping the group frees all
/// of it; [`reset`](MemGroup::reset) empties it and keeps the memory for the next round.
///
/// ```
/// use memgroup::MemGroup;
///
/// let group = MemGroup::new()?;
/// let mut block = group.alloc(100)?;
/// block[..5].copy_from_slice(b"hello");
/// let protected = group.protect(block)?; // no system call: the same bytes through the read-only mirror
/// assert_eq!(&protected[..5], b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MemGroup {
    /// A forked child allocates from slots of its own, and keeps those of its parent.
    tables: PerProcess<SlotTable>,
    id: u64,
    sizes: SlotSizes,
    backing: Backing,
    name: String,
    budget: Arc<Budget>,
}

/// What a group holds. All figures but `slots` are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The open slots, smallest first; in a forked child, behind them those inherited from its parent.
    pub slots: Vec<SlotStats>,
    /// Handed out, gaps for alignment included.
    pub allocated: usize,
    /// Accounted for as memory in use; what `limit` limits.
    pub committed: usize,
    /// Address space taken by the mirrors.
    pub mapped: usize,
}

impl MemGroup {
    /// A group with the default [`Options`].
    ///
    /// # Errors
    /// [`Error::Os`] if the kernel has no memory left.
    pub fn new() -> Result<Self, Error> {
        Options::new().open()
    }

    /// A group whose first slot holds `base` bytes, rounded up to whole pages.
    ///
    /// # Errors
    /// [`Error::Base`] if `base` is 0 or absurd, [`Error::Os`] if the kernel has no memory left.
    pub fn with_base(base: usize) -> Result<Self, Error> {
        Options::new().base(base).open()
    }

    /// A group beside this one for memory that a fork copies instead of sharing, and that so has no read-only mirror. Both
    /// have one budget.
    pub(crate) fn private(&self) -> Result<Self, Error> {
        Ok(Self {
            tables: PerProcess::new(SlotTable::default()).map_err(Refusal::in_preparation)?,
            id: self.id,
            sizes: self.sizes,
            backing: Backing::Anonymous,
            name: self.name.clone(),
            budget: Arc::clone(&self.budget),
        })
    }

    /// `size` bytes at 16-byte alignment. Their contents are unspecified; there may be none of them.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Full`], [`Error::Limit`], [`Error::Headroom`] or [`Error::Os`] when memory runs out in
    /// one way or another. Nothing is taken then.
    #[inline]
    pub fn alloc(&self, size: usize) -> Result<Block<'_>, Error> {
        self.take(size, DEFAULT_ALIGN).map(|taken| Block::new(taken, size))
    }

    /// Bytes of a layout, the alignment of which may be up to 4096.
    ///
    /// # Errors
    /// [`Error::Align`] for a larger alignment; else as [`alloc`](Self::alloc).
    #[inline]
    pub fn alloc_layout(&self, layout: Layout) -> Result<Block<'_>, Error> {
        if layout.align() > MAX_ALIGN {
            return Err(Error::Align { align: layout.align() });
        }
        self.take(layout.size(), layout.align()).map(|taken| Block::new(taken, layout.size()))
    }

    /// As [`alloc`](Self::alloc), with every byte 0. Costs nothing where the memory is fresh from the kernel.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn alloc_zeroed(&self, size: usize) -> Result<Block<'_>, Error> {
        let taken = self.take(size, DEFAULT_ALIGN)?;
        if !taken.slot.is_fresh() {
            // SAFETY: the bytes were just taken: they are mapped, size of them, and nobody else's.
            unsafe { taken.address.write_bytes(0, size) };
        }
        Ok(Block::new(taken, size))
    }

    /// A block with the same bytes as `data`.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn copy(&self, data: &[u8]) -> Result<Block<'_>, Error> {
        let taken = self.take(data.len(), DEFAULT_ALIGN)?;
        // SAFETY: the bytes were just taken, so they cannot overlap data, and there are data.len() of them.
        unsafe { taken.address.copy_from_nonoverlapping(NonNull::from(data).cast(), data.len()) };
        Ok(Block::new(taken, data.len()))
    }

    /// The same bytes through the read-only mirror: an addition, whatever the size.
    ///
    /// Taking the block proves that no writer is left.
    ///
    /// # Errors
    /// [`Error::NoMirror`] in an anonymous group, [`Error::Foreign`] for another group's block. The block is gone then; use
    /// [`try_protect`](Self::try_protect) to have it back.
    #[inline]
    pub fn protect<'g>(&self, block: Block<'g>) -> Result<Protected<'g>, Error> {
        self.try_protect(block).map_err(Error::from)
    }

    /// As [`protect`](Self::protect), but a refused block is given back.
    ///
    /// # Errors
    /// As [`protect`](Self::protect), with the block.
    #[inline]
    pub fn try_protect<'g>(&self, block: Block<'g>) -> Result<Protected<'g>, Refused<Block<'g>>> {
        if block.slot().group() != self.id {
            return Err(Refused { error: Error::Foreign, value: block });
        }
        block.into_protected()
    }

    /// The same bytes through the read-write mirror. Taking the protected block proves that no reader is left.
    ///
    /// # Errors
    /// [`Error::Foreign`] for another group's block. It is gone then; use [`try_unprotect`](Self::try_unprotect) to have it
    /// back.
    #[inline]
    pub fn unprotect<'g>(&self, protected: Protected<'g>) -> Result<Block<'g>, Error> {
        self.try_unprotect(protected).map_err(Error::from)
    }

    /// As [`unprotect`](Self::unprotect), but a refused block is given back.
    ///
    /// # Errors
    /// As [`unprotect`](Self::unprotect), with the block.
    #[inline]
    pub fn try_unprotect<'g>(&self, protected: Protected<'g>) -> Result<Block<'g>, Refused<Protected<'g>>> {
        if protected.slot().group() != self.id {
            return Err(Refused { error: Error::Foreign, value: protected });
        }
        Ok(protected.into_block())
    }

    /// Empties the group and keeps its memory, warm, for what is allocated next.
    ///
    /// The borrow checker proves that no block is left in this process. Slots that a child or a parent may still use, after
    /// a fork, are let go instead.
    pub fn reset(&mut self) {
        self.rewind();
    }

    /// Frees all memory in one shot, as dropping the group does. Some of it is kept for the next groups; see
    /// [`warm_memory`](crate::warm_memory).
    pub fn free(self) {
        drop(self);
    }

    /// What the group holds.
    pub fn stats(&self) -> Stats {
        let slots: Vec<_> = self.slots().map(|slot| slot.stats()).collect();
        Stats {
            allocated: slots.iter().map(|slot| slot.allocated).sum(),
            mapped: slots.iter().map(|slot| slot.mapped).sum(),
            committed: self.budget.committed(),
            slots,
        }
    }

    /// Size of slot 0 in bytes.
    pub fn base(&self) -> usize {
        self.sizes.base()
    }

    /// The most bytes the group may commit.
    pub fn limit(&self) -> Option<usize> {
        self.budget.limit()
    }

    /// Where the memory comes from.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes in the last slot: no request larger than this can ever be served.
    pub(crate) fn largest(&self) -> usize {
        self.sizes.largest()
    }

    /// Takes bytes: from what is ready with one atomic operation, or else [slowly](Self::take_slowly). `align` must be a
    /// power of two and at most [`MAX_ALIGN`].
    #[inline(always)]
    pub(crate) fn take(&self, size: usize, align: usize) -> Result<Taken<'_>, Error> {
        match self.bump(size, align) {
            Some(taken) => Ok(taken),
            None => self.take_slowly(size, align),
        }
    }

    /// The fast path: no lock, no system call; `None` when it will not do.
    #[inline(always)]
    pub(crate) fn bump(&self, size: usize, align: usize) -> Option<Taken<'_>> {
        let slot = self.current()?;
        slot.bump(size, align).map(|address| Taken { address, slot })
    }

    /// The slot that small requests are served from, if this process has one yet.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<SlotRef<'_>> {
        self.tables.get()?.current()
    }

    /// The right to follow pointers to the group's slots: none of them goes while the group is borrowed.
    #[inline(always)]
    pub(crate) fn live_slots(&self) -> LiveSlots<'_> {
        // SAFETY: slots leave a group through a unique reference to it only.
        unsafe { LiveSlots::new() }
    }

    /// The path that may commit memory, look back into earlier slots, jump to a later one, and open it.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_slowly(&self, size: usize, align: usize) -> Result<Taken<'_>, Error> {
        if size > self.sizes.largest() {
            return Err(Error::TooLarge { size, largest: self.sizes.largest() });
        }
        let table = self.table()?;
        let _lock = table.lock();
        let take = |slot: &Slot, may_commit| match may_commit {
            true => slot.reserve(size, align),
            false => Ok(slot.bump(size, align)),
        };
        self.find_room(table, size, &take).map(|(address, slot)| Taken { address, slot })
    }

    /// This process's slots.
    pub(crate) fn table(&self) -> Result<&SlotTable, Error> {
        self.tables.get_or_make(SlotTable::default).map_err(Refusal::in_preparation)
    }

    /// Takes room for `size` bytes or more: `take` is asked of one slot after the other, and whether it may commit more of
    /// it. The caller holds the lock of the table.
    pub(crate) fn find_room<'g, T>(
        &'g self,
        table: &'g SlotTable,
        size: usize,
        take: &impl Fn(&Slot, bool) -> Result<Option<T>, Error>,
    ) -> Result<(T, SlotRef<'g>), Error> {
        self.search(table, size, take).or_else(|error| {
            // What is open, or even committed, must be used up before anyone hears of it.
            let may_commit = !matches!(
                error,
                Error::Limit { .. } | Error::Headroom { .. } | Error::Cgroup { .. } | Error::Unlocked { .. }
            );
            let taken = table.iter().find_map(|slot| Some((take(&slot, may_commit).ok()??, slot)));
            taken.ok_or(error)
        })
    }

    /// Finds room: in the current slot, in the tails of earlier ones, in the first later one that is large enough.
    fn search<'g, T>(
        &'g self,
        table: &'g SlotTable,
        size: usize,
        take: &impl Fn(&Slot, bool) -> Result<Option<T>, Error>,
    ) -> Result<(T, SlotRef<'g>), Error> {
        let current = table.current();
        let first_later = current.map_or(0, |slot| slot.index().get() + 1);
        let earlier = table.iter().take_while(|slot| slot.index().get() + 1 < first_later);
        for slot in current.into_iter().chain(earlier) {
            if let Some(taken) = take(&slot, true)? {
                return Ok((taken, slot));
            }
        }
        let later = self.sizes.indices().skip(first_later);
        for index in later.filter(|&index| self.sizes.size_of(index) >= size) {
            let Some((taken, slot)) = self.take_at(table, index, take)? else { continue };
            if becomes_current(current, size, index) {
                table.set_current(slot);
            }
            return Ok((taken, slot));
        }
        Err(Error::Full { size })
    }

    /// Takes bytes of slot `index`, opening it if need be. A new slot that then refuses is not kept.
    fn take_at<'g, T>(
        &self,
        table: &'g SlotTable,
        index: SlotIndex,
        take: &impl Fn(&Slot, bool) -> Result<Option<T>, Error>,
    ) -> Result<Option<(T, SlotRef<'g>)>, Error> {
        if let Some(slot) = table.get(index) {
            return Ok(take(&slot, true)?.map(|taken| (taken, slot)));
        }
        let slot = self.open_slot(index)?;
        Ok(take(&slot, true)?.map(|taken| (taken, table.put(slot))))
    }

    /// Says whether the group could commit so many bytes now, `cold` of which the machine has not given yet, or why not.
    pub(crate) fn check_commit(&self, bytes: usize, cold: usize) -> Result<(), Error> {
        let cold = if matches!(self.backing, Backing::Directory(_)) { 0 } else { cold };
        cache::retry_after_eviction(|| self.budget.check(bytes, cold))
    }

    /// Whether what is allocated can be seen through a read-only mirror.
    pub(crate) fn has_mirror(&self) -> bool {
        self.backing != Backing::Anonymous
    }

    fn open_slot(&self, index: SlotIndex) -> Result<Arc<Slot>, Error> {
        let (capacity, budget) = (self.sizes.size_of(index), Arc::clone(&self.budget));
        Slot::open(index, capacity, &self.backing, &self.name, self.id, budget).map(Arc::new)
    }

    /// The slot that holds all of `bytes`, a range of addresses, and what [`Slot::locate`] says of them.
    pub(crate) fn locate(&self, bytes: &Range<usize>) -> Option<(SlotRef<'_>, Mirror, NonNull<u8>)> {
        self.slots().find_map(|slot| slot.locate(bytes).map(|(mirror, address)| (slot, mirror, address)))
    }

    /// Makes bytes that were taken from one of the group's slots longer where they are; see [`Slot::grow`].
    pub(crate) fn grow(&self, slot: &Slot, start: usize, end: usize, to: usize) -> bool {
        let Ok(table) = self.table() else { return false };
        let _lock = table.lock();
        slot.is_own() && slot.grow(start, end, to)
    }

    /// [`reset`](Self::reset) for a layer that may hold references to slots: those slots are set aside and returned, and
    /// new ones will be opened in their places.
    pub(crate) fn rewind(&mut self) -> Vec<Arc<Slot>> {
        let mut aside = self.take_inherited();
        let (table, is_own) = self.tables.newest_mut();
        // Else a child could be forked, with all that was handed out, between the question whether there is one and the end.
        let no_fork = fork::hold_off();
        for mut slot in table.drain() {
            match Arc::get_mut(&mut slot) {
                Some(unique) if is_own && !unique.is_shared_with_a_child() => {
                    unique.rewind();
                    table.put(slot);
                }
                _ => aside.push(slot),
            }
        }
        drop(no_fork);
        aside.retain(|slot| Arc::strong_count(slot) > 1);
        aside
    }

    /// Takes every slot away: what nobody else holds is kept warm or unmapped as the returned references go.
    pub(crate) fn release(&mut self) -> Vec<Arc<Slot>> {
        let mut slots = self.take_inherited();
        slots.append(&mut self.tables.newest_mut().0.drain());
        slots
    }

    fn take_inherited(&mut self) -> Vec<Arc<Slot>> {
        self.tables.take_inherited().into_iter().flat_map(|mut table| table.drain()).collect()
    }

    /// Whether the group holds secrets; see [`Options::secret`].
    pub fn is_secret(&self) -> bool {
        self.budget.is_secret()
    }

    /// The open slots, those inherited across forks behind this process's own.
    fn slots(&self) -> impl Iterator<Item = SlotRef<'_>> {
        self.tables.iter().flat_map(SlotTable::iter)
    }
}

/// Whether slot `index`, where a request of `size` bytes went that the current slot had no room for, is to be the current one.
///
/// The current slot is left when it is as good as full. A request that is only too large for what is left of it jumps over,
/// and small ones stay.
pub(crate) fn becomes_current(current: Option<SlotRef<'_>>, size: usize, index: SlotIndex) -> bool {
    current.map_or(index.get() == 0, |slot| slot.is_done_by(size, index))
}

impl std::fmt::Debug for MemGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = self.stats();
        f.debug_struct("MemGroup")
            .field("name", &self.name)
            .field("backing", &self.backing)
            .field("base", &self.base())
            .field("secret", &self.is_secret())
            .field("slots", &stats.slots.len())
            .field("allocated", &stats.allocated)
            .field("committed", &stats.committed)
            .finish_non_exhaustive()
    }
}
