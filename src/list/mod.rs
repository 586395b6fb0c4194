//! Many allocations from one call: [`List`], and [`ProtectedList`] for the same bytes through the read-only mirror.
//!
//! A list is held as columns, not as blocks: the size of each object and where it begins, as if all lay one behind the
//! other (`columns`), and the few runs that they really lie in (`layout`), and what lies between the objects (`gaps`). `reserve` finds room for them.

pub(crate) mod arrow;
pub(crate) mod batches;
pub(crate) mod columns;
mod gap_state;
mod gaps;
pub(crate) mod inspect;
pub(crate) mod layout;
pub(crate) mod layout_builder;
mod reserve;
pub(crate) mod rounds;
pub(crate) mod split;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};
use std::ptr::NonNull;

use crate::error::{Error, Refused};
use crate::group::MemGroup;
use crate::group::block::Block;
use crate::layout::DEFAULT_ALIGN;
use crate::slot::{LiveSlots, Mirror, Taken};
use crate::sync::opaque;
pub(crate) use columns::{Builder, Columns};
pub(crate) use layout::{Change, ListLayout, Part, Run, Span};

/// Many allocations made in one call, owned alone, as a `Vec` of [`Block`]s would be; 16 bytes for each, or none at all
/// where all are of one size.
///
/// Dropping a list frees nothing; its bytes last as long as the group.
///
/// ```
/// use memgroup::MemGroup;
///
/// let group = MemGroup::new()?;
/// let mut list = group.alloc_many(&[3, 0, 5])?;
/// list.fill_from(b"abcdefgh")?;
/// list[0][0] = b'A';
/// assert_eq!(list.iter().collect::<Vec<_>>(), [&b"Abc"[..], b"", b"defgh"]);
/// assert_eq!(&group.protect_many(list)?[2], b"defgh");
/// # Ok::<(), memgroup::Error>(())
/// ```
pub struct List<'g> {
    layout: Box<ListLayout>,
    group: &'g MemGroup,
    bytes: PhantomData<&'g mut [u8]>,
}

/// A list seen through the read-only mirror. It can be read and shared, and is its bytes' only owner, so that
/// [`unprotect_many`](MemGroup::unprotect_many) can give the writer back.
pub struct ProtectedList<'g> {
    layout: Box<ListLayout>,
    group: &'g MemGroup,
    bytes: PhantomData<&'g mut [u8]>,
}

impl MemGroup {
    /// One allocation for each size, as [`alloc`](Self::alloc) would make it: at 16-byte alignment, with unspecified
    /// contents. One atomic operation for each slot touched, however many they are.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc), or [`Error::Table`]. All of them are made or none.
    pub fn alloc_many(&self, sizes: &[usize]) -> Result<List<'_>, Error> {
        let mut builder = Builder::new(DEFAULT_ALIGN, self.largest());
        builder.extend(sizes.iter().copied())?;
        self.list(builder.finish())
    }

    /// `count` allocations of one size, which need no table.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc). All of them are made or none.
    ///
    /// ```
    /// let group = memgroup::MemGroup::new()?;
    /// let mut list = group.alloc_uniform(1000, 24)?;
    /// list.iter_mut().for_each(|bytes| bytes.fill(7));
    /// assert_eq!(list.nbytes(), 24_000);
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    pub fn alloc_uniform(&self, count: usize, size: usize) -> Result<List<'_>, Error> {
        self.list(Columns::uniform(count, size, DEFAULT_ALIGN, self.largest())?)
    }

    fn list(&self, columns: Columns) -> Result<List<'_>, Error> {
        let runs = self.alloc_many_raw(&columns)?;
        Ok(List { layout: Box::new(ListLayout::new(columns, runs)), group: self, bytes: PhantomData })
    }

    /// A whole list through the read-only mirror, in no time. Taking the list proves that no writer is left.
    ///
    /// # Errors
    /// [`Error::NoMirror`] in an anonymous group, [`Error::Foreign`] for another group's list, with the list; `?` keeps the
    /// reason alone.
    pub fn protect_many<'g>(&self, list: List<'g>) -> Result<ProtectedList<'g>, Refused<List<'g>>> {
        if !std::ptr::eq(self, list.group) {
            return Err(Refused { error: Error::Foreign, value: list });
        }
        if !self.has_mirror() {
            return Err(Refused { error: Error::NoMirror, value: list });
        }
        let List { layout, group, bytes } = list;
        forget_memory();
        Ok(ProtectedList { layout, group, bytes })
    }

    /// A whole list through the read-write mirror. Taking the protected list proves that no reader is left.
    ///
    /// # Errors
    /// [`Error::Foreign`] for another group's list, with the list.
    pub fn unprotect_many<'g>(&self, list: ProtectedList<'g>) -> Result<List<'g>, Refused<ProtectedList<'g>>> {
        if !std::ptr::eq(self, list.group) {
            return Err(Refused { error: Error::Foreign, value: list });
        }
        let ProtectedList { layout, group, bytes } = list;
        forget_memory();
        Ok(List { layout, group, bytes })
    }
}

/// Makes the compiler forget what it knows of memory: to it, the two mirrors of the same bytes are two objects.
fn forget_memory() {
    opaque(NonNull::<u8>::dangling());
}

/// What both kinds of list have: their bytes can be read, and cannot be written meanwhile.
macro_rules! reading {
    ($list:ident, $mirror:expr) => {
        impl<'g> $list<'g> {
            /// How many allocations there are.
            pub fn len(&self) -> usize {
                self.layout.columns().len()
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The sum of all sizes.
            pub fn nbytes(&self) -> usize {
                self.layout.columns().nbytes()
            }

            /// The bytes of one allocation.
            pub fn get(&self, index: usize) -> Option<&[u8]> {
                let span = (index < self.len()).then(|| self.layout.object(index))?;
                // SAFETY: the list lies in its group's slots, and the bytes are borrowed from their only owner, the list.
                Some(unsafe { bytes(self.live_slots(), span, $mirror) })
            }

            /// The bytes of each allocation.
            pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
                // SAFETY: the list lies in its group's slots, and the bytes are borrowed from their only owner, the list.
                self.objects().map(|span| unsafe { bytes(self.live_slots(), span, $mirror) })
            }

            /// Gathers the bytes of all allocations, in order, into one new block of the group.
            ///
            /// # Errors
            /// As [`MemGroup::alloc`].
            pub fn join(&self) -> Result<Block<'g>, Error> {
                join(self.group, &self.layout, $mirror)
            }

            pub(crate) fn layout(&self) -> &ListLayout {
                &self.layout
            }

            /// The slots that it lies in.
            pub(crate) fn live_slots(&self) -> LiveSlots<'g> {
                self.group.live_slots()
            }

            fn objects(&self) -> impl DoubleEndedIterator<Item = Span> + ExactSizeIterator {
                self.layout.objects(Part::all(self.len()))
            }
        }

        impl Index<usize> for $list<'_> {
            type Output = [u8];

            fn index(&self, index: usize) -> &[u8] {
                check_index(index, self.len());
                self.get(index).unwrap_or_default()
            }
        }

        impl fmt::Debug for $list<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({} bytes in {} blocks)", stringify!($list), self.nbytes(), self.len())
            }
        }
    };
}

reading!(List, Mirror::ReadWrite);
reading!(ProtectedList, Mirror::ReadOnly);

impl<'g> List<'g> {
    /// The bytes of one allocation, to be written.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let span = (index < self.len()).then(|| self.layout.object(index))?;
        // SAFETY: the list lies in its group's slots, and the borrow of the bytes' only owner, the list, is unique.
        Some(unsafe { bytes_mut(self.live_slots(), span) })
    }

    /// The bytes of each allocation, to be written.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut [u8]> + ExactSizeIterator {
        let slots = self.group.live_slots();
        // SAFETY: the list lies in its group's slots; its borrow is unique, and no two objects overlap.
        self.objects().map(move |span| unsafe { bytes_mut(slots, span) })
    }

    /// The allocations as blocks of their own.
    pub fn into_blocks(self) -> impl DoubleEndedIterator<Item = Block<'g>> + ExactSizeIterator {
        let Self { layout, group, .. } = self;
        (0..layout.columns().len()).map(move |index| {
            let Span { slot, offset, len } = layout.object(index);
            // SAFETY: the slot is one of the group's.
            let slot = unsafe { group.live_slots().get(slot) };
            // SAFETY: `reserve` got the offset from the slot, with len bytes behind it.
            let address = unsafe { slot.get().at(offset) };
            Block::new(Taken { address, slot }, len)
        })
    }

    /// Scatters `data` into the allocations, in order.
    ///
    /// # Errors
    /// [`Error::Length`] if there are not exactly [`nbytes`](Self::nbytes) of it. Nothing is written then.
    pub fn fill_from(&mut self, mut data: &[u8]) -> Result<(), Error> {
        if data.len() != self.nbytes() {
            return Err(Error::Length { nbytes: self.nbytes(), given: data.len() });
        }
        for span in self.layout.spans(Part::all(self.len())) {
            let (now, later) = data.split_at(span.len);
            // SAFETY: the list lies in its group's slots, and the borrow of the bytes' only owner, the list, is unique.
            unsafe { bytes_mut(self.live_slots(), span) }.copy_from_slice(now);
            data = later;
        }
        Ok(())
    }

    /// A list of what the group has placed and nobody else was given.
    pub(crate) fn of_placed(group: &'g MemGroup, layout: ListLayout) -> Self {
        Self { layout: Box::new(layout), group, bytes: PhantomData }
    }
}

/// # Safety
/// `span` must be of a list that lies in those slots. Its bytes must not be written to for 'a, and the list must have that mirror.
#[inline(always)]
unsafe fn bytes<'a>(slots: LiveSlots<'a>, span: Span, mirror: Mirror) -> &'a [u8] {
    // SAFETY: the span is of a list that lies in those slots, by contract.
    let slot = unsafe { slots.get(span.slot) };
    // SAFETY: a span of a list ends within its slot.
    let address = unsafe { slot.address(span.offset, mirror) };
    // A slot without the mirror makes no protected lists, so this is never dangling in earnest.
    let address = address.unwrap_or(NonNull::dangling());
    // SAFETY: len bytes at address are mapped and initialised; by contract nobody writes to them for 'a.
    unsafe { std::slice::from_raw_parts(address.as_ptr(), span.len) }
}

/// # Safety
/// `span` must be of a list that lies in those slots, and its bytes be borrowed uniquely for 'a.
#[inline(always)]
unsafe fn bytes_mut<'a>(slots: LiveSlots<'a>, span: Span) -> &'a mut [u8] {
    // SAFETY: the span is of a list that lies in those slots, by contract.
    let slot = unsafe { slots.get(span.slot) };
    // SAFETY: a span of a list ends within its slot.
    let address = unsafe { slot.at(span.offset) };
    // SAFETY: len bytes at address are mapped and initialised; by contract they are borrowed uniquely for 'a.
    unsafe { std::slice::from_raw_parts_mut(address.as_ptr(), span.len) }
}

fn join<'g>(group: &'g MemGroup, layout: &ListLayout, mirror: Mirror) -> Result<Block<'g>, Error> {
    let mut joined = group.alloc(layout.columns().nbytes())?;
    let mut rest = &mut joined[..];
    for span in layout.spans(Part::all(layout.columns().len())) {
        let (now, later) = rest.split_at_mut(span.len);
        // SAFETY: the list is borrowed by the caller, and joined is another allocation.
        now.copy_from_slice(unsafe { bytes(group.live_slots(), span, mirror) });
        rest = later;
    }
    Ok(joined)
}

impl IndexMut<usize> for List<'_> {
    fn index_mut(&mut self, index: usize) -> &mut [u8] {
        check_index(index, self.len());
        self.get_mut(index).unwrap_or_default()
    }
}

/// Panics where a slice would.
fn check_index(index: usize, len: usize) {
    assert!(index < len, "index out of bounds: the len is {len} but the index is {index}");
}
