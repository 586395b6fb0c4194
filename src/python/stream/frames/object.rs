//! A reader of length-prefixed messages, and how it receives. What Python calls is in `class`.

use std::ops::{Deref, DerefMut};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use libc::iovec;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use super::arguments::ReadAhead;
use super::errors::{cut_off, out_of_step};
use super::filling::UnfinishedBody;
use super::kept::Kept;
use super::offer::Offer;
use super::source::Source;
use crate::io::framing::Decoder;
use crate::io::framing::buffered::{Destination, Frames, Next, Unfinished};
use crate::layout::DEFAULT_ALIGN;
use crate::os::fork;
use crate::os::iovecs::{self, Call};
use crate::python::block::object::MemBlock;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::RawBlock;
use crate::python::stream::source;
use crate::slot::Mirror;

/// Receives length-prefixed messages from a stream, each as a block of a group: an iterator of blocks.
///
/// A group's `frames` makes it. After any exception the next call continues where the last one stopped: the reader
/// keeps the bytes of an unfinished message. An unfinished message counts as a view of the group. Only one thread at a
/// time can receive; `free()` in another thread does not wait for it.
#[pyclass(frozen, weakref, module = "memgroup")]
pub(crate) struct FrameReader {
    pub(super) group: Py<MemGroup>,
    pub(super) source: Source,
    /// Who is receiving: 0 for nobody, else a thread of the process of that generation.
    receiver: AtomicU32,
    /// Locked by the receiver only.
    state: Mutex<ReaderState>,
}

/// A reader's state, in its receiver's hands.
pub(super) struct Receiving<'a> {
    state: MutexGuard<'a, ReaderState>,
    /// Ended after the lock is let go.
    _turn: Turn<'a>,
}

/// The right to be a reader's receiver.
struct Turn<'a>(&'a AtomicU32);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

impl Deref for Receiving<'_> {
    type Target = ReaderState;

    fn deref(&self) -> &ReaderState {
        &self.state
    }
}

impl DerefMut for Receiving<'_> {
    fn deref_mut(&mut self) -> &mut ReaderState {
        &mut self.state
    }
}

pub(super) struct ReaderState {
    pub(super) frames: Frames,
    /// There while the frames have a body that is not complete, and until that is returned.
    pub(super) filling: Option<UnfinishedBody>,
    /// What comes before it.
    pub(super) kept: Kept,
    /// What a source that is no descriptor stores into what is read ahead.
    pub(super) scratch: Option<Py<PyByteArray>>,
    /// Where the caller stores the next bytes.
    pub(super) offer: Option<Offer>,
    phase: ReaderPhase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReaderPhase {
    Open,
    /// The stream ended between two frames.
    Ended,
    Closed,
}

/// What became of the wish for a frame.
pub(super) enum Received<'py> {
    Frame(Bound<'py, MemBlock>),
    End,
    /// As much was read as was to be at once.
    NotYet,
}

impl FrameReader {
    pub(crate) fn new(
        group: &Bound<'_, MemGroup>,
        source: &Bound<'_, PyAny>,
        decoder: Decoder,
        read_ahead: ReadAhead,
    ) -> PyResult<Self> {
        group.get().check_open(group.py())?;
        let source = Source::of(source)?;
        // The buffer is ordinary memory: secrets are read straight to where they belong, and nothing ahead.
        let is_secret = group.get().is_secret(group.py());
        if is_secret && decoder.format().is_delimited() {
            return Err(PyValueError::new_err(
                "records with a delimiter pass through memory that is not the group's: a secret group takes messages that have \
                 a length",
            ));
        }
        let most = if is_secret { 0 } else { read_ahead.0 };
        let frames = Frames::new(decoder, most).map_err(|error| {
            PyMemoryError::new_err(format!("cannot read {most} bytes ahead: {error}; or pass a smaller read_ahead"))
        })?;
        let kept = Kept::new(group.get());
        let state = ReaderState { frames, filling: None, kept, scratch: None, offer: None, phase: ReaderPhase::Open };
        let (group, state) = (group.clone().unbind(), Mutex::new(state));
        Ok(Self { group, source, receiver: AtomicU32::new(0), state })
    }

    /// The part that has arrived of a message that is unfinished.
    pub(super) fn unfinished<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, MemBlock>>> {
        let state = self.state()?;
        let Some(filling) = &state.filling else { return Ok(None) };
        let there = match state.frames.unfinished() {
            Unfinished::Body { there, .. } => there,
            _ => filling.raw().len,
        };
        self.group.get().check(py, filling.raw().claim())?;
        MemBlock::new(self.group.bind(py), filling.raw().part(0, there), Mirror::ReadWrite).map(Some)
    }

    /// How many bytes an unfinished message lacks.
    pub(super) fn lacking(&self) -> PyResult<usize> {
        Ok(self.state()?.frames.lacking())
    }

    /// A copy of what is in no message yet.
    pub(super) fn read_ahead<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.state()?.frames.ahead()))
    }

    /// Closes the reader, with its unfinished message.
    pub(super) fn give_up(&self) -> PyResult<()> {
        // One that a fork found receiving holds nothing of this process, and receives nothing.
        if self.is_orphaned() {
            return Ok(());
        }
        let mut state = self.state()?;
        state.phase = ReaderPhase::Closed;
        state.filling = None;
        state.offer = None;
        state.kept.clear();
        Ok(())
    }

    /// Nobody waits here: who has it may be waiting for the stream, or be the caller's caller, interrupted by a signal.
    pub(super) fn state(&self) -> PyResult<Receiving<'_>> {
        // Whoever made the group has made sure that processes can be told apart.
        let this = fork::establish().map_err(crate::os::Refusal::in_preparation)?;
        if self.receiver.compare_exchange(0, this, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(PyRuntimeError::new_err(match self.is_orphaned() {
                true => {
                    "another thread was receiving when this process was forked, and what it received is its parent's: make \
                     a new reader where the stream is in step"
                }
                false => {
                    "this reader is receiving right now, in another thread or below a signal handler: wait for that call"
                }
            }));
        }
        // Nobody else has the turn, so nobody has the lock.
        Ok(Receiving { state: self.state.lock().unwrap_or_else(PoisonError::into_inner), _turn: Turn(&self.receiver) })
    }

    /// Whether it is the parent's reader for good: a thread was receiving when this process was forked.
    fn is_orphaned(&self) -> bool {
        let receiver = self.receiver.load(Ordering::Relaxed);
        receiver != 0 && receiver != fork::generation()
    }

    /// How many whole messages a call has received and not returned.
    pub(super) fn kept(&self) -> PyResult<usize> {
        Ok(self.state()?.kept.len())
    }

    /// The next frame. With `most`, never waits for the stream, and reads about so many bytes.
    pub(super) fn receive<'py>(&self, py: Python<'py>, most: Option<usize>) -> PyResult<Received<'py>> {
        let mut state = self.state()?;
        let (mut left, mut deadline) = (most, None);
        // What the caller of `receive` has was taken back.
        state.offer = None;
        loop {
            let is_open = self.check_receiving(py, &state)?;
            if state.kept.len() > 0 {
                return state.kept.take(self.group.bind(py), 1)?.get().block(py, 0).map(Received::Frame);
            }
            if !is_open {
                return Ok(Received::End);
            }
            if let Some(block) = self.begin(py, &mut state)? {
                return Ok(Received::Frame(block));
            }
            if left == Some(0) {
                return Ok(Received::NotYet);
            }
            if !self.read_more(py, &mut state, &mut left, &mut deadline)? {
                return state.end().map(|()| Received::End);
            }
        }
    }

    /// Raises where nothing can be received; whether the stream goes on. Asked each time: a signal handler may have
    /// forked.
    pub(super) fn check_receiving(&self, py: Python<'_>, state: &ReaderState) -> PyResult<bool> {
        state.check_process()?;
        self.group.get().check_open(py)?;
        match state.phase {
            ReaderPhase::Open => Ok(true),
            ReaderPhase::Ended => Ok(false),
            ReaderPhase::Closed => Err(PyValueError::new_err("this reader is closed: make a new one")),
        }
    }

    /// Reads from the stream to where it belongs, and looks at signals; whether the stream goes on.
    pub(super) fn read_more(
        &self,
        py: Python<'_>,
        state: &mut ReaderState,
        left: &mut Option<usize>,
        deadline: &mut Option<Instant>,
    ) -> PyResult<bool> {
        let count = self.read(py, state, *left, deadline)?;
        if count == 0 {
            // A group that was freed meanwhile is the worse news.
            self.group.get().check_open(py)?;
            return Ok(false);
        }
        *left = left.map(|left| left.saturating_sub(count));
        // Signals wait while there is a frame to return.
        if !state.frames.arrived(count) {
            py.check_signals()?;
        }
        Ok(true)
    }

    /// Begins the next frame if its size is known. The block of one that is complete.
    pub(super) fn begin<'py>(
        &self,
        py: Python<'py>,
        state: &mut ReaderState,
    ) -> PyResult<Option<Bound<'py, MemBlock>>> {
        if let Some(filling) = &state.filling {
            // It may have been freed meanwhile, by force.
            self.group.get().check(py, filling.raw().claim())?;
            if state.frames.is_filling() {
                return Ok(None);
            }
            return Ok(state.filling.take().map(|filling| filling.block.clone_ref(py).into_bound(py)));
        }
        let frames = &mut state.frames;
        let group = self.group.bind(py);
        // Until there is a block, nothing is taken out of what was read: this may be tried again.
        match frames.next().map_err(out_of_step)? {
            Next::Whole(extent) => {
                let raw = group.get().alloc_raw(py, extent.size(), DEFAULT_ALIGN)?;
                self.copy(py, raw, frames.whole(extent))?;
                let block = MemBlock::new(group, raw, Mirror::ReadWrite)?;
                frames.pass(extent);
                Ok(Some(block))
            }
            Next::Begun(extent) => {
                let raw = group.get().alloc_raw(py, extent.size(), DEFAULT_ALIGN)?;
                let filling = UnfinishedBody::new(group, raw)?;
                let there = frames.begin(extent);
                state.filling = Some(filling);
                self.copy(py, raw, there)?;
                Ok(None)
            }
            Next::Unknown => Ok(None),
        }
    }

    /// Copies bytes of the reader's own to the start of a raw block.
    fn copy(&self, py: Python<'_>, raw: RawBlock, from: &[u8]) -> PyResult<()> {
        let from = Bytes::new(from.as_ptr().cast_mut(), from.len());
        // SAFETY: access checks that the raw block is there; it is writable, at least as long, and nobody else's yet.
        self.group.get().access(py, raw.into(), None, from.len, move |to| unsafe { to.bytes().copy_from(from) })
    }

    /// Reads from the stream to where it belongs; how many bytes, and none at its end. With `most`, no more than about
    /// so many, and never waits.
    fn read(
        &self,
        py: Python<'_>,
        state: &mut ReaderState,
        most: Option<usize>,
        deadline: &mut Option<Instant>,
    ) -> PyResult<usize> {
        if !self.source.has_descriptor() {
            return self.read_object(py, state, most, deadline);
        }
        let source = self.source.object.bind(py);
        loop {
            state.check_process()?;
            let descriptor = source::descriptor(source)?;
            let Destination { from, lacking, mut ahead } = state.frames.room()?;
            let wanted = lacking.min(most.unwrap_or(usize::MAX));
            if wanted < lacking {
                ahead = &mut [];
            }
            let body = state
                .filling
                .as_ref()
                .map_or(Bytes::new(std::ptr::dangling_mut(), 0), |filling| filling.raw().part(from, wanted).bytes());
            let ahead = Bytes::new(ahead.as_mut_ptr(), ahead.len());
            match py.detach(move || read(descriptor, body, ahead)) {
                Ok(count) => return Ok(count),
                Err(libc::EINTR) => py.check_signals()?,
                Err(libc::EAGAIN) if most.is_none() => source::wait_to_read(source, deadline)?,
                Err(code) => {
                    // Where the group was freed by force, that is the reason.
                    self.group.get().check_open(py)?;
                    return Err(source::os_error(code, None));
                }
            }
        }
    }
}

/// Reads into the rest of a body and what lies behind it, with the code of the error as in `errno(3)`.
pub(super) fn read(descriptor: RawFd, body: Bytes, ahead: Bytes) -> Result<usize, i32> {
    let stretches = [body, ahead].map(|bytes| iovec { iov_base: bytes.start.cast(), iov_len: bytes.len });
    let stretches = if body.len == 0 { &stretches[1..] } else { &stretches[..] };
    // SAFETY: the one is the rest of a body that nobody else was given. Its slot is held, so its addresses are mapped or
    // at least reserved, whatever becomes of the group. The other is the reader's own, which nobody else is the
    // receiver of.
    unsafe { iovecs::transfer(descriptor, Call::Read, stretches) }.map(|moved| moved.bytes)
}

impl ReaderState {
    /// The rest of a message that was begun before a fork is the parent's to receive: both would write it to the same
    /// bytes.
    pub(super) fn check_process(&self) -> PyResult<()> {
        match &self.filling {
            Some(filling) if filling.generation != fork::generation() => Err(PyRuntimeError::new_err(
                "a message was unfinished when this process was forked, and is its parent's to receive: close this \
                 reader, and make a new one where the stream is in step",
            )),
            _ => Ok(()),
        }
    }

    /// The stream has ended.
    pub(super) fn end(&mut self) -> PyResult<()> {
        match cut_off(&self.frames) {
            Some(error) => Err(error),
            None => {
                self.phase = ReaderPhase::Ended;
                Ok(())
            }
        }
    }
}
