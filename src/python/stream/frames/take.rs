//! Many messages as one list, without an object for each.

use std::os::fd::RawFd;
use std::time::Instant;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::out_of_step;
use super::kept::{Failure, Kept};
use super::object::{FrameReader, ReaderState, read};
use crate::io::framing::buffered::{Destination, Frames, Next};
use crate::layout::{DEFAULT_ALIGN, MAX_SLOT_BYTES};
use crate::list::{Columns, ListLayout};
use crate::python::ffi::arguments::type_name;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::Claim;
use crate::python::group::state::Runs;
use crate::python::list::object::MemList;
use crate::python::stream::source;

/// About how much is read before signals are looked at.
const SIGNAL_CHECK_BYTES: usize = 1 << 20;

/// Which messages a call is to return.
pub(super) enum Goal {
    /// So many.
    Count(usize),
    /// Those up to the first that starts with these bytes, which is the last.
    Start(Box<[u8]>),
    /// Those up to the first for which this function returns true.
    Test(Py<PyAny>),
}

impl Goal {
    /// What ends a list: the start of its last message, or a function.
    pub(super) fn last(last: &Bound<'_, PyAny>) -> PyResult<Self> {
        match last.cast::<PyBytes>() {
            Ok(start) => Ok(Self::Start(start.as_bytes().into())),
            Err(_) if last.is_callable() => Ok(Self::Test(last.clone().unbind())),
            Err(_) => {
                let name = type_name(last);
                Err(PyTypeError::new_err(format!("last must be bytes or a function of a message, not {name}")))
            }
        }
    }

    fn is_last(&self, body: &[u8]) -> bool {
        matches!(self, Self::Start(start) if body.starts_with(start))
    }

    /// How many messages are to be returned, if that is known: of `kept` ones the last was found to be the last, or not.
    fn count(&self, kept: usize, is_last: bool) -> Option<usize> {
        match self {
            Self::Count(count) if *count <= kept => Some(*count),
            Self::Start(_) if is_last => Some(kept),
            _ => None,
        }
    }

    /// How many more are to be found at the most.
    fn lacks(&self, kept: usize) -> usize {
        match self {
            Self::Count(count) => count.saturating_sub(kept),
            Self::Start(_) | Self::Test(_) => usize::MAX,
        }
    }
}

/// Why a detached thread stopped collecting.
enum Stop {
    /// The last message was found.
    Last,
    /// There are as many as were asked for, or as are to be looked at first.
    Enough,
    /// The stream must be read by other means: straight into a block, or by an attached thread.
    Read,
    /// As much was read as was to be at once.
    Paused,
    /// The stream has ended.
    Ended,
    Errno(i32),
    /// The group refuses memory.
    NoRoom,
    Failed(Failure),
}

/// What a thread that collects messages works with.
struct Collector<'a> {
    frames: &'a mut Frames,
    kept: &'a mut Kept,
    group: &'a MemGroup,
    goal: &'a Goal,
}

impl Collector<'_> {
    /// Collects messages and reads, until there are enough or something else is to be done first.
    fn run(&mut self, descriptor: Option<RawFd>, left: &mut usize) -> Stop {
        loop {
            match self.collect_all() {
                Stop::Read => {}
                stop => return stop,
            }
            let Some(descriptor) = descriptor else { return Stop::Read };
            if *left == 0 {
                return Stop::Paused;
            }
            match self.read(descriptor) {
                Ok(0) => return Stop::Ended,
                Ok(count) => *left = left.saturating_sub(count),
                Err(stop) => return stop,
            }
        }
    }

    /// Collects what was read ahead. `Stop::Read` where what comes next is small and has not arrived whole.
    fn collect_all(&mut self) -> Stop {
        loop {
            let lacks = self.goal.lacks(self.kept.len());
            if lacks == 0 {
                return Stop::Enough;
            }
            let found = self.kept.find(self.frames, lacks, |body| self.goal.is_last(body));
            let (columns, found) = match found {
                Ok(Some(found)) => found,
                Ok(None) => return Stop::Read,
                Err(failure) => return Stop::Failed(failure),
            };
            let (kept, frames) = (&mut *self.kept, &mut *self.frames);
            let (objects, nbytes) = (columns.len(), columns.nbytes());
            let stored = self.group.alloc_many_detached(kept.claim(), columns, |layout, epoch, slots| {
                // SAFETY: the layout was just allocated in those slots, and nobody else knows of it.
                unsafe { kept.store(frames, found, &layout, epoch, slots) }
            });
            match stored {
                None => return Stop::NoRoom,
                Some(Err(error)) => return Stop::Failed(Failure::Memory(error)),
                Some(Ok(())) => self.kept.note_uncounted(objects, nbytes),
            }
            if found.is_last {
                return Stop::Last;
            }
            // The function may find the last among these: nothing is waited for before.
            if let Goal::Test(_) = self.goal {
                return Stop::Enough;
            }
        }
    }

    /// Reads ahead, if what comes next is small. How many bytes, and none at the end of the stream.
    fn read(&mut self, descriptor: RawFd) -> Result<usize, Stop> {
        match self.frames.next() {
            Ok(Next::Begun(extent)) if !self.frames.fits(extent) => return Err(Stop::Read),
            Ok(_) => {}
            Err(misfit) => return Err(Stop::Failed(Failure::OutOfStep(misfit))),
        }
        let Destination { ahead, .. } = self.frames.room().map_err(|error| Stop::Failed(Failure::Memory(error)))?;
        let ahead = Bytes::new(ahead.as_mut_ptr(), ahead.len());
        let count = read(descriptor, Bytes::new(std::ptr::dangling_mut(), 0), ahead).map_err(Stop::Errno)?;
        self.frames.arrived(count);
        Ok(count)
    }
}

/// What a step came to.
enum Step {
    /// There may be more messages now. Whether the last one is the last that is wanted.
    Went { is_last: bool },
    /// The stream can give no more.
    Ended,
    /// As much was read as was to be at once.
    NotYet,
}

/// How much a call may still read, and how long it may wait.
struct Patience {
    /// With this, it never waits for the stream.
    left: Option<usize>,
    deadline: Option<Instant>,
}

impl FrameReader {
    /// The next messages as a list. With `most`, never waits for the stream, and reads about so many bytes: `None` where
    /// these do not reach. The first `tested` messages are known not to be the last.
    pub(super) fn take<'py>(
        &self,
        py: Python<'py>,
        goal: &Goal,
        most: Option<usize>,
        mut tested: usize,
    ) -> PyResult<Option<Bound<'py, MemList>>> {
        let mut state = self.state()?;
        let group = self.group.bind(py);
        state.offer = None;
        let mut patience = Patience { left: most, deadline: None };
        let last = match goal {
            Goal::Start(_) => state.kept.position(py, group.get(), tested, |body| goal.is_last(body))?,
            Goal::Count(_) | Goal::Test(_) => None,
        };
        let mut many = last.map(|last| last + 1).or(goal.count(state.kept.len(), false));
        loop {
            let is_open = self.check_receiving(py, &state)?;
            if let Goal::Test(test) = goal {
                many = self.test(py, &state.kept, test, &mut tested)?;
            }
            if let Some(many) = many {
                return state.kept.take(group, many).map(Some);
            }
            if !is_open {
                let many = state.kept.len();
                return state.kept.take(group, many).map(Some);
            }
            match self.step(py, &mut state, goal, &mut patience)? {
                Step::Went { is_last } => many = goal.count(state.kept.len(), is_last),
                Step::NotYet => return Ok(None),
                // What cannot be received is told to the next call: this one has something to return.
                Step::Ended if state.kept.len() > 0 => {
                    let many = state.kept.len();
                    return state.kept.take(group, many).map(Some);
                }
                Step::Ended => {
                    // What has begun is shown as partial.
                    self.begin(py, &mut state)?;
                    state.end()?;
                }
            }
        }
    }

    /// How many messages are to be returned, if there is one for which the function returns true among those that it has
    /// not been called for.
    fn test(&self, py: Python<'_>, kept: &Kept, test: &Py<PyAny>, tested: &mut usize) -> PyResult<Option<usize>> {
        while *tested < kept.len() {
            let block = kept.block(self.group.bind(py), *tested)?;
            *tested += 1;
            if test.call1(py, (block,))?.is_truthy(py)? {
                return Ok(Some(*tested));
            }
        }
        Ok(None)
    }

    /// Collects messages or reads.
    fn step(&self, py: Python<'_>, state: &mut ReaderState, goal: &Goal, patience: &mut Patience) -> PyResult<Step> {
        let went = Step::Went { is_last: false };
        if state.filling.is_some() {
            return if state.frames.is_filling() {
                self.read_attached(py, state, patience)
            } else {
                self.keep_filled(py, state, goal).map(|is_last| Step::Went { is_last })
            };
        }
        match self.collect(py, state, goal, patience)? {
            Stop::Last => return Ok(Step::Went { is_last: true }),
            Stop::Enough => {}
            Stop::Ended => {
                self.group.get().check_open(py)?;
                return Ok(Step::Ended);
            }
            Stop::Failed(Failure::OutOfStep(_)) if state.kept.len() > 0 => return Ok(Step::Ended),
            Stop::Failed(Failure::OutOfStep(misfit)) => return Err(out_of_step(misfit)),
            Stop::Failed(Failure::Memory(error)) => return Err(error.into()),
            Stop::NoRoom => return self.place_one(py, state, goal).map(|is_last| Step::Went { is_last }),
            Stop::Paused if patience.left == Some(0) => return Ok(Step::NotYet),
            Stop::Paused | Stop::Errno(libc::EINTR) => py.check_signals()?,
            Stop::Errno(libc::EAGAIN) if patience.left.is_none() => {
                source::wait_to_read(self.source.object.bind(py), &mut patience.deadline)?;
            }
            Stop::Errno(code) => {
                self.group.get().check_open(py)?;
                return Err(source::os_error(code, None));
            }
            Stop::Read => match state.frames.next().map_err(out_of_step)? {
                Next::Begun(extent) if !state.frames.fits(extent) => drop(self.begin(py, state)?),
                _ => return self.read_attached(py, state, patience),
            },
        }
        Ok(went)
    }

    /// Collects messages while other Python threads run.
    fn collect(&self, py: Python<'_>, state: &mut ReaderState, goal: &Goal, patience: &mut Patience) -> PyResult<Stop> {
        let source = &self.source;
        let descriptor = source.has_descriptor().then(|| source::descriptor(source.object.bind(py))).transpose()?;
        let budget = patience.left.unwrap_or(usize::MAX).min(SIGNAL_CHECK_BYTES);
        let mut rest = budget;
        let ReaderState { frames, kept, .. } = state;
        let group = self.group.get();
        let stop = py.detach(|| Collector { frames, kept, group, goal }.run(descriptor, &mut rest));
        patience.left = patience.left.map(|left| left - (budget - rest));
        state.kept.count(py, group)?;
        Ok(stop)
    }

    /// Reads to where a message lacks something.
    fn read_attached(&self, py: Python<'_>, state: &mut ReaderState, patience: &mut Patience) -> PyResult<Step> {
        if patience.left == Some(0) {
            return Ok(Step::NotYet);
        }
        let Patience { left, deadline } = patience;
        Ok(match self.read_more(py, state, left, deadline)? {
            true => Step::Went { is_last: false },
            false => Step::Ended,
        })
    }

    /// Keeps a message that has gone straight into a block. Whether it is the last that is wanted.
    fn keep_filled(&self, py: Python<'_>, state: &mut ReaderState, goal: &Goal) -> PyResult<bool> {
        let Some(filling) = &state.filling else { return Ok(false) };
        let raw = filling.raw();
        let (run, is_last) = self.group.get().while_there(py, raw.into(), |block| {
            // SAFETY: the block is there while the group is looked at, and the slice is not used after this.
            (block.run(0), goal.is_last(unsafe { block.bytes().as_slice() }))
        })?;
        let columns = Columns::uniform(1, raw.len, DEFAULT_ALIGN, MAX_SLOT_BYTES)?;
        state.kept.push(&ListLayout::new(columns, Box::new([run])), raw.epoch)?;
        state.filling = None;
        Ok(is_last)
    }

    /// Places the next message, where the group has no room for more of them or says why. Whether it is the last that is
    /// wanted.
    fn place_one(&self, py: Python<'_>, state: &mut ReaderState, goal: &Goal) -> PyResult<bool> {
        let group = self.group.get();
        let ReaderState { frames, kept, .. } = state;
        let found = kept.find(frames, 1, |body| goal.is_last(body)).map_err(|failure| match failure {
            Failure::OutOfStep(misfit) => out_of_step(misfit),
            Failure::Memory(error) => error.into(),
        })?;
        let Some((columns, found)) = found else { return Ok(false) };
        let Runs { runs, epoch } = group.alloc_many_raw(py, &columns)?;
        let many = columns.nbytes();
        let layout = ListLayout::new(columns, runs);
        group.access_slots(py, Claim::of_epoch(epoch), None, many, |slots| {
            // SAFETY: the layout was just allocated and found in those slots, and nobody else knows of it.
            unsafe { kept.store(frames, found, &layout, epoch, slots) }
        })??;
        Ok(found.is_last)
    }
}
