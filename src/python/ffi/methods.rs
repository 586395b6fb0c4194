//! Methods and slots that Python calls without pyo3 in between: the C function of each, and the table that names it.

use std::ffi::{CStr, c_int};

use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer};
use pyo3::prelude::*;
use pyo3::types::PyType;

/// A C function that Python calls with an object of a class: `|object, argument: kind, ...| -> kind body`.
///
/// Each kind is a type that C and Rust share, or `object` (`&Bound<PyAny>` in the body), or `nullable` (`Option` of
/// that). The body gives a `PyResult`; of `object`, a result of anything that can be made one.
macro_rules! native_fn {
    (@type object) => { *mut pyo3::ffi::PyObject };
    (@type nullable) => { *mut pyo3::ffi::PyObject };
    (@type closure) => { *mut std::ffi::c_void };
    (@type $type:ty) => { $type };

    (@argument object, $py:expr, $given:ident) => {
        // SAFETY: Python passes an object, which lives for as long as the call.
        unsafe { $crate::python::ffi::trampoline::borrowed::<pyo3::PyAny>($py, &$given) }
    };
    (@argument nullable, $py:expr, $given:ident) => {
        // SAFETY: Python passes an object where it passes no null, and it lives for as long as the call.
        (!$given.is_null()).then(|| unsafe { $crate::python::ffi::trampoline::borrowed::<pyo3::PyAny>($py, &$given) })
    };
    (@argument $type:tt, $py:expr, $given:ident) => { $given };

    (@result object, $py:expr, $body:expr) => {
        Ok(pyo3::IntoPyObjectExt::into_bound_py_any($body?, $py)?.into_ptr())
    };
    (@result $type:tt, $py:expr, $body:expr) => { $body };

    ($class:ty: |$this:ident $(, $argument:ident: $kind:tt)*| -> $result:tt $body:expr) => {{
        unsafe extern "C" fn call(
            slf: *mut pyo3::ffi::PyObject
            $(, $argument: $crate::python::ffi::methods::native_fn!(@type $kind))*
        ) -> $crate::python::ffi::methods::native_fn!(@type $result) {
            use $crate::python::ffi::methods::native_fn;
            let body = |$this: &pyo3::Bound<'_, $class>| {
                $(let $argument = native_fn!(@argument $kind, $this.py(), $argument);)*
                native_fn!(@result $result, $this.py(), $body)
            };
            // SAFETY: Python calls with the thread attached, and with an object of the class that it found the function in.
            unsafe { $crate::python::ffi::trampoline::on_object::<$class, _>(slf, body) }
        }
        call
    }};
}

/// Defines the table `METHODS` of a class: for each method its documentation, name and signature, how it is called, and
/// its body.
///
/// `no_arguments |object| body`, `one_argument |object, argument| body`, `by_position |object, arguments| body`, or
/// `by_name(required; optional; by_name_only) |object| body`, which finds each argument under its parameter's name, as an
/// `Option` but for those that are required. `function(name)` is a C function as CPython calls it with arguments by name.
macro_rules! native_methods {
    (@call $class:ty, $name:ident, no_arguments |$this:ident| $body:expr) => {
        $crate::python::ffi::methods::no_arguments(
            $crate::python::ffi::methods::native_fn!($class: |$this, _nothing: nullable| -> object $body),
        )
    };

    (@call $class:ty, $name:ident, one_argument |$this:ident, $argument:ident| $body:expr) => {
        $crate::python::ffi::methods::one_argument(
            $crate::python::ffi::methods::native_fn!($class: |$this, $argument: object| -> object $body),
        )
    };

    (@call $class:ty, $name:ident, by_position |$this:ident, $arguments:ident| $body:expr) => {{
        unsafe extern "C" fn call(
            slf: *mut pyo3::ffi::PyObject,
            arguments: *mut *mut pyo3::ffi::PyObject,
            given: pyo3::ffi::Py_ssize_t,
        ) -> *mut pyo3::ffi::PyObject {
            let body = |$this: &pyo3::Bound<'_, $class>| {
                // SAFETY: Python passes as many arguments as it says, which live for as long as the call.
                let $arguments = unsafe { $crate::python::ffi::arguments::by_position($this.py(), arguments, given) };
                $crate::python::ffi::methods::native_fn!(@result object, $this.py(), $body)
            };
            // SAFETY: Python calls with the thread attached, and with an object of the class that it found the method in.
            unsafe { $crate::python::ffi::trampoline::on_object::<$class, _>(slf, body) }
        }
        $crate::python::ffi::methods::by_position(call)
    }};

    (@call $class:ty, $name:ident, function($function:ident)) => { $crate::python::ffi::methods::by_name($function) };

    (
        @call $class:ty, $name:ident,
        by_name($($required:ident),*; $($optional:ident),*; $($by_name:ident),*) |$this:ident| $body:expr
    ) => {{
        const REQUIRED: &[&str] = &[$(stringify!($required)),*];
        const OPTIONAL: &[&str] = &[$(stringify!($optional)),*];
        const BY_NAME: &[&str] = &[$(stringify!($by_name)),*];
        const SIGNATURE: $crate::python::ffi::keywords::Signature<{ REQUIRED.len() + OPTIONAL.len() + BY_NAME.len() }> =
            $crate::python::ffi::keywords::Signature {
                function: stringify!($name),
                names: [$(stringify!($required),)* $(stringify!($optional),)* $(stringify!($by_name),)*],
                required: REQUIRED.len(),
                by_position: REQUIRED.len() + OPTIONAL.len(),
            };

        unsafe extern "C" fn call(
            slf: *mut pyo3::ffi::PyObject,
            arguments: *const *mut pyo3::ffi::PyObject,
            given: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            let body = |$this: &pyo3::Bound<'_, $class>| {
                // SAFETY: Python passes the arguments of a method with keywords, which live for as long as the call.
                let passed = unsafe { SIGNATURE.read($this.py(), arguments, given, names) }?;
                let [$($required,)* $($optional,)* $($by_name),*] = passed;
                $(let $required = SIGNATURE.required($required, stringify!($required))?;)*
                $crate::python::ffi::methods::native_fn!(@result object, $this.py(), $body)
            };
            // SAFETY: Python calls with the thread attached, and with an object of the class that it found the method in.
            unsafe { $crate::python::ffi::trampoline::on_object::<$class, _>(slf, body) }
        }
        $crate::python::ffi::methods::by_name(call)
    }};

    ($class:ty; $(
        $(#[doc = $doc:literal])*
        $name:ident $signature:literal => $kind:ident $(($($parameters:tt)*))? $(|$($argument:ident),*| $body:expr)?;
    )*) => {
        pub(crate) const METHODS: &[pyo3::ffi::PyMethodDef] = &[$({
            const NAME: &str = concat!(stringify!($name), "\0");
            const DOC: &str = concat!(stringify!($name), $signature, "\n--\n", $("\n", $doc,)* "\0");
            static SHOWN: [u8; DOC.len()] = $crate::python::ffi::methods::unindented(DOC);
            let (ml_meth, ml_flags) = $crate::python::ffi::methods::native_methods!(
                @call $class, $name, $kind $(($($parameters)*))? $(|$($argument),*| $body)?
            );
            pyo3::ffi::PyMethodDef { ml_name: NAME.as_ptr().cast(), ml_meth, ml_flags, ml_doc: SHOWN.as_ptr().cast() }
        }),*];
    };
}

pub(crate) use {native_fn, native_methods};

/// How Python calls a method, and the flags that say so.
type Call = (PyMethodDefPointer, c_int);

pub(crate) const fn no_arguments(call: ffi::PyCFunction) -> Call {
    (PyMethodDefPointer { PyCFunction: call }, ffi::METH_NOARGS)
}

pub(crate) const fn one_argument(call: ffi::PyCFunction) -> Call {
    (PyMethodDefPointer { PyCFunction: call }, ffi::METH_O)
}

pub(crate) const fn by_position(call: ffi::PyCFunctionFast) -> Call {
    (PyMethodDefPointer { PyCFunctionFast: call }, ffi::METH_FASTCALL)
}

pub(crate) const fn by_name(call: ffi::PyCFunctionFastWithKeywords) -> Call {
    (PyMethodDefPointer { PyCFunctionFastWithKeywords: call }, ffi::METH_FASTCALL | ffi::METH_KEYWORDS)
}

/// Documentation without the space that a line of a doc comment begins with, and with zeros for these at the end.
pub(crate) const fn unindented<const N: usize>(doc: &str) -> [u8; N] {
    let (doc, mut text) = (doc.as_bytes(), [0; N]);
    let (mut from, mut to) = (0, 0);
    while from < doc.len() {
        if !(from > 0 && doc[from - 1] == b'\n' && doc[from] == b' ') {
            text[to] = doc[from];
            to += 1;
        }
        from += 1;
    }
    text
}

/// Adds methods to a class of pyo3's.
///
/// # Safety
/// The methods must be defined for the class.
pub(crate) unsafe fn add_methods(class: &Bound<'_, PyType>, methods: &'static [PyMethodDef]) -> PyResult<()> {
    for method in methods {
        // SAFETY: the class is alive, the methods are defined for it by contract, and the descriptor, which keeps a pointer to
        // its entry of the table, only reads it.
        let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), std::ptr::from_ref(method).cast_mut()) };
        // SAFETY: it is a new reference, or null with an exception set.
        let descriptor = unsafe { Bound::from_owned_ptr_or_err(class.py(), descriptor) }?;
        // SAFETY: an entry's name is a string that ends in a zero and lives for ever.
        class.setattr(unsafe { CStr::from_ptr(method.ml_name) }, descriptor)?;
    }
    Ok(())
}
