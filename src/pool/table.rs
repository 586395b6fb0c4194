//! The objects of a pool by number: where each is, which are free, and how there come to be more.
//!
//! Nothing of this lies in the memory of the objects, so nothing that their owners write there can break it.

use std::ptr::{self, NonNull};

use super::free::FreeNodes;
use super::node::Node;
use super::nodes::{MAX_OBJECTS, Nodes};
use super::shape::Shape;
use super::stack::FreeStack;
use crate::error::Error;
use crate::layout::MAX_SLOTS;
use crate::os::fork;
use crate::slot::{Slot, SlotPtr};
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, MutexGuard, Ordering};

/// Chunks have about as many bytes as the objects before them, from the first to the last of these.
const CHUNK_BYTES: std::ops::RangeInclusive<usize> = 16 * 1024..=256 * 1024;

/// The objects that one process has of a pool. `E` is what a layer above keeps beside each of them.
pub struct Table<E = ()> {
    shape: Shape,
    /// Of the process that made it.
    generation: u32,
    free: FreeNodes<E>,
    /// Objects that were given back by somebody who could not [tend](Self::tend) them.
    returned: FreeStack,
    nodes: Nodes<E>,
    /// Null from some place on.
    slots: [AtomicPtr<Slot>; MAX_SLOTS],
    made: AtomicUsize,
    /// Objects that are never handed out again.
    retired: AtomicUsize,
    growth: Mutex<()>,
}

/// Bytes for more objects, as a group gives them.
pub(crate) type Chunk = (NonNull<u8>, SlotPtr);

impl<E: Default> Table<E> {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            // A child may come here before it has one. Without one, none of the objects counts as this process's.
            generation: fork::establish().unwrap_or_default(),
            free: FreeNodes::default(),
            returned: FreeStack::default(),
            nodes: Nodes::default(),
            slots: Default::default(),
            made: AtomicUsize::new(0),
            retired: AtomicUsize::new(0),
            growth: Mutex::new(()),
        }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether this process made it, and did not inherit it.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork::generation()
    }

    /// The table that an object is of.
    #[inline(always)]
    pub(crate) fn of(node: &Node<E>) -> *const Self {
        node.table().cast()
    }

    /// Takes a free object, if there is one.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<&Node<E>> {
        self.free.pop(|index| self.node(index)).inspect(|node| node.set_forks())
    }

    /// Takes an object back whose bytes need no tending.
    ///
    /// That nobody owns it is the caller's word; a wrong one breaks the next owner's bytes, not the table.
    #[inline(always)]
    pub(crate) fn push(&self, node: &Node<E>) {
        // SAFETY: nodes of this table live as long as it does.
        unsafe { self.free.push(node) };
    }

    /// Takes objects back, the first of which is to be handed out first.
    pub(crate) fn push_all<'n>(&self, nodes: impl IntoIterator<Item = &'n Node<E>>)
    where
        E: 'n,
    {
        self.free.push_all(nodes);
    }

    /// Takes an object back from its owner.
    ///
    /// # Safety
    /// It must be an object of this table that nobody owns any more, and its bytes mapped, if this is the process that made
    /// the table.
    #[inline(always)]
    pub(crate) unsafe fn give_back(&self, node: &Node<E>) {
        if self.is_plainly_free(node) {
            self.push(node);
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.give_back_slow(node) };
        }
    }

    /// Whether an object in use goes back without further ado.
    #[inline(always)]
    pub(crate) fn is_plainly_free(&self, node: &Node<E>) -> bool {
        node.forks() == fork::count() && !self.shape.is_tended
    }

    /// # Safety
    /// As for [`give_back`](Self::give_back).
    #[cold]
    #[inline(never)]
    unsafe fn give_back_slow(&self, node: &Node<E>) {
        if self.may_reuse(node) {
            // SAFETY: nobody owns it, the bytes are mapped, and the table is this process's, as was just found.
            let _damage = unsafe { self.tend(node) };
        }
    }

    /// Takes an object back from somebody who cannot tell whether its bytes are still mapped: they are tended later.
    pub(crate) fn return_untended(&self, node: &Node<E>) {
        if self.is_plainly_free(node) {
            self.push(node);
        } else if self.may_reuse(node) {
            self.returned.push(node.index(), &node.link);
        }
    }

    /// Whether an object may be handed out again. What a child that was forked meanwhile may still use is retired instead;
    /// and what a parent took is the parent's to give back.
    fn may_reuse(&self, node: &Node<E>) -> bool {
        if !self.is_own() {
            return false;
        }
        let is_shared = node.forks() != fork::count() && self.shape.is_shared_by_forks;
        if is_shared {
            self.retired.fetch_add(1, Ordering::Relaxed);
        }
        !is_shared
    }

    /// Tends what was [returned](Self::return_untended). Returns what somebody has written behind the end of an object.
    ///
    /// # Safety
    /// The bytes of all objects must be mapped.
    pub(crate) unsafe fn tend_returned(&self) -> Option<Damage> {
        let mut damage = None;
        while let Some(index) = self.returned.pop(|index| &self.node(index).link) {
            // SAFETY: it was popped, so nobody owns it, and the bytes are mapped by the caller's promise.
            damage = damage.or(unsafe { self.tend(self.node(index)) });
        }
        damage
    }

    /// Overwrites what its owner left in an object, as far as the shape asks for it, and makes it free; or retires it, if it
    /// is damaged.
    ///
    /// # Safety
    /// Nobody may own it, and its bytes must be mapped.
    unsafe fn tend(&self, node: &Node<E>) -> Option<Damage> {
        // SAFETY: the caller's promise.
        let damage = unsafe { self.shape.check_guard(node.address()) };
        // SAFETY: the caller's promise.
        unsafe { self.shape.overwrite(node.address()) };
        match damage {
            None => self.push(node),
            Some(_) => _ = self.retired.fetch_add(1, Ordering::Relaxed),
        }
        damage.map(|offset| Damage { index: node.index(), offset })
    }

    /// What somebody has written to an object while it was free, if it is a table that can tell. The object is retired then.
    ///
    /// # Safety
    /// The object must have been popped just now, and its bytes be mapped.
    pub(crate) unsafe fn check_taken(&self, node: &Node<E>) -> Option<Damage> {
        // SAFETY: the caller's promise.
        let offset = unsafe { self.shape.check_free(node.address()) }?;
        self.retired.fetch_add(1, Ordering::Relaxed);
        Some(Damage { index: node.index(), offset })
    }

    /// The right to make more objects.
    pub(crate) fn growth(&self) -> &Mutex<()> {
        &self.growth
    }

    /// Takes an object after making more of them, unless others have done so. `take` gives so many bytes of the group, which
    /// stay this table's.
    pub(crate) fn grow<X: From<Error>>(
        &self,
        _alone: &MutexGuard<'_, ()>,
        take: impl Fn(usize) -> Result<Chunk, X>,
    ) -> Result<&Node<E>, X> {
        if let Some(node) = self.pop() {
            return Ok(node);
        }
        let made = self.made.load(Ordering::Relaxed);
        let room = self.shape.capacity.saturating_sub(made - self.retired.load(Ordering::Relaxed));
        if room == 0 || made == MAX_OBJECTS {
            return Err(Error::PoolFull { capacity: self.shape.capacity.min(MAX_OBJECTS) }.into());
        }
        let chunk_bytes = (made * self.shape.stride).clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
        let mut more = (chunk_bytes / self.shape.stride).clamp(1, room.min(MAX_OBJECTS - made));
        loop {
            self.nodes.make(made + more)?;
            match take(more * self.shape.stride) {
                Ok(chunk) => return Ok(self.add(made, more, chunk)),
                // Near a limit, do with less.
                Err(error) if more == 1 => return Err(error),
                Err(_) => more /= 2,
            }
        }
    }

    /// Cuts a chunk into objects: the first is the caller's, and the others are free.
    fn add(&self, made: usize, more: usize, (start, slot): Chunk) -> &Node<E> {
        let slot = self.number_of(slot);
        let nodes = (made..made + more).map(|index| self.node(index as u32));
        for (place, node) in nodes.clone().enumerate() {
            // SAFETY: the chunk has room for `more` strides, by the promise of `take`.
            let address = unsafe { start.add(place * self.shape.stride) };
            node.set_place(address, ptr::from_ref(self).cast(), slot, (made + place) as u32);
        }
        self.made.store(made + more, Ordering::Relaxed);
        self.push_all(nodes.skip(1));
        let first = self.node(made as u32);
        first.set_forks();
        first
    }

    /// The place of a slot among those of the table. The caller may make objects.
    fn number_of(&self, slot: SlotPtr) -> u32 {
        let is_its = |pointer: *mut Slot| pointer.is_null() || pointer == slot.as_ptr();
        // A group has no more slots than there are places, and in the life of a table none goes.
        let number = self.slots.iter().position(|pointer| is_its(pointer.load(Ordering::Relaxed))).unwrap_or_default();
        self.slots[number].store(slot.as_ptr(), Ordering::Relaxed);
        number as u32
    }

    /// The node of an object that was made.
    #[inline(always)]
    fn node(&self, index: u32) -> &Node<E> {
        // SAFETY: numbers of objects come from `grow`, which has made their nodes before.
        unsafe { self.nodes.get(index) }
    }

    /// The slot that an object lies in.
    pub(crate) fn slot(&self, node: &Node<E>) -> SlotPtr {
        let number = node.slot() as usize;
        SlotPtr::new(self.slots[number].load(Ordering::Relaxed)).unwrap_or(SlotPtr::dangling())
    }

    /// How many objects were ever made.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// An object by its number, if it was made.
    pub(crate) fn known(&self, index: usize) -> Option<&Node<E>> {
        (index < self.made()).then(|| self.node(index as u32))
    }

    /// How many objects there are, free or not, but for those that are never handed out again.
    pub(crate) fn objects(&self) -> usize {
        self.made.load(Ordering::Relaxed) - self.retired()
    }

    /// How many objects are never handed out again.
    pub(crate) fn retired(&self) -> usize {
        self.retired.load(Ordering::Relaxed)
    }

    /// How many objects are free, which takes as many steps. Others that take and give back meanwhile make it inexact.
    pub(crate) fn free(&self) -> usize {
        let made = self.made.load(Ordering::Relaxed);
        let returned = self.returned.count(made, |index| &self.node(index).link);
        (self.free.count(made, |index| self.node(index)) + returned).min(made)
    }
}

/// Bytes of an object that somebody has written who does not own them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The object's number.
    pub(crate) index: u32,
    /// The first such byte, counted from the object's first.
    pub(crate) offset: usize,
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::alloc::Layout;

    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    use super::*;

    /// Stands for an object's bytes.
    #[derive(Default)]
    struct Bytes(UnsafeCell<u8>);

    // SAFETY: only the owner of an object touches its bytes; that there is one is what the tests are for.
    unsafe impl Sync for Bytes {}

    /// A table of at most so many objects, which come two at a time and have no addresses.
    fn table(capacity: usize) -> Arc<Table<Bytes>> {
        let layout = Layout::from_size_align(8192, 8).unwrap();
        Arc::new(Table::new(Shape::new(layout, Some(capacity), 1 << 20).unwrap()))
    }

    /// Takes an object and writes to it. Loom ends the test if another owner is not known to be done.
    fn take(table: &Table<Bytes>) -> Option<&Node<Bytes>> {
        let grow = || {
            let alone = table.growth().lock().unwrap();
            table.grow(&alone, |_| Ok::<_, Error>((NonNull::dangling(), SlotPtr::dangling()))).ok()
        };
        let node = table.pop().or_else(grow)?;
        // SAFETY: it was just taken.
        node.extra().0.with_mut(|byte| unsafe { *byte += 1 });
        Some(node)
    }

    fn in_two_threads(table: &Arc<Table<Bytes>>, work: fn(&Table<Bytes>)) {
        let theirs = Arc::clone(table);
        let thread = loom::thread::spawn(move || work(&theirs));
        work(table);
        thread.join().unwrap();
    }

    fn model(body: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(3));
        builder.check(body);
    }

    #[test]
    fn an_object_has_one_owner_however_it_comes_to_be_and_goes_back() {
        model(|| {
            let table = table(3);
            in_two_threads(&table, |table| {
                let held = [take(table), take(table)];
                held.into_iter().flatten().for_each(|node| table.push(node));
                if let Some(node) = take(table) {
                    table.push(node);
                }
            });
            assert_eq!(table.objects(), table.free());
        });
    }

    #[test]
    fn what_one_thread_gives_back_another_takes() {
        model(|| {
            let table = table(1);
            in_two_threads(&table, |table| {
                for _ in 0..2 {
                    if let Some(node) = take(table) {
                        table.push(node);
                    }
                }
            });
            assert_eq!((table.objects(), table.free()), (1, 1));
        });
    }
}
