//! When `malloc` gives memory back to the kernel. Boxes and the peers' chunks come from there, so this decides whether
//! their next round is warm or cold; left alone, glibc decides by what else happens to be on its heap.

/// From now on freed memory stays with `malloc`, warm, until [`return_freed_memory`].
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number, under malloc's own locks.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX)
    };
}

/// Gives all freed memory back, so that what is allocated next is cold.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only memory that malloc knows to be free, under malloc's own locks.
    unsafe {
        libc::malloc_trim(0)
    };
}
