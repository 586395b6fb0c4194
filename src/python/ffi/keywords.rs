//! Arguments by name, for the methods that are made by hand.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{Borrowed, Python};

use crate::python::ffi::arguments;

/// Sorts arguments as `def function(self, first, ..., *, ...)` has them: `names` are all parameters, `by_position` of which
/// may be given without a name. What is not given is `None`, and so is what is given as None.
///
/// # Safety
/// The arguments must be those of a method called with METH_FASTCALL and METH_KEYWORDS, and outlive the result.
pub(crate) unsafe fn sorted<'a, 'py, const N: usize>(
    py: Python<'py>,
    function: &str,
    names: [&str; N],
    by_position: usize,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    given_names: *mut PyObject,
) -> PyResult<[Option<&'a Bound<'py, PyAny>>; N]> {
    // SAFETY: it is null or a tuple of strings.
    let given_names = unsafe { Borrowed::from_ptr_or_opt(py, given_names) };
    let given_names = given_names.as_deref().map(|names| names.cast::<PyTuple>()).transpose()?;
    let named = given_names.map_or(0, |names| names.len());
    // SAFETY: Python passes as many objects as it says, and then one for each name.
    let args = unsafe { arguments::by_position(py, args, given + named as ffi::Py_ssize_t) };
    let (positional, values) = args.split_at(given as usize);
    if positional.len() > by_position {
        let plural = crate::python::group::state::plural(by_position);
        return Err(PyTypeError::new_err(format!(
            "{function}() takes {by_position} positional argument{plural} but {given} were given"
        )));
    }
    let mut sorted = [None; N];
    positional.iter().zip(&mut sorted).for_each(|(value, place)| *place = Some(value));
    for (name, value) in given_names.into_iter().flatten().zip(values) {
        let name = name.cast::<PyString>()?.to_cow()?.into_owned();
        let Some(at) = names.iter().position(|known| *known == name) else {
            return Err(PyTypeError::new_err(format!("{function}() got an unexpected keyword argument '{name}'")));
        };
        if sorted[at].replace(value).is_some() {
            return Err(PyTypeError::new_err(format!("{function}() got multiple values for argument '{name}'")));
        }
    }
    Ok(sorted.map(|value| value.filter(|value| !value.is_none())))
}
