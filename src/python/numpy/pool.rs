//! `MemPool.empty`: an array over an object of a pool.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::request::{ArrayRequest, over_block};
use crate::python::ffi::numpy_api::Api;
use crate::python::pool::object::MemPool;

pub(crate) fn empty<'py>(
    pool: &Bound<'py, MemPool>,
    api: &'py Api,
    shape: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    order: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (pool.py(), pool.get());
    let request = ArrayRequest { function: "empty", shape, dtype, order, device: None, like: None, zero: false };
    let form = request.form(this.group().get(), py, api)?;
    let (bytes, size) = (form.bytes(api)?, this.shape().size);
    if bytes > size {
        return Err(PyValueError::new_err(format!(
            "an array of {bytes} bytes does not fit into an object of {size}: ask for a smaller shape or dtype, or make a \
             pool of larger objects"
        )));
    }
    over_block(api, form, bytes, this.alloc(py)?)
}
