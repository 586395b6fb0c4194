//! Memory that several processes map: what its owner keeps of it, and what another process makes of a descriptor.

use std::fs;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::ProtFlags;
use nix::sys::stat::{Mode, fchmod, fstat};

use super::directory::reopened_read_only;
use super::memfd;
use super::reserved::Reserved;
use crate::error::Operation;
use crate::os::{MAX_NAME, Refusal, page_size};

/// Bytes of the random number by which processes know a slot's memory.
const ID_BYTES: usize = 16;

/// The file of a slot's memory, for a group that other processes read.
#[derive(Debug)]
pub(crate) struct SharedFile {
    id: [u8; ID_BYTES],
    len: usize,
    /// Can be sealed. It never leaves the process, but for its forked children.
    owner: OwnedFd,
    /// What other processes are given. It cannot write, and so cannot seal.
    reader: OwnedFd,
    /// How many readers in other processes have not said that they are done.
    readers: AtomicUsize,
    /// Whether somebody may read it who never says so.
    is_lost_sight_of: AtomicBool,
    solid: Solid,
    /// Whether this process has given up its writable mapping, and whether nobody can have one any more.
    is_frozen: AtomicBool,
    is_sealed: AtomicBool,
}

/// How many [`SharedFile`]s there were that are gone.
static ENDED: AtomicU64 = AtomicU64::new(0);

impl SharedFile {
    /// An empty file, which is to have `len` bytes.
    pub(super) fn create(name: &str, len: usize) -> Result<Self, Refusal> {
        let owner = memfd::create(name)?;
        // Else the descriptors that others are given could be opened anew, to write, by their users.
        fchmod(&owner, Mode::S_IRUSR).map_err(Refusal::of(Operation::CreateMemfd))?;
        let reader = reopened_read_only(&owner)?;
        let [is_lost_sight_of, is_frozen, is_sealed] = [const { AtomicBool::new(false) }; 3];
        let (id, readers, solid) = (random()?, AtomicUsize::new(0), Solid::new());
        Ok(Self { id, len, owner, reader, readers, is_lost_sight_of, solid, is_frozen, is_sealed })
    }

    pub(super) fn owner(&self) -> &OwnedFd {
        &self.owner
    }

    /// The number by which other processes know it.
    pub(crate) fn id(&self) -> [u8; ID_BYTES] {
        self.id
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What is sent to other processes.
    pub(crate) fn reader(&self) -> &OwnedFd {
        &self.reader
    }

    /// Notes that somebody may read it from now on who will say when he is done.
    pub(crate) fn add_reader(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that one of those is done.
    pub(crate) fn remove_reader(&self) {
        // Release pairs with the Acquire below: what is written next is not seen by who has read before.
        self.readers.fetch_sub(1, Ordering::Release);
    }

    /// How many of them are not done.
    pub(crate) fn readers(&self) -> usize {
        self.readers.load(Ordering::Acquire)
    }

    /// Notes that somebody may read it from now on who will never say that he is done.
    pub(crate) fn lose_sight(&self) {
        self.is_lost_sight_of.store(true, Ordering::Relaxed);
    }

    /// Whether another process may read it, or this one cannot write to it any more: then it is not used again.
    pub(crate) fn is_given_away(&self) -> bool {
        // Relaxed: who asks has the group to itself, and so has seen what was done.
        self.readers() > 0 || self.is_lost_sight_of.load(Ordering::Relaxed) || self.is_frozen()
    }

    /// Whether this process cannot write to it any more.
    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen.load(Ordering::Relaxed)
    }

    /// Whether all of a range is in memory, so that reading it finds nothing that has to be made.
    pub(crate) fn is_solid(&self, range: Range<usize>) -> Result<bool, Refusal> {
        // Its seals let nobody make holes in it.
        self.solid.covers(self.owner.as_fd(), range, true)
    }

    /// Notes that all bytes of a range were written, so that there are no holes in it.
    pub(crate) fn note_written(&self, range: Range<usize>) {
        self.solid.note_written(range);
    }

    /// Notes that the writable mapping of this process is gone.
    pub(super) fn close_to_writers(&self) {
        self.is_frozen.store(true, Ordering::Relaxed);
    }

    /// Seals it against every writer for ever. EBUSY says that a process still maps it writable.
    pub(super) fn freeze(&self) -> Result<(), Refusal> {
        if !self.is_sealed.load(Ordering::Relaxed) {
            memfd::freeze(&self.owner)?;
            self.is_sealed.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A number that grows whenever one of them ends.
    pub(crate) fn ended() -> u64 {
        ENDED.load(Ordering::Acquire)
    }

    /// The processes that can write to it, this one aside, as far as this one may look.
    pub(crate) fn other_writers(&self) -> Vec<u32> {
        let Ok(status) = fstat(&self.owner) else { return Vec::new() };
        let inode = status.st_ino.to_string();
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|&id| id != std::process::id() && maps_writable(id, &inode)).collect()
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        ENDED.fetch_add(1, Ordering::Release);
    }
}

/// Whether a process maps the memfd with that inode so that it can write to it.
fn maps_writable(process: u32, inode: &str) -> bool {
    let Ok(maps) = fs::read_to_string(format!("/proc/{process}/maps")) else { return false };
    maps.lines().any(|line| {
        // Addresses, access, offset, device, inode, path.
        let mut words = line.split_ascii_whitespace().skip(1);
        let is_writable = words.next().is_some_and(|access| access.as_bytes().get(1) == Some(&b'w'));
        is_writable && words.nth(2) == Some(inode) && words.next().is_some_and(|path| path.starts_with("/memfd:"))
    })
}

/// A number that nobody guesses.
fn random() -> Result<[u8; ID_BYTES], Refusal> {
    let mut id = [0; ID_BYTES];
    // SAFETY: the room is that long. So few bytes come all at once.
    let came = unsafe { libc::getrandom(id.as_mut_ptr().cast(), ID_BYTES, 0) };
    Errno::result(came).map(|_| id).map_err(Refusal::of(Operation::Random))
}

/// How far a file in memory is known to have no holes.
#[derive(Debug)]
struct Solid(AtomicUsize);

impl Solid {
    fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Whether there are no holes in a range. What was found once is remembered of a file in which nobody can make holes.
    fn covers(&self, file: BorrowedFd<'_>, range: Range<usize>, can_remember: bool) -> Result<bool, Refusal> {
        // Relaxed: what was found once stays true.
        let known = self.0.load(Ordering::Relaxed);
        if range.is_empty() || range.end <= known {
            return Ok(true);
        }
        let hole = next_hole(file, range.start)?;
        if can_remember && range.start <= known {
            self.0.fetch_max(hole, Ordering::Relaxed);
        }
        Ok(hole >= range.end)
    }

    /// Remembers that there are no holes in a range: the kernel looks for them page by page.
    fn note_written(&self, range: Range<usize>) {
        if range.start <= self.0.load(Ordering::Relaxed) {
            // Of a page that was written to at all, all is there.
            let end = range.end.checked_next_multiple_of(page_size()).unwrap_or(range.end);
            self.0.fetch_max(end, Ordering::Relaxed);
        }
    }
}

/// The offset of the first hole of a file in memory from an offset on; that itself where it is behind the end.
fn next_hole(file: BorrowedFd<'_>, offset: usize) -> Result<usize, Refusal> {
    // Slots are at most 2^46 bytes, so all offsets fit.
    let start = libc::off_t::try_from(offset).unwrap_or(libc::off_t::MAX);
    // SAFETY: the call takes numbers only. That it moves the file's position makes no difference to anybody.
    let hole = unsafe { libc::lseek(file.as_raw_fd(), start, libc::SEEK_HOLE) };
    match Errno::result(hole) {
        Ok(hole) => Ok(usize::try_from(hole).unwrap_or(0)),
        Err(Errno::ENXIO) => Ok(offset),
        Err(errno) => Err(Refusal::of(Operation::FindHoles)(errno)),
    }
}

/// Another process's memory, mapped to be read. It is unmapped when this is dropped.
#[derive(Debug)]
pub(crate) struct ReceivedFile {
    start: NonNull<u8>,
    len: usize,
    file: OwnedFd,
    inode: u64,
    solid: Solid,
    /// Whether its seals let nobody make holes in it.
    is_whole: bool,
    _reserved: Reserved,
}

// SAFETY: the pointer is to a mapping that self owns, and that no thread owns more than another.
unsafe impl Send for ReceivedFile {}
// SAFETY: as for Send; nothing is done with the mapping through a shared reference but reading.
unsafe impl Sync for ReceivedFile {}

/// Why a descriptor is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is no file in memory.
    NotInMemory,
    /// Its sender could make it shorter, and reading it a crash.
    CanShrink,
    /// It has so many bytes, fewer than were announced.
    Short(u64),
    /// The kernel refused.
    Refused(Refusal),
}

impl ReceivedFile {
    /// Maps the first `len` bytes of what another process has sent, if nothing that it does can make reading them a
    /// crash.
    pub(crate) fn map(file: OwnedFd, len: usize) -> Result<Self, Unfit> {
        // Only files in memory have seals.
        let seals = fcntl(&file, FcntlArg::F_GET_SEALS).map_err(|_| Unfit::NotInMemory)?;
        if !is_in_small_pages(&file) {
            return Err(Unfit::NotInMemory);
        }
        let seals = SealFlag::from_bits_truncate(seals);
        if !seals.contains(SealFlag::F_SEAL_SHRINK) {
            return Err(Unfit::CanShrink);
        }
        let is_whole = seals.intersects(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_FUTURE_WRITE);
        let status = fstat(&file).map_err(Refusal::of(Operation::Map)).map_err(Unfit::Refused)?;
        let size = u64::try_from(status.st_size).unwrap_or(0);
        if size < len as u64 {
            return Err(Unfit::Short(size));
        }
        let whole = len.checked_next_multiple_of(page_size()).ok_or(Unfit::Short(size))?;
        let reserved = Reserved::new(whole, 1, page_size()).map_err(Unfit::Refused)?;
        let start = reserved.map(0, &file, ProtFlags::PROT_READ).map_err(Unfit::Refused)?;
        Ok(Self { start, len, file, inode: status.st_ino, solid: Solid::new(), is_whole, _reserved: reserved })
    }

    /// The first byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The name of the group that it is of, as far as it is known, and fits.
    pub(crate) fn name(&self) -> Option<String> {
        let path = fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd())).ok()?;
        let name = path.to_str()?.strip_prefix("/memfd:")?;
        Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned()).filter(|name| name.len() <= MAX_NAME)
    }

    /// Whether a descriptor is of the same memory.
    pub(crate) fn is_same(&self, other: BorrowedFd<'_>) -> bool {
        // All memfds of a machine are of one file system.
        fstat(other).is_ok_and(|status| status.st_ino == self.inode)
    }

    /// Whether all of a range is in memory: reading a hole would make it, at the reader's cost.
    pub(crate) fn is_solid(&self, range: Range<usize>) -> Result<bool, Refusal> {
        self.solid.covers(self.file.as_fd(), range, self.is_whole)
    }

    /// Has it taken for granted that there are no holes in what its sender names, without a look at each page. That is for senders
    /// who could do worse than have this process pay for the pages that it reads.
    pub(crate) fn trust_sender(&self) {
        self.solid.note_written(0..self.len);
    }

    /// Whether nobody can write to it any more, the sender neither.
    pub(crate) fn is_frozen(&self) -> bool {
        let seals = fcntl(&self.file, FcntlArg::F_GET_SEALS).unwrap_or(0);
        SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE)
    }
}

/// Whether a file that can be sealed is of a tmpfs. One of huge pages (hugetlbfs) is not: reading what its sender has
/// not touched is a crash where there are no more of them.
fn is_in_small_pages(file: &OwnedFd) -> bool {
    // SAFETY: integers, all of which may be 0.
    let mut status: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: status outlives the call.
    let answer = unsafe { libc::fstatfs(file.as_raw_fd(), &mut status) };
    answer == 0 && status.f_type == libc::TMPFS_MAGIC
}

#[cfg(all(test, not(heap)))]
mod tests {
    use super::*;
    use nix::sys::mman::{MmapAdvise, madvise};
    use nix::unistd::ftruncate;

    fn sealed(len: usize, seals: SealFlag) -> nix::Result<OwnedFd> {
        let file = memfd::create("received-test").map_err(|_| Errno::ENOSYS)?;
        ftruncate(&file, len as i64)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(file)
    }

    #[test]
    fn only_memory_that_cannot_shrink_is_taken() {
        let page = page_size();
        let plain = memfd::create("plain").unwrap();
        ftruncate(&plain, page as i64).unwrap();
        assert_eq!(ReceivedFile::map(plain, page).unwrap_err(), Unfit::CanShrink);
        let shrinkable = sealed(page, SealFlag::F_SEAL_GROW).unwrap();
        assert_eq!(ReceivedFile::map(shrinkable, page).unwrap_err(), Unfit::CanShrink);
        let short = sealed(page, SealFlag::F_SEAL_SHRINK).unwrap();
        assert_eq!(ReceivedFile::map(short, page + 1).unwrap_err(), Unfit::Short(page as u64));
        for path in ["/proc/self/exe", "/dev/null", "/proc/self/stat", "/"] {
            let file = OwnedFd::from(fs::File::open(path).unwrap());
            assert_eq!(ReceivedFile::map(file, 1).unwrap_err(), Unfit::NotInMemory, "{path}");
        }
        let (_, pipe) = nix::unistd::pipe().unwrap();
        assert_eq!(ReceivedFile::map(pipe, 1).unwrap_err(), Unfit::NotInMemory);
        let fit = ReceivedFile::map(sealed(page, SealFlag::F_SEAL_SHRINK).unwrap(), 100).unwrap();
        assert!(
            fit.len() == 100
                && !fit.is_frozen()
                && fit.is_same(fit.file.as_fd())
                && fit.name().as_deref() == Some("received-test")
        );
    }

    #[test]
    fn holes_are_found() {
        let page = page_size();
        let file = sealed(4 * page, SealFlag::F_SEAL_SHRINK).unwrap();
        std::os::unix::fs::FileExt::write_at(&std::fs::File::from(file.try_clone().unwrap()), b"x", 2 * page as u64)
            .unwrap();
        let received = ReceivedFile::map(file, 4 * page).unwrap();
        let solid = |range| received.is_solid(range).unwrap();
        assert!(solid(2 * page..3 * page) && solid(0..0) && solid(2 * page + 5..2 * page + 6));
        assert!(!solid(0..1) && !solid(2 * page..3 * page + 1) && !solid(4 * page..4 * page + 1));
    }

    #[test]
    fn what_was_found_solid_is_remembered_only_where_nobody_can_make_holes() {
        let page = page_size();
        let write = |file: &OwnedFd, at: usize| {
            let file = fs::File::from(file.try_clone().unwrap());
            std::os::unix::fs::FileExt::write_at(&file, b"x", at as u64).unwrap();
        };
        for seals in [SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_FUTURE_WRITE] {
            let file = sealed(4 * page, SealFlag::empty()).unwrap();
            (0..2).for_each(|number| write(&file, number * page));
            fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
            let owner = file.try_clone().unwrap();
            let received = ReceivedFile::map(file, 4 * page).unwrap();
            assert_eq!(received.is_solid(0..1), Ok(true));
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            // SAFETY: the call takes numbers only.
            let punched = unsafe { libc::fallocate(owner.as_raw_fd(), mode, 0, page as i64) } == 0;
            assert_eq!(received.is_solid(0..1), Ok(!punched));
            assert_eq!(received.is_solid(page..2 * page), Ok(true));
            assert_eq!(received.is_solid(page..2 * page + 1), Ok(false));
        }
    }

    #[test]
    fn what_was_written_is_known_from_the_start_of_the_file_on() {
        let page = page_size();
        let shared = SharedFile::create("shared-test", 8 * page).unwrap();
        ftruncate(shared.owner(), 8 * page as i64).unwrap();
        let solid = |range| shared.is_solid(range).unwrap();
        shared.note_written(2 * page..3 * page);
        assert!(!solid(2 * page..3 * page));
        shared.note_written(0..page + 1);
        shared.note_written(2 * page..3 * page - 1);
        assert!(solid(0..3 * page) && solid(page..2 * page) && !solid(0..3 * page + 1));
    }

    #[test]
    fn a_sender_who_is_trusted_has_no_holes() {
        let page = page_size();
        let received = ReceivedFile::map(sealed(4 * page, SealFlag::F_SEAL_SHRINK).unwrap(), 4 * page).unwrap();
        assert_eq!(received.is_solid(0..page), Ok(false));
        received.trust_sender();
        assert_eq!(received.is_solid(page..4 * page), Ok(true));
    }

    #[test]
    fn what_is_handed_out_cannot_write_or_seal() {
        let shared = SharedFile::create("shared-test", page_size()).unwrap();
        ftruncate(shared.owner(), page_size() as i64).unwrap();
        let seal = fcntl(shared.reader(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL));
        assert_eq!(seal, Err(Errno::EPERM));
        assert_eq!(nix::unistd::write(shared.reader(), b"x"), Err(Errno::EBADF));
        let other = SharedFile::create("shared-test", page_size()).unwrap();
        assert_ne!(shared.id(), other.id());
        assert!(shared.other_writers().is_empty());
        let ended = SharedFile::ended();
        drop(other);
        assert!(SharedFile::ended() > ended);
    }

    #[test]
    fn received_memory_stands_between_guards() {
        let page = page_size();
        let received = ReceivedFile::map(sealed(page, SealFlag::F_SEAL_SHRINK).unwrap(), page).unwrap();
        let behind = received.start().as_ptr().wrapping_add(page);
        // SAFETY: the page is not anybody's to read; the advice does nothing to one that is not there.
        let advised = unsafe { madvise(NonNull::new(behind).unwrap().cast(), page, MmapAdvise::MADV_POPULATE_READ) };
        assert!(advised.is_err());
    }
}
