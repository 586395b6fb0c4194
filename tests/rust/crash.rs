//! Writing through the read-only mirror in every way, in a process that may die of it.

use std::ffi::{c_int, c_void};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use memgroup::{Backing, MemGroup, Options, Protected, disable_fault_report, enable_fault_report};
use nix::errno::Errno;
use nix::sys::mman::{MmapAdvise, ProtFlags, madvise, mprotect};

use crate::support::{alone, backings, group_of, in_child, is_child, wait_for};

/// Printed right before the access that must kill the child, so that no other crash passes for it.
const LAST_WORDS: &str = "about to store";

const BYTES: &[u8; 4096] = &[0x5a; 4096];

/// A protected page and its address for system calls.
fn protected(group: &MemGroup) -> (Protected<'_>, NonNull<c_void>) {
    let layout = std::alloc::Layout::from_size_align(BYTES.len(), 4096).unwrap();
    let mut block = group.alloc_layout(layout).unwrap();
    block.copy_from_slice(BYTES);
    let protected = group.protect(block).unwrap();
    let address = NonNull::new(protected.as_ptr().cast_mut().cast()).unwrap();
    (protected, address)
}

/// Does the same to a protected page of every backing that has one.
fn for_each_protected(attack: impl Fn(NonNull<c_void>)) {
    for backing in backings() {
        if backing == Backing::Anonymous {
            continue;
        }
        let group = group_of(backing);
        let (protected, address) = protected(&group);
        let mut neighbour = group.alloc(16).unwrap();
        attack(address);
        assert_eq!(&protected[..], BYTES);
        neighbour.fill(1);
        assert!(neighbour.iter().all(|&byte| byte == 1));
    }
}

/// In a child, stores into a protected page of that backing; in the parent, expects the child to die of that store.
fn dies_of_a_store(test: &str, backing: Backing) {
    if !is_child(test) {
        return dies_in_child(test, libc::SIGSEGV);
    }
    let group = group_of(backing);
    let (_protected, address) = protected(&group);
    println!("{LAST_WORDS}");
    std::io::stdout().flush().unwrap();
    // SAFETY: none: that is the point. The hardware stops it, and the process with it.
    unsafe { address.cast::<u8>().as_ptr().write_volatile(1) };
}

#[test]
fn a_store_is_sigsegv() {
    dies_of_a_store("crash::a_store_is_sigsegv", Backing::Memfd);
}

#[test]
fn a_store_to_a_file_below_a_directory_is_sigsegv() {
    let directory = Backing::Directory(std::env::temp_dir());
    dies_of_a_store("crash::a_store_to_a_file_below_a_directory_is_sigsegv", directory);
}

#[test]
fn read_into_it_is_efault() {
    for_each_protected(|address| {
        let file = std::fs::File::open("/dev/zero").unwrap();
        // SAFETY: the kernel checks the address, and is to refuse it.
        let read = unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&file), address.as_ptr(), 100) };
        assert_eq!((read, Errno::last()), (-1, Errno::EFAULT));
    });
}

#[test]
fn mprotect_of_it_is_eacces() {
    for_each_protected(|address| {
        for flags in [ProtFlags::PROT_WRITE, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE] {
            // SAFETY: the call is to be refused; were it not, the assertion ends the test.
            assert_eq!(unsafe { mprotect(address, BYTES.len(), flags) }, Err(Errno::EACCES));
        }
    });
}

#[test]
fn punching_a_hole_into_it_is_refused() {
    for_each_protected(|address| {
        // SAFETY: as above.
        let result = unsafe { madvise(address, BYTES.len(), MmapAdvise::MADV_REMOVE) };
        assert!(matches!(result, Err(Errno::EACCES | Errno::EPERM)), "{result:?}");
    });
}

#[test]
fn no_write_reaches_it_through_proc_self_mem() {
    use std::os::unix::fs::FileExt;
    for_each_protected(|address| {
        let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem").unwrap();
        let written = memory.write_at(b"overwritten", address.as_ptr().addr() as u64);
        assert!(written.is_err(), "{written:?}");
    });
}

// The report before the process dies

/// The expected report of a store into the read-only mirror of a first slot of 64 KiB.
fn report_of(pid: libc::pid_t, address: usize, offset: usize) -> String {
    format!(
        "memgroup: write at {address:#x}, in the read-only mirror of slot 0 of the group \"crash\"\n  \
           slot    offset {offset} of 65536 bytes\n  \
           cause   the object is protected: the read-only mirror cannot be written\n  \
           remedy  write through group.unprotect(object), or into a copy\n  \
           signal  SIGSEGV in thread {pid} of process {pid}\n"
    )
}

fn crash_group(backing: Backing) -> MemGroup {
    Options::new().name("crash").backing(backing).open().unwrap()
}

/// Runs an attack on a protected page in a child, and expects the report, SIGSEGV, and the bytes as they were: the
/// child shares them.
fn is_reported(backing: Backing, attack: impl FnOnce(NonNull<c_void>)) {
    let group = crash_group(backing);
    let (protected, address) = protected(&group);
    let (pid, status, said) = last_words(|| attack(address));
    assert_eq!(said, report_of(pid, address.addr().get(), 0));
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{status:#x}");
    assert_eq!(&protected[..], BYTES);
}

type Attack = Box<dyn Fn()>;

fn atomics(address: NonNull<c_void>) -> Vec<(&'static str, Attack)> {
    macro_rules! attacks {
        ($($atomic:ty, $same:expr;)*) => { vec![$(
            (concat!(stringify!($atomic), " store"), attack(address, |at: &$atomic| at.store(1, Ordering::SeqCst))),
            (concat!(stringify!($atomic), " swap"), attack(address, |at: &$atomic| { at.swap(1, Ordering::SeqCst); })),
            (concat!(stringify!($atomic), " add"), attack(address, |at: &$atomic| { at.fetch_add(1, Ordering::SeqCst); })),
            (concat!(stringify!($atomic), " or 0"), attack(address, |at: &$atomic| { at.fetch_or(0, Ordering::SeqCst); })),
            (concat!(stringify!($atomic), " exchange"), attack(address, |at: &$atomic| {
                let _ = at.compare_exchange($same, 1, Ordering::SeqCst, Ordering::SeqCst);
            })),
            (concat!(stringify!($atomic), " exchange of something else"), attack(address, |at: &$atomic| {
                let _ = at.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
            })),
        )*] };
    }
    attacks! {
        AtomicU8, 0x5a;
        AtomicU16, 0x5a5a;
        AtomicU32, 0x5a5a_5a5a;
        AtomicU64, 0x5a5a_5a5a_5a5a_5a5a;
    }
}

fn attack<A: 'static>(address: NonNull<c_void>, work: impl Fn(&A) + 'static) -> Attack {
    // SAFETY: none: that is the point. The page is there, and atomics of any kind fit.
    Box::new(move || work(unsafe { address.cast::<A>().as_ref() }))
}

#[test]
fn every_atomic_operation_is_the_same_reported_crash() {
    alone("crash::every_atomic_operation_is_the_same_reported_crash", || {
        enable_fault_report().unwrap();
        let group = crash_group(Backing::Memfd);
        let (protected, address) = protected(&group);
        for (name, attack) in atomics(address) {
            let (pid, status, said) = last_words(attack);
            // On some machines a comparison that fails makes no store.
            if cfg!(target_arch = "aarch64") && name.ends_with("something else") && status == 0 {
                continue;
            }
            assert_eq!(said, report_of(pid, address.addr().get(), 0), "{name}");
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{name}: {status:#x}");
            assert_eq!(&protected[..], BYTES, "{name}");
        }
    });
}

#[test]
fn nothing_is_reported_unless_reports_are_enabled() {
    alone("crash::nothing_is_reported_unless_reports_are_enabled", || {
        let group = crash_group(Backing::Memfd);
        let (_protected, address) = protected(&group);
        for enabled in [false, true, false] {
            if enabled {
                enable_fault_report().unwrap()
            } else {
                disable_fault_report()
            }
            let (_, status, said) = last_words(|| store(address));
            assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
            assert_eq!(said.is_empty(), !enabled, "{said}");
        }
    });
}

fn store(address: NonNull<c_void>) {
    // SAFETY: none: that is the point. The hardware stops it, and the process with it.
    unsafe { address.cast::<u8>().as_ptr().write_volatile(1) };
}

#[test]
fn a_crash_is_the_same_to_a_debugger() {
    alone("crash::a_crash_is_the_same_to_a_debugger", || {
        let group = crash_group(Backing::Memfd);
        let (_protected, address) = protected(&group);
        install(libc::SIG_DFL, 0); // Rust's own handler would let the instruction fault again
        let stops_without = stops_of(|| store(address));
        enable_fault_report().unwrap();
        let stops_with = stops_of(|| store(address));
        let [fault] = stops_without[..] else { panic!("{stops_without:x?}") };
        assert_eq!(fault, (libc::SIGSEGV, SEGV_ACCERR, address.addr().get()));
        // It faults, the report is written, and the process gets the same signal again and dies of it.
        assert_eq!(stops_with, [fault, fault]);
    });
}

const SEGV_ACCERR: c_int = 2;

/// The signals at which a traced child stops, with their information; the child dies of the last one.
fn stops_of(work: impl FnOnce()) -> Vec<(c_int, c_int, usize)> {
    // SAFETY: the child only calls what does not lock, and leaves without cleaning up.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: asks to be traced by the parent.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME) };
        work();
        // SAFETY: _exit never returns and runs nothing of the parent's.
        unsafe { libc::_exit(0) };
    }
    let mut stops = Vec::new();
    loop {
        let status = wait_for(pid);
        if libc::WIFSIGNALED(status) {
            assert_eq!(stops.last().map(|&(signal, _, _)| signal), Some(libc::WTERMSIG(status)));
            return stops;
        }
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the child is stopped, and info has room.
        unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, pid, 0, info.as_mut_ptr()) };
        // SAFETY: zeros or what the kernel wrote.
        let info = unsafe { info.assume_init() };
        // SAFETY: a fault has an address.
        stops.push((libc::WSTOPSIG(status), info.si_code, unsafe { info.si_addr() }.addr()));
        // SAFETY: the child is stopped, and goes on with the signal.
        unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, libc::WSTOPSIG(status)) };
    }
}

static SEEN: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
static CALLS: AtomicI32 = AtomicI32::new(0);

/// A handler of an application that notes the address and exits.
extern "C" fn leaves(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes one.
    let info = unsafe { &*info };
    // SAFETY: a fault has an address.
    let address = unsafe { info.si_addr() }.addr();
    let expected = SEEN[0].load(Ordering::Relaxed) == address && signal == libc::SIGSEGV;
    // SAFETY: _exit never returns.
    unsafe { libc::_exit(if expected { 42 } else { 43 }) };
}

/// A handler of an application that repairs the cause and returns.
extern "C" fn mends(_signal: c_int) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let page = std::ptr::without_provenance_mut(SEEN[1].load(Ordering::Relaxed));
    // SAFETY: the page is the test's own.
    unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE) };
}

fn install(handler: usize, flags: c_int) {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeros are an action, of the default.
    let action = unsafe { action.assume_init_mut() };
    (action.sa_sigaction, action.sa_flags) = (handler, flags);
    // SAFETY: the handler has the signature that the flags say.
    assert_eq!(unsafe { libc::sigaction(libc::SIGSEGV, action, std::ptr::null_mut()) }, 0);
}

#[test]
fn an_earlier_handler_still_runs() {
    alone("crash::an_earlier_handler_still_runs", || {
        let group = crash_group(Backing::Memfd);
        let (_protected, address) = protected(&group);
        SEEN[0].store(address.addr().get(), Ordering::Relaxed);
        install(leaves as *const () as usize, libc::SA_SIGINFO);
        enable_fault_report().unwrap();
        let (pid, status, said) = last_words(|| store(address));
        assert_eq!(said, report_of(pid, address.addr().get(), 0));
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status:#x}");
    });
}

/// Touches a new page that only an application's handler makes accessible.
fn touch_elsewhere() {
    // SAFETY: a new mapping anywhere replaces no other.
    let page = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    SEEN[1].store(page.addr(), Ordering::Relaxed);
    // SAFETY: the page is there, and the handler lets it be written.
    unsafe { page.cast::<u8>().write_volatile(1) };
}

#[test]
fn a_handler_that_repairs_its_own_faults_still_runs_and_crashes_are_still_reported() {
    alone("crash::a_handler_that_repairs_its_own_faults_still_runs_and_crashes_are_still_reported", || {
        let group = crash_group(Backing::Memfd);
        let (_protected, address) = protected(&group);
        install(mends as *const () as usize, 0);
        enable_fault_report().unwrap();
        let (_, status, said) = last_words(|| {
            (0..3).for_each(|_| touch_elsewhere());
            // SAFETY: _exit never returns.
            unsafe { libc::_exit(CALLS.load(Ordering::Relaxed)) };
        });
        assert_eq!((libc::WEXITSTATUS(status), said.as_str()), (3, ""));
        let (pid, status, said) = last_words(|| {
            touch_elsewhere();
            disable_fault_report();
            install(libc::SIG_DFL, 0);
            enable_fault_report().unwrap();
            store(address);
        });
        assert_eq!(said, report_of(pid, address.addr().get(), 0));
        assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
    });
}

#[test]
fn a_handler_installed_for_one_signal_runs_once() {
    alone("crash::a_handler_installed_for_one_signal_runs_once", || {
        install(mends as *const () as usize, libc::SA_RESETHAND);
        enable_fault_report().unwrap();
        let (_, status, said) = last_words(touch_elsewhere);
        assert_eq!((status, said.as_str()), (0, ""));
        let (_, status, said) = last_words(|| (0..2).for_each(|_| touch_elsewhere()));
        assert_eq!((libc::WTERMSIG(status), said.as_str()), (libc::SIGSEGV, ""));
    });
}

#[test]
fn a_stack_overflow_keeps_its_usual_message() {
    const TEST: &str = "crash::a_stack_overflow_keeps_its_usual_message";
    if !is_child(TEST) {
        let output = in_child(TEST);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("thread 'deep' (") && said.contains("has overflowed its stack"), "{said}");
        assert!(!said.contains("memgroup:"), "{said}");
        return;
    }
    fn deeper(depth: usize) -> usize {
        let kept = std::hint::black_box([depth; 64]);
        if depth == 0 { 0 } else { deeper(std::hint::black_box(depth + 1)) + kept[0] }
    }
    enable_fault_report().unwrap();
    let _group = MemGroup::new().unwrap();
    let thread = std::thread::Builder::new().name("deep".into()).stack_size(1 << 18);
    thread.spawn(|| deeper(1)).unwrap().join().unwrap();
}

#[test]
fn a_fault_in_a_thread_is_reported_on_its_signal_stack() {
    const TEST: &str = "crash::a_fault_in_a_thread_is_reported_on_its_signal_stack";
    alone(TEST, || {
        enable_fault_report().unwrap();
        let group = crash_group(Backing::Memfd);
        let (_protected, address) = protected(&group);
        let address = address.addr().get();
        let (_, status, said) = last_words(|| {
            let attack = move || store(NonNull::new(std::ptr::without_provenance_mut(address)).unwrap());
            std::thread::spawn(attack).join().unwrap();
        });
        assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
        assert!(
            said.starts_with(&format!("memgroup: write at {address:#x}, in the read-only mirror of slot 0")),
            "{said}"
        );
        assert_eq!(said.lines().count(), 5);
    });
}

#[test]
fn both_backings_and_both_guards_are_reported() {
    alone("crash::both_backings_and_both_guards_are_reported", || {
        enable_fault_report().unwrap();
        for backing in [Backing::Memfd, Backing::Directory(std::env::temp_dir())] {
            is_reported(backing.clone(), store);
            is_reported(backing.clone(), |address| {
                let cell = address.cast::<[u8; 16]>().as_ptr();
                // SAFETY: none: a store of another width.
                unsafe { cell.write_volatile([1; 16]) };
            });
            let group = crash_group(backing);
            let (_protected, address) = protected(&group);
            for (at, side) in [(-1isize, "before"), (65536, "behind")] {
                let beside = address.as_ptr().wrapping_byte_offset(at).cast::<u8>();
                // SAFETY: none: it is the guard's.
                let (_, status, said) = last_words(|| assert_eq!(unsafe { beside.read_volatile() }, 0));
                assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
                let head = format!("memgroup: read at {beside:p}, 1 byte {side} the read-only mirror of slot 0");
                assert!(said.starts_with(&head), "{said}");
            }
        }
    });
}

/// Forks, runs `child` in the child with its standard error captured, and returns the child's number, the status of
/// `waitpid`, and the captured text, which must be short.
fn last_words(child: impl FnOnce()) -> (libc::pid_t, libc::c_int, String) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // SAFETY: as in forked.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::STDERR_FILENO) };
        child();
        // SAFETY: _exit never returns and runs nothing of the parent's.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
    (pid, wait_for(pid), said)
}

/// Runs a test in a child and expects exactly that signal.
fn dies_in_child(test: &str, signal: i32) {
    let output = in_child(test);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.signal(), Some(signal), "{:?}\n{said}", output.status);
    assert!(said.contains(LAST_WORDS), "it died too early: {said}");
}
