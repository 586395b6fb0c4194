//! Lists and blocks as Arrow arrays, by the Arrow PyCapsule interface: structures of the C data interface in capsules.
//!
//! What an array shows is the read-only mirror, and is lent until its consumer calls `release`; see
//! [`ExportGuard`](super::guard::ExportGuard).

mod class;
mod export;
mod import;
mod interface;
mod types;

pub(crate) use class::ArrowArray;
pub(crate) use export::{export_block, export_list, schema_of_block, schema_of_list};
pub(crate) use import::from_arrow;
pub(crate) use types::Type;
