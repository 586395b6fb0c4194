//! Many files, or many ranges of one, read into one list: `read_files` and `read_ranges` of a group.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use pyo3::exceptions::{PyEOFError, PyMemoryError, PyOSError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::error::Error;
use crate::fallible::{self, CStrings};
use crate::io::Stop;
use crate::io::files::{self, Announced, Files, Longer, Unreadable};
use crate::io::ranges::{Ranges, Unread, Why};
use crate::io::transfer::Keeper;
use crate::layout::DEFAULT_ALIGN;
use crate::list::{Builder, Change, ListLayout};
use crate::os::regular::{self, Kind};
use crate::os::temporary::Temporary;
use crate::python::block::raw::Claim;
use crate::python::ffi::arguments::{described, made_by_group, type_name};
use crate::python::ffi::memory::{has_memory_for_objects, tuple_of_numbers};
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::ffi::text::plural;
use crate::python::group::object::MemGroup;
use crate::python::group::state::Runs;
use crate::python::list::object::MemList;
use crate::python::list::sizes;
use crate::python::stream::pinned::Pinned;
use crate::python::stream::source::{self, os_error};
use crate::slot::{LiveSlots, Mirror};

/// What `read_files` and `read_ranges` have read, and what they could not read.
///
/// It unpacks as `blocks, errors`.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct ReadResult {
    /// A MemList with a block for each file or range, as long as what was read of it.
    #[pyo3(get)]
    blocks: Py<MemList>,
    /// What could not be read in full: a dict of exceptions, by the number of the file or range.
    #[pyo3(get)]
    errors: Py<PyDict>,
    /// Numbers of the files that had become longer or shorter than they had announced.
    ///
    /// They are whole all the same.
    #[pyo3(get)]
    changed: Py<PyTuple>,
    /// Numbers of the files that announced no size and had content, as those of /proc.
    #[pyo3(get)]
    unannounced: Py<PyTuple>,
    /// Bytes of the group that were allocated and then given up.
    ///
    /// A file or range was not as long as expected.
    #[pyo3(get)]
    abandoned: usize,
}

#[pymethods]
impl ReadResult {
    #[new]
    #[pyo3(signature = (*_args, **_names), text_signature = None)]
    fn refuse(_args: &Bound<'_, PyTuple>, _names: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Err(made_by_group("ReadResult", "group.read_files(paths) or group.read_ranges(file, offsets, sizes)"))
    }

    /// Return the blocks, if all was read.
    ///
    /// Raises:
    ///     ExceptionGroup: Some of it was not; it holds `errors`.
    fn check(&self, py: Python<'_>) -> PyResult<Py<MemList>> {
        let errors = self.errors.bind(py);
        if errors.is_empty() {
            return Ok(self.blocks.clone_ref(py));
        }
        let (failed, all) = (errors.len(), self.blocks.get().len());
        let message = format!("{failed} of {all} could not be read");
        let group = py.import("builtins")?.getattr("ExceptionGroup")?.call1((message, errors.values()))?;
        Err(PyErr::from_value(group))
    }

    fn __iter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let pair = PyTuple::new(py, [this.blocks.bind(py).as_any(), this.errors.bind(py).as_any()])?;
        Ok(pair.try_iter()?.into_any().unbind())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (all, errors) = (self.blocks.get().len(), self.errors.bind(py).len());
        format!("<ReadResult, {all} block{}, {errors} error{}>", plural(all), plural(errors))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.blocks)?;
        visit.call(&self.errors)?;
        visit.call(&self.changed)?;
        visit.call(&self.unannounced)
    }
}

/// The most that an error of a file takes, with its number and its text.
const NOTE_BYTES: usize = 2048;

/// A list that is being read into, and that nobody knows yet.
struct Reading<'py> {
    group: Bound<'py, MemGroup>,
    layout: ListLayout,
    epoch: u64,
    errors: Bound<'py, PyDict>,
}

impl<'py> Reading<'py> {
    fn new(group: &Bound<'py, MemGroup>, builder: Builder) -> PyResult<Self> {
        let columns = builder.finish();
        let Runs { runs, epoch } = group.get().alloc_many_raw(group.py(), &columns)?;
        let errors = PyDict::new(group.py());
        // What lies between ranges of a file is read to between the objects.
        let layout = ListLayout::new(columns, runs).with_written_gaps();
        Ok(Self { group: group.clone(), layout, epoch, errors })
    }

    /// Notes why each of some files or ranges could not be read: its number, and the exception.
    fn note<T>(&self, unread: &[T], why: impl Fn(&T) -> PyResult<(usize, PyErr)>) -> PyResult<()> {
        has_memory_for_objects(unread.len().saturating_mul(NOTE_BYTES))?;
        unread.iter().try_for_each(|unread| {
            let (number, error) = why(unread)?;
            self.errors.set_item(number, error.into_value(self.group.py()))
        })
    }

    fn claim(&self) -> Claim {
        Claim { epoch: self.epoch, by_exporter: false }
    }

    /// What came of it, with the changes by number.
    fn finish(
        self,
        changes: &[(usize, Change)],
        changed: Vec<usize>,
        unannounced: Vec<usize>,
        abandoned: usize,
    ) -> PyResult<ReadResult> {
        let py = self.group.py();
        // Not if the memory was taken away by force, or the group ended meanwhile.
        self.group.get().check(py, self.claim())?;
        Ok(ReadResult {
            blocks: MemList::of_placed(&self.group, self.layout.changed(changes)?, self.epoch)?.unbind(),
            errors: self.errors.unbind(),
            changed: tuple_of_numbers(py, &changed)?.unbind(),
            unannounced: tuple_of_numbers(py, &unannounced)?.unbind(),
            abandoned,
        })
    }
}

/// Told how far long work is.
struct Progress<'a, 'py> {
    callback: Option<&'a Bound<'py, PyAny>>,
    total: usize,
}

impl<'a, 'py> Progress<'a, 'py> {
    fn new(callback: Option<&'a Bound<'py, PyAny>>, total: usize) -> PyResult<Self> {
        match callback {
            Some(callback) if !callback.is_callable() => {
                Err(PyTypeError::new_err(format!("progress must be a function or None, not {}", described(callback))))
            }
            _ => Ok(Self { callback, total }),
        }
    }

    fn tell(&self, done: usize) -> PyResult<()> {
        self.callback.map_or(Ok(()), |callback| callback.call1((done, self.total)).map(drop))
    }

    /// What is due between two stretches of work.
    fn check_signals(&self, py: Python<'_>, done: usize) -> PyResult<()> {
        py.check_signals()?;
        self.tell(done)
    }
}

/// The file of `read_ranges`, and what to call it in an error.
struct Source<'py> {
    fd: RawFd,
    name: Bound<'py, PyAny>,
    /// Where it was opened for this.
    _file: Option<Temporary>,
}

impl<'py> Source<'py> {
    fn of(file: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = file.py();
        let source = if file.is_instance_of::<PyInt>() || file.hasattr("fileno")? {
            source::check_unencrypted(file)?;
            let fd = source::number(file)?;
            let name = file.getattr_opt("name")?.unwrap_or_else(|| file.clone());
            Self { fd, name, _file: None }
        } else {
            if !is_path(file)? {
                return Err(PyTypeError::new_err(format!(
                    "file must be a path, a file descriptor or an object with fileno() that gives one, not {}",
                    described(file)
                )));
            }
            let path = CString::new(encoded(file, || "file".into())?.as_bytes())?;
            let opened = loop {
                match py.detach(|| regular::open_at_once(&path)) {
                    Ok(opened) => break opened,
                    Err(libc::EINTR) => py.check_signals()?,
                    Err(libc::EAGAIN) => {
                        py.detach(regular::wait_for_lease);
                        py.check_signals()?;
                    }
                    Err(code) => return Err(os_error(code, Some(file))),
                }
            };
            Self { fd: opened.as_fd().as_raw_fd(), name: file.clone(), _file: Some(opened) }
        };
        if source.fd < 0 {
            return Err(source.error(libc::EBADF));
        }
        // SAFETY: it is not negative, and the call that borrows it says so if it is closed.
        let fd = unsafe { BorrowedFd::borrow_raw(source.fd) };
        match regular::kind_of(fd) {
            Err(code) => Err(source.error(code)),
            Ok(Kind::Directory) => Err(source.error(libc::EISDIR)),
            Ok(_) => Ok(source),
        }
    }

    fn error(&self, code: i32) -> PyErr {
        os_error(code, Some(&self.name))
    }

    /// The exception where nothing can be read at all: the file is not open for reading, or no place in it can be named. So
    /// for one range as for all, unless it became so in the midst of it.
    fn unreadable(&self, unread: &[Unread], layout: &ListLayout) -> Option<PyErr> {
        let (first, sizes) = (unread.first()?, layout.columns());
        let Why::Refused(code @ (libc::EBADF | libc::ESPIPE | libc::EISDIR)) = first.why else { return None };
        let is_nothing_read = unread.iter().all(|unread| unread.read == 0 && unread.why == first.why);
        // Those without bytes are never unread.
        let many = (0..sizes.len()).filter(|&object| sizes.size(object) > 0).count();
        (is_nothing_read && unread.len() == many).then(|| self.error(code))
    }

    /// The exception for a range that was not read in full.
    fn unread(&self, unread: &Unread, offset: u64, size: usize) -> PyResult<PyErr> {
        let read = unread.read;
        match unread.why {
            Why::Ended => {
                let name = self.name.repr()?;
                Ok(PyEOFError::new_err(format!(
                    "{name} ended after {read} of the {size} bytes from offset {offset} on"
                )))
            }
            Why::Refused(code) => Ok(self.error(code)),
        }
    }
}

/// See `MemGroup.read_ranges`.
pub(crate) fn read_ranges<'py>(
    group: &Bound<'py, MemGroup>,
    file: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
    sizes: &Bound<'py, PyAny>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<ReadResult> {
    let py = group.py();
    group.get().check_open(py)?;
    let offsets = sizes::offsets(offsets)?;
    let builder = sizes::builder(group, sizes, DEFAULT_ALIGN)?;
    if offsets.len() != builder.len() {
        let (offsets, sizes) = (offsets.len(), builder.len());
        return Err(PyValueError::new_err(format!("{offsets} offsets and {sizes} sizes: pass as many of each")));
    }
    let source = Source::of(file)?;
    let reading = Reading::new(group, builder)?;
    let progress = Progress::new(progress, offsets.len())?;
    let pinned = Pinned::new(py, group.get(), reading.claim(), &reading.layout)?;
    let mut ranges = py.detach(|| Ranges::new(source.fd, pinned.slots(), &reading.layout, &offsets))?;
    // SAFETY: the slots are pinned, and this layer makes no Rust reference into group memory.
    while py.detach(|| unsafe { ranges.run() })? != Stop::Done {
        progress.check_signals(py, ranges.done())?;
        pinned.renew();
    }
    progress.tell(ranges.done())?;
    let unread = ranges.into_unread()?;
    // The list is there, or what failed has the end of the group for its reason.
    group.get().check(py, reading.claim())?;
    if let Some(error) = source.unreadable(&unread, &reading.layout) {
        return Err(error);
    }
    let size = |unread: &Unread| reading.layout.columns().size(unread.object);
    let abandoned = unread.iter().map(|unread| size(unread) - unread.read).sum();
    reading
        .note(&unread, |unread| Ok((unread.object, source.unread(unread, offsets[unread.object], size(unread))?)))?;
    let changes = fallible::collect(unread.iter().map(|unread| (unread.object, Change::Shorter(unread.read))))?;
    reading.finish(&changes, Vec::new(), Vec::new(), abandoned)
}

/// See `MemGroup.read_files`.
pub(crate) fn read_files<'py>(
    group: &Bound<'py, MemGroup>,
    paths: &Bound<'py, PyAny>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<ReadResult> {
    let py = group.py();
    group.get().check_open(py)?;
    let names = names(paths)?;
    let mut paths = CStrings::default();
    for (index, name) in names.iter().enumerate() {
        paths.push(encoded(&name, || format!("paths[{index}]"))?.as_bytes())?;
    }
    let progress = Progress::new(progress, paths.len())?;
    let Announced { sizes, unreadable, open, .. } = announced(group, &paths, &progress)?;
    let mut builder = Builder::new(DEFAULT_ALIGN, group.get().largest(py));
    builder.extend(sizes.into_iter()).map_err(|unfit| unfit.error)?;
    let reading = Reading::new(group, builder)?;
    let pinned = Pinned::new(py, group.get(), reading.claim(), &reading.layout)?;
    let is_secret = group.get().is_secret(py);
    let mut files = Files::new(&paths, pinned.slots(), &reading.layout, unreadable, open, is_secret)?;
    let mut longer = Longest::default();
    loop {
        // SAFETY: the slots are pinned, and this layer makes no Rust reference into group memory.
        match py.detach(|| unsafe { files.run() })? {
            files::Stop::Done => break,
            files::Stop::Pause => {
                progress.check_signals(py, files.done())?;
                pinned.renew();
            }
            files::Stop::Longer(more) => longer.add(&reading, pinned.slots(), &more)?,
        }
    }
    progress.tell(files.done())?;
    let files::Outcome { unreadable, shorter } = files.into_outcome();
    group.get().check(py, reading.claim())?;
    reading.note(&unreadable, |&(file, why)| Ok((file, unreadable_error(why, &names.get_item(file)?))))?;
    let size = |file| reading.layout.columns().size(file);
    let abandoned = longer.abandoned + shorter.iter().map(|&(file, len)| size(file) - len).sum::<usize>();
    let is_readable = |file: &usize| unreadable.binary_search_by_key(file, |&(file, _)| file).is_err();
    let mut changed = longer.changed;
    fallible::extend(&mut changed, shorter.iter().map(|&(file, _)| file).filter(is_readable))?;
    changed.sort_unstable();
    let mut changes = longer.moved;
    fallible::extend(&mut changes, shorter.iter().map(|&(file, len)| (file, Change::Shorter(len))))?;
    changes.sort_unstable_by_key(|&(file, _)| file);
    reading.finish(&changes, changed, longer.unannounced, abandoned)
}

/// The files that are longer than they had announced.
#[derive(Default)]
struct Longest {
    /// Where they went.
    moved: Vec<(usize, Change)>,
    changed: Vec<usize>,
    unannounced: Vec<usize>,
    abandoned: usize,
}

impl Longest {
    /// Puts a file where there is room for it. Where there is none, it keeps what it has, and the error says so.
    fn add(&mut self, reading: &Reading<'_>, slots: LiveSlots<'_>, longer: &Longer) -> PyResult<()> {
        let (py, group) = (reading.group.py(), reading.group.get());
        let object = reading.layout.object(longer.object);
        let piece = match group.alloc_raw(py, object.len + longer.rest.len(), DEFAULT_ALIGN) {
            Ok(piece) => piece,
            Err(error) if error.is_instance_of::<PyMemoryError>(py) => {
                return reading.errors.set_item(longer.object, error.into_value(py));
            }
            Err(error) => return Err(error),
        };
        let rest = Bytes::new(longer.rest.as_ptr().cast_mut(), longer.rest.len());
        let span = group.access(py, piece.into(), Some(reading.claim()), piece.len, move |to| {
            // SAFETY: the object is one of the list, the slots of which are pinned.
            let from =
                Bytes::new(unsafe { crate::io::transfer::address(slots, object, Mirror::ReadWrite) }, object.len);
            // SAFETY: access has just checked that the list is there, and the piece, which is longer.
            unsafe { to.bytes().copy_from(from) };
            // SAFETY: the same, by as many bytes as rest has.
            unsafe { to.bytes().tail(object.len).copy_from(rest) };
            to.span()
        })?;
        fallible::push(&mut self.moved, (longer.object, Change::Moved(span)))?;
        self.abandoned += object.len;
        let numbers = if longer.is_unannounced { &mut self.unannounced } else { &mut self.changed };
        Ok(fallible::push(numbers, longer.object)?)
    }
}

/// What the files announce. None is done meanwhile, but who wants to stop can.
fn announced(group: &Bound<'_, MemGroup>, paths: &CStrings, progress: &Progress<'_, '_>) -> PyResult<Announced> {
    let py = group.py();
    let largest = group.get().largest(py);
    let mut announced = Announced::default();
    while announced.sizes.len() < paths.len() {
        py.detach(|| announced.ask(paths, largest))?;
        match announced.sizes.len() < paths.len() {
            true => progress.check_signals(py, 0)?,
            false => py.check_signals()?,
        }
    }
    Ok(announced)
}

fn unreadable_error(why: Unreadable, name: &Bound<'_, PyAny>) -> PyErr {
    let error = |code: i32, words: String| PyOSError::new_err((code, words, name.clone().unbind()));
    match why {
        Unreadable::Refused(code) => os_error(code, Some(name)),
        Unreadable::NotRegular => error(libc::EINVAL, "Not a regular file".into()),
        Unreadable::Unlocked { locked, limit } => Error::Unlocked { wanted: files::SPILL_BYTES, locked, limit }.into(),
        Unreadable::GoesOn { announced: true } => {
            error(libc::EFBIG, "Grew while it was read by more than 64 MiB".into())
        }
        Unreadable::GoesOn { announced: false } => {
            error(libc::EFBIG, "Announces no size and goes on beyond 64 MiB".into())
        }
        Unreadable::TooLarge(size) => {
            let name = name.repr().map_or_else(|_| "a file".into(), |name| name.to_string());
            PyMemoryError::new_err(format!(
                "{name} has {size} bytes, more than a slot of this group: make the group with a larger base"
            ))
        }
    }
}

/// The paths as users passed them.
fn names<'py>(paths: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let no_paths = || {
        PyTypeError::new_err(format!(
            "paths must be an iterable of paths, not {}: pass [path] for one",
            type_name(paths)
        ))
    };
    if paths.is_instance_of::<PyString>() || paths.is_instance_of::<PyBytes>() {
        return Err(no_paths());
    }
    let iterator = paths.try_iter().map_err(|error| match error.is_instance_of::<PyTypeError>(paths.py()) {
        true => no_paths(),
        false => error,
    })?;
    let names = PyList::empty(paths.py());
    iterator.into_iter().try_for_each(|name| names.append(name?))?;
    Ok(names)
}

/// Whether an object is a str, bytes or an os.PathLike.
fn is_path(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyBytes>()
        || object.get_type().hasattr("__fspath__")?)
}

/// A path as the kernel takes it: bytes without NUL. An error names it as `name` does.
fn encoded<'py>(path: &Bound<'py, PyAny>, name: impl Fn() -> String) -> PyResult<Bound<'py, PyBytes>> {
    if !is_path(path)? {
        let (name, path) = (name(), described(path));
        return Err(PyTypeError::new_err(format!("{name} must be a path (str, bytes or os.PathLike), not {path}")));
    }
    let with_nul =
        || PyValueError::new_err(format!("{} contains NUL, which no path does: {}", name(), described(path)));
    let mut encoded: *mut ffi::PyObject = std::ptr::null_mut();
    // SAFETY: the object is alive, and the place for the result outlives the call.
    let converted = unsafe { ffi::PyUnicode_FSConverter(path.as_ptr(), (&raw mut encoded).cast()) };
    if converted == 0 {
        let error = PyErr::fetch(path.py());
        // Of a str that cannot be encoded Python says so itself.
        return Err(if error.get_type(path.py()).is(path.py().get_type::<PyValueError>()) {
            with_nul()
        } else {
            error
        });
    }
    // SAFETY: it is a new reference to bytes.
    let encoded = unsafe { Bound::from_owned_ptr_or_err(path.py(), encoded) }?.cast_into::<PyBytes>()?;
    if encoded.as_bytes().contains(&0) {
        return Err(with_nul());
    }
    Ok(encoded)
}
