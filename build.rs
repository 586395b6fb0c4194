//! Tells the pyo3 layer which CPython it is built for (free-threaded or not). Nothing to do without that layer.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();
}
