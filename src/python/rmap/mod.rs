//! `memgroup.rmap`: the reverse-mapping model for Python.
//!
//! The types are made when they are first asked for, so that importing memgroup does not pay for them.

mod arguments;
mod broken;
mod class;
mod machine;
mod process;
mod rows;
mod vma;

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Lets the compiled module have the model's types, as soon as somebody asks.
pub(super) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for name in ["Broken", "Machine", "Process", "Vma"] {
        module.index()?.append(name)?;
    }
    module.setattr("__getattr__", wrap_pyfunction!(type_on_demand, module)?)
}

/// What the module does not have (yet): one of the model's types, made now and kept.
#[pyfunction(pass_module, name = "__getattr__")]
fn type_on_demand<'py>(module: &Bound<'py, PyModule>, name: &str) -> PyResult<Bound<'py, PyType>> {
    let py = module.py();
    let made = match name {
        "Machine" => py.get_type::<machine::Machine>(),
        "Process" => py.get_type::<process::Process>(),
        "Vma" => py.get_type::<vma::Vma>(),
        "Broken" => py.get_type::<broken::Broken>(),
        _ => {
            let message = format!("module 'memgroup._memgroup' has no attribute '{name}'");
            return Err(PyAttributeError::new_err(message));
        }
    };
    module.setattr(name, &made)?;
    Ok(made)
}
