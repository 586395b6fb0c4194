//! Makes the n-th system call of a kind fail in this process, whichever library makes it.
//!
//! A seccomp filter on one thread passes the relevant calls to another thread (`SECCOMP_RET_USER_NOTIF`), which counts
//! them and lets the kernel either continue or return an error. The crate contains no code for this, and nothing need
//! be installed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A kind of call, and the errors that it can give.
pub struct Call {
    pub name: &'static str,
    number: libc::c_long,
    pub errors: &'static [i32],
    /// Whether the arguments are those of a call by the crate, and not by its allocator.
    is_ours: fn(&[u64; 6]) -> bool,
}

/// Bytes in the first slot of the groups that are watched: a number that no heap grows by.
pub const BASE: usize = 19 * 4096;

pub const CALLS: &[Call] = &[
    Call {
        name: "memfd_create",
        number: libc::SYS_memfd_create,
        errors: &[libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINVAL, libc::EACCES, libc::ENOSYS, libc::EPERM],
        is_ours: any,
    },
    Call {
        name: "ftruncate",
        number: libc::SYS_ftruncate,
        errors: &[libc::EINTR, libc::EFBIG, libc::EINVAL, libc::EIO, libc::EPERM, libc::ENOSPC],
        is_ours: any,
    },
    Call {
        name: "mmap",
        number: libc::SYS_mmap,
        errors: &[libc::ENOMEM, libc::EAGAIN, libc::EACCES, libc::EPERM, libc::ENODEV, libc::ENFILE],
        is_ours: |arguments| {
            // Not the heap: that is private, and reserved or in halves of 128 MiB; nor what is larger than a page
            // otherwise.
            let ours = libc::MAP_SHARED | libc::MAP_FIXED;
            let is_reserved = arguments[3] as i32 & libc::MAP_NORESERVE == 0;
            let may_be_a_heap = is_reserved || arguments[1].is_power_of_two();
            arguments[3] as i32 & ours != 0 || arguments[1] <= 4096 || !may_be_a_heap
        },
    },
    Call {
        name: "mprotect",
        number: libc::SYS_mprotect,
        errors: &[libc::ENOMEM, libc::EACCES],
        // Not the heap, nor the stack of a thread.
        is_ours: |arguments| {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            arguments[1].is_multiple_of(BASE as u64) && arguments[2] as i32 == access
        },
    },
    Call { name: "munmap", number: libc::SYS_munmap, errors: &[libc::ENOMEM, libc::EINVAL], is_ours: any },
    Call { name: "fcntl", number: libc::SYS_fcntl, errors: &[libc::EBUSY, libc::EPERM, libc::EINVAL], is_ours: any },
    Call {
        name: "madvise",
        number: libc::SYS_madvise,
        errors: &[
            libc::EAGAIN,
            libc::EINTR,
            libc::ENOMEM,
            libc::EFAULT,
            libc::EINVAL,
            libc::EHWPOISON,
            libc::EIO,
            libc::EACCES,
            libc::EPERM,
        ],
        is_ours: any,
    },
    Call {
        name: "collapse",
        number: libc::SYS_madvise,
        errors: &[libc::EBUSY, libc::ENOMEM, libc::EAGAIN, libc::EINVAL, libc::EPERM, libc::EFAULT, libc::ENOSYS],
        is_ours: |arguments| arguments[2] == 25,
    },
    Call {
        name: "mlock",
        number: libc::SYS_mlock,
        errors: &[libc::ENOMEM, libc::EAGAIN, libc::EPERM, libc::EINVAL, libc::ENOSYS],
        is_ours: any,
    },
    Call { name: "munlock", number: libc::SYS_munlock, errors: &[libc::ENOMEM], is_ours: any },
    Call { name: "mincore", number: libc::SYS_mincore, errors: &[libc::ENOMEM, libc::EAGAIN], is_ours: any },
    Call { name: "prlimit", number: libc::SYS_prlimit64, errors: &[libc::EPERM], is_ours: any },
    Call {
        name: "openat",
        number: libc::SYS_openat,
        errors: &[
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EACCES,
            libc::EPERM,
            libc::EROFS,
            libc::ENOENT,
            libc::EOPNOTSUPP,
            libc::EISDIR,
            libc::EINVAL,
        ],
        is_ours: any,
    },
];

fn any(_: &[u64; 6]) -> bool {
    true
}

/// The next failure: which of [`CALLS`], its number, and the error.
static ORDER: Mutex<Option<(usize, usize, i32)>> = Mutex::new(None);

/// Calls of that kind so far.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Makes the `n`-th call of a kind fail while `work` runs in a thread of [`watched`]. Returns the result of `work`, and
/// whether there were so many calls.
pub fn failing<R>(call: usize, n: usize, error: i32, work: impl FnOnce() -> R) -> (R, bool) {
    SEEN.store(0, Ordering::SeqCst);
    *ORDER.lock().unwrap() = Some((call, n, error));
    let result = work();
    *ORDER.lock().unwrap() = None;
    (result, SEEN.load(Ordering::SeqCst) >= n)
}

/// Runs `work` in a thread whose calls can be made to fail, or returns the reason why the kernel does not allow that.
pub fn watched<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, std::io::Error> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        // The supervisor starts before the filter exists, because the filter must not apply to its own calls.
        let worker = scope.spawn(move || {
            let mut warm_up = Vec::with_capacity(1 << 16); // the allocator's own arena for this thread
            warm_up.push(0u8);
            let listener = install()?;
            tell.send(listener).unwrap();
            Ok(work())
        });
        if let Ok(listener) = told.recv() {
            // It is not joined: it waits for calls until the process ends.
            std::thread::spawn(move || supervise(listener));
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn install() -> Result<i32, std::io::Error> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    // The number of the call is the first word.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for (at, call) in CALLS.iter().enumerate() {
        let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        // Jumps to the last statement, over the other tests and over the statement that allows all other calls.
        program.push(libc::sock_filter { code, jt: (CALLS.len() - at) as u8, jf: 0, k: call.number as u32 });
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: numbers only; it takes from this thread the right to gain rights.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the program outlives the call, which copies it.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if listener < 0 { Err(std::io::Error::last_os_error()) } else { Ok(listener as i32) }
}

fn supervise(listener: i32) {
    loop {
        // SAFETY: integers, all of which may be 0, and which the kernel wants to be.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: asked outlives the call.
        if unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } != 0 {
            match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR | libc::ENOENT) => continue,
                _ => return,
            }
        }
        let error = ORDER.lock().unwrap().and_then(|(call, n, error)| {
            let call = &CALLS[call];
            let is_it = call.number == libc::c_long::from(asked.data.nr) && (call.is_ours)(&asked.data.args);
            (is_it && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == n).then_some(error)
        });
        let mut answer = libc::seccomp_notif_resp {
            id: asked.id,
            val: 0,
            error: error.map_or(0, |error| -error),
            flags: if error.is_some() { 0 } else { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 },
        };
        // The kernel refuses if the calling thread has died meanwhile.
        // SAFETY: answer outlives the call.
        unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }
}
