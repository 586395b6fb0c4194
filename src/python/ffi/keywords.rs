//! Arguments of vectorcall methods by name, for all methods that are made by hand.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{Borrowed, Python};

use crate::python::ffi::arguments;
use crate::python::ffi::text::plural;

/// The parameters of a method, as `def function(self, first, ..., *, ...)` has them.
pub(crate) struct Signature<const N: usize> {
    pub(crate) function: &'static str,
    pub(crate) names: [&'static str; N],
    /// How many of them have no default: the first ones.
    pub(crate) required: usize,
    /// How many of them may be given by position.
    pub(crate) by_position: usize,
}

/// What was passed for each parameter.
pub(crate) type Passed<'a, 'py, const N: usize> = [Option<&'a Bound<'py, PyAny>>; N];

impl<const N: usize> Signature<N> {
    /// Sorts arguments by parameter.
    ///
    /// # Safety
    /// The arguments must be those that CPython passes to a method with METH_FASTCALL and METH_KEYWORDS, `given`
    /// objects and then one for each of `names`, null or a tuple of strings, and outlive the result.
    pub(crate) unsafe fn read<'a, 'py>(
        &self,
        py: Python<'py>,
        args: *const *mut PyObject,
        given: ffi::Py_ssize_t,
        names: *mut PyObject,
    ) -> PyResult<Passed<'a, 'py, N>> {
        // SAFETY: it is null or a tuple of strings, by contract.
        let names = unsafe { Borrowed::from_ptr_or_opt(py, names) };
        let names = names.as_deref().map(|names| names.cast::<PyTuple>()).transpose()?;
        let named = names.map_or(0, |names| names.len());
        // SAFETY: there are `given` objects and then one for each name, and they outlive the result, by contract.
        let args: &'a [Bound<'py, PyAny>] =
            unsafe { arguments::by_position(py, args, given + named as ffi::Py_ssize_t) };
        let (positional, values) = args.split_at(given as usize);
        if positional.len() > self.by_position {
            return Err(self.too_many(positional.len()));
        }
        let mut passed = [None; N];
        positional.iter().zip(&mut passed).for_each(|(value, place)| *place = Some(value));
        let function = self.function;
        for (name, value) in names.into_iter().flatten().zip(values) {
            let name = name.cast::<PyString>()?.to_cow()?;
            let Some(at) = self.names.iter().position(|known| **known == *name) else {
                let message = format!("{function}() got an unexpected keyword argument '{name}'");
                return Err(PyTypeError::new_err(message));
            };
            if passed[at].replace(value).is_some() {
                return Err(PyTypeError::new_err(format!("{function}() got multiple values for argument '{name}'")));
            }
        }
        Ok(passed)
    }

    /// What was passed for a parameter that has no default.
    pub(crate) fn required<T>(&self, passed: Option<T>, name: &str) -> PyResult<T> {
        passed.ok_or_else(|| {
            let function = self.function;
            PyTypeError::new_err(format!("{function}() missing 1 required positional argument: '{name}'"))
        })
    }

    #[cold]
    fn too_many(&self, given: usize) -> PyErr {
        let Self { function, required, by_position, .. } = *self;
        let from = if (1..by_position).contains(&required) { format!("from {required} to ") } else { String::new() };
        PyTypeError::new_err(format!(
            "{function}() takes {from}{by_position} positional argument{} but {given} were given",
            plural(by_position)
        ))
    }
}
