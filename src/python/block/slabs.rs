//! Slabs: memory for the objects of blocks, 2 MiB at a time.
//!
//! Taking memory from Python's allocator and putting it back is a third of the time that making and dropping a block
//! takes. For the first million blocks of a process it is more, for that allocator has to fault in each page of them,
//! and gives it back as they die. A slab is cut into pieces of one size, and a program that has many blocks has them in
//! slabs of huge pages. Like CPython's own free lists this relies on the GIL; a build without one goes to Python's
//! allocator.

use std::ffi::c_void;
use std::iter::successors;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use pyo3::{Python, ffi};

use crate::os::headroom::{self, Terms};
use crate::os::{Backing, LARGE_MAPPING, Mirrors};

/// Bytes in a slab, and what its address is a multiple of.
const SLAB: usize = LARGE_MAPPING;

/// The first slabs are of small pages, found as they are touched. Then a huge page that is begun is an eighth of what
/// there is, at most.
const SMALL_SLABS: usize = 8;

/// As for huge pages of a group: near a limit there are none.
const SPARE_SLABS: usize = 8;

/// Pieces of memory of one size. The atomics are here to be plain loads and stores.
pub(crate) struct Slabs<const SIZE: usize> {
    /// The first of a list of all that have a piece to give, or null.
    first: AtomicPtr<Slab>,
    /// How many slabs there are.
    many: AtomicUsize,
    /// How many of them have given no piece that was not put back.
    idle: AtomicUsize,
    /// How many idle ones are kept at most, beside one that always is.
    most_idle: AtomicUsize,
}

/// What lies at the beginning of a slab.
struct Slab {
    mirrors: Mirrors,
    /// Whether it is in the list of those that have a piece to give, and its neighbours there, or null.
    is_listed: bool,
    next: *mut Slab,
    previous: *mut Slab,
    /// Null, or a piece that was put back, whose first word points to the next.
    free: *mut c_void,
    /// Where the first piece begins that was never given.
    fresh: usize,
    /// How many pieces are given and not put back; one more in the first of all slabs, which is never idle.
    live: usize,
}

impl<const SIZE: usize> Slabs<SIZE> {
    /// Where the first piece of a slab begins.
    const FIRST: usize = size_of::<Slab>().next_multiple_of(64);

    pub(crate) const fn new() -> Self {
        const { assert!(SIZE >= size_of::<*mut c_void>() && SIZE.is_multiple_of(align_of::<*mut c_void>())) };
        Self {
            first: AtomicPtr::new(null_mut()),
            many: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            most_idle: AtomicUsize::new(0),
        }
    }

    /// `SIZE` bytes, aligned for a pointer, or null if there is no memory.
    #[inline(always)]
    pub(crate) fn take(&self, _attached: Python<'_>) -> *mut c_void {
        if cfg!(Py_GIL_DISABLED) {
            // SAFETY: the thread is attached.
            return unsafe { ffi::PyObject_Malloc(SIZE) };
        }
        // SAFETY: a slab in the list is there, and of those who are attached only this thread runs.
        if let Some(slab) = unsafe { self.first.load(Relaxed).as_mut() }
            && !slab.free.is_null()
        {
            return self.pop(slab);
        }
        self.take_fresh()
    }

    /// A piece that was put back, of a slab that has one.
    #[inline(always)]
    fn pop(&self, slab: &mut Slab) -> *mut c_void {
        let piece = slab.free;
        // SAFETY: put wrote it there, and nobody else has the piece.
        slab.free = unsafe { piece.cast::<*mut c_void>().read() };
        self.count(slab);
        piece
    }

    #[inline(always)]
    fn count(&self, slab: &mut Slab) {
        if slab.live == 0 {
            self.idle.store(self.idle.load(Relaxed) - 1, Relaxed);
        }
        slab.live += 1;
    }

    /// The same where the first slab of the list, if there is one, has no piece that was put back.
    #[inline(never)]
    fn take_fresh(&self) -> *mut c_void {
        loop {
            let first = match self.first.load(Relaxed) {
                none if none.is_null() => self.add(),
                first => first,
            };
            // SAFETY: a slab in the list is there, and of those who are attached only this thread runs.
            let Some(slab) = (unsafe { first.as_mut() }) else { return null_mut() };
            if !slab.free.is_null() {
                return self.pop(slab);
            }
            if slab.fresh <= SLAB - SIZE {
                // SAFETY: the offset is within the slab.
                let piece = unsafe { first.cast::<u8>().add(slab.fresh) };
                slab.fresh += SIZE;
                self.count(slab);
                return piece.cast();
            }
            // SAFETY: it was the first of the list.
            unsafe { self.unlink(first) };
        }
    }

    /// Takes back what [`take`](Self::take) gave.
    ///
    /// # Safety
    /// It must come from there, and nobody may use it any more.
    #[inline(always)]
    pub(crate) unsafe fn put(&self, _attached: Python<'_>, piece: *mut c_void) {
        if cfg!(Py_GIL_DISABLED) {
            // SAFETY: it comes from PyObject_Malloc, and nobody uses it any more, by contract.
            return unsafe { ffi::PyObject_Free(piece) };
        }
        let place = piece.map_addr(|address| address & !(SLAB - 1)).cast::<Slab>();
        // SAFETY: a piece of take lies in a slab, which begins at a multiple of its size and is there for as long as a piece
        // of it is given. Of those who are attached only this thread runs, and no other reference to the slab is left.
        let slab = unsafe { &mut *place };
        // SAFETY: a piece has room for a pointer and is aligned for one, and by contract nobody uses it any more.
        unsafe { piece.cast::<*mut c_void>().write(slab.free) };
        slab.free = piece;
        slab.live -= 1;
        let (is_listed, is_idle) = (slab.is_listed, slab.live == 0);
        if !is_listed {
            // SAFETY: the slab is there for the list to have, and not in it.
            unsafe { self.link(place) };
        }
        if is_idle {
            self.idle.store(self.idle.load(Relaxed) + 1, Relaxed);
            if self.idle.load(Relaxed) > self.most_idle.load(Relaxed) + 1 {
                // SAFETY: the slab is in the list, idle, and not used after this.
                unsafe { self.remove(place) };
            }
        }
    }

    /// How many pieces are kept in slabs that are idle.
    pub(crate) fn many(&self, _attached: Python<'_>) -> usize {
        self.listed().map(|slab| if slab.live == 0 { (slab.fresh - Self::FIRST) / SIZE } else { 0 }).sum()
    }

    /// Keeps idle slabs of so many bytes in all at most. Others go at once.
    pub(crate) fn limit(&self, _attached: Python<'_>, bytes: usize) {
        let most = bytes / SLAB;
        self.most_idle.store(most, Relaxed);
        let mut place = self.first.load(Relaxed);
        while self.idle.load(Relaxed) > most
            // SAFETY: a slab in the list is there, and of those who are attached only this thread runs.
            && let Some(slab) = unsafe { place.as_ref() }
        {
            let (next, is_idle) = (slab.next, slab.live == 0);
            if is_idle {
                // SAFETY: the slab is in the list, idle, and not used after this.
                unsafe { self.remove(place) };
            }
            place = next;
        }
    }

    /// The slabs in the list.
    fn listed(&self) -> impl Iterator<Item = &Slab> {
        // SAFETY: a slab in the list is there, and nobody changes one meanwhile, for only this thread runs of those who are
        // attached, as who calls this is.
        let at = |place: *mut Slab| unsafe { place.as_ref() };
        successors(at(self.first.load(Relaxed)), move |slab| at(slab.next))
    }

    /// A new slab, in the list, or null if there is no memory.
    #[cold]
    fn add(&self) -> *mut Slab {
        let may_be_huge = self.many.load(Relaxed) >= SMALL_SLABS;
        let Some(mirrors) = mapped(may_be_huge) else { return null_mut() };
        let place = mirrors.read_write().as_ptr().cast::<Slab>();
        // A program that makes and drops one block at a time neither counts nor unmaps.
        let live = usize::from(self.many.load(Relaxed) == 0);
        let slab = Slab {
            mirrors,
            is_listed: false,
            next: null_mut(),
            previous: null_mut(),
            free: null_mut(),
            fresh: Self::FIRST,
            live,
        };
        // SAFETY: the mapping is new, its beginning is aligned for a slab and has room for one.
        unsafe { place.write(slab) };
        self.many.store(self.many.load(Relaxed) + 1, Relaxed);
        self.idle.store(self.idle.load(Relaxed) + 1 - live, Relaxed);
        // SAFETY: it was just written, and nobody else knows it.
        unsafe { self.link(place) };
        place
    }

    /// Gives the memory of a slab back to the kernel.
    ///
    /// # Safety
    /// The slab must be in the list, idle, and never used after this.
    #[cold]
    unsafe fn remove(&self, place: *mut Slab) {
        // SAFETY: it is in the list, by the caller's promise.
        unsafe { self.unlink(place) };
        self.many.store(self.many.load(Relaxed) - 1, Relaxed);
        self.idle.store(self.idle.load(Relaxed) - 1, Relaxed);
        // SAFETY: the slab is there.
        let mirrors = unsafe { &raw const (*place).mirrors };
        // SAFETY: nobody reads it after this, by the caller's promise. It unmaps the memory that it was read from, so it is
        // moved out of there first.
        drop(unsafe { mirrors.read() });
    }

    /// Puts a slab into the list.
    ///
    /// # Safety
    /// It must be there until [`unlink`](Self::unlink), and not in the list. No reference to a slab may be in use, and the
    /// thread be attached.
    #[inline(never)]
    unsafe fn link(&self, place: *mut Slab) {
        let first = self.first.load(Relaxed);
        // SAFETY: the caller's promise: the slab is there, and no other reference to it is in use.
        let slab = unsafe { &mut *place };
        (slab.is_listed, slab.previous, slab.next) = (true, null_mut(), first);
        // SAFETY: a slab in the list is there, and is another than this one, which is not in it.
        if let Some(first) = unsafe { first.as_mut() } {
            first.previous = place;
        }
        self.first.store(place, Relaxed);
    }

    /// Takes a slab out of the list.
    ///
    /// # Safety
    /// It must be in the list. No reference to a slab may be in use, and the thread be attached.
    #[inline(never)]
    unsafe fn unlink(&self, place: *mut Slab) {
        // SAFETY: the caller's promise: a slab in the list is there, and no other reference to it is in use.
        let slab = unsafe { &mut *place };
        slab.is_listed = false;
        // SAFETY: neighbours in the list are there, and are others than this one.
        if let Some(next) = unsafe { slab.next.as_mut() } {
            next.previous = slab.previous;
        }
        // SAFETY: the same.
        match unsafe { slab.previous.as_mut() } {
            Some(previous) => previous.next = slab.next,
            None => self.first.store(slab.next, Relaxed),
        }
    }
}

/// Memory for a slab, in a huge page if it may be and there is one.
fn mapped(may_be_huge: bool) -> Option<Mirrors> {
    let mirrors = Mirrors::open(&Backing::Anonymous, "", SLAB, may_be_huge).ok()?;
    if may_be_huge {
        let grant = headroom::claim(SLAB, Terms { may_swap: true, is_accounted: true }).ok();
        if grant.is_some_and(|grant| grant.has_spare(SPARE_SLABS * SLAB)) {
            mirrors.commit_huge(0, SLAB, true).ok()?;
        }
    }
    Some(mirrors)
}
