//! Seeing faults before the process dies of them, in a signal handler that leaves everything else as it was.
//!
//! A handler of ours takes SIGSEGV and SIGBUS, shows the fault to whoever wants to see it, and hands on to whoever had
//! the signal before. All that runs in it is async-signal-safe: loads, stores and system calls.
//!
//! Who was there before may be the default: then it is put back, and the same signal is queued again for the thread,
//! with all that was known of it, so that the process dies of just that as the handler returns. (To let the instruction
//! fault again would do, too, were it certain to: another thread may map something there meanwhile.) Or it is a
//! function: then it is called, with the mask it asked for.
//!
//! Who comes later and hands on in its turn (Python's faulthandler) does so by `raise`, which tells nothing of the
//! fault. But what the kernel saved when it called that handler is on the stack, so that is looked for.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

use crate::error::Operation;
use crate::os::Refusal;
use crate::os::fork::SharedPerProcess;

mod machine;

pub(crate) use machine::Access;

/// A fault, as the kernel tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) signal: c_int,
    /// What kind of fault, as `siginfo` has it; 0 if nobody said.
    pub(crate) code: c_int,
    pub(crate) address: usize,
    pub(crate) access: Access,
    /// Of the instruction.
    at: usize,
}

/// Who is shown faults. It must be async-signal-safe.
pub(crate) type Watcher = fn(&Fault);

/// The signals that faults come by.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// One for each time that somebody else was found in front, for a handler must not stand in its own chain.
const LEVELS: usize = 8;

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

static HANDLERS: [Handler; LEVELS] =
    [handle::<0>, handle::<1>, handle::<2>, handle::<3>, handle::<4>, handle::<5>, handle::<6>, handle::<7>];

/// Who had each signal before, for each handler: null where it was not installed, else a leaked action.
static BEFORE: [[AtomicPtr<libc::sigaction>; SIGNALS.len()]; LEVELS] =
    [const { [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS.len()] }; LEVELS];

/// Whether faults are shown.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Null, or a [`Watcher`].
static WATCHER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Has faults shown from now on, before anybody else hears of them.
pub(crate) fn watch(watcher: Watcher) -> Result<(), Refusal> {
    WATCHER.store(watcher as *mut (), Ordering::Release);
    changing(|| SIGNALS.into_iter().enumerate().try_for_each(|(index, signal)| install(index, signal)))?;
    IS_ON.store(true, Ordering::Release);
    Ok(())
}

/// Shows no fault any more. Where nobody has put a handler in front of ours meanwhile, that goes too; else it hands on.
pub(crate) fn unwatch() {
    IS_ON.store(false, Ordering::Release);
    changing(|| {
        for (index, signal) in SIGNALS.into_iter().enumerate() {
            let Ok(current) = action(signal, None) else { continue };
            let ours = level_of(&current).and_then(|level| BEFORE.get(level));
            if let Some(before) = ours.and_then(|places| before(&places[index])) {
                let _refused = action(signal, Some(before));
            }
        }
    });
}

/// Whether faults are shown.
pub(crate) fn is_watching() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// One thread at a time changes who has the signals.
fn changing<R>(change: impl FnOnce() -> R) -> R {
    static CHANGING: SharedPerProcess<Mutex<()>> = SharedPerProcess::new();
    let _alone = CHANGING.get().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
    change()
}

fn install(index: usize, signal: c_int) -> Result<(), Refusal> {
    let current = action(signal, None)?;
    if level_of(&current).is_some() {
        return Ok(());
    }
    // A handler that has the same one behind it already, or the first that has not been installed.
    let is_same = |place: &AtomicPtr<_>| before(place).is_some_and(|action| have_same_handler(action, &current));
    let known = (0..LEVELS).find(|&level| is_same(&BEFORE[level][index]));
    let unused = || (0..LEVELS).find(|&level| before(&BEFORE[level][index]).is_none());
    let level = known.or_else(unused).ok_or_else(|| Refusal::of(Operation::HandleSignals)(Errno::EBUSY))?;
    // Never freed: a handler may be looking at the one before.
    BEFORE[level][index].store(Box::into_raw(Box::new(current)), Ordering::Release);

    let mut ours = current;
    ours.sa_sigaction = HANDLERS[level] as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    if is_function(&current) {
        // It is called with the mask that it would have had.
        ours.sa_flags |= current.sa_flags & (libc::SA_NODEFER | libc::SA_RESTART);
    } else {
        // SAFETY: the set is one, to be made empty.
        unsafe { libc::sigemptyset(&mut ours.sa_mask) };
    }
    action(signal, Some(&ours)).map(drop)
}

/// Who has a signal, and will from now on have it.
fn action(signal: c_int, new: Option<&libc::sigaction>) -> Result<libc::sigaction, Refusal> {
    let mut current = MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: both are null or an action. What is installed is a handler of ours, or what somebody else had installed.
    let done = Errno::result(unsafe { libc::sigaction(signal, new, current.as_mut_ptr()) });
    // SAFETY: zeros are an action too.
    done.map(|_| unsafe { current.assume_init() }).map_err(Refusal::of(Operation::HandleSignals))
}

fn before(place: &AtomicPtr<libc::sigaction>) -> Option<&'static libc::sigaction> {
    // SAFETY: null, or leaked by install.
    unsafe { place.load(Ordering::Acquire).as_ref() }
}

fn level_of(action: &libc::sigaction) -> Option<usize> {
    HANDLERS.iter().position(|&handler| handler as usize == action.sa_sigaction)
}

fn is_function(action: &libc::sigaction) -> bool {
    !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
}

fn have_same_handler(one: &libc::sigaction, other: &libc::sigaction) -> bool {
    one.sa_sigaction == other.sa_sigaction && one.sa_flags == other.sa_flags
}

extern "C" fn handle<const LEVEL: usize>(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = Errno::last_raw();
    if IS_ON.load(Ordering::Acquire) {
        // SAFETY: the kernel passes both, for this signal.
        if let Some(fault) = unsafe { Fault::behind(signal, info, context) } {
            show(&fault);
        }
    }
    Errno::set_raw(errno);
    let index = usize::from(signal == libc::SIGBUS);
    hand_on(&BEFORE[LEVEL][index], signal, info, context);
}

/// Shows a fault, unless it is the last one once more: somebody in front has handed it on, or somebody behind returned
/// and changed nothing.
fn show(fault: &Fault) {
    static LAST: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    let watcher = WATCHER.load(Ordering::Acquire);
    let is_known = LAST[0].swap(fault.address, Ordering::Relaxed) == fault.address;
    let is_known = LAST[1].swap(fault.at, Ordering::Relaxed) == fault.at && is_known;
    if !watcher.is_null() && !is_known {
        // SAFETY: what is not null is a Watcher.
        let watcher = unsafe { std::mem::transmute::<*mut (), Watcher>(watcher) };
        watcher(fault);
    }
}

fn hand_on(place: &AtomicPtr<libc::sigaction>, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes one.
    let is_fault = unsafe { (*info).si_code } > 0;
    let before = before(place);
    match before.map_or(libc::SIG_DFL, |before| before.sa_sigaction) {
        // The kernel lets nobody ignore a fault.
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_DFL | libc::SIG_IGN => die(signal, info),
        function => {
            let flags = before.map_or(0, |before| before.sa_flags);
            if flags & libc::SA_RESETHAND != 0 {
                place.store(Default::get(), Ordering::Release);
            }
            // SAFETY: somebody installed it as a handler, of the one kind or the other.
            unsafe { call(function, flags, signal, info, context) };
        }
    }
}

/// # Safety
/// `function` must be a handler that was installed with these flags, and the rest what the kernel passes.
unsafe fn call(function: usize, flags: c_int, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the flag says that the installed handler, which this is by contract, takes three arguments.
        let function = unsafe { std::mem::transmute::<usize, Handler>(function) };
        function(signal, info, context);
    } else {
        // SAFETY: without the flag, the installed handler, which this is by contract, takes the number alone.
        let function = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(function) };
        function(signal);
    }
}

/// Has the process die of the signal as soon as this handler returns, which lets the signal through again.
fn die(signal: c_int, info: *mut libc::siginfo_t) {
    // SAFETY: the action is a whole one, and nobody is to be told of the last.
    unsafe { libc::sigaction(signal, Default::get(), ptr::null_mut()) };
    let (process, thread) = (getpid(), gettid());
    // Refused (by a sandbox), a fault happens again all the same.
    // SAFETY: the call takes numbers, and info is what the kernel passed.
    let _refused = unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, info) };
}

/// The default action: leaked memory will not do, for it is wanted in a handler.
struct Default(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: nobody writes to it.
unsafe impl Sync for Default {}

impl Default {
    fn get() -> *mut libc::sigaction {
        static DEFAULT: Default = Default(UnsafeCell::new(MaybeUninit::zeroed()));
        DEFAULT.0.get().cast()
    }
}

impl Fault {
    /// The fault that a handler was called for: by the kernel, or by somebody who hands on by `raise`.
    ///
    /// # Safety
    /// `info` and `context` must be what the kernel passes to a handler.
    unsafe fn behind(signal: c_int, info: *const libc::siginfo_t, context: *const c_void) -> Option<Self> {
        // SAFETY: the contract says that the kernel passed it to a handler: it is alive until that returns.
        let info = unsafe { &*info };
        // SAFETY: the contract says that the kernel passed it to a handler.
        let machine = unsafe { machine::Context::of(context) };
        if info.si_code > 0 {
            // SAFETY: a fault has an address.
            let address = unsafe { info.si_addr() }.addr();
            return Some(Self { signal, code: info.si_code, address, access: machine.access, at: machine.at });
        }
        // SAFETY: who sends a signal leaves a number of a process.
        let is_raised = info.si_code == libc::SI_TKILL && unsafe { info.si_pid() } == getpid();
        if !is_raised {
            return None;
        }
        let machine::Faulted { address, context } = machine::faulted_above(machine.stack)?;
        Some(Self { signal, code: 0, address, access: context.access, at: context.at })
    }
}

/// Number of the thread.
pub(crate) fn gettid() -> libc::pid_t {
    // SAFETY: the call only returns a number.
    unsafe { libc::gettid() }
}

/// Number of the process.
pub(crate) fn getpid() -> libc::pid_t {
    // SAFETY: the call only returns a number.
    unsafe { libc::getpid() }
}

/// Writes to standard error, in one call where it takes all.
pub(crate) fn write_to_stderr(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the bytes are there.
        let written = unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => bytes = bytes.get(written..).unwrap_or_default(),
            Err(_) if Errno::last() == Errno::EINTR => {}
            // Nobody listens.
            _ => return,
        }
    }
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    // SAFETY: the call looks at a descriptor, which need not be open.
    unsafe { libc::isatty(libc::STDERR_FILENO) == 1 }
}
