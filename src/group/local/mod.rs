//! [`Local`]: a thread's own handle on a group, which takes chunks and cuts them up without atomics.

#[cfg(feature = "allocator-api2")]
mod allocator;
mod typed;

use std::alloc::Layout;
use std::cell::Cell;
use std::fmt;
use std::ptr::{self, NonNull};

use crate::error::Error;
use crate::group::block::Block;
use crate::group::{MemGroup, Taken};
use crate::layout::{self, DEFAULT_ALIGN, MAX_ALIGN, MAX_SLOT_BYTES};
use crate::os::Refusal;
use crate::os::fork_zeroed::{ForkZeroed, Wipeable};
use crate::slot::{SlotPtr, SlotRef};
use crate::sync::opaque;

/// Alignment of chunks: a cache line, so that no two handles write to the same one. Sizes of chunks are multiples of
/// it.
const CHUNK_ALIGN: usize = 64;

/// A request that may need more than this fraction of a chunk goes to the group.
const LARGE_SHARE: usize = 4;

/// A handle on a group for one thread: it takes chunks from the group and allocates from them without an atomic
/// operation.
///
/// Several threads with a handle each touch no common cache line while their chunks last. Blocks of a handle live as
/// long as the borrow of the group, not of the handle. See [`MemGroup::local`].
///
/// The handle itself takes a page of memory.
pub struct Local<'g> {
    /// Zeros in a forked child: it finds no room, and takes a chunk that its parent does not know of.
    room: ForkZeroed<ChunkRest>,
    /// The slot of the chunk. Dangling before the first, and then there is no room.
    slot: Cell<SlotPtr>,
    /// Address of the chunk's first byte.
    first: Cell<usize>,
    /// What lies below this address was in use before, even if it is free again.
    used: Cell<usize>,
    /// Bytes taken from the group so far: what the size of the next chunk depends on.
    taken: Cell<usize>,
    group: &'g MemGroup,
}

/// What is left of a chunk.
///
/// Invariant: either both are zero, or `last` points to the last byte taken, one before the chunk if none was, with the
/// provenance of the slot's read-write mirror, and `end` is the address where the chunk ends.
///
/// The last byte taken, and not the first free one: to round up to an alignment is then to set bits. And whatever the
/// request, it does not fit into zeros.
struct ChunkRest {
    last: Cell<*mut u8>,
    end: Cell<usize>,
}

// SAFETY: two words, for both of which 0 is a value, that of no room.
unsafe impl Wipeable for ChunkRest {}

// SAFETY: the slot is shared as by reference, which a slot allows from any thread; room is as good as owned words, though a
// raw pointer is among them. The cells make the handle !Sync, so there is one thread at a time to change them.
unsafe impl Send for Local<'_> {}

impl MemGroup {
    /// A handle for one thread, which allocates without atomic operations.
    ///
    /// ```
    /// use memgroup::MemGroup;
    ///
    /// let group = MemGroup::new()?;
    /// std::thread::scope(|scope| {
    ///     for _ in 0..2 {
    ///         scope.spawn(|| -> Result<(), memgroup::Error> {
    ///             let local = group.local()?;
    ///             let word = local.alloc_str("found")?;
    ///             word.make_ascii_uppercase();
    ///             let block = local.copy(word.as_bytes())?;
    ///             drop(local); // what it handed out stays
    ///             assert_eq!(&group.protect(block)?[..], b"FOUND");
    ///             Ok(())
    ///         });
    ///     }
    /// });
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// Nothing outlives the group:
    ///
    /// ```compile_fail,E0505
    /// let group = memgroup::MemGroup::new()?;
    /// let words = group.local()?.alloc_slice_copy(&[1, 2, 3])?;
    /// drop(group);
    /// words[0] = 2;
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// Threads do not share a handle:
    ///
    /// ```compile_fail,E0277
    /// let group = memgroup::MemGroup::new()?;
    /// let local = group.local()?;
    /// std::thread::scope(|scope| scope.spawn(|| local.alloc(100).is_ok()));
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// A group is not reset while there is a handle:
    ///
    /// ```compile_fail,E0502
    /// let mut group = memgroup::MemGroup::new()?;
    /// let local = group.local()?;
    /// group.reset();
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`] if the kernel has no page left for the handle. Nothing is taken from the group yet.
    pub fn local(&self) -> Result<Local<'_>, Error> {
        Ok(Local {
            room: ForkZeroed::new().map_err(Refusal::in_preparation)?,
            slot: Cell::new(SlotPtr::dangling()),
            first: Cell::new(usize::MAX),
            used: Cell::new(0),
            taken: Cell::new(0),
            group: self,
        })
    }
}

impl<'g> Local<'g> {
    /// `size` bytes at 16-byte alignment. Their contents are unspecified; there may be none of them.
    ///
    /// # Errors
    /// As [`MemGroup::alloc`].
    #[inline]
    pub fn alloc(&self, size: usize) -> Result<Block<'g>, Error> {
        self.alloc_raw_default(size).map(|taken| Block::new(taken, size))
    }

    /// Bytes of a layout, the alignment of which may be up to 4096.
    ///
    /// # Errors
    /// As [`MemGroup::alloc_layout`].
    #[inline]
    pub fn alloc_layout(&self, layout: Layout) -> Result<Block<'g>, Error> {
        self.alloc_raw(layout).map(|taken| Block::new(taken, layout.size()))
    }

    /// As [`alloc`](Self::alloc), with every byte 0. Costs nothing where the memory is fresh from the kernel.
    ///
    /// # Errors
    /// As [`MemGroup::alloc`].
    pub fn alloc_zeroed(&self, size: usize) -> Result<Block<'g>, Error> {
        let taken = self.alloc_raw_default(size)?;
        self.clear(&taken, size);
        Ok(Block::new(taken, size))
    }

    /// A block with the same bytes as `data`.
    ///
    /// # Errors
    /// As [`MemGroup::alloc`].
    #[inline]
    pub fn copy(&self, data: &[u8]) -> Result<Block<'g>, Error> {
        let taken = self.alloc_raw_default(data.len())?;
        // SAFETY: the bytes were just taken, so they cannot overlap data, and there are data.len() of them.
        unsafe { taken.address.copy_from_nonoverlapping(NonNull::from(data).cast(), data.len()) };
        Ok(Block::new(taken, data.len()))
    }

    /// The group that this is a handle on.
    pub fn group(&self) -> &'g MemGroup {
        self.group
    }

    #[inline(always)]
    fn alloc_raw_default(&self, size: usize) -> Result<Taken<'g>, Error> {
        if size <= MAX_SLOT_BYTES
            && let Some(taken) = self.try_alloc(size, DEFAULT_ALIGN)
        {
            return Ok(taken);
        }
        self.alloc_slow(size, DEFAULT_ALIGN)
    }

    #[inline(always)]
    fn alloc_raw(&self, layout: Layout) -> Result<Taken<'g>, Error> {
        if layout.align() <= MAX_ALIGN
            && let Some(taken) = self.try_alloc(layout.size(), layout.align())
        {
            return Ok(taken);
        }
        self.alloc_slow(layout.size(), layout.align())
    }

    /// The fast path: takes bytes of the chunk, or none if it has not so many. `align` must be a power of two, at most
    /// [`MAX_ALIGN`], and `size` at most `isize::MAX`.
    #[inline(always)]
    fn try_alloc(&self, size: usize, align: usize) -> Option<Taken<'g>> {
        debug_assert!(align.is_power_of_two() && align <= MAX_ALIGN && size <= isize::MAX as usize);
        let room = self.room.get();
        let last = room.last.get();
        let before = in_register(last.addr()) | (align - 1);
        // An address is far below isize::MAX, so the sum does not overflow.
        let new_last = before.wrapping_add(size);
        if new_last >= room.end.get() {
            return None;
        }
        room.last.set(last.with_addr(new_last));
        // SAFETY: end is an address and before, which is at most that, no less than last was: the next one is not 0.
        let address = unsafe { NonNull::new_unchecked(last.with_addr(before + 1)) };
        Some(Taken { address, slot: self.slot() })
    }

    /// The path that takes a chunk, or goes to the group, where the request is large or the group nearly full.
    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, size: usize, align: usize) -> Result<Taken<'g>, Error> {
        if align > MAX_ALIGN {
            return Err(Error::Align { align });
        }
        // Wherever a chunk begins, so much of it is enough.
        let enough = size.saturating_add(align);
        let mut chunk = layout::chunk(self.taken.get(), self.group.base());
        while enough <= chunk / LARGE_SHARE {
            if self.change_chunk(chunk).is_ok()
                && let Some(taken) = self.try_alloc(size, align)
            {
                return Ok(taken);
            }
            // Near a limit, do with less, and begin again from there.
            chunk /= 2;
            self.taken.set(chunk);
        }
        let taken = self.group.alloc_raw(size, align)?;
        self.taken.set(self.taken.get().saturating_add(size));
        Ok(taken)
    }

    /// Gives back what is left and takes a chunk of `size` bytes. Without one, there is no room.
    fn change_chunk(&self, size: usize) -> Result<(), Error> {
        self.give_back();
        let Taken { address, slot } = self.group.alloc_raw(size, CHUNK_ALIGN)?;
        let first = address.addr().get();
        self.slot.set(slot.as_ptr());
        self.first.set(first);
        self.used.set(first);
        self.taken.set(self.taken.get().saturating_add(size));
        let room = self.room.get();
        room.last.set(address.as_ptr().wrapping_sub(1));
        room.end.set(first + size);
        Ok(())
    }

    /// Gives back what is left of the chunk. If somebody took something behind it meanwhile, it is wasted.
    fn give_back(&self) {
        let room = self.room.get();
        let next = room.last.replace(ptr::null_mut()).addr() + 1;
        let end = room.end.replace(0);
        if next < end {
            // SAFETY: there is room, so both are addresses in the chunk, which is this handle's part of the slot; what is
            // between them was never handed out or is free again, and the handle has just forgotten it.
            unsafe { self.slot().give_back(next, end, next < self.used.get()) };
        }
    }

    /// The slot of the chunk. Not to be touched while there is no room.
    #[inline(always)]
    fn slot(&self) -> SlotRef<'g> {
        // SAFETY: the group lent it for 'g with the chunk; before the first, callers only pass it on or have found room.
        unsafe { self.group.live_slots().get(self.slot.get()) }
    }

    /// Zeroes what was just taken, unless it is zero.
    #[inline]
    fn clear(&self, taken: &Taken<'_>, size: usize) {
        let start = taken.address.addr().get();
        // A large request does not come from the chunk: below its addresses or above, its slot alone knows.
        if start < self.used.get() || !taken.slot.is_fresh() {
            // SAFETY: the bytes were just taken: they are mapped, size of them, and nobody else's.
            unsafe { taken.address.write_bytes(0, size) };
        }
    }

    /// Whether `size` bytes at `address`, allocated here, are the last that were taken of the chunk.
    #[inline(always)]
    fn is_last(&self, address: NonNull<u8>, size: usize) -> bool {
        let start = address.addr().get();
        // What ends where an untouched chunk begins belongs to the one before, perhaps to another slot.
        start + size == self.room.get().last.get().addr() + 1 && start >= self.first.get()
    }

    /// Lets the last allocation, at `address`, end `size` bytes behind its start: false, and nothing happens, if the
    /// chunk has not so many.
    ///
    /// # Safety
    /// It must be [the last](Self::is_last), and what is cut off be nobody's.
    #[inline(always)]
    unsafe fn resize_last(&self, address: NonNull<u8>, size: usize) -> bool {
        let room = self.room.get();
        let last = room.last.get();
        // Sizes are at most isize::MAX, so the sum cannot overflow; and no chunk begins at address 0.
        let new_last = address.addr().get().wrapping_add(size) - 1;
        if new_last >= room.end.get() {
            return false;
        }
        if new_last < last.addr() {
            self.used.set(self.used.get().max(last.addr() + 1));
            opaque(address);
        }
        room.last.set(last.with_addr(new_last));
        true
    }
}

/// Passes the address on, and makes the compiler load it by an instruction of its own. No other instruction results.
///
/// Each allocation loads what the one before has stored. A processor that forwards a store to a later load by renaming
/// does so where the load is nothing else: on Zen 4, an allocation takes 0.8 ns instead of 2.3 if the load is not part of
/// the `or` behind it.
#[inline(always)]
fn in_register(address: usize) -> usize {
    #[cfg(not(miri))]
    let address = {
        let mut passed = address;
        // SAFETY: the template is empty, so nothing is executed: the register holds on leaving what it held on entering.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) passed, options(pure, nomem, nostack, preserves_flags));
        }
        passed
    };
    address
}

impl Drop for Local<'_> {
    /// Gives back what is left of the chunk, unless something behind it was taken.
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = self.room.get();
        let left = room.end.get().saturating_sub(room.last.get().addr() + 1);
        f.debug_struct("Local").field("room", &left).field("group", self.group).finish_non_exhaustive()
    }
}
