//! A type made by hand, through the stable ABI.
//!
//! pyo3 makes every class one that the garbage collector tracks: 16 bytes more for each object, and a third of the time
//! that making and dropping a block may take. So `MemBlock` is made here.

use std::ffi::{CStr, c_int, c_ulong};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

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

    pub(crate) fn methods(mut self, methods: &[ffi::PyMethodDef]) -> Self {
        self.methods.extend_from_slice(methods);
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
        // SAFETY: the tables end in zeros, and their functions have the signatures of their slots and treat objects as
        // what is made with that size, by contract.
        let made = unsafe { ffi::PyType_FromSpec(&mut spec) };
        // SAFETY: it is a new reference, or null with an exception set.
        let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
        Ok(made.cast_into()?)
    }
}
