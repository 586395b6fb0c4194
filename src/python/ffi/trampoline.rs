//! What pyo3's macros write for a class, for the one class that is made and dropped too often for them.
//!
//! pyo3 makes every class one that the garbage collector tracks: 16 bytes more for each object, and a third of the time
//! that making and dropping a block may take. So `MemBlock` is a type made by hand, through the stable ABI. This file knows
//! how Python calls such a type; what a block does stands in `block`, and the table that joins the two in `block_type`.

use std::any::Any;
use std::ffi::{CStr, c_int, c_ulong};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyType;

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
/// This is pyo3's trampoline but for one thing: pyo3 is not told that the thread is attached, which costs as much as a short
/// call itself. So a [`Py`] or [`PyErr`] dropped in `body` would be let go later, wherever pyo3 is next told: an error that is
/// not passed on has to be dropped in [`attached`]. A [`Bound`] goes at once.
///
/// # Safety
/// The thread must be attached, as it is when Python calls.
#[inline(always)]
pub(crate) unsafe fn trampoline<A: TrampolineResult>(body: impl FnOnce(Python<'_>) -> PyResult<A>) -> A {
    // SAFETY: the caller's promise.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(Ok(trampoline)) => trampoline,
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

/// A method without arguments. Its documentation begins with its signature, as CPython wants it.
pub(crate) fn method(name: &'static CStr, call: ffi::PyCFunction, doc: &'static CStr) -> ffi::PyMethodDef {
    let ml_meth = ffi::PyMethodDefPointer { PyCFunction: call };
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth, ml_flags: ffi::METH_NOARGS, ml_doc: doc.as_ptr() }
}

/// The same with arguments by position, which it gets as an array.
pub(crate) fn fast_method(name: &'static CStr, call: ffi::PyCFunctionFast, doc: &'static CStr) -> ffi::PyMethodDef {
    let ml_meth = ffi::PyMethodDefPointer { PyCFunctionFast: call };
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth, ml_flags: ffi::METH_FASTCALL, ml_doc: doc.as_ptr() }
}

/// The same with arguments by name as well: a tuple of names, and their values behind those by position.
pub(crate) fn fast_method_with_names(
    name: &'static CStr,
    call: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    let ml_meth = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call };
    let ml_flags = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth, ml_flags, ml_doc: doc.as_ptr() }
}

/// Adds a method to a class of pyo3's.
///
/// # Safety
/// The function must treat objects as what the class makes.
pub(crate) unsafe fn add_method(class: &Bound<'_, PyType>, name: &str, method: ffi::PyMethodDef) -> PyResult<()> {
    // The descriptor keeps a pointer to it, and is never dropped.
    let method = Box::leak(Box::new(method));
    // SAFETY: the class is alive, and the caller vouches for the method.
    let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), method) };
    // SAFETY: it is a new reference, or null with an exception set.
    class.setattr(name, unsafe { Bound::from_owned_ptr_or_err(class.py(), descriptor) }?)
}

/// A type made by hand: what Python is to find in it.
pub(crate) struct NativeType {
    slots: Vec<ffi::PyType_Slot>,
    methods: Vec<ffi::PyMethodDef>,
    getters: Vec<ffi::PyGetSetDef>,
    members: Vec<ffi::PyMemberDef>,
}

impl NativeType {
    /// A type with this documentation and nothing else.
    pub(crate) fn new(doc: &'static CStr) -> Self {
        let doc = ffi::PyType_Slot { slot: ffi::Py_tp_doc, pfunc: doc.as_ptr().cast_mut().cast() };
        Self { slots: vec![doc], methods: Vec::new(), getters: Vec::new(), members: Vec::new() }
    }

    /// Lets weak references refer to objects, which keep a pointer to the list of them at that offset.
    pub(crate) fn weak_references_at(mut self, offset: usize) -> Self {
        self.members.push(ffi::PyMemberDef {
            name: c"__weaklistoffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: std::ptr::null(),
        });
        self
    }

    /// A slot: its number, and a pointer to a function of the signature that the number asks for.
    pub(crate) fn slot(mut self, slot: c_int, function: *const ()) -> Self {
        self.slots.push(ffi::PyType_Slot { slot, pfunc: function.cast_mut().cast() });
        self
    }

    pub(crate) fn method(mut self, method: ffi::PyMethodDef) -> Self {
        self.methods.push(method);
        self
    }

    /// A property that cannot be set.
    pub(crate) fn getter(mut self, name: &'static CStr, get: ffi::getter, doc: &'static CStr) -> Self {
        let name = name.as_ptr();
        self.getters.push(ffi::PyGetSetDef { name, get: Some(get), doc: doc.as_ptr(), ..Default::default() });
        self
    }

    /// The type, a sequence. It cannot be subclassed or changed, and its objects are `size` bytes large.
    ///
    /// # Safety
    /// The functions must have the signatures of their slots, and treat objects as what is made with that size.
    pub(crate) unsafe fn build<'py>(
        mut self,
        py: Python<'py>,
        name: &'static CStr,
        size: usize,
    ) -> PyResult<Bound<'py, PyType>> {
        self.methods.push(ffi::PyMethodDef::zeroed());
        self.getters.push(ffi::PyGetSetDef::default());
        self.members.push(ffi::PyMemberDef::default());
        // The type keeps pointers to these tables, and is never dropped.
        let (methods, getters): (*const _, *const _) = (self.methods.leak(), self.getters.leak());
        let members: *const _ = self.members.leak();
        self = Self { slots: self.slots, methods: Vec::new(), getters: Vec::new(), members: Vec::new() }
            .slot(ffi::Py_tp_methods, methods.cast::<()>())
            .slot(ffi::Py_tp_getset, getters.cast::<()>())
            .slot(ffi::Py_tp_members, members.cast::<()>());
        self.slots.push(ffi::PyType_Slot::default());
        // A sequence to `match`: registering with collections.abc does not say so of a type that cannot be changed.
        const SEQUENCE: c_ulong = 1 << 5; // Py_TPFLAGS_SEQUENCE, which pyo3 leaves out of the stable ABI
        let flags = ffi::Py_TPFLAGS_DEFAULT | SEQUENCE | ffi::Py_TPFLAGS_IMMUTABLETYPE;
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: size as c_int,
            itemsize: 0,
            flags: flags as std::ffi::c_uint,
            slots: self.slots.as_mut_ptr(),
        };
        // SAFETY: the tables end in zeros, and the caller vouches for what is in them.
        let made = unsafe { ffi::PyType_FromSpec(&mut spec) };
        // SAFETY: it is a new reference, or null with an exception set.
        let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
        Ok(made.cast_into()?)
    }
}
