//! [`Pool`]: objects of one size, each with an end of its own.

mod block;
mod free;
mod local;
pub(crate) mod node;
mod nodes;
pub(crate) mod shape;
mod stack;
pub(crate) mod table;

use std::alloc::Layout;
use std::fmt;
use std::sync::PoisonError;

use crate::error::Error;
use crate::group::MemGroup;
use crate::os::fork::PerProcess;
use crate::os::{Backing, Refusal};
pub use block::{PoolBlock, PoolHandle, ProtectedPoolBlock};
pub use local::LocalPool;
use node::Node;
use shape::Shape;
use table::Table;

/// Objects of one size in a group, each with an end of its own: dropped objects are reused, last in, first out.
///
/// Allocating and freeing are lock-free and safe from any thread. The pool takes memory from the group in chunks, and
/// the group frees it at its end. See [`MemGroup::pool`].
pub struct Pool<'g> {
    group: &'g MemGroup,
    shape: Shape,
    /// A forked child begins with no objects: it never hands out what its parent also hands out.
    tables: PerProcess<Table>,
}

/// The figures of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of each object.
    pub size: usize,
    /// Bytes from one object to the next.
    pub stride: usize,
    /// Objects in use, those that [`LocalPool`]s keep ready among them.
    pub used: usize,
    /// Objects that are ready to be handed out.
    pub free: usize,
    /// Objects that are never handed out again: a child that was forked while they were in use may still use them.
    pub retired: usize,
}

impl MemGroup {
    /// A pool of objects of one layout, of which at most `capacity` are in use at a time. Nothing is taken from the
    /// group yet.
    ///
    /// ```
    /// use std::alloc::Layout;
    ///
    /// use memgroup::MemGroup;
    ///
    /// let group = MemGroup::new()?;
    /// let pool = group.pool(Layout::new::<[u64; 4]>(), None)?;
    /// let mut block = pool.alloc()?;
    /// block.fill(7);
    /// let first = block.as_ptr();
    /// drop(block); // free again
    /// let again = pool.alloc()?.protect()?; // through the read-only mirror
    /// assert_eq!((pool.stats().used, again[0]), (1, 7));
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// No block outlives its pool, and no pool its group:
    ///
    /// ```compile_fail,E0505
    /// let group = memgroup::MemGroup::new()?;
    /// let pool = group.pool(std::alloc::Layout::new::<u64>(), None)?;
    /// let block = pool.alloc()?;
    /// drop(pool);
    /// drop(block);
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Align`] for an alignment of more than 4096, [`Error::TooLarge`] for objects that no slot holds, [`Error::Os`]
    /// if the kernel has no memory left.
    pub fn pool(&self, layout: Layout, capacity: impl Into<Option<usize>>) -> Result<Pool<'_>, Error> {
        let shape = Shape::new(layout, capacity.into(), self.largest())?;
        let shape = shape.within(self.is_secret(), *self.backing() != Backing::Anonymous);
        let tables = PerProcess::new(Table::new(shape)).map_err(Refusal::in_preparation)?;
        Ok(Pool { group: self, shape, tables })
    }
}

impl<'g> Pool<'g> {
    /// An object: the one that was given back last, or else a new one. Its contents are unspecified.
    ///
    /// # Errors
    /// [`Error::PoolFull`] if as many as `capacity` are in use; else as [`MemGroup::alloc`]. Nothing is taken then.
    #[inline(always)]
    pub fn alloc(&self) -> Result<PoolBlock<'_>, Error> {
        let node = match self.take() {
            Some(node) => node,
            None => self.alloc_slow()?,
        };
        Ok(PoolBlock::new(node, self))
    }

    /// A handle for one thread, which allocates and frees without atomic operations.
    ///
    /// It keeps objects ready that other threads cannot use: up to 128, and no more than an eighth of the capacity.
    /// Dropping it returns them to the pool.
    ///
    /// ```
    /// let group = memgroup::MemGroup::new()?;
    /// let pool = group.pool(std::alloc::Layout::new::<[u8; 64]>(), 1000)?;
    /// std::thread::scope(|scope| {
    ///     for _ in 0..2 {
    ///         scope.spawn(|| -> Result<(), memgroup::Error> {
    ///             let local = pool.local()?;
    ///             let mut block = local.alloc()?;
    ///             block[0] = 1;
    ///             Ok(())
    ///         });
    ///     }
    /// });
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// Neither a handle nor what it hands out is shared between threads:
    ///
    /// ```compile_fail,E0277
    /// let group = memgroup::MemGroup::new()?;
    /// let pool = group.pool(std::alloc::Layout::new::<u64>(), None)?;
    /// let local = pool.local()?;
    /// let block = local.alloc()?;
    /// std::thread::scope(|scope| scope.spawn(move || drop(block)));
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`] if the kernel has no page left for the handle.
    pub fn local(&self) -> Result<LocalPool<'_>, Error> {
        LocalPool::new(self)
    }

    /// The figures of the pool. While other threads allocate and free, they are of different moments.
    pub fn stats(&self) -> PoolStats {
        let Shape { size, stride, .. } = self.shape;
        let Some(table) = self.tables.get() else { return PoolStats { size, stride, ..PoolStats::default() } };
        let (objects, free) = (table.objects(), table.free());
        PoolStats { size, stride, used: objects.saturating_sub(free), free, retired: table.retired() }
    }

    /// The group that the objects live in.
    pub fn group(&self) -> &'g MemGroup {
        self.group
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.shape.size
    }

    /// This process's objects.
    fn table(&self) -> Result<&Table, Error> {
        self.tables.get_or_make(|| Table::new(self.shape)).map_err(Refusal::in_preparation)
    }

    #[inline(always)]
    fn take(&self) -> Option<&Node> {
        self.tables.get()?.pop()
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self) -> Result<&Node, Error> {
        self.grow(self.table()?)
    }

    /// Takes an object, after making more of them if need be.
    fn grow<'t>(&self, table: &'t Table) -> Result<&'t Node, Error> {
        // What the lock guards is consistent at every step, so a panic under it breaks nothing.
        let alone = table.growth().lock().unwrap_or_else(PoisonError::into_inner);
        table.grow(&alone, |bytes| {
            let taken = self.group.alloc_raw(bytes, self.shape.align)?;
            Ok::<_, Error>((taken.address, taken.slot.as_ptr()))
        })
    }
}

impl fmt::Debug for Pool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).field("group", self.group).finish_non_exhaustive()
    }
}
