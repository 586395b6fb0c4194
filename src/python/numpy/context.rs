//! `MemGroup.numpy`: numpy allocates in the group while a `with` block lasts.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyTuple};

use super::handler;
use crate::python::ffi::methods::native_methods;
use crate::python::ffi::numpy_api::Api;
use crate::python::group::object::MemGroup;

native_methods! {
    MemGroup;

    /// Return a context manager within which numpy allocates the memory of its arrays in the group.
    ///
    /// That memory is private: a forked child has a copy of it, and it cannot be protected (`protect(array(x))`
    /// protects a copy).
    ///
    /// It applies to the code that the `with` block calls and to asyncio tasks that are started in it, but not to other
    /// threads and tasks. Each such array counts as a view for as long as it lives, and may outlive the block. If the
    /// group has no memory left, or has ended, numpy raises MemoryError.
    ///
    /// Raises:
    ///     ImportError: numpy is not installed.
    ///     ValueError: The group is freed.
    numpy "($self, /)" => no_arguments |group| NumpyMemory::of(group);
}

/// While it is entered, numpy allocates in the group.
///
/// The same one may be entered many times, in other threads and tasks too: who entered what, and what numpy did before,
/// is in a context variable, as is what numpy does.
#[pyclass(frozen, module = "memgroup")]
struct NumpyMemory {
    group: Py<MemGroup>,
    handler: Py<PyAny>,
}

impl NumpyMemory {
    fn of<'py>(group: &Bound<'py, MemGroup>) -> PyResult<Bound<'py, Self>> {
        group.get().check_open(group.py())?;
        Api::get(group.py())?;
        Bound::new(group.py(), Self { group: group.clone().unbind(), handler: handler::capsule(group)?.unbind() })
    }
}

#[pymethods]
impl NumpyMemory {
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, MemGroup>> {
        let (py, this) = (slf.py(), slf.get());
        let group = this.group.bind(py);
        group.get().check_open(py)?;
        let entered = Entered::get(py)?;
        let before = Api::get(py)?.set_handler(this.handler.bind(py))?;
        entered.push(slf.as_any(), &before).inspect_err(|_| put_back(py, &before))?;
        Ok(group.clone())
    }

    fn __exit__<'py>(
        slf: &Bound<'py, Self>,
        exc_type: &Bound<'py, PyAny>,
        _exc_value: &Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        match Entered::get(slf.py())?.take(slf.as_any())? {
            HandlerBefore::Last(before) => Api::get(slf.py())?.set_handler(&before).map(drop),
            HandlerBefore::Earlier => Ok(()),
            // What happened in the body is worse.
            HandlerBefore::None if !exc_type.is_none() => Ok(()),
            HandlerBefore::None => Err(PyRuntimeError::new_err(
                "this numpy() block was entered in another context (another thread or task): leave it where it was entered",
            )),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.group)?;
        visit.call(&self.handler)
    }
}

fn put_back(py: Python<'_>, handler: &Bound<'_, PyAny>) {
    if let Ok(api) = Api::get(py) {
        let _lost = api.set_handler(handler);
    }
}

/// The blocks that this context is in, the outermost first: a tuple of pairs of a block and the handler before it.
struct Entered<'py> {
    variable: &'py Bound<'py, PyAny>,
    pairs: Vec<Bound<'py, PyTuple>>,
}

enum HandlerBefore<'py> {
    /// It was the last to be entered, and this was the handler before it.
    Last(Bound<'py, PyAny>),
    /// Others were entered after it, as generators can do: the next of these puts the handler back in its stead.
    Earlier,
    None,
}

impl<'py> Entered<'py> {
    fn get(py: Python<'py>) -> PyResult<Self> {
        static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let variable = VARIABLE.get_or_try_init(py, || {
            let made = PyModule::import(py, "contextvars")?.call_method1("ContextVar", ("memgroup.numpy",))?;
            Ok::<_, PyErr>(made.unbind())
        })?;
        let variable = variable.bind(py);
        let pairs = variable.call_method1("get", (PyTuple::empty(py),))?;
        let pairs = pairs.try_iter()?.map(|pair| Ok(pair?.cast_into::<PyTuple>()?));
        Ok(Self { variable, pairs: pairs.collect::<PyResult<_>>()? })
    }

    fn push(mut self, block: &Bound<'py, PyAny>, before: &Bound<'py, PyAny>) -> PyResult<()> {
        self.pairs.push(PyTuple::new(block.py(), [block, before])?);
        self.put(block.py())
    }

    /// Takes the last entry of a block out.
    fn take(mut self, block: &Bound<'py, PyAny>) -> PyResult<HandlerBefore<'py>> {
        let py = block.py();
        let mut at = None;
        for (place, pair) in self.pairs.iter().enumerate() {
            if pair.get_item(0)?.is(block) {
                at = Some(place);
            }
        }
        let Some(at) = at else { return Ok(HandlerBefore::None) };
        let before = self.pairs.remove(at).get_item(1)?;
        let taken = match self.pairs.get(at) {
            None => HandlerBefore::Last(before),
            Some(next) => {
                self.pairs[at] = PyTuple::new(py, [next.get_item(0)?, before])?;
                HandlerBefore::Earlier
            }
        };
        self.put(py)?;
        Ok(taken)
    }

    fn put(&self, py: Python<'py>) -> PyResult<()> {
        self.variable.call_method1("set", (PyTuple::new(py, &self.pairs)?,)).map(drop)
    }
}
