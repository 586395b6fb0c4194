//! The pyo3 layer: it converts, keeps the promises about the end of a group, and calls the crate.
//!
//! | room | what it holds |
//! | --- | --- |
//! | `group` | `MemGroup`: its state and its lock, and how bytes are taken |
//! | `block` | `MemBlock`, a type made by hand, and other objects' bytes |
//! | `list` | `MemList`, the sizes that users pass, columns |
//! | `export` | Arrow, DLPack, pickle, strided views |
//! | `stream` | files, pipes, sockets, frames |
//! | `numpy` | arrays in a group, and numpy's own allocations |
//! | `rmap` | the model, which shares nothing with all this but how integers are read |
//! | `ffi` | between Python's C interface and Rust |

mod block;
mod export;
mod ffi;
mod group;
mod list;
mod numpy;
mod rmap;
mod stream;

use pyo3::prelude::*;

/// The compiled half of memgroup. Import `memgroup` instead.
#[pymodule(gil_used = false)]
mod _memgroup {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::python::export::arrow::ArrowArray;
    #[pymodule_export]
    use crate::python::export::pickle::{block_from_buffer, gathered, list_of_pieces, pieces};
    #[pymodule_export]
    use crate::python::group::cache::{WarmMemory, set_warm_limit, warm_memory};
    #[pymodule_export]
    use crate::python::group::fault::{disable_fault_report, enable_fault_report};
    #[pymodule_export]
    use crate::python::group::object::MemGroup;
    #[pymodule_export]
    use crate::python::group::stats::{GroupStats, SlotStats};
    #[pymodule_export]
    use crate::python::list::object::MemList;
    #[pymodule_export]
    use crate::python::stream::frames::FrameReader;
    #[pymodule_export]
    use crate::python::stream::nonblocking::{non_blocking, read_nonblocking, write_nonblocking};
    #[pymodule_export]
    use crate::python::stream::reads::ReadResult;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("MemBlock", crate::python::block::class::make(module.py())?)?;
        crate::python::group::alloc::add_to(&module.py().get_type::<crate::python::group::object::MemGroup>())?;
        crate::python::numpy::add_to(&module.py().get_type::<crate::python::group::object::MemGroup>())?;
        // What it is to Python: integers in a row, as bytes and memoryview are.
        register_sequences(module.py())?;
        crate::python::group::cache::check_environment(module.py())?;
        crate::python::group::fault::look_at_environment(module.py())?;
        crate::python::group::cache::limit_handles(module.py());
        crate::python::rmap::add_to(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Registers with the module that `collections.abc` is made of: it is there already, where the package takes long to import.
    fn register_sequences(py: Python<'_>) -> PyResult<()> {
        let sequence = py.import("_collections_abc")?.getattr("Sequence")?;
        sequence.call_method1("register", (py.get_type::<crate::python::block::object::MemBlock>(),))?;
        sequence.call_method1("register", (py.get_type::<crate::python::list::object::MemList>(),))?;
        Ok(())
    }
}
