//! Between the C interfaces of Python and numpy and Rust: what users pass into what the crate takes, errors into
//! Python's, slots of types that are made by hand into functions, and bytes that others may write into raw pointers.

pub(crate) mod arguments;
pub(crate) mod errors;
pub(crate) mod exported;
pub(crate) mod keywords;
pub(crate) mod memory;
pub(crate) mod methods;
pub(crate) mod native_type;
pub(crate) mod numpy_api;
pub(crate) mod progress;
pub(crate) mod raw_bytes;
pub(crate) mod text;
pub(crate) mod trampoline;
