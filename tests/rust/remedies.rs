//! Each refusal of the kernel names a remedy for the operation that was refused, not for its code alone.

use memgroup::{Backing, Error, MemGroup, Operation, Options};

use crate::injector::{BASE, CALLS, failing, watched};
use crate::support::alone;

/// A failing call, its operation, and words of the remedy.
struct Row {
    backing: fn() -> Backing,
    is_secret: bool,
    call: &'static str,
    code: i32,
    operation: Operation,
    remedy: &'static str,
}

const fn row(call: &'static str, code: i32, operation: Operation, remedy: &'static str) -> Row {
    Row { backing: || Backing::Memfd, is_secret: false, call, code, operation, remedy }
}

const fn in_directory(row: Row) -> Row {
    Row { backing: || Backing::Directory(std::env::temp_dir()), ..row }
}

const fn secret(row: Row) -> Row {
    Row { is_secret: true, ..row }
}

const ROWS: &[Row] = &[
    row("memfd_create", libc::EPERM, Operation::CreateMemfd, "use the anonymous backing, or a directory"),
    row("memfd_create", libc::ENOSYS, Operation::CreateMemfd, "use the anonymous backing, or a directory"),
    row("memfd_create", libc::EMFILE, Operation::CreateMemfd, "RLIMIT_NOFILE"),
    row("fcntl", libc::EINVAL, Operation::AddSeals, "use the anonymous backing, or a directory"),
    row("ftruncate", libc::EFBIG, Operation::Resize, "RLIMIT_FSIZE"),
    row("mmap", libc::ENOMEM, Operation::Map, "RLIMIT_AS"),
    row("madvise", libc::ENOMEM, Operation::Populate, "memory is used up"),
    secret(row("mlock", libc::ENOSYS, Operation::Lock, "make the group without secret")),
    secret(row("mlock", libc::EPERM, Operation::Lock, "CAP_IPC_LOCK")),
    secret(row("madvise", libc::EINVAL, Operation::ExcludeFromDumps, "make the group without secret")),
    in_directory(row("openat", libc::ENOENT, Operation::OpenTemporary, "create it, or name a directory that exists")),
    in_directory(row("openat", libc::EROFS, Operation::OpenTemporary, "that you may write to")),
    in_directory(row("openat", libc::ENOENT, Operation::Reopen, "needs /proc: mount it")),
    in_directory(row("ftruncate", libc::ENOSPC, Operation::Resize, "the file system has no room")),
];

impl Row {
    /// Makes a group and fills its first slot, so that the next request has to commit memory.
    fn attempt(&self) -> Result<(), Error> {
        let options = Options::new().base(BASE).backing((self.backing)()).secret(self.is_secret);
        options.open()?.alloc(BASE).map(drop)
    }

    /// The error where the first call fails that is part of the operation.
    fn error(&self) -> Error {
        let call = CALLS.iter().position(|call| call.name == self.call).unwrap();
        for n in 1.. {
            let (result, is_reached) = failing(call, n, self.code, || self.attempt());
            match result {
                Err(error @ Error::Os { operation, .. }) if operation == self.operation => return error,
                _ => assert!(is_reached, "{} is never part of {}", self.call, self.operation),
            }
        }
        unreachable!("calls do not end")
    }
}

#[test]
fn remedies_are_chosen_by_operation_and_code() {
    alone("remedies::remedies_are_chosen_by_operation_and_code", || {
        let errors = watched(|| {
            memgroup::set_warm_limit(0);
            ROWS.iter().map(|row| (row, row.error())).collect::<Vec<_>>()
        });
        let errors = match errors {
            Ok(errors) => errors,
            Err(error) => return eprintln!("skipped: calls cannot be made to fail here (seccomp): {error}"),
        };
        for (row, error) in errors {
            assert!(matches!(error, Error::Os { code, .. } if code == row.code), "{error}");
            assert!(error.to_string().contains(row.remedy), "{error}: not {:?}", row.remedy);
        }
    });
}

#[test]
fn errors_use_rust_terms_in_rust() {
    let group = Options::new().backing(Backing::Anonymous).open().unwrap();
    let error = Error::from(group.try_protect(group.alloc(1).unwrap()).unwrap_err());
    for error in [error, Error::SecretInFiles] {
        assert!(error.to_string().contains("Options::backing(Backing::Memfd)"), "{error}");
    }
}

#[test]
fn empty_objects_are_counted_by_the_bytes_they_take() {
    let group = MemGroup::new().unwrap();
    let error = group.alloc_uniform(1 << 62, 0).unwrap_err();
    assert!(!error.to_string().contains("allocate 0 bytes"), "{error}");
}
