//! The pyo3 layer: it converts, keeps the promises about the end of a group, and calls the crate.
//!
//! | room | what it holds |
//! | --- | --- |
//! | `class` | what Python calls of `MemGroup`, `MemBlock`, `MemList` and `MemPool` |
//! | `share` | objects sent to other processes, and received |
//! | `numpy` | arrays in a group, and numpy's own allocations |
//! | `search` | the search of `memgroup gather` |
//! | `stream` | files, pipes, sockets, frames |
//! | `view` | what memoryviews and arrays show, and where that is in a group |
//! | `export` | Arrow, DLPack, pickle |
//! | `pool` | `MemPool`: objects of one size, each with an end of its own |
//! | `list` | `MemList`, the sizes that users pass, columns |
//! | `block` | `MemBlock`, a type made by hand, and other objects' bytes |
//! | `group` | `MemGroup`: its state and its lock, and how bytes are taken |
//! | `ffi` | between the C interfaces of Python and numpy and Rust |
//! | `rmap` | the model, which shares nothing with all this but how integers are read |
//!
//! Each room imports from those below it in this table alone. So the object (`object.rs`: the structure, and how its memory is reached)
//! is in its own room, and the class, which needs all of them, at the top.

mod block;
mod class;
mod export;
mod ffi;
mod group;
mod list;
mod numpy;
mod pool;
mod rmap;
mod search;
mod share;
mod stream;
mod view;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::python::ffi::methods::add_methods;

/// The compiled half of memgroup. Import `memgroup` instead.
#[pymodule(gil_used = false)]
fn _memgroup(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    refuse_subinterpreters(py)?;
    module.add_class::<export::arrow::ArrowArray>()?;
    module.add_class::<stream::frames::object::FrameReader>()?;
    module.add_class::<group::object::MemGroup>()?;
    module.add_class::<list::object::MemList>()?;
    module.add_class::<pool::object::MemPool>()?;
    module.add_class::<share::parcel::Parcel>()?;
    module.add_class::<share::parcel::ReceivedParcel>()?;
    module.add_class::<pool::stats::PoolStats>()?;
    module.add_class::<search::pattern::Pattern>()?;
    module.add_class::<search::tree::TreeWalk>()?;
    module.add_class::<group::stats::GroupStats>()?;
    module.add_class::<group::stats::SlotStats>()?;
    module.add_class::<class::warm_memory::WarmMemory>()?;
    module.add("MemBlock", class::block::make(py)?)?;
    for methods in [class::alloc::METHODS, class::protect::METHODS, numpy::make::METHODS, numpy::context::METHODS] {
        // SAFETY: they are defined for MemGroup.
        unsafe { add_methods(&py.get_type::<group::object::MemGroup>(), methods) }?;
    }
    // SAFETY: they are defined for MemPool.
    unsafe { add_methods(&py.get_type::<pool::object::MemPool>(), class::pool::METHODS) }?;
    // What it is to Python: integers in a row, as bytes and memoryview are.
    register_sequences(py)?;
    for function in [
        wrap_pyfunction!(stream::nonblocking::non_blocking, module)?,
        wrap_pyfunction!(stream::nonblocking::read_nonblocking, module)?,
        wrap_pyfunction!(stream::nonblocking::write_nonblocking, module)?,
        wrap_pyfunction!(group::fault::disable_fault_report, module)?,
        wrap_pyfunction!(group::fault::enable_fault_report, module)?,
        wrap_pyfunction!(export::pickle::block_from_buffer, module)?,
        wrap_pyfunction!(export::pickle::gathered, module)?,
        wrap_pyfunction!(export::pickle::list_of_joined, module)?,
        wrap_pyfunction!(export::pickle::list_of_pieces, module)?,
        wrap_pyfunction!(export::pickle::pieces, module)?,
        wrap_pyfunction!(share::handle::handle_of, module)?,
        wrap_pyfunction!(share::handle::handle_segments, module)?,
        wrap_pyfunction!(share::handle::object_of_handle, module)?,
        wrap_pyfunction!(share::handle::shared_descriptor, module)?,
        wrap_pyfunction!(share::parcel::recv_parcel, module)?,
        wrap_pyfunction!(share::releases::recv_releases, module)?,
        wrap_pyfunction!(share::releases::send_releases, module)?,
        wrap_pyfunction!(class::warm_memory::prewarm, module)?,
        wrap_pyfunction!(class::warm_memory::set_warm_limit, module)?,
        wrap_pyfunction!(class::warm_memory::warm_memory, module)?,
        wrap_pyfunction!(group::memory_facts::memory_facts, module)?,
        wrap_pyfunction!(search::command::is_text_utf8, module)?,
        wrap_pyfunction!(search::command::search_files, module)?,
        wrap_pyfunction!(search::rows::search_rows, module)?,
    ] {
        module.add_function(function)?;
    }
    class::warm_memory::check_environment(py)?;
    group::fault::look_at_environment(py)?;
    class::warm_memory::limit_handles(py);
    rmap::add_to(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}

/// The types are the process's, and of the interpreter that makes them; so the main one does, whoever imports first.
///
/// To be called before any of them is made. Interpreters with a GIL of their own CPython refuses by itself, since 3.12.
fn refuse_subinterpreters(_attached: Python<'_>) -> PyResult<()> {
    const MAIN: i64 = 0;
    // SAFETY: this thread is attached, so it has an interpreter.
    let interpreter = unsafe { pyo3::ffi::PyInterpreterState_Get() };
    // SAFETY: it is this thread's, and so alive.
    match unsafe { pyo3::ffi::PyInterpreterState_GetID(interpreter) } {
        MAIN => Ok(()),
        id => Err(PyImportError::new_err(format!(
            "memgroup does not work in subinterpreters, and this is interpreter {id}: import it in the main interpreter \
             (mod_wsgi: WSGIApplicationGroup %{{GLOBAL}})"
        ))),
    }
}

/// Registers with the module that `collections.abc` is made of: it is there already, where the package takes long to import.
fn register_sequences(py: Python<'_>) -> PyResult<()> {
    let sequence = py.import("_collections_abc")?.getattr("Sequence")?;
    sequence.call_method1("register", (py.get_type::<block::object::MemBlock>(),))?;
    sequence.call_method1("register", (py.get_type::<list::object::MemList>(),))?;
    Ok(())
}
