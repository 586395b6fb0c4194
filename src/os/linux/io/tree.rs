//! Directories and the files in them, opened relative to a directory: a path may be of any length, and nothing is
//! followed that took the place of what was listed.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::regular::wait_for_lease;

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Device,
}

impl FileType {
    fn of(status: &FileStat) -> Self {
        match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::Regular,
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFLNK => Self::Symlink,
            SFlag::S_IFIFO => Self::Fifo,
            SFlag::S_IFSOCK => Self::Socket,
            _ => Self::Device,
        }
    }

    /// The word for it in a report.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Regular => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Device => "device",
        }
    }
}

impl From<Type> for FileType {
    fn from(found: Type) -> Self {
        match found {
            Type::File => Self::Regular,
            Type::Directory => Self::Directory,
            Type::Symlink => Self::Symlink,
            Type::Fifo => Self::Fifo,
            Type::Socket => Self::Socket,
            Type::CharacterDevice | Type::BlockDevice => Self::Device,
        }
    }
}

/// Which file it is, whatever path leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// What is known of an open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) kind: FileType,
    pub(crate) size: u64,
    pub(crate) identity: Identity,
}

impl Facts {
    fn of(status: &FileStat) -> Self {
        Self {
            kind: FileType::of(status),
            size: u64::try_from(status.st_size).unwrap_or(0),
            identity: Identity { device: status.st_dev, inode: status.st_ino },
        }
    }
}

/// One name in a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: CString,
    pub(crate) kind: FileType,
}

fn base(directory: Option<BorrowedFd<'_>>) -> BorrowedFd<'_> {
    directory.unwrap_or(AT_FDCWD)
}

/// What a name stands for, with symlinks followed; the code of the error where it cannot be told.
pub(crate) fn kind_of_name(directory: Option<BorrowedFd<'_>>, name: &CStr) -> Result<FileType, i32> {
    match fstatat(base(directory), name, AtFlags::empty()) {
        Ok(status) => Ok(FileType::of(&status)),
        Err(errno) => Err(errno as i32),
    }
}

/// What an open file is.
pub(crate) fn facts(file: impl AsFd) -> Result<Facts, i32> {
    fstat(file).map(|status| Facts::of(&status)).map_err(|errno| errno as i32)
}

/// Opens a directory in another, or in the current one; follows a symlink only if told so.
pub(crate) fn open_directory(within: Option<BorrowedFd<'_>>, name: &CStr, follows: bool) -> Result<OwnedFd, i32> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let flags = if follows { flags } else { flags | OFlag::O_NOFOLLOW };
    openat(base(within), name, flags, Mode::empty()).map_err(|errno| errno as i32)
}

/// Opens a file for reading. Never blocks on a fifo, nor acquires a terminal.
pub(crate) fn open_file(within: Option<BorrowedFd<'_>>, name: &CStr, follows: bool) -> Result<OwnedFd, i32> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let flags = if follows { flags } else { flags | OFlag::O_NOFOLLOW };
    loop {
        match openat(base(within), name, flags, Mode::empty()) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_for_lease(),
            opened => return opened.map_err(|errno| errno as i32),
        }
    }
}

/// All names in a directory but `.` and `..`, in the order of their bytes.
pub(crate) fn entries(directory: &OwnedFd) -> Result<Vec<Entry>, i32> {
    let copy = directory.try_clone().map_err(|error| error.raw_os_error().unwrap_or(libc::EMFILE))?;
    let mut listed = Dir::from_fd(copy).map_err(|errno| errno as i32)?;
    let mut entries = Vec::new();
    for entry in listed.iter() {
        let entry = entry.map_err(|errno| errno as i32)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            Some(kind) => kind.into(),
            None => match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(status) => FileType::of(&status),
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno as i32),
            },
        };
        entries.push(Entry { name: name.to_owned(), kind });
    }
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

/// Reads as many bytes as there are at once, 0 at the end; waits for what is no regular file, until `is_stopped` says
/// so.
pub(crate) fn read(file: &OwnedFd, into: &mut [u8], is_stopped: impl Fn() -> bool) -> Result<usize, i32> {
    loop {
        match nix::unistd::read(file, into) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if is_stopped() => return Ok(0),
            Err(Errno::EAGAIN) => wait(file)?,
            done => return done.map_err(|errno| errno as i32),
        }
    }
}

/// How long to wait for input before looking whether the work is to end.
const PATIENCE: Duration = Duration::from_millis(100);

fn wait(file: &OwnedFd) -> Result<(), i32> {
    let mut waiting = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
    match poll(&mut waiting, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno as i32),
    }
}

/// Reads from an offset of a file, the position of which stays.
pub(crate) fn read_at(file: &OwnedFd, into: &mut [u8], offset: u64) -> Result<usize, i32> {
    let offset = libc::off_t::try_from(offset).unwrap_or(libc::off_t::MAX);
    loop {
        match nix::sys::uio::pread(file, into, offset) {
            Err(Errno::EINTR) => {}
            done => return done.map_err(|errno| errno as i32),
        }
    }
}

/// Goes to an offset of a file.
pub(crate) fn seek(file: &OwnedFd, offset: u64) -> Result<(), i32> {
    let offset = libc::off_t::try_from(offset).unwrap_or(libc::off_t::MAX);
    nix::unistd::lseek(file, offset, nix::unistd::Whence::SeekSet).map(drop).map_err(|errno| errno as i32)
}

/// Whether a file has a hole from an offset on: bytes that are zero and stored nowhere. The position stays.
pub(crate) fn has_hole_behind(file: &OwnedFd, offset: u64, size: u64) -> bool {
    let Ok(from) = libc::off_t::try_from(offset) else { return false };
    let hole = nix::unistd::lseek(file, from, nix::unistd::Whence::SeekHole);
    // To where it was: the file is read in order.
    let back = nix::unistd::lseek(file, from, nix::unistd::Whence::SeekSet);
    back.is_ok() && hole.is_ok_and(|hole| u64::try_from(hole).is_ok_and(|hole| hole < size))
}

/// Standard input, as a descriptor of its own.
pub(crate) fn standard_input() -> Result<OwnedFd, i32> {
    std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.raw_os_error().unwrap_or(libc::EBADF))
}

/// Writes all of some bytes.
pub(crate) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), i32> {
    while !bytes.is_empty() {
        match nix::unistd::write(file, bytes) {
            Ok(0) => return Err(libc::EIO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut waiting = [PollFd::new(file, PollFlags::POLLOUT)];
                poll(&mut waiting, PollTimeout::NONE).map_err(|errno| errno as i32)?;
            }
            Err(errno) => return Err(errno as i32),
        }
    }
    Ok(())
}
