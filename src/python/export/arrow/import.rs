//! Arrow arrays of bytes or text as lists over the same memory, which the group borrows.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::interface::{ArrowArrayStruct, Imported};
use crate::fallible;
use crate::list::Span;
use crate::list::layout_builder::LayoutBuilder;
use crate::python::ffi::arguments::type_name;
use crate::python::group::lender::{Lender, release_due};
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Claim, LiveBlock};
use crate::python::group::state::{GroupState, Known, Unavailable};
use crate::python::list::object::MemList;
use crate::slot::{BorrowedMemory, Mirror, Owner};

/// Bytes of a view, and of those that a view holds itself.
const VIEW_BYTES: usize = 16;
const MAX_INLINE_BYTES: usize = 12;

/// A list of the records of an array, or of the arrays of a stream.
pub(crate) fn from_arrow<'py>(
    group: &Bound<'py, MemGroup>,
    object: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, MemList>> {
    let (py, this) = (group.py(), group.get());
    this.check_open(py)?;
    let Imported { format, arrays } = imported(object)?;
    let kind = Kind::of(&format)?;
    let mut total = 0;
    let mut checked = Vec::new();
    fallible::reserve(&mut checked, arrays.len())?;
    for array in arrays {
        let records = Records::checked(array, kind, total)?;
        total += records.len;
        checked.push(records);
        py.check_signals()?;
    }
    let mut builder = LayoutBuilder::new(total)?;
    let mut epoch = None;
    for records in checked {
        let pieces = records.pieces();
        let (records, lender) = {
            let records = Arc::new(records);
            (Arc::clone(&records), Arc::new(Lender::of(records)))
        };
        let placed = this.try_with_state(py, |state| placed(state, &pieces, &lender, this.has_pools()));
        drop(lender);
        let (places, claim) = placed??;
        // What was reset meanwhile has an epoch that is over.
        epoch.get_or_insert(claim.epoch);
        py.detach(|| {
            records.each(|piece, start, len| {
                let Place { slot, offset } = places[piece];
                builder.push(Span { slot, offset: offset + start, len })
            })
        })?;
        drop(records);
        py.check_signals()?;
    }
    release_due(py);
    let epoch = epoch.unwrap_or_else(|| this.with_state(py, |state| state.epoch()));
    let list = MemList::of_parts(group, builder.finish(1)?, epoch, Mirror::ReadOnly, None)?;
    list.get().check(py)?;
    Ok(list)
}

fn imported(object: &Bound<'_, PyAny>) -> PyResult<Imported> {
    if let Some(export) = object.getattr_opt("__arrow_c_array__")? {
        let (schema, array): (Bound<'_, PyAny>, Bound<'_, PyAny>) = export.call0()?.extract()?;
        return Imported::of_array(&schema, &array);
    }
    if let Some(export) = object.getattr_opt("__arrow_c_stream__")? {
        return Imported::of_stream(&export.call0()?);
    }
    Err(PyTypeError::new_err(format!(
        "from_arrow() takes an Arrow array (what has __arrow_c_array__ or __arrow_c_stream__, as of pyarrow and polars), not \
         {}: use copy_many() for other objects",
        type_name(object)
    )))
}

/// How an array is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Offsets,
    LargeOffsets,
    Views,
    /// Records of so many bytes, one behind the other.
    Fixed(usize),
}

impl Kind {
    fn of(format: &CStr) -> PyResult<Self> {
        let text = format.to_str().unwrap_or("?");
        match (text, text.strip_prefix("w:").map(str::parse)) {
            ("z" | "u", _) => Ok(Self::Offsets),
            ("Z" | "U", _) => Ok(Self::LargeOffsets),
            ("vz" | "vu", _) => Ok(Self::Views),
            (_, Some(Ok(size))) => Ok(Self::Fixed(size)),
            _ => Err(PyTypeError::new_err(format!(
                "from_arrow() takes arrays of bytes or text, not of format {text:?}: cast the array to binary, or take its \
                 column or its dictionary"
            ))),
        }
    }

    /// How many buffers an array has at least.
    fn least_buffers(self) -> usize {
        match self {
            Self::Offsets | Self::LargeOffsets | Self::Views => 3,
            Self::Fixed(_) => 2,
        }
    }
}

/// An array whose tables were found to make sense.
struct Records {
    array: ArrowArrayStruct,
    kind: Kind,
    len: usize,
    /// Records in the buffers before the first.
    before: usize,
}

/// Bytes that hold records.
struct Piece {
    start: *const u8,
    len: usize,
}

impl Records {
    /// `index` is how many records come before, for messages.
    fn checked(array: ArrowArrayStruct, kind: Kind, index: usize) -> PyResult<Self> {
        let wrong = |what: &str| PyValueError::new_err(format!("the Arrow array is broken: {what}"));
        let (len, before) = array.extent().ok_or_else(|| wrong("its length or its offset is negative or absurd"))?;
        if len > 0 && array.pointers().len() < kind.least_buffers() {
            return Err(wrong("buffers are missing"));
        }
        let records = Self { array, kind, len, before };
        if let Some(null) = records.first_null() {
            return Err(PyValueError::new_err(format!(
                "the record at index {} is null, and a list has none: call array.drop_null(), or array.fill_null(b\"\")",
                index + null
            )));
        }
        match records.first_wrong() {
            Some(at) => Err(wrong(&format!("the position of the record at index {} is impossible", index + at))),
            None => Ok(records),
        }
    }

    fn buffer(&self, number: usize) -> *const c_void {
        self.array.pointers()[number]
    }

    /// The first record that the bitmap says is none.
    fn first_null(&self) -> Option<usize> {
        if self.array.has_no_nulls() || self.len == 0 || self.buffer(0).is_null() {
            return None;
        }
        let bitmap = self.buffer(0).cast::<u8>();
        (0..self.len).find(|at| {
            let bit = self.before + at;
            // SAFETY: a bitmap that is there has a bit for each record.
            let byte = unsafe { bitmap.wrapping_add(bit / 8).read() };
            byte >> (bit % 8) & 1 == 0
        })
    }

    /// The first record that no array can have where this one says.
    fn first_wrong(&self) -> Option<usize> {
        match self.kind {
            Kind::Offsets | Kind::LargeOffsets if self.len > 0 => {
                if self.buffer(1).is_null() {
                    return Some(0);
                }
                (0..self.len).find(|&at| self.offset(at) < 0 || self.offset(at + 1) < self.offset(at))
            }
            Kind::Views if self.len > 0 => {
                if self.buffer(1).is_null() {
                    return Some(0);
                }
                (0..self.len).find(|&at| {
                    let [len, _, buffer, start] = self.view(at);
                    let fits = |size: i64| i64::from(start) >= 0 && i64::from(start) + i64::from(len) <= size;
                    len < 0 || len as usize > MAX_INLINE_BYTES && !self.data_size(buffer).is_some_and(fits)
                })
            }
            Kind::Fixed(size) => {
                let fits = (self.before + self.len).checked_mul(size).is_some_and(|bytes| bytes <= isize::MAX as usize);
                let is_there = self.len == 0 || size == 0 || !self.buffer(1).is_null();
                (!fits || !is_there).then_some(0)
            }
            _ => None,
        }
    }

    /// Where a record begins, or the one before it ends.
    fn offset(&self, at: usize) -> i64 {
        let at = self.before + at;
        match self.kind {
            // SAFETY: there is one offset more than records, of that width.
            Kind::Offsets => unsafe { self.buffer(1).cast::<i32>().wrapping_add(at).read_unaligned() }.into(),
            // SAFETY: there is one offset more than records, of that width.
            _ => unsafe { self.buffer(1).cast::<i64>().wrapping_add(at).read_unaligned() },
        }
    }

    /// The length of a record, its first bytes, the number of a buffer, and where in that it begins.
    fn view(&self, at: usize) -> [i32; 4] {
        // SAFETY: there is a view for each record.
        unsafe { self.buffer(1).cast::<[i32; 4]>().wrapping_add(self.before + at).read_unaligned() }
    }

    /// How many buffers views point into.
    fn data_buffers(&self) -> usize {
        self.array.pointers().len() - 3
    }

    /// Bytes of a buffer that views point into; `None` if there is none of that number.
    fn data_size(&self, number: i32) -> Option<i64> {
        let number = usize::try_from(number).ok().filter(|&number| number < self.data_buffers())?;
        let sizes = self.buffer(self.array.pointers().len() - 1).cast::<i64>();
        if sizes.is_null() || self.buffer(2 + number).is_null() {
            return None;
        }
        // SAFETY: the last buffer has a size for each of those.
        Some(unsafe { sizes.wrapping_add(number).read_unaligned() })
    }

    /// The bytes that hold records.
    fn pieces(&self) -> Vec<Piece> {
        if self.len == 0 {
            return Vec::new();
        }
        match self.kind {
            Kind::Offsets | Kind::LargeOffsets => {
                let (first, end) = (self.offset(0) as usize, self.offset(self.len) as usize);
                vec![Piece { start: self.buffer(2).cast::<u8>().wrapping_add(first), len: end - first }]
            }
            Kind::Fixed(size) => {
                let start = self.buffer(1).cast::<u8>().wrapping_add(self.before * size);
                vec![Piece { start, len: self.len * size }]
            }
            Kind::Views => {
                let views = self.buffer(1).cast::<u8>().wrapping_add(self.before * VIEW_BYTES);
                let data = (0..self.data_buffers()).map(|number| {
                    let size = self.data_size(number as i32).and_then(|size| usize::try_from(size).ok());
                    Piece { start: self.buffer(2 + number).cast(), len: size.unwrap_or(0) }
                });
                [Piece { start: views, len: self.len * VIEW_BYTES }].into_iter().chain(data).collect()
            }
        }
    }

    /// Goes through the records: the number of the piece that each is in, where it begins there, and how long it is.
    fn each<E>(&self, mut work: impl FnMut(usize, usize, usize) -> Result<(), E>) -> Result<(), E> {
        match self.kind {
            Kind::Offsets | Kind::LargeOffsets if self.len > 0 => {
                let origin = self.offset(0);
                (0..self.len).try_for_each(|at| {
                    let start = self.offset(at);
                    work(0, (start - origin) as usize, (self.offset(at + 1) - start) as usize)
                })
            }
            Kind::Fixed(size) => (0..self.len).try_for_each(|at| work(0, at * size, size)),
            Kind::Views => (0..self.len).try_for_each(|at| match self.view(at) {
                [len, ..] if len as usize <= MAX_INLINE_BYTES => work(0, at * VIEW_BYTES + 4, len as usize),
                [len, _, buffer, start] => work(1 + buffer as usize, start as usize, len as usize),
            }),
            _ => Ok(()),
        }
    }
}

/// Where a piece begins in a slot.
#[derive(Clone, Copy)]
struct Place {
    slot: crate::slot::SlotPtr,
    offset: usize,
}

type Placed = Result<Result<(Vec<Place>, Claim), crate::Error>, Unavailable>;

/// Has the group borrow the pieces, but for what it has already. If it has some, the others are copied: else the group would
/// hold an array that counts as a view of its own memory, and nothing would ever end.
fn placed(state: &GroupState, pieces: &[Piece], lender: &Arc<Lender>, has_pools: bool) -> Placed {
    state.check_open()?;
    let mut known = Vec::new();
    for piece in pieces {
        let start = piece.start.addr();
        known.push(if piece.len > 0 { state.known(&(start..start + piece.len), false) } else { None });
    }
    let are_own = known.iter().any(Option::is_some);
    let mut places = Vec::new();
    let mut claim = Claim::of_epoch(state.epoch());
    for (piece, known) in pieces.iter().zip(known) {
        let raw = match known {
            // A list would not hold what may be an object of a pool.
            Some(Known::Block(raw, _)) if !has_pools => raw,
            known => {
                let memory = match known {
                    Some(Known::Owner(owner)) => memory(piece, owner),
                    _ if are_own => match copied(piece) {
                        Ok(copy) => copy,
                        Err(error) => return Ok(Err(error)),
                    },
                    _ => memory(piece, Box::new(Arc::clone(lender))),
                };
                match state.borrow(memory)? {
                    Ok((raw, _)) => raw,
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        claim = raw.claim();
        // SAFETY: the slots of what was just found or borrowed are there.
        let span = unsafe { LiveBlock::new(raw, state.check(claim)?) }.span();
        places.push(Place { slot: span.slot, offset: span.offset });
    }
    Ok(Ok((places, claim)))
}

fn memory(piece: &Piece, owner: Owner) -> BorrowedMemory {
    let start = NonNull::new(piece.start.cast_mut()).filter(|_| piece.len > 0).unwrap_or(NonNull::dangling());
    // SAFETY: what an array shows is there, and unchanged, until it is released, or until the slot goes that has it.
    unsafe { BorrowedMemory::new(start, piece.len, false, owner) }
}

fn copied(piece: &Piece) -> Result<BorrowedMemory, crate::Error> {
    let mut copy: Vec<u8> = fallible::filled(0, piece.len)?;
    if piece.len > 0 {
        // SAFETY: the array shows so many bytes, and the copy is as long and new.
        unsafe { piece.start.copy_to_nonoverlapping(copy.as_mut_ptr(), piece.len) };
    }
    Ok(memory(&Piece { start: copy.as_ptr(), len: copy.len() }, Box::new(copy)))
}
