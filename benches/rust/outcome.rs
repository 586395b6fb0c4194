//! Errors of benchmarks.

use std::fmt::Display;

/// The value, or the end of the run, because without memory there is nothing to measure.
#[inline(always)]
pub fn or_exit<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => exit(&error),
    }
}

#[cold]
#[inline(never)]
fn exit(error: &dyn Display) -> ! {
    eprintln!("cannot measure: {error}");
    std::process::exit(1)
}
