//! The pyo3 layer: it converts, keeps the promises about the end of a group, and calls the crate.
//!
//! One file per Python type (`group`, `block`, `list`, `column`, `window`, `frames`, `stats`, `warm`), and the rooms they share:
//! `gate` says who may touch a group when, `life` what may be used at which time of its life, `piece` where a block's bytes
//! are, `arguments` turns what users pass into what the crate takes, `sizes` reads those of a list, `buffer` and `operand`
//! borrow other objects' bytes, `raw` moves and compares bytes, `source` finds the descriptors of streams, `at_once` moves
//! lists through those that do not block, `io` through any; `reads` reads many files or ranges into one list, and `pinned`
//! keeps the memory meanwhile. `arrow` and `dlpack` export to consumers that know nothing of Python, to whom memory is `lent`;
//! `pickle` takes lists to pieces and puts them together. `fault` switches reports of crashes on, and says which objects they
//! can name. `rmap` is the model, which shares nothing with all this but how integers are read. `MemBlock` is a type made by
//! hand (`block_type`, `native`, `keywords`, `spare`), `alloc` a method made by hand, and `chunk` what it hands out
//! without an atomic operation.

mod alloc;
mod arguments;
mod arrow;
mod at_once;
mod block;
mod block_type;
mod buffer;
mod chunk;
mod column;
mod dlpack;
mod errors;
mod fault;
mod frames;
mod gate;
mod group;
mod io;
mod keywords;
mod left;
mod lent;
mod life;
mod list;
mod native;
mod numpy;
mod operand;
mod pickle;
mod piece;
mod pinned;
mod raw;
mod reads;
mod rmap;
mod sizes;
mod source;
mod spare;
mod stats;
mod warm;
mod window;

use pyo3::prelude::*;

/// The compiled half of memgroup. Import `memgroup` instead.
#[pymodule(gil_used = false)]
mod _memgroup {
    use pyo3::prelude::*;
    use pyo3::types::PySequence;

    #[pymodule_export]
    use super::arrow::ArrowArray;
    #[pymodule_export]
    use super::at_once::{non_blocking, read_at_once, write_at_once};
    #[pymodule_export]
    use super::fault::{disable_fault_report, enable_fault_report};
    #[pymodule_export]
    use super::frames::FrameReader;
    #[pymodule_export]
    use super::group::MemGroup;
    #[pymodule_export]
    use super::list::MemList;
    #[pymodule_export]
    use super::pickle::{adopted, gathered, list_of_pieces, pieces};
    #[pymodule_export]
    use super::reads::ReadResult;
    #[pymodule_export]
    use super::stats::{GroupStats, SlotStats};
    #[pymodule_export]
    use super::warm::{WarmMemory, set_warm_limit, warm_memory};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("MemBlock", super::block_type::make(module.py())?)?;
        super::alloc::add_to(&module.py().get_type::<super::group::MemGroup>())?;
        super::numpy::add_to(&module.py().get_type::<super::group::MemGroup>())?;
        // What it is to Python: integers in a row, as bytes and memoryview are.
        PySequence::register::<super::block::MemBlock>(module.py())?;
        PySequence::register::<super::list::MemList>(module.py())?;
        super::warm::check_environment(module.py())?;
        super::fault::look_at_environment(module.py())?;
        super::warm::limit_handles(module.py());
        super::rmap::add_to(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
