//! What the machine says of a fault: where the instruction is, and what it was about to do.

#[cfg(target_arch = "x86_64")]
use std::ffi::c_int;
use std::ffi::c_void;

/// What was to be done to the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// The address was jumped to.
    Execute,
    /// The machine does not say.
    Unknown,
}

/// What is of interest in the registers of the code that a signal interrupted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub(super) access: Access,
    /// The instruction.
    pub(super) at: usize,
    /// Where its stack ends.
    pub(super) stack: usize,
}

/// A fault, from what was saved of it.
pub(super) struct Faulted {
    pub(super) address: usize,
    pub(super) context: Context,
}

/// How far above the end of the stack a frame is looked for.
const SEARCH_BYTES: usize = 64 * 1024;

/// Words that are read from a stack at once. Whole pages are a multiple.
const WORDS: usize = 16;

/// Looks for the registers that the kernel saved for another handler of a fault, above that address in the stack.
///
/// Nobody says where they are, for a handler that does not ask for them, as that of Python's faulthandler, is not told.
/// But what the kernel writes for every handler has marks enough.
pub(super) fn faulted_above(stack: usize) -> Option<Faulted> {
    const CHUNK: usize = WORDS * size_of::<u64>();
    let first = stack / CHUNK * CHUNK;
    for start in (first..first.checked_add(SEARCH_BYTES)?).step_by(CHUNK) {
        let words: [u64; WORDS] = read(start)?;
        for (index, &word) in words.iter().enumerate() {
            let address = start + index * size_of::<u64>();
            if word == arch::MARK
                && address >= stack
                && let Some(found) = arch::around_mark(address)
            {
                return Some(found);
            }
        }
    }
    None
}

/// What is at an address, if anything is: the kernel looks, for it may not be mapped.
fn read<T: Words>(address: usize) -> Option<T> {
    let mut value = T::ZERO;
    let local = libc::iovec { iov_base: (&raw mut value).cast(), iov_len: size_of::<T>() };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: size_of::<T>() };
    let process = super::getpid();
    // SAFETY: the value has room for what is read, any bytes of which are one; the kernel checks the other address.
    let read = unsafe { libc::process_vm_readv(process, &local, 1, &remote, 1, 0) };
    (usize::try_from(read) == Ok(size_of::<T>())).then_some(value)
}

/// Arrays of integers.
///
/// # Safety
/// Any bytes must be a value of the type.
unsafe trait Words {
    const ZERO: Self;
}

// SAFETY: integers.
unsafe impl<const N: usize> Words for [u64; N] {
    const ZERO: Self = [0; N];
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::{Access, Context, Faulted, c_int, c_void, read};

    /// Number of the trap that is a page fault, and bits of its error code.
    pub(super) const MARK: u64 = 14;
    const WRITE: u64 = 1 << 1;
    const EXECUTE: u64 = 1 << 4;
    const ALL: u64 = 0xffff;

    /// Words before the registers in a `ucontext`: flags, a link, and the signal stack.
    const HEAD: usize = 5;
    const REGISTERS: usize = 23;

    /// More flags than there are.
    const FLAGS: u64 = 0xff;

    const _: () = assert!(std::mem::offset_of!(libc::ucontext_t, uc_mcontext) == HEAD * size_of::<u64>());

    impl Context {
        /// # Safety
        /// `context` must be what the kernel passes to a handler.
        pub(in super::super) unsafe fn of(context: *const c_void) -> Self {
            // SAFETY: the kernel passes handlers a pointer to a `ucontext_t` that is alive until they return, and the
            // contract says
            // that this is such a pointer.
            let registers = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
            Self::from(&registers.map(|register| register as u64))
        }

        fn from(registers: &[u64; REGISTERS]) -> Self {
            let access = match get(registers, libc::REG_ERR) {
                _ if get(registers, libc::REG_TRAPNO) != MARK => Access::Unknown,
                error if error & EXECUTE != 0 => Access::Execute,
                error if error & WRITE != 0 => Access::Write,
                _ => Access::Read,
            };
            let [at, stack] = [libc::REG_RIP, libc::REG_RSP].map(|number| get(registers, number) as usize);
            Self { access, at, stack }
        }
    }

    fn get(registers: &[u64], number: c_int) -> u64 {
        registers.get(number as usize).copied().unwrap_or_default()
    }

    /// The fault whose number of the trap is at that address, if that is what it is.
    pub(super) fn around_mark(address: usize) -> Option<Faulted> {
        let start = address.checked_sub((HEAD + libc::REG_TRAPNO as usize) * size_of::<u64>())?;
        let [flags, link, ..]: [u64; HEAD] = read(start)?;
        let registers: [u64; REGISTERS] = read(start + HEAD * size_of::<u64>())?;
        let context = Context::from(&registers);
        let is_one = flags <= FLAGS && link == 0 && get(&registers, libc::REG_ERR) <= ALL && context.at != 0;
        is_one.then(|| Faulted { address: get(&registers, libc::REG_CR2) as usize, context })
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use super::{Access, Context, Faulted, c_void, read};

    /// Where the registers stand in the `ucontext`, as words: the address of the fault, x0 to x30, the stack pointer,
    /// the program counter.
    const REGISTERS: usize = std::mem::offset_of!(libc::ucontext_t, uc_mcontext);
    const STACK: usize = 32;
    const AT: usize = 33;

    /// Behind them (and the processor state), at the next multiple of 16, are records: a magic number and a length of
    /// four bytes each, then the contents. The first is of the vector registers, and always as long. That of one is the
    /// syndrome: what kind of fault it was.
    const RECORDS: usize = REGISTERS + (35 * size_of::<u64>()).next_multiple_of(16);
    pub(super) const MARK: u64 = 528 << 32 | 0x4650_8001;
    const SYNDROME: u32 = 0x4553_5201;
    const MAX_RECORDS: usize = 16;

    impl Context {
        /// # Safety
        /// `context` must be what the kernel passes to a handler.
        pub(in super::super) unsafe fn of(context: *const c_void) -> Self {
            let unknown = Self { access: Access::Unknown, at: 0, stack: 0 };
            at(context.addr()).map_or(unknown, |faulted| faulted.context)
        }
    }

    fn at(context: usize) -> Option<Faulted> {
        let words: [u64; AT + 1] = read(context + REGISTERS)?;
        let access = syndrome(context + RECORDS).map_or(Access::Unknown, access);
        let context = Context { access, at: words[AT] as usize, stack: words[STACK] as usize };
        Some(Faulted { address: words[0] as usize, context })
    }

    /// The fault whose first record is at that address, if it is one.
    pub(super) fn around_mark(address: usize) -> Option<Faulted> {
        // Where there is a syndrome, there was a fault.
        syndrome(address)?;
        at(address.checked_sub(RECORDS)?)
    }

    fn syndrome(mut record: usize) -> Option<u64> {
        for _ in 0..MAX_RECORDS {
            let [head, contents]: [u64; 2] = read(record)?;
            match (head as u32, (head >> 32) as usize) {
                (SYNDROME, _) => return Some(contents),
                (0, _) | (_, 0) => return None,
                (_, len) => record += len,
            }
        }
        None
    }

    fn access(syndrome: u64) -> Access {
        match syndrome >> 26 & 0x3f {
            // Aborts of an instruction, from below and from the same level.
            0x20 | 0x21 => Access::Execute,
            // Aborts of data; one bit says whether it was a write, another that it was the cache that was to be
            // cleaned.
            0x24 | 0x25 if syndrome & 1 << 6 != 0 && syndrome & 1 << 8 == 0 => Access::Write,
            0x24 | 0x25 => Access::Read,
            _ => Access::Unknown,
        }
    }
}
