//! What is searched for in the blocks of a list.

use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use super::command::{is_utf8, matcher};
use crate::python::list::inspect;
use crate::python::list::object::MemList;
use crate::search::matcher::Matcher;

/// Texts or regular expressions to search for in the lines of blocks.
///
/// Args:
///     patterns: As for `search_files`.
///     syntax: As for `search_files`.
///
/// Raises:
///     ValueError: A pattern is no valid regular expression.
#[pyclass(frozen, module = "memgroup._memgroup")]
pub(crate) struct Pattern(Matcher);

#[pymethods]
impl Pattern {
    #[new]
    #[pyo3(signature = (patterns, syntax))]
    fn new(patterns: Vec<Vec<u8>>, syntax: Vec<String>) -> PyResult<Self> {
        matcher(&patterns, &syntax, is_utf8(&syntax)).map(Self)
    }

    /// Return a mask: whether it occurs in each block of a list.
    fn occurs_in<'py>(&self, blocks: &Bound<'py, MemList>) -> PyResult<Bound<'py, PyMemoryView>> {
        inspect::mask(blocks.get(), blocks.py(), |block| self.0.find(block, 0).is_some())
    }
}
