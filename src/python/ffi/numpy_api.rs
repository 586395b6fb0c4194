//! The functions of numpy's C-API, found in the table that numpy offers for that.
//!
//! Only these are needed, so they are written out here: a binding to all of numpy would panic where numpy is missing or
//! of another make, and users are to be told what to install.

use std::ffi::{c_int, c_uint, c_void};

use pyo3::exceptions::{PyImportError, PyModuleNotFoundError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

use crate::python::ffi::trampoline::attached;

/// The oldest numpy that this was written for: what its functions are called there.
const LEAST_FEATURES: c_uint = 0x11; // 1.25 and 1.26

/// numpy's number for float64.
const DOUBLE: c_int = 12;

type NewFromDescr = unsafe extern "C" fn(
    *mut ffi::PyTypeObject,
    *mut ffi::PyObject,
    c_int,
    *const isize,
    *const isize,
    *mut c_void,
    c_int,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// numpy's functions and types. They stay where they are: numpy is never unloaded.
pub(crate) struct Api {
    pub(crate) array_type: *mut ffi::PyTypeObject,
    descr_type: *mut ffi::PyTypeObject,
    /// Of what the classes of element types are objects.
    descr_class_type: *mut ffi::PyTypeObject,
    new_from_descr: NewFromDescr,
    set_base_object: unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> c_int,
    descr_converter: unsafe extern "C" fn(*mut ffi::PyObject, *mut *mut ffi::PyObject) -> c_int,
    set_handler: unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject,
    /// The element type where none is named.
    float64: Py<PyAny>,
    /// Whether element types are laid out as numpy 2 has them.
    pub(crate) is_two: bool,
}

// SAFETY: the pointers are to what numpy never changes or frees.
unsafe impl Send for Api {}
// SAFETY: the pointers are to what numpy never changes or frees.
unsafe impl Sync for Api {}

static API: PyOnceLock<Api> = PyOnceLock::new();

impl Api {
    /// numpy's functions, imported now if nobody has.
    ///
    /// # Errors
    /// ImportError: numpy is not there, or of another make.
    #[inline(always)]
    pub(crate) fn get(py: Python<'_>) -> PyResult<&Self> {
        match API.get(py) {
            Some(api) => Ok(api),
            None => Self::import(py),
        }
    }

    /// numpy's functions if numpy was imported by anybody: without it there are no arrays.
    pub(crate) fn if_there(py: Python<'_>) -> PyResult<Option<&Self>> {
        if let Some(api) = API.get(py) {
            return Ok(Some(api));
        }
        let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
        match modules.contains("numpy")? {
            // One that was not imported whole has made no arrays.
            true => Ok(Self::get(py).map_err(|error| attached(py, |_| drop(error))).ok()),
            false => Ok(None),
        }
    }

    #[cold]
    fn import(py: Python<'_>) -> PyResult<&Self> {
        API.get_or_try_init(py, || {
            PyModule::import(py, "numpy").map_err(|error| explained(py, error))?;
            let home = PyModule::import(py, "numpy._core._multiarray_umath")
                .or_else(|error| {
                    attached(py, |_| drop(error));
                    PyModule::import(py, "numpy.core._multiarray_umath")
                })
                .map_err(|error| explained(py, error))?;
            let capsule = home.getattr("_ARRAY_API")?;
            // SAFETY: the capsule is alive, and has no name; what is no capsule is an error.
            let table = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), std::ptr::null()) };
            if table.is_null() {
                return Err(PyErr::fetch(py));
            }
            // SAFETY: it is the table that numpy publishes for extensions.
            unsafe { Self::of_table(py, table.cast()) }
        })
    }

    /// # Safety
    /// It must be numpy's.
    unsafe fn of_table(py: Python<'_>, table: *const *mut c_void) -> PyResult<Self> {
        let at = |place: usize| {
            // SAFETY: in each version that is let through below the table is longer than any number here; the functions that
            // say which version it is have been at 0 and 211 since long before.
            let entry = unsafe { table.add(place) };
            // SAFETY: the entry is within the table, which is never changed, and holds a pointer.
            unsafe { entry.read() }
        };
        // SAFETY: numpy has a function of this type there.
        let version = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_uint>(at(0)) };
        // SAFETY: numpy has a function of this type there, since long before the versions that are let through.
        let features = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_uint>(at(211)) };
        // SAFETY: it takes nothing and answers with a constant.
        let version = unsafe { version() };
        // SAFETY: it takes nothing and returns a constant.
        let features = unsafe { features() };
        let major = version >> 24;
        if !(1..=2).contains(&major) || features < LEAST_FEATURES {
            return Err(PyImportError::new_err(format!(
                "this numpy (C-API {version:#x}, features {features:#x}) is none that memgroup knows: install one from 1.26 \
                 on and before 3"
            )));
        }
        // SAFETY: numpy has a function of this type there.
        let descr_from_type =
            unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> *mut ffi::PyObject>(at(45)) };
        // SAFETY: the number is one of numpy's.
        let float64 = unsafe { descr_from_type(DOUBLE) };
        // SAFETY: it is a new reference, or null with an exception set.
        let float64 = unsafe { Bound::from_owned_ptr_or_err(py, float64) }?;
        Ok(Self {
            array_type: at(2).cast(),
            descr_type: at(3).cast(),
            // SAFETY: numpy has functions of these types at these places since 1.22, and in 2.
            new_from_descr: unsafe { std::mem::transmute::<*mut c_void, NewFromDescr>(at(94)) },
            // SAFETY: numpy has a function of this type there since 1.22, and in 2.
            descr_converter: unsafe {
                std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut ffi::PyObject, *mut *mut ffi::PyObject) -> c_int,
                >(at(174))
            },
            // SAFETY: numpy has a function of this type there since 1.22, and in 2.
            set_base_object: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> c_int>(
                    at(282),
                )
            },
            // SAFETY: numpy has a function of this type there since 1.22, and in 2.
            set_handler: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject>(at(
                    304,
                ))
            },
            descr_class_type: float64.get_type().get_type().as_type_ptr(),
            float64: float64.unbind(),
            is_two: major == 2,
        })
    }

    /// Whether an object is an element type.
    pub(crate) fn is_dtype(&self, object: &Bound<'_, PyAny>) -> bool {
        // SAFETY: both are alive.
        unsafe { ffi::PyObject_TypeCheck(object.as_ptr(), self.descr_type) != 0 }
    }

    /// The element type that an argument of numpy's own functions means.
    #[inline(always)]
    pub(crate) fn descr<'py>(&self, py: Python<'py>, dtype: Option<&Bound<'py, PyAny>>) -> PyResult<Descr<'py>> {
        let Some(dtype) = dtype.filter(|dtype| !dtype.is_none()) else {
            return Ok(Descr(self.float64.bind(py).clone()));
        };
        // SAFETY: both are alive.
        if unsafe { ffi::PyObject_TypeCheck(dtype.as_ptr(), self.descr_type) } != 0 {
            return Ok(Descr(dtype.clone()));
        }
        // SAFETY: both the object and the type are alive.
        if unsafe { ffi::PyObject_TypeCheck(dtype.as_ptr(), self.descr_class_type) } != 0 {
            let probe = PyModule::import(py, "numpy")?.call_method1("empty", (0, dtype))?;
            return Ok(Descr(probe.getattr("dtype")?));
        }
        let mut descr = std::ptr::null_mut();
        // SAFETY: both pointers are good; it is given a new reference, or raises.
        if unsafe { (self.descr_converter)(dtype.as_ptr(), &mut descr) } == 0 {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: it is a new reference.
        Ok(Descr(unsafe { Bound::from_owned_ptr(py, descr) }))
    }

    /// An array, of numpy's own class, over bytes that `keeper` keeps.
    ///
    /// Without strides, the elements lie in the order that the flags say.
    ///
    /// # Safety
    /// The bytes must be as many as that layout reaches, for as long as `keeper` lives, and writable if the flags say
    /// so.
    #[inline(always)]
    pub(crate) unsafe fn new_array<'py>(
        &self,
        descr: Descr<'py>,
        shape: &[isize],
        strides: Option<&[isize]>,
        data: *mut u8,
        flags: c_int,
        keeper: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = descr.0.py();
        let strides = strides.map_or(std::ptr::null(), <[isize]>::as_ptr);
        let (class, made_from) = (self.array_type, std::ptr::null_mut());
        let (descr, dimensions) = (descr.0.into_ptr(), shape.len() as c_int);
        // SAFETY: the class is numpy's, the reference to the element type is given away, and shape and strides are as long as
        // they must be; the rest is the caller's promise.
        let array = unsafe {
            (self.new_from_descr)(class, descr, dimensions, shape.as_ptr(), strides, data.cast(), flags, made_from)
        };
        // SAFETY: it is a new reference, or null with an exception set.
        let array = unsafe { Bound::from_owned_ptr_or_err(py, array) }?;
        // SAFETY: the array is new and has no base; the reference to the keeper is given away.
        match unsafe { (self.set_base_object)(array.as_ptr(), keeper.into_ptr()) } {
            0 => Ok(array),
            _ => Err(PyErr::fetch(py)),
        }
    }

    /// Has numpy allocate by a handler (a capsule) from now on, in this context; returns the one it did before.
    pub(crate) fn set_handler<'py>(&self, handler: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: it is alive; numpy checks what it is.
        let before = unsafe { (self.set_handler)(handler.as_ptr()) };
        // SAFETY: it is a new reference, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(handler.py(), before) }
    }
}

/// Says what to install, where that is what is wrong.
fn explained(py: Python<'_>, error: PyErr) -> PyErr {
    let is_missing = error.is_instance_of::<PyModuleNotFoundError>(py)
        && error.value(py).getattr("name").is_ok_and(|name| name.eq("numpy").unwrap_or(false));
    if !is_missing {
        return error;
    }
    let explained = PyImportError::new_err("numpy is not installed: pip install numpy");
    explained.set_cause(py, Some(error));
    explained
}

/// An element type (`numpy.dtype`).
pub(crate) struct Descr<'py>(pub(crate) Bound<'py, PyAny>);

/// What stands in front of what is read here, in numpy 1 and 2.
#[repr(C)]
struct DescrHead {
    head: ffi::PyObject,
    class: *mut ffi::PyTypeObject,
    /// The last of them are the flags in numpy 1.
    letters: [u8; 4],
    number: c_int,
}

#[repr(C)]
struct One {
    head: DescrHead,
    size: c_int,
}

#[repr(C)]
struct DescrTwo {
    head: DescrHead,
    flags: u64,
    size: isize,
}

/// The element refers to Python objects (or keeps its bytes elsewhere): somebody has to let them go.
const HAS_REFERENCES: u64 = 0x01;
/// The element must not be garbage.
const NEEDS_ZEROS: u64 = 0x08;

impl Descr<'_> {
    /// Bytes of one element.
    #[inline(always)]
    pub(crate) fn size(&self, api: &Api) -> usize {
        if api.is_two {
            // SAFETY: it is an element type, and numpy 2 lays them out like this.
            unsafe { (*self.0.as_ptr().cast::<DescrTwo>()).size as usize }
        } else {
            // SAFETY: it is an element type, and numpy 1 lays them out like this.
            unsafe { (*self.0.as_ptr().cast::<One>()).size as usize }
        }
    }

    #[inline(always)]
    fn flags(&self, api: &Api) -> u64 {
        if api.is_two {
            // SAFETY: it is an element type, and numpy 2 lays them out like this.
            unsafe { (*self.0.as_ptr().cast::<DescrTwo>()).flags }
        } else {
            // SAFETY: it is an element type, and numpy 1 lays them out like this.
            u64::from(unsafe { (*self.0.as_ptr().cast::<One>()).head.letters[3] })
        }
    }

    #[inline(always)]
    pub(crate) fn has_references(&self, api: &Api) -> bool {
        self.flags(api) & HAS_REFERENCES != 0
    }

    #[inline(always)]
    pub(crate) fn needs_zeros(&self, api: &Api) -> bool {
        self.flags(api) & NEEDS_ZEROS != 0
    }
}
