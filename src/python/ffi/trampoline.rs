//! The trampoline: what stands between a call from Python and the Rust code that serves it, where pyo3's macros do not.

use std::any::Any;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;

/// What a C function gives back, and what says that an exception is set.
pub(crate) trait TrampolineResult {
    const FAILED: Self;
}

impl TrampolineResult for *mut ffi::PyObject {
    const FAILED: Self = std::ptr::null_mut();
}

impl TrampolineResult for c_int {
    const FAILED: Self = -1;
}

impl TrampolineResult for ffi::Py_ssize_t {
    const FAILED: Self = -1;
}

/// Runs what Python called: an error is raised, and so is a panic.
///
/// This is pyo3's trampoline but for one thing: pyo3 is not told that the thread is attached, which costs as much as a
/// short call itself. So a [`Py`] or [`PyErr`] dropped in `body` would be let go later, wherever pyo3 is next told: an
/// error that is not passed on has to be dropped in [`attached`]. A [`Bound`] goes at once.
///
/// # Safety
/// The thread must be attached, as it is when Python calls.
#[inline(always)]
pub(crate) unsafe fn trampoline<A: TrampolineResult>(body: impl FnOnce(Python<'_>) -> PyResult<A>) -> A {
    // SAFETY: the caller promises that the thread is attached.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            attached(py, |py| error.restore(py));
            A::FAILED
        }
        Err(panic) => {
            attached(py, |py| as_exception(&*panic).restore(py));
            A::FAILED
        }
    }
}

/// The object that CPython passes a pointer to.
///
/// # Safety
/// It must be a `T`, and live for as long as the borrow.
#[inline(always)]
pub(crate) unsafe fn borrowed<'a, 'py, T>(_py: Python<'py>, object: &'a *mut ffi::PyObject) -> &'a Bound<'py, T> {
    // SAFETY: a Bound is a pointer to an object and nothing else, and the object is a T that lives for 'a, by the caller's
    // promise. A shared Bound counts nothing, and drops nothing.
    unsafe { &*std::ptr::from_ref(object).cast() }
}

/// Runs what Python called of an object.
///
/// # Safety
/// The thread must be attached, as it is when Python calls, and `slf` be a `T`.
#[inline(always)]
pub(crate) unsafe fn on_object<T, A: TrampolineResult>(
    slf: *mut ffi::PyObject,
    body: impl FnOnce(&Bound<'_, T>) -> PyResult<A>,
) -> A {
    // SAFETY: the caller promises that it is a T; whoever called Python's function holds it until that returns.
    let body = |py: Python<'_>| body(unsafe { borrowed(py, &slf) });
    // SAFETY: the caller promises that the thread is attached.
    unsafe { trampoline(body) }
}

/// Runs something with pyo3 told that the thread is attached: what is dropped in it goes at once.
#[cold]
pub(crate) fn attached<R>(py: Python<'_>, work: impl FnOnce(Python<'_>) -> R) -> R {
    let mut work = Some(work);
    let done = Python::try_attach(|py| work.take().map(|work| work(py))).flatten();
    // While the interpreter ends, pyo3 can be told nothing more; the thread is attached all the same.
    done.or_else(|| work.map(|work| work(py))).unwrap_or_else(|| unreachable!("one of the two ran"))
}

fn as_exception(panic: &(dyn Any + Send)) -> PyErr {
    let message = panic.downcast_ref::<&str>().map(|message| (*message).to_owned());
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    PanicException::new_err(message.unwrap_or_else(|| "panic from Rust code".into()))
}
