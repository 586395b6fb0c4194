//! [`LocalPool`]: a thread's own handle on a pool, which keeps some objects ready and needs no atomics for them.

use std::cell::Cell;
use std::fmt;
use std::ptr;

use super::Pool;
use super::block::{PoolBlock, PoolHandle, sealed::TakesBack};
use super::node::Node;
use super::table::Table;
use crate::error::Error;
use crate::os::Refusal;
use crate::os::fork::{
    self,
    fork_zeroed::{ForkZeroed, Wipeable},
};

/// How many objects a handle keeps at most.
const MOST: usize = 128;

/// A handle keeps at most this fraction of what the pool may have, so that few starve none.
const MOST_OF_CAPACITY: usize = 8;

/// A handle on a pool for one thread: it keeps some objects ready, and allocates and frees without atomic operations.
///
/// Its objects return to it when they are dropped. See [`Pool::local`].
pub struct LocalPool<'p> {
    /// Zeros in a forked child: it finds no object ready that its parent also has.
    ready: ForkZeroed<Ready>,
    pool: &'p Pool<'p>,
}

/// The objects that are ready, in the first `len` places.
struct Ready {
    /// Whose they are; null before the first, and if objects of the pool are not to be kept ready.
    table: Cell<*const Table>,
    len: Cell<usize>,
    /// How many there are at most.
    most: Cell<usize>,
    places: [Cell<*const Node>; MOST],
}

// SAFETY: integers and pointers, for all of which 0 is a value.
unsafe impl Wipeable for Ready {}

// SAFETY: objects that are ready are owned, by one thread at a time: the cells make the handle !Sync. The table may be shared.
unsafe impl Send for LocalPool<'_> {}

impl<'p> LocalPool<'p> {
    pub(super) fn new(pool: &'p Pool<'p>) -> Result<Self, Error> {
        Ok(Self { ready: ForkZeroed::new().map_err(Refusal::in_preparation)?, pool })
    }

    /// An object: the one that was given back to this handle last, or else one of the pool. Its contents are
    /// unspecified.
    ///
    /// # Errors
    /// As [`Pool::alloc`].
    #[inline(always)]
    pub fn alloc(&self) -> Result<PoolBlock<'_, Self>, Error> {
        let node = match self.take() {
            Some(node) => node,
            None => self.alloc_slow()?,
        };
        Ok(PoolBlock::new(node, self))
    }

    /// The pool that this is a handle on.
    pub fn pool(&self) -> &'p Pool<'p> {
        self.pool
    }

    #[inline(always)]
    fn take(&self) -> Option<&'p Node> {
        let ready = self.ready.get();
        let last = ready.len.get().wrapping_sub(1);
        let node = ready.places.get(last)?.get();
        ready.len.set(last);
        // SAFETY: a place below len holds an object of the pool's table that `keep` put there, and tables are borrowed for 'p.
        let node = unsafe { &*node };
        node.set_forks();
        Some(node)
    }

    /// Makes an object ready; false if there is no place.
    #[inline(always)]
    fn keep(&self, node: &Node) -> bool {
        let ready = self.ready.get();
        let len = ready.len.get();
        if len >= ready.most.get() {
            return false;
        }
        // SAFETY: there are `most` places at least.
        unsafe { ready.places.get_unchecked(len) }.set(node);
        ready.len.set(len + 1);
        true
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self) -> Result<&'p Node, Error> {
        let table = self.pool.table()?;
        let node = match table.pop() {
            Some(node) => node,
            None => self.pool.grow(table)?,
        };
        // Objects that are to be tended when they are given back go to the pool each time.
        if !table.shape().is_tended {
            let ready = self.ready.get();
            ready.table.set(table);
            ready.most.set(MOST.min(table.shape().capacity / MOST_OF_CAPACITY));
            for _ in 1..ready.most.get() / 2 {
                if !table.pop().is_some_and(|node| self.keep(node)) {
                    break;
                }
            }
        }
        Ok(node)
    }

    #[cold]
    #[inline(never)]
    unsafe fn take_back_slow(&self, node: &Node) {
        // SAFETY: the table is there, by the caller's promise.
        let table = unsafe { &*Table::of(node) };
        let ready = self.ready.get();
        let kept = ready.most.get() / 2;
        if ptr::eq(ready.table.get(), table) && table.is_plainly_free(node) && kept > 0 {
            // No place is left: those that were given back first go.
            let given = ready.len.get() - kept;
            // SAFETY: the places hold objects of the table, which is there.
            let nodes = ready.places[..given].iter().rev().map(|place| unsafe { &*place.get() });
            table.push_all(nodes);
            for at in 0..kept {
                ready.places[at].set(ready.places[given + at].get());
            }
            ready.len.set(kept);
            self.keep(node);
        } else {
            // SAFETY: nobody owns it, by the caller's promise, and the pool borrows the group.
            unsafe { table.give_back(node) };
        }
    }
}

impl PoolHandle for LocalPool<'_> {}

impl TakesBack for LocalPool<'_> {
    #[inline(always)]
    fn object_size(&self) -> usize {
        self.pool.size()
    }

    #[inline(always)]
    unsafe fn take_back(&self, node: &Node) {
        // In a child, objects of the parent's table are not for the handle; nor is one that a child may still use.
        let is_kept = ptr::eq(self.ready.get().table.get(), Table::of(node)) && node.forks() == fork::count();
        if !(is_kept && self.keep(node)) {
            // SAFETY: the caller's promise.
            unsafe { self.take_back_slow(node) };
        }
    }
}

impl Drop for LocalPool<'_> {
    /// Gives back what is ready.
    fn drop(&mut self) {
        while let Some(node) = self.take() {
            // SAFETY: what is ready is of a table of the pool, which is borrowed.
            let table = unsafe { &*Table::of(node) };
            table.push(node);
        }
    }
}

impl fmt::Debug for LocalPool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPool").field("ready", &self.ready.get().len.get()).field("pool", self.pool).finish()
    }
}
