//! What Python calls of the model's types. Only the module that adds them knows of these.

mod machine;
mod process;
mod vma;
