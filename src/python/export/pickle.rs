//! What pickling and copying need of Rust: blocks and lists taken to pieces and put together. The rest is `memgroup._pickle`.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyTuple};

use crate::fallible;
use crate::list::layout::Run;
use crate::list::layout_builder::LayoutBuilder;
use crate::list::{Columns, ListLayout, Span};
use crate::python::block::buffer::Buffer;
use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::LiveBlock;
use crate::python::list::object::MemList;
use crate::slot::Mirror;

/// What `__reduce_ex__` of an object returns: `memgroup._pickle` has a function for each kind.
pub(crate) fn reduced<'py>(object: &Bound<'py, PyAny>, kind: &str, protocol: i32) -> PyResult<Bound<'py, PyAny>> {
    object.py().import("memgroup._pickle")?.call_method1(kind, (object, protocol))
}

/// What pickling and copying a group raise.
pub(crate) fn no_copy_of_a_group() -> PyErr {
    PyTypeError::new_err(
        "cannot pickle or copy a MemGroup: its memory is this process's; pickle its blocks and lists, which are loaded into a \
         group of the receiver (see memgroup.loads_into)",
    )
}

/// Return the block that shares the bytes of `buffer`, if these live in a group of this process.
///
/// Args:
///     buffer: Any object that exports a buffer.
///     readonly: Whether to return a protected block. Protected bytes stay protected.
///
/// Returns:
///     A block, or None if the bytes live elsewhere or cannot be protected where they are.
#[pyfunction]
pub(crate) fn block_from_buffer<'py>(
    buffer: &Bound<'py, PyAny>,
    readonly: bool,
) -> PyResult<Option<Bound<'py, MemBlock>>> {
    BufferBytes::of(buffer)?.block_from_buffer(readonly)
}

/// A buffer with bytes of a block or a list, borrowed once: from the first look at it until its bytes are where they belong.
enum BufferBytes<'py> {
    /// The size of which never changes. Borrowed through the buffer protocol it would become an exporter.
    Block(Bound<'py, MemBlock>),
    Exported {
        buffer: Buffer<'py>,
        /// The block that it is of.
        exporter: Option<Bound<'py, MemBlock>>,
    },
}

impl<'py> BufferBytes<'py> {
    fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(block) = object.cast::<MemBlock>() {
            return Ok(Self::Block(block.clone()));
        }
        let view = PyMemoryView::from(object)?;
        let exporter = view.getattr("obj")?.cast_into::<MemBlock>().ok();
        // The view cannot be released while it has a buffer of its own.
        Ok(Self::Exported { buffer: Buffer::of(&view)?, exporter })
    }

    fn len(&self) -> usize {
        match self {
            Self::Block(block) => block.get().raw().len,
            Self::Exported { buffer, .. } => buffer.bytes().len,
        }
    }

    /// The block of just these bytes, if they live in a group of this process.
    fn block(&self) -> PyResult<Option<Bound<'py, MemBlock>>> {
        match self {
            Self::Block(block) => block.get().part(block.py(), 0, self.len()).map(Some),
            Self::Exported { buffer, exporter: Some(block) } if buffer.is_c_contiguous() => {
                let whole = block.get().raw().bytes();
                match buffer.bytes().start.addr().checked_sub(whole.start.addr()) {
                    Some(start) if start + self.len() <= whole.len => {
                        block.get().part(block.py(), start, self.len()).map(Some)
                    }
                    _ => Ok(None),
                }
            }
            Self::Exported { .. } => Ok(None),
        }
    }

    /// The block of these bytes, through the mirror that is wanted, if there is a way there. What is protected stays so.
    fn block_from_buffer(&self, readonly: bool) -> PyResult<Option<Bound<'py, MemBlock>>> {
        let Some(block) = self.block()? else { return Ok(None) };
        match block.get().is_protected() || !readonly {
            true => Ok(Some(block)),
            false => block.get().protected(block.py()),
        }
    }

    /// The bytes, to be copied to `group`.
    fn into_bytes_like(self, group: &Bound<'py, MemGroup>) -> PyResult<BytesLike<'py>> {
        match self {
            Self::Block(block) => BytesLike::of(block.as_any(), group.as_unbound()),
            Self::Exported { buffer, .. } => BytesLike::Exported(buffer).in_order(group.py(), group.get()),
        }
    }
}

/// Return the runs of memory that a list lies in, as blocks, and the positions of its records.
///
/// Padding between the records is set to zero first.
///
/// Returns:
///     The blocks; the index of the first record of each; the sizes and offsets of all records, as (count, size,
///     stride), as one buffer of 16-bit sizes if the records have no gaps but padding, or as two buffers of unsigned
///     64-bit integers; and the alignment. None if bytes of other blocks lie between the records, if there is more
///     padding than records, or if there are many short runs.
#[pyfunction]
pub(crate) fn pieces<'py>(list: &Bound<'py, MemList>) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = list.py();
    let this = list.get();
    let stretches = this.stretches(py)?;
    let Some(stretches) = stretches else { return Ok(None) };
    let many = stretches.iter().map(|stretch| stretch.raw.len).fold(0, usize::saturating_add);
    let are_scattered = stretches.len() > FEW_STRETCHES && many / stretches.len() < MEAN_STRETCH_BYTES;
    if are_scattered || many / 2 > this.nbytes(py)?.saturating_add(COPY_THRESHOLD) {
        return Ok(None);
    }
    if !this.clear_gaps(py)? {
        return Ok(None);
    }
    let group = this.group().bind(py);
    let blocks =
        stretches.iter().map(|stretch| MemBlock::with_lease(group, stretch.raw, this.mirror(), this.share_lease()));
    let blocks = PyTuple::new(py, collected(blocks)?)?;
    let firsts = PyTuple::new(py, stretches.iter().map(|stretch| stretch.first))?;
    Ok(Some((blocks, firsts, table(list)?, this.columns().align()).into_pyobject(py)?))
}

/// The sizes and beginnings of records that follow one another, as `pieces` returns them.
fn table<'py>(list: &Bound<'py, MemList>) -> PyResult<Bound<'py, PyTuple>> {
    let (py, this) = (list.py(), list.get());
    let (columns, objects) = (this.columns(), this.part().reach());
    if let Some((size, stride)) = columns.uniform_sizes() {
        return (this.len(), size, stride).into_pyobject(py);
    }
    if !columns.can_be_packed(objects.clone()) {
        return PyTuple::new(py, this.table(py)?);
    }
    let sizes = PyBytes::new_with(py, size_of::<u16>() * objects.len(), |bytes| {
        let (words, _) = bytes.as_chunks_mut();
        for (word, object) in words.iter_mut().zip(objects) {
            // It fits, or they could not be packed.
            *word = (columns.size(object) as u16).to_le_bytes();
        }
        Ok(())
    })?;
    PyTuple::new(py, [sizes])
}

/// So much between records is not worth a copy.
const COPY_THRESHOLD: usize = 64 * 1024;

/// So many stretches are never too many.
const FEW_STRETCHES: usize = 64;

/// More stretches than [`FEW_STRETCHES`], shorter than this on average, cost more than a copy.
const MEAN_STRETCH_BYTES: usize = 4096;

/// Return the bytes of all records of a list, one after the other.
///
/// They are a block of the group if that is secret, else bytes.
#[pyfunction]
pub(crate) fn gathered<'py>(list: &Bound<'py, MemList>) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (list.py(), list.get());
    if this.group().get().is_secret(py) {
        return this.joined(py).map(Bound::into_any);
    }
    let nbytes = this.nbytes(py)?;
    let copy = PyBytes::new_with(py, nbytes, |copy| {
        // SAFETY: the place is as long as the list.
        unsafe { this.gather_into(py, copy.as_mut_ptr(), nbytes) }
    });
    copy.map(Bound::into_any)
}

/// Return the list that `pieces` was called for, in this process or in another.
///
/// Args:
///     group: The group for bytes that do not live in one open group of this process; with None, the result is None for
///         such bytes. If all of them live in this group, padding belongs to the list.
///     buffers: As `pieces` returned them.
///     firsts: As `pieces` returned them.
///     table: As `pieces` returned it; the numbers as any buffers.
///     align: As `pieces` returned it.
///     readonly: Whether to return a protected list.
///
/// Raises:
///     ValueError: The arguments do not fit together, or the list is protected and the group is anonymous.
#[pyfunction]
pub(crate) fn list_of_pieces<'py>(
    group: Option<&Bound<'py, MemGroup>>,
    buffers: Vec<Bound<'py, PyAny>>,
    firsts: Vec<usize>,
    table: &Bound<'py, PyTuple>,
    align: usize,
    readonly: bool,
) -> PyResult<Option<Bound<'py, MemList>>> {
    let columns = columns(table, align)?;
    // From here on nobody changes their sizes.
    let sources = collected(buffers.iter().map(BufferBytes::of))?;
    if !fit(&columns, &sources, &firsts) {
        return Err(damaged());
    }
    let (group, layout, epoch) = match find_in_process(&sources, &firsts, readonly)? {
        // The caller has just borrowed what arrived, for this list alone.
        Some((home, runs, epoch)) if group.is_some_and(|group| group.is(&home)) => {
            (home, ListLayout::new(columns, runs.into()).with_clear_gaps(), epoch)
        }
        // The bytes have their owner, who may see between the records what he likes, and keeps it.
        Some((group, runs, epoch)) => (group, ListLayout::new(columns, runs.into()).with_foreign_gaps(), epoch),
        None => {
            let Some(group) = group else { return Ok(None) };
            let (group, runs, epoch) = moved(group, sources, &firsts, align)?;
            (group, ListLayout::new(columns, runs.into()).with_written_gaps(), epoch)
        }
    };
    let list = MemList::of_placed(&group, layout, epoch)?;
    if readonly { MemList::through(&group, &list, Mirror::ReadOnly).map(Some) } else { Ok(Some(list)) }
}

/// Return the list of records of these sizes that a block holds one after the other, without a copy.
///
/// Args:
///     block: The bytes of all records, as `gathered` returned them.
///     sizes: The sizes of all records, as any buffer of unsigned 64-bit integers.
///
/// Raises:
///     ValueError: The arguments do not fit together.
#[pyfunction]
pub(crate) fn list_of_joined<'py>(
    block: &Bound<'py, MemBlock>,
    sizes: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, MemList>> {
    let (py, this) = (block.py(), block.get());
    let sizes: Vec<usize> = numbers(sizes)?;
    let run = this.run(py)?;
    let mut builder = LayoutBuilder::new(sizes.len())?;
    let mut end = 0_usize;
    for len in sizes {
        let start = end;
        end = start.checked_add(len).filter(|&end| end <= this.raw().len).ok_or_else(damaged)?;
        builder.push(Span { slot: run.slot, offset: run.offset + start, len })?;
    }
    let lease = this.lease_while_there(py)?;
    MemList::of_parts(this.group().bind(py), builder.finish(1)?, this.raw().epoch, this.mirror(), lease)
}

/// What could all be made, in a vector for which there is memory.
fn collected<T>(made: impl ExactSizeIterator<Item = PyResult<T>>) -> PyResult<Vec<T>> {
    let mut all = Vec::new();
    fallible::reserve(&mut all, made.len())?;
    for one in made {
        all.push(one?);
    }
    Ok(all)
}

#[cold]
fn damaged() -> PyErr {
    PyValueError::new_err(
        "this is no pickled MemList, or a damaged one: sizes, offsets and buffers do not fit together",
    )
}

fn columns(table: &Bound<'_, PyTuple>, align: usize) -> PyResult<Columns> {
    if !align.is_power_of_two() || align > crate::MAX_ALIGN {
        return Err(damaged());
    }
    if table.len() == 3 {
        let (count, size, stride): (usize, usize, usize) = table.extract()?;
        let columns = Columns::uniform(count, size, align, crate::MAX_SLOT_BYTES)?;
        return match columns.uniform_sizes() == Some((size, stride)) {
            true => Ok(columns),
            false => Err(damaged()),
        };
    }
    if table.len() == 1 {
        let (sizes,): (Bound<'_, PyAny>,) = table.extract()?;
        return Ok(Columns::packed(numbers(&sizes)?, align)?);
    }
    let (sizes, starts): (Bound<'_, PyAny>, Bound<'_, PyAny>) = table.extract()?;
    let (sizes, starts) = (numbers(&sizes)?, numbers(&starts)?);
    Columns::of_table(starts, sizes, align).ok_or_else(damaged)
}

/// An integer of a table.
///
/// # Safety
/// Any bytes must be one.
unsafe trait Number: Copy + Default {
    /// From the order of bytes in a pickle to that of this machine.
    fn in_native_order(self) -> Self;
}

// SAFETY: any eight bytes are a word: there are no others than 64-bit ones here.
unsafe impl Number for usize {
    fn in_native_order(self) -> Self {
        Self::from_le(self)
    }
}

// SAFETY: any two bytes are such an integer.
unsafe impl Number for u16 {
    fn in_native_order(self) -> Self {
        Self::from_le(self)
    }
}

/// A copy of integers in the order of this machine.
fn numbers<T: Number>(object: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    let buffer = Buffer::of(object)?;
    let bytes = buffer.bytes();
    if !bytes.len.is_multiple_of(size_of::<T>()) || !buffer.is_c_contiguous() {
        return Err(damaged());
    }
    let mut words: Vec<T> = fallible::filled(T::default(), bytes.len / size_of::<T>())?;
    // SAFETY: the buffer keeps its bytes in place, and the words are new and as many bytes, any of which are words.
    unsafe { Bytes::new(words.as_mut_ptr().cast(), bytes.len).copy_from(bytes) };
    words.iter_mut().for_each(|word| *word = word.in_native_order());
    Ok(words)
}

/// Whether each buffer holds the records that it is to hold.
fn fit(columns: &Columns, sources: &[BufferBytes<'_>], firsts: &[usize]) -> bool {
    if sources.len() != firsts.len() || firsts.is_empty() != (columns.len() == 0) {
        return false;
    }
    let ends = firsts.iter().skip(1).copied().chain([columns.len()]);
    let mut parts = sources.iter().zip(firsts.iter().copied().zip(ends));
    firsts.first().is_none_or(|&first| first == 0)
        && parts.all(|(source, (first, end))| {
            let is_part = first < end && end <= columns.len();
            is_part && columns.start(end - 1) + columns.size(end - 1) - columns.start(first) <= source.len()
        })
}

type Home<'py> = (Bound<'py, MemGroup>, Vec<Run>, u64);

/// Where the records are, if all of them live in one group of this process that is open.
fn find_in_process<'py>(sources: &[BufferBytes<'py>], firsts: &[usize], readonly: bool) -> PyResult<Option<Home<'py>>> {
    let mut home: Option<Home<'py>> = None;
    for (source, &first) in sources.iter().zip(firsts) {
        let Some(block) = source.block_from_buffer(readonly)? else { return Ok(None) };
        // Nothing leads from a protected block to a writable list; and a list holds no objects of a pool but one.
        if block.get().is_protected() && !readonly || block.get().hold().is_some() {
            return Ok(None);
        }
        let (group, raw) = (block.get().group().bind(block.py()), block.get().raw());
        let run = group.get().with_state(block.py(), |state| {
            let slots = state.check(raw.claim()).ok()?;
            // SAFETY: the raw block is one of the group's, and was just found there.
            Some(unsafe { LiveBlock::new(raw, slots) }.run(first))
        });
        let Some(run) = run else { return Ok(None) };
        let (known, runs, epoch) = home.get_or_insert_with(|| (group.clone(), Vec::new(), raw.epoch));
        if !known.is(group) || *epoch != raw.epoch {
            return Ok(None);
        }
        fallible::push(runs, run)?;
    }
    Ok(home)
}

/// Copies the bytes of buffers into a group.
fn moved<'py>(
    group: &Bound<'py, MemGroup>,
    sources: Vec<BufferBytes<'py>>,
    firsts: &[usize],
    align: usize,
) -> PyResult<Home<'py>> {
    let (py, this) = (group.py(), group.get());
    let mut runs = Vec::new();
    fallible::reserve(&mut runs, sources.len())?;
    let mut epoch = this.try_with_state(py, |state| {
        state.check_open()?;
        Ok(state.epoch())
    })?;
    for (source, &first) in sources.into_iter().zip(firsts) {
        let from = source.into_bytes_like(group)?;
        let raw = this.alloc_raw(py, from.len(), align.max(crate::DEFAULT_ALIGN))?;
        let bytes = from.bytes();
        let run = this.access(py, raw.into(), from.claim(), bytes.len, move |to| {
            // SAFETY: the buffer keeps its bytes in place, and the raw block is as long and in the read-write mirror.
            unsafe { to.bytes().copy_from(bytes) };
            to.run(first)
        })?;
        if !runs.is_empty() && raw.epoch != epoch {
            return Err(PyValueError::new_err("the group was reset while a list was loaded into it: load it again"));
        }
        epoch = raw.epoch;
        runs.push(run);
    }
    Ok((group.clone(), runs, epoch))
}
