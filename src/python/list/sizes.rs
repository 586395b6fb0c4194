//! The sizes of a list, as users pass them: a buffer of integers, or anything that yields them. Offsets in a file come
//! in the same ways.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyString, PyTuple};

use crate::Error;
use crate::fallible;
use crate::list::columns::builder::UnfitSize;
use crate::list::{Builder, Columns};
use crate::python::block::buffer::Buffer;
use crate::python::ffi::arguments::{self, Size, type_name};
use crate::python::group::object::MemGroup;

/// Reading this many sizes lets other Python threads run meanwhile.
const DETACH_ABOVE_ITEMS: usize = 32 * 1024;

/// The columns of objects of these sizes.
pub(crate) fn columns(group: &Bound<'_, MemGroup>, sizes: &Bound<'_, PyAny>, align: usize) -> PyResult<Columns> {
    builder(group, sizes, align).map(Builder::finish)
}

/// The columns of objects of these sizes, not finished yet.
pub(crate) fn builder(group: &Bound<'_, MemGroup>, sizes: &Bound<'_, PyAny>, align: usize) -> PyResult<Builder> {
    let mut builder = Builder::new(align, group.get().largest(group.py()));
    if sizes.is_instance_of::<PyBytes>() || sizes.is_instance_of::<PyByteArray>() {
        return Err(PyTypeError::new_err(format!(
            "sizes must be integers, not {}: for blocks with given contents use copy_many(items)",
            type_name(sizes)
        )));
    }
    // SAFETY: the object is alive.
    if unsafe { ffi::PyObject_CheckBuffer(sizes.as_ptr()) } != 0 {
        read_buffer(sizes, &mut builder)?;
    } else if let Ok(list) = sizes.cast_exact::<PyList>() {
        builder.reserve(list.len())?;
        // Its elements may run code of the user's that changes its length.
        let mut index = 0;
        while index < list.len() {
            push(&mut builder, index, &list.get_item(index)?)?;
            index += 1;
        }
    } else if let Ok(tuple) = sizes.cast_exact::<PyTuple>() {
        builder.reserve(tuple.len())?;
        for index in 0..tuple.len() {
            push(&mut builder, index, &*tuple.get_borrowed_item(index)?)?;
        }
    } else {
        for (index, size) in iterator(sizes)?.enumerate() {
            push(&mut builder, index, &size?)?;
        }
    }
    Ok(builder)
}

fn iterator<'py>(sizes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, pyo3::types::PyIterator>> {
    let no_integers = || {
        PyTypeError::new_err(format!(
            "sizes must be a buffer, a sequence or another iterable of integers, not {}: for equal ones pass [size] * count",
            type_name(sizes)
        ))
    };
    if sizes.is_instance_of::<PyString>() {
        return Err(no_integers());
    }
    // What an __iter__ of the user's raises is the user's to see.
    sizes
        .try_iter()
        .map_err(|error| if error.is_instance_of::<PyTypeError>(sizes.py()) { no_integers() } else { error })
}

#[inline]
fn push(builder: &mut Builder, index: usize, size: &Bound<'_, PyAny>) -> PyResult<()> {
    let size = match arguments::plain_integer(size) {
        Some(size) => size as usize,
        None => match size.extract::<isize>() {
            Ok(size) if size >= 0 => size as usize,
            _ => unusual(index, size)?,
        },
    };
    builder.push(size).map_err(|unfit| unfit.error.into())
}

/// What is no integer, negative, or does not fit a word.
#[cold]
fn unusual(index: usize, size: &Bound<'_, PyAny>) -> PyResult<usize> {
    match arguments::integer(size, &format!("sizes[{index}] must be an integer"))? {
        integer if integer < 0 => Err(negative(index, &arguments::shown(size))),
        // Too large, and that says so best.
        _ => size.extract::<Size>().map(|size| size.0),
    }
}

fn negative(index: usize, size: &str) -> PyErr {
    PyValueError::new_err(format!("sizes[{index}] is {size}: a size must not be negative"))
}

fn read_buffer(object: &Bound<'_, PyAny>, builder: &mut Builder) -> PyResult<()> {
    let buffer = Buffer::of(object)?;
    let notation = Notation::of(&buffer, "sizes")?;
    let elements = Elements::of(&buffer, "sizes")?;
    let mut read = move || notation.read(builder, elements);
    let result = if elements.len < DETACH_ABOVE_ITEMS { read() } else { object.py().detach(read) };
    result.map_err(|UnfitSize { object, error }| match error {
        Error::TooLarge { size, .. } if notation.is_signed && size.cast_signed() < 0 => {
            negative(object, &size.cast_signed().to_string())
        }
        error => error.into(),
    })
}

/// Offsets in a file, none of them negative or beyond what a file can have.
pub(crate) fn offsets(offsets: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    let mut read = Offsets(Vec::new());
    // SAFETY: the object is alive.
    if unsafe { ffi::PyObject_CheckBuffer(offsets.as_ptr()) } != 0 {
        let buffer = Buffer::of(offsets)?;
        let notation = Notation::of(&buffer, "offsets")?;
        let elements = Elements::of(&buffer, "offsets")?;
        notation.read(&mut read, elements).map_err(|unfit| unfit.error)?;
        let unfit = read.0.iter().position(|&offset| offset >= i64::MAX as u64);
        return match unfit.map(|index| (index, read.0[index])) {
            None => Ok(read.0),
            Some((index, offset)) if notation.is_signed => Err(no_offset(index, &offset.cast_signed().to_string())),
            Some((index, offset)) => Err(no_offset(index, &offset.to_string())),
        };
    }
    if offsets.is_instance_of::<PyString>() {
        return Err(no_offsets(offsets));
    }
    let iterator = offsets.try_iter().map_err(|error| match error.is_instance_of::<PyTypeError>(offsets.py()) {
        true => no_offsets(offsets),
        false => error,
    });
    for (index, offset) in iterator?.enumerate() {
        let offset = offset?;
        let number = match arguments::plain_integer(&offset) {
            Some(number) => number,
            None => arguments::integer(&offset, &format!("offsets[{index}] must be an integer"))?,
        };
        match u64::try_from(number).ok().filter(|_| number != isize::MAX) {
            Some(number) => read.extend(std::iter::once(number as usize)).map_err(|unfit| unfit.error)?,
            None => return Err(no_offset(index, &arguments::shown(&offset))),
        }
    }
    Ok(read.0)
}

/// The integers of a buffer, none of them beyond what an index can be.
pub(super) fn integers(buffer: &Buffer<'_>, what: &str) -> PyResult<Vec<isize>> {
    let notation = Notation::of(buffer, what)?;
    let mut read = Numbers(Vec::new());
    notation.read(&mut read, Elements::of(buffer, what)?).map_err(|unfit| unfit.error)?;
    let is_signed = notation.is_signed;
    fallible::collect(read.0.into_iter().map(|number| match is_signed {
        true => number.cast_signed(),
        false => isize::try_from(number).unwrap_or(isize::MAX),
    }))
    .map_err(PyErr::from)
}

/// The elements of a buffer of bytes.
pub(super) fn bytes_of(buffer: &Buffer<'_>, what: &str) -> PyResult<Vec<u8>> {
    let mut read = Octets(Vec::new());
    Elements::of(buffer, what)?.read::<u8>(&mut read, false).map_err(|unfit| unfit.error)?;
    Ok(read.0)
}

fn no_offsets(object: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!(
        "offsets must be a buffer, a sequence or another iterable of integers, not {}",
        type_name(object)
    ))
}

fn no_offset(index: usize, offset: &str) -> PyErr {
    PyValueError::new_err(format!("offsets[{index}] is {offset}: an offset must be from 0 to 2**63 - 2"))
}

/// What takes the integers of a buffer, one after the other.
trait Sink {
    /// # Errors
    /// As [`Builder::extend`].
    fn extend(&mut self, numbers: impl ExactSizeIterator<Item = usize>) -> Result<(), UnfitSize>;
}

impl Sink for Builder {
    #[inline(always)]
    fn extend(&mut self, numbers: impl ExactSizeIterator<Item = usize>) -> Result<(), UnfitSize> {
        Builder::extend(self, numbers)
    }
}

struct Numbers(Vec<usize>);

impl Sink for Numbers {
    fn extend(&mut self, numbers: impl ExactSizeIterator<Item = usize>) -> Result<(), UnfitSize> {
        fallible::extend(&mut self.0, numbers).map_err(|error| UnfitSize { object: 0, error })
    }
}

/// Of a buffer of bytes, so that no number is larger.
struct Octets(Vec<u8>);

impl Sink for Octets {
    fn extend(&mut self, numbers: impl ExactSizeIterator<Item = usize>) -> Result<(), UnfitSize> {
        let octets = numbers.map(|number| number as u8);
        fallible::extend(&mut self.0, octets).map_err(|error| UnfitSize { object: 0, error })
    }
}

struct Offsets(Vec<u64>);

impl Sink for Offsets {
    fn extend(&mut self, numbers: impl ExactSizeIterator<Item = usize>) -> Result<(), UnfitSize> {
        let numbers = numbers.map(|number| number as u64);
        fallible::extend(&mut self.0, numbers).map_err(|error| UnfitSize { object: 0, error })
    }
}

/// How an integer is written down.
#[derive(Clone, Copy)]
struct Notation {
    is_signed: bool,
    /// Whether its bytes stand in the other order than this machine's.
    is_swapped: bool,
    width: isize,
}

impl Notation {
    fn of(buffer: &Buffer, what: &str) -> PyResult<Self> {
        let format = buffer.format().to_bytes();
        let (order, code) = match format {
            [code] => (b'@', *code),
            [order @ (b'@' | b'=' | b'<' | b'>' | b'!'), code] => (*order, *code),
            _ => return Err(no_integers(what, format)),
        };
        let is_signed = match code {
            b'b' | b'h' | b'i' | b'l' | b'q' | b'n' => true,
            b'B' | b'H' | b'I' | b'L' | b'Q' | b'N' => false,
            _ => return Err(no_integers(what, format)),
        };
        let is_swapped = match order {
            b'>' | b'!' => cfg!(target_endian = "little"),
            b'<' => cfg!(target_endian = "big"),
            _ => false,
        };
        // How wide a letter is depends on the order, and the buffer says it anyway.
        Ok(Self { is_signed, is_swapped, width: buffer.item_size() })
    }

    fn read(self, builder: &mut impl Sink, elements: Elements) -> Result<(), UnfitSize> {
        match (self.is_signed, self.width) {
            (true, 1) => elements.read::<i8>(builder, false),
            (true, 2) => elements.read::<i16>(builder, self.is_swapped),
            (true, 4) => elements.read::<i32>(builder, self.is_swapped),
            (true, _) => elements.read::<i64>(builder, self.is_swapped),
            (false, 1) => elements.read::<u8>(builder, false),
            (false, 2) => elements.read::<u16>(builder, self.is_swapped),
            (false, 4) => elements.read::<u32>(builder, self.is_swapped),
            (false, _) => elements.read::<u64>(builder, self.is_swapped),
        }
    }
}

fn no_integers(what: &str, format: &[u8]) -> PyErr {
    let format = String::from_utf8_lossy(format);
    PyTypeError::new_err(format!(
        "{what} must be integers, not of the format {format:?}: convert them first, as numpy's astype(\"int64\") does"
    ))
}

/// Elements of a buffer with one dimension.
#[derive(Clone, Copy)]
struct Elements {
    start: *const u8,
    /// Bytes from one element to the next.
    stride: isize,
    len: usize,
}

// SAFETY: an address and two numbers; what makes an access safe is argued where it is made.
unsafe impl Send for Elements {}

impl Elements {
    fn of(buffer: &Buffer, what: &str) -> PyResult<Self> {
        if buffer.is_indirect() {
            return Err(PyValueError::new_err(format!("{what} must be contiguous: pass a copy of this buffer")));
        }
        let (start, stride) = (buffer.bytes().start, buffer.strides().first().copied());
        match buffer.shape() {
            // Those of ctypes say nothing of strides: one element behind the other.
            [len] => Ok(Self { start, stride: stride.unwrap_or(buffer.item_size()), len: *len as usize }),
            [] => Err(PyTypeError::new_err(format!("{what} must have a dimension: pass a list of one for one block"))),
            shape => {
                let dimensions = shape.len();
                Err(PyValueError::new_err(format!(
                    "{what} must have one dimension, not {dimensions}: flatten them first"
                )))
            }
        }
    }

    /// Reads every element once: somebody else may write at the same time.
    fn read<T: Element>(self, builder: &mut impl Sink, is_swapped: bool) -> Result<(), UnfitSize> {
        let Self { start, stride, len } = self;
        let is_aligned = start.cast::<T>().is_aligned() && stride % align_of::<T>() as isize == 0;
        let in_order = |element: T| if is_swapped { element.swapped().size() } else { element.size() };
        if is_aligned && !is_swapped && stride == size_of::<T>() as isize {
            let first = start.cast::<T>();
            // SAFETY: the buffer holds len elements one behind the other, aligned.
            builder.extend((0..len).map(|index| unsafe { first.wrapping_add(index).read_volatile() }.size()))
        } else if is_aligned {
            builder.extend((0..len).map(|index| {
                let element = start.wrapping_offset(stride.wrapping_mul(index as isize)).cast::<T>();
                // SAFETY: the buffer holds len elements, so many bytes apart, aligned.
                in_order(unsafe { element.read_volatile() })
            }))
        } else {
            builder.extend((0..len).map(|index| {
                let element = start.wrapping_offset(stride.wrapping_mul(index as isize));
                // SAFETY: the buffer holds len elements, so many bytes apart.
                in_order(unsafe { T::read_bytes(element) })
            }))
        }
    }
}

/// An integer that sizes may be written down as.
trait Element: Copy {
    /// As a size; what is negative becomes too large for any group.
    fn size(self) -> usize;

    /// With its bytes in the other order.
    fn swapped(self) -> Self;

    /// Reads one that need not be aligned.
    ///
    /// # Safety
    /// There must be an element at `at`.
    unsafe fn read_bytes(at: *const u8) -> Self;
}

macro_rules! elements {
    ($($integer:ty),*) => {$(
        impl Element for $integer {
            #[inline(always)]
            fn size(self) -> usize {
                self as usize
            }

            #[inline(always)]
            fn swapped(self) -> Self {
                self.swap_bytes()
            }

            #[inline(always)]
            unsafe fn read_bytes(at: *const u8) -> Self {
                // SAFETY: the caller's promise.
                Self::from_ne_bytes(std::array::from_fn(|byte| unsafe { at.wrapping_add(byte).read_volatile() }))
            }
        }
    )*};
}

elements!(i8, i16, i32, i64, u8, u16, u32, u64);
