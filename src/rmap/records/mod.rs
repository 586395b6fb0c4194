//! The records of a machine, and how each is made, cloned and ended. They name each other, as the kernel's do.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `machine` | all of them, and processes: spawn, fork, exit |
//! | `anon_vma` | anon_vmas and chains: prepare, clone, unlink |
//! | `context` | the tree of contexts, of the design that has them instead of chains |
//! | `process`, `vma`, `page` | the other records |
//! | `arena` | the rows they lie in |

pub(super) mod anon_vma;
pub(super) mod arena;
mod context;
pub(super) mod machine;
pub(super) mod page;
pub(super) mod process;
pub(super) mod vma;
