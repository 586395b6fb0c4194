//! Says what the crate is built for where the sources must know: which CPython (free-threaded or not), and whether slots are
//! to lie on the heap, because what runs the tests knows no mappings.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // `--cfg heap` by itself runs the tests of all that the two may run, without either.
    if ["MIRI", "LOOM"].iter().any(|cfg| std::env::var_os(format!("CARGO_CFG_{cfg}")).is_some()) {
        println!("cargo::rustc-cfg=heap");
    }
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();
}
