//! Helpers for the other files.

use std::process::{Command, Output};

use memgroup::{Backing, Block, Error, MemGroup, Options};

/// Every backing that works here.
pub fn backings() -> [Backing; 3] {
    [Backing::Memfd, Backing::Directory(std::env::temp_dir()), Backing::Anonymous]
}

/// A group of that backing with default options.
pub fn group_of(backing: Backing) -> MemGroup {
    Options::new().backing(backing).open().unwrap()
}

/// The block, or `None` with a printed note if this machine does not have that much memory.
pub fn unless_too_small_a_machine(allocated: Result<Block<'_>, Error>) -> Option<Block<'_>> {
    match allocated {
        Err(Error::Headroom { wanted, available } | Error::Cgroup { wanted, available, .. }) => {
            eprintln!("skipped: needs {wanted} bytes of memory, and there are {available}");
            None
        }
        allocated => Some(allocated.unwrap()),
    }
}

/// Whether every byte has that value.
pub fn is_filled(bytes: &[u8], byte: u8) -> bool {
    // A comparison of memory, because these tests run without optimisation.
    bytes.first().is_none_or(|&first| first == byte)
        && bytes.get(1..).unwrap_or_default() == &bytes[..bytes.len().saturating_sub(1)]
}

/// The amount of work: `full`, or `little` under miri, which takes a thousand times as long.
pub fn scaled(full: usize, little: usize) -> usize {
    if cfg!(miri) { little } else { full }
}

/// How many cases a test of random histories tries; as many times more as the environment variable `MEMGROUP_FUZZ`
/// says.
pub fn cases(usual: u32) -> u32 {
    let factor = std::env::var("MEMGROUP_FUZZ").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    if cfg!(miri) { 2 } else { usual.saturating_mul(factor) }
}

/// Allocates so many blocks of that size.
pub fn fill(group: &MemGroup, blocks: usize, size: usize) {
    for _ in 0..blocks {
        group.alloc(size).unwrap();
    }
}

/// Runs one of this program's tests again, alone in a process of its own, where `is_child` is true.
pub fn in_child(test: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["--exact", test, "--nocapture"]).env(CHILD, test).output().unwrap();
    // A name without a test would succeed, too.
    assert!(String::from_utf8_lossy(&output.stdout).contains("running 1 test\n"), "there is no test {test}");
    output
}

/// Forks, runs `child` in the child, waits for it, and returns its result.
pub fn forked(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: these tests run in a process of their own without other threads, so the child finds no lock held.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let content = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: _exit never returns and runs nothing of the parent's.
        unsafe { libc::_exit(i32::from(!content)) };
    }
    wait_for(pid) == 0
}

/// How that child ended.
pub fn wait_for(pid: libc::pid_t) -> libc::c_int {
    let mut status = -1;
    // SAFETY: pid is this process's child, and status outlives the call.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    status
}

/// Whether this process was started by `in_child` for that test.
pub fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|name| name == test)
}

/// Runs the body of `test` alone in a process of its own, and expects it to end well.
pub fn alone(test: &str, body: impl FnOnce()) {
    if is_child(test) {
        return body();
    }
    let output = in_child(test);
    assert!(output.status.success(), "{:?}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

const CHILD: &str = "MEMGROUP_TEST_CHILD";
