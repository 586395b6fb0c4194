//! The files below some paths.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::search::walk::{Found, Start, Walk};

/// Files that are found before signals are heard.
const MAX_FILES: usize = 128;

/// Finds the files below some paths: an iterator of lists of paths, as bytes, in the order of their names.
///
/// A symlink is followed only if it is one of `paths`.
///
/// Args:
///     paths: Files and directories, as bytes; the current directory if there are none.
///     ignore: Whether to skip paths that the files .gitignore name.
#[pyclass(frozen, module = "memgroup._memgroup")]
pub(crate) struct TreeWalk(Mutex<State>);

struct State {
    walk: Walk,
    skipped: BTreeMap<&'static str, usize>,
    unreadable: Vec<(Box<[u8]>, i32)>,
}

#[pymethods]
impl TreeWalk {
    #[new]
    #[pyo3(signature = (paths, ignore))]
    fn new(paths: Vec<Vec<u8>>, ignore: bool) -> Self {
        let walk = Walk::new(Start::Roots(paths), ignore);
        Self(Mutex::new(State { walk, skipped: BTreeMap::new(), unreadable: Vec::new() }))
    }

    /// How many files of each other kind were skipped so far: symlink, fifo, socket, device.
    #[getter]
    fn skipped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let skipped = PyDict::new(py);
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.skipped.iter().try_for_each(|(kind, number)| skipped.set_item(kind, number))?;
        Ok(skipped)
    }

    /// The paths so far that cannot be examined or listed, each with the number of the error.
    #[getter]
    fn unreadable<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, i32)> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.unreadable.iter().map(|(path, code)| (PyBytes::new(py, path), *code)).collect()
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> Option<Vec<Bound<'py, PyBytes>>> {
        let paths = py.detach(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).files());
        (!paths.is_empty()).then(|| paths.iter().map(|path| PyBytes::new(py, path)).collect())
    }
}

impl State {
    /// Some more files.
    fn files(&mut self) -> Vec<Box<[u8]>> {
        let mut files = Vec::new();
        while files.len() < MAX_FILES {
            match self.walk.next() {
                Some(Found::File(file)) => files.push(file.path),
                Some(Found::Skipped(kind)) => *self.skipped.entry(kind.word()).or_default() += 1,
                Some(Found::Unreadable(path, code)) => self.unreadable.push((path, code)),
                None => break,
            }
        }
        files
    }
}
