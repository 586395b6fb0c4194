//! `MemGroup.protect` and `unprotect`, which are called for each block, and so without pyo3 in between.

use crate::python::ffi::methods::native_methods;
use crate::python::group::object::MemGroup;
use crate::python::view::protect::through;
use crate::slot::Mirror;

native_methods! {
    MemGroup;

    /// Return the same bytes through the read-only mirror: no system call, any size.
    ///
    /// Args:
    ///     obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory; the result is of
    ///         the same kind, shape, strides and format.
    ///
    /// Raises:
    ///     TypeError: `obj` is none of these, or its elements refer to objects.
    ///     ValueError: It does not live in this group, the group is anonymous, `obj` is writable borrowed memory, or
    ///         the group is freed.
    protect "($self, obj, /)" => one_argument |group, obj| through(group, obj, Mirror::ReadOnly);

    /// Return the same bytes through the read-write mirror.
    ///
    /// Args:
    ///     obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory; the result is of
    ///         the same kind, shape, strides and format.
    ///
    /// Raises:
    ///     TypeError: `obj` is none of these, or its elements refer to objects.
    ///     ValueError: It does not live in this group, it was borrowed read-only, or the group is freed.
    unprotect "($self, obj, /)" => one_argument |group, obj| through(group, obj, Mirror::ReadWrite);
}
