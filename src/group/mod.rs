//! [`MemGroup`]: the group, and its one-shot end.

pub(crate) mod block;
mod borrowed_slots;
pub(crate) mod commit;
mod ends;
pub(crate) mod local;
mod options;
mod placement;
pub(crate) mod prewarm;
mod protect;
pub(crate) mod slot_table;
mod stats;

use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::layout::{DEFAULT_ALIGN, MAX_ALIGN, SlotSizes};
use crate::os::fork::PerProcess;
use crate::os::{self, Backing, Refusal};
use crate::slot::budget::Budget;
use crate::slot::cache;
use crate::slot::{BorrowedMemory, LiveSlots, Mirror, Owner, Slot, SlotRef, Taken};
use crate::sync::Arc;
pub use block::{Block, Protected};
pub use local::Local;
pub use options::Options;
pub(crate) use placement::becomes_current;
pub use prewarm::{prewarm, prewarm_in_background};
use slot_table::SlotTable;
pub use stats::Stats;

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
    /// Whether other processes may be given its memory.
    is_shared: bool,
}

impl Options {
    /// Makes the group. No memory is mapped yet.
    ///
    /// # Errors
    /// [`Error::Base`] or [`Error::Name`] for a value out of range, [`Error::SecretInFiles`] for secrets in a directory,
    /// [`Error::Unshareable`] for a shared group that is secret or has another backing than memfd, [`Error::Os`] for a directory that cannot be written to.
    pub fn open(self) -> Result<MemGroup, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let sizes = SlotSizes::new(self.base, os::page_size()).ok_or(Error::Base { base: self.base })?;
        if self.name.len() > os::MAX_NAME || self.name.contains('\0') {
            return Err(Error::Name { name: self.name, max: os::MAX_NAME });
        }
        let named = self.backing.describe();
        let refused = |refusal: Refusal| refusal.during(format!("making a file in {named}"));
        let backing = self.backing.resolved();
        let backing = backing.map_err(|refusal| refusal.during(format!("finding the directory {named}")))?;
        let in_files = matches!(backing, Backing::Directory(_));
        if self.secret && in_files {
            return Err(Error::SecretInFiles);
        }
        if self.shared && (self.secret || backing != Backing::Memfd) {
            return Err(Error::Unshareable);
        }
        os::check_backing(&backing).map_err(refused)?;
        let budget = Budget::new(self.limit)
            .secret(self.secret)
            .huge_pages(self.huge_pages)
            .accounted(backing == Backing::Anonymous);
        Ok(MemGroup {
            tables: PerProcess::new(SlotTable::default()).map_err(Refusal::in_preparation)?,
            // Relaxed: only that no two are equal matters.
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            sizes,
            budget: Arc::new(budget),
            backing,
            name: self.name,
            is_shared: self.shared,
        })
    }
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
            is_shared: false,
        })
    }

    /// `size` bytes at 16-byte alignment. Their contents are unspecified; there may be none of them.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Full`], [`Error::Limit`], [`Error::Headroom`] or [`Error::Os`] when memory runs out in
    /// one way or another. Nothing is taken then.
    #[inline]
    pub fn alloc(&self, size: usize) -> Result<Block<'_>, Error> {
        self.alloc_raw(size, DEFAULT_ALIGN).map(|taken| Block::new(taken, size))
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
        self.alloc_raw(layout.size(), layout.align()).map(|taken| Block::new(taken, layout.size()))
    }

    /// As [`alloc`](Self::alloc), with every byte 0. Costs nothing where the memory is fresh from the kernel.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn alloc_zeroed(&self, size: usize) -> Result<Block<'_>, Error> {
        let taken = self.alloc_raw(size, DEFAULT_ALIGN)?;
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
        let taken = self.alloc_raw(data.len(), DEFAULT_ALIGN)?;
        // SAFETY: the bytes were just taken, so they cannot overlap data, and there are data.len() of them.
        unsafe { taken.address.copy_from_nonoverlapping(NonNull::from(data).cast(), data.len()) };
        Ok(Block::new(taken, data.len()))
    }

    /// Shows the bytes of something else as a protected block, without a copy. The group keeps `owner` until it is reset or ends.
    ///
    /// ```
    /// let group = memgroup::MemGroup::new()?;
    /// let shown = group.borrow(vec![1, 2, 3])?;
    /// assert_eq!(&shown[..], [1, 2, 3]);
    /// assert_eq!((group.stats().borrowed, group.stats().committed), (3, 0));
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BorrowedSecret`] in a secret group, [`Error::Os`] if the kernel has no memory left.
    pub fn borrow<T: AsRef<[u8]> + Send + Sync + 'static>(&self, owner: T) -> Result<Protected<'_>, Error> {
        // Behind a pointer that is no Box's, so that the bytes may lie in the owner itself.
        let owner = Arc::new(owner);
        let bytes = NonNull::from((*owner).as_ref());
        let owner: Owner = Box::new(owner);
        // SAFETY: the owner is never borrowed uniquely again, so what it lent stays as it is until it is dropped.
        let memory = unsafe { BorrowedMemory::new(bytes.cast(), bytes.len(), false, owner) };
        let slot = self.borrow_memory(memory)?;
        Ok(Protected::of_borrowed(slot))
    }

    /// Adds a slot that shows memory of another owner.
    ///
    /// # Errors
    /// As [`borrow`](Self::borrow). The owner is dropped then.
    pub(crate) fn borrow_memory(&self, memory: BorrowedMemory) -> Result<SlotRef<'_>, Error> {
        if self.is_secret() {
            return Err(Error::BorrowedSecret);
        }
        let slot = Slot::of_borrowed(memory, &self.name, self.id, Arc::clone(&self.budget));
        Ok(self.table()?.put_borrowed(Arc::new(slot)))
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

    /// Takes bytes: from what is ready with one atomic operation, or else [slowly](Self::alloc_slow). `align` must be a
    /// power of two and at most [`MAX_ALIGN`].
    #[inline(always)]
    pub(crate) fn alloc_raw(&self, size: usize, align: usize) -> Result<Taken<'_>, Error> {
        match self.try_alloc(size, align) {
            Some(taken) => Ok(taken),
            None => self.alloc_slow(size, align),
        }
    }

    /// The fast path: no lock, no system call; `None` when it will not do.
    #[inline(always)]
    pub(crate) fn try_alloc(&self, size: usize, align: usize) -> Option<Taken<'_>> {
        let slot = self.current()?;
        slot.try_alloc(size, align).map(|address| Taken { address, slot })
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

    /// This process's slots.
    pub(crate) fn table(&self) -> Result<&SlotTable, Error> {
        self.tables.get_or_make(SlotTable::default).map_err(Refusal::in_preparation)
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

    /// The slot that holds all of `bytes`, a range of addresses, and what [`Slot::locate`] says of them.
    pub(crate) fn locate(&self, bytes: &Range<usize>) -> Option<(SlotRef<'_>, Mirror, NonNull<u8>)> {
        let mut slots = self.slots().chain(self.borrowed_slots());
        slots.find_map(|slot| slot.locate(bytes).map(|(mirror, address)| (slot, mirror, address)))
    }

    /// Makes bytes that were taken from one of the group's slots longer where they are; see
    /// [`grow_locked`](commit::grow_locked).
    pub(crate) fn grow(&self, slot: &Slot, start: usize, end: usize, to: usize) -> bool {
        let Ok(table) = self.table() else { return false };
        let _lock = table.lock();
        slot.is_own() && commit::grow_locked(table, slot, start, end, to)
    }

    /// Whether the group holds secrets; see [`Options::secret`].
    pub fn is_secret(&self) -> bool {
        self.budget.is_secret()
    }

    /// What its slots say that they are of.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the group's objects can be sent to other processes; see [`Options::shared`].
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The other processes that can write to the group's memory, as far as they can be found.
    pub(crate) fn other_writers(&self) -> Vec<u32> {
        let mut writers: Vec<_> = self.slots().flat_map(|slot| slot.other_writers()).collect();
        writers.sort_unstable();
        writers.dedup();
        writers
    }

    /// Makes all memory of the group what nobody can write to, for ever. What is allocated then is in new slots.
    ///
    /// # Errors
    /// [`Error::Os`], of which EBUSY says that another process can write. Some slots may be frozen then, or be to be read only; to
    /// try again goes on with the others.
    ///
    /// # Safety
    /// No unique Rust reference into the group's memory may be left, and nobody may allocate meanwhile.
    pub(crate) unsafe fn freeze(&self) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        self.slots().try_for_each(|slot| unsafe { slot.freeze() })
    }

    /// The open slots, those inherited across forks behind this process's own.
    pub(crate) fn slots(&self) -> impl Iterator<Item = SlotRef<'_>> {
        self.tables.iter().flat_map(SlotTable::iter)
    }

    /// The slots of borrowed memory, in the same order.
    pub(crate) fn borrowed_slots(&self) -> impl Iterator<Item = SlotRef<'_>> {
        self.tables.iter().flat_map(SlotTable::borrowed)
    }
}
