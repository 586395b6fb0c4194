//! One piece of memory seen through two mappings.

mod commit;
mod secret;

use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use nix::errno::Errno;
use nix::sys::mman::{MmapAdvise, ProtFlags, madvise};
use nix::sys::resource::{Resource, getrlimit};

pub(crate) use secret::Unlocked;
pub(super) use secret::{lock, wipe};

use super::huge::{self, Offer};
use super::populate::{Access, populate};
use super::reserved::Reserved;
use super::shared::SharedFile;
use super::{directory, memfd};
use crate::error::Operation;
use crate::os::{Backing, Refusal, least_alignment, page_size};

/// A slot's memory: the read-write mirror and, unless the backing is anonymous, the read-only one.
///
/// Each mirror keeps a base pointer of its own. One is never computed from the other: to the compiler they are
/// different objects, and it may reorder accesses that it believes cannot meet.
#[derive(Debug)]
pub(crate) struct Mirrors {
    read_write: NonNull<u8>,
    read_only: Option<NonNull<u8>>,
    /// Bytes in each.
    len: usize,
    /// Where they are mapped, and what is around them.
    reserved: Reserved,
    /// Whether a page that the file system cannot store would be reported by a signal as it is touched.
    on_file_system: bool,
    /// Whether the ledger of promises may have an entry for it, which has to go when the mapping does.
    has_promise: AtomicBool,
    /// Bytes in the pages that the kernel hands out: all that is committed is a multiple.
    granule: AtomicUsize,
    /// There where other processes may be given the memory.
    shared: Option<Arc<SharedFile>>,
    /// Bytes in the huge pages that may be made of what is committed; 0 for none, or none any more.
    huge_page: AtomicUsize,
    /// Bytes in those that were made.
    huge_bytes: AtomicUsize,
}

// SAFETY: the pointers are to mappings that self owns, and that no thread owns more than another.
unsafe impl Send for Mirrors {}
// SAFETY: the pointers are to mappings that self owns; what self does with them through a shared reference, the kernel
// does, or `revoke`.
unsafe impl Sync for Mirrors {}

impl Mirrors {
    /// Maps `len` bytes of fresh memory, of huge pages if they are wanted and to be had. No descriptor stays open. The
    /// mirrors begin at multiples of [`least_alignment`] at least.
    pub(crate) fn open(backing: &Backing, name: &str, len: usize, wants_huge_pages: bool) -> Result<Self, Refusal> {
        Self::open_on(backing, name, len, wants_huge_pages, None)
    }

    /// Maps `len` bytes of fresh memory that other processes may be given, whose descriptors stay open.
    pub(crate) fn open_shared(name: &str, len: usize, wants_huge_pages: bool) -> Result<Self, Refusal> {
        Self::open_on(&Backing::Memfd, name, len, wants_huge_pages, Some(SharedFile::create(name, len)?))
    }

    fn open_on(
        backing: &Backing,
        name: &str,
        len: usize,
        wants_huge_pages: bool,
        shared: Option<SharedFile>,
    ) -> Result<Self, Refusal> {
        let offer = huge::offer(backing);
        let align = offer.filter(|_| wants_huge_pages).map_or(0, |offer| offer.size).max(least_alignment(len));
        let mut mirrors = Self::map(backing, name, len, align, shared.as_ref())?;
        mirrors.shared = shared.map(Arc::new);
        if let Some(offer) = offer {
            mirrors.choose_pages(offer, wants_huge_pages);
        }
        Ok(mirrors)
    }

    fn map(
        backing: &Backing,
        name: &str,
        len: usize,
        align: usize,
        shared: Option<&SharedFile>,
    ) -> Result<Self, Refusal> {
        let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let reserve = |many| Reserved::new(len, many, align);
        let (reserved, read_write, read_only) = match backing {
            Backing::Memfd => {
                let private = if shared.is_none() { Some(memfd::create(name)?) } else { None };
                let Some(file) = shared.map(SharedFile::owner).or(private.as_ref()) else { unreachable!("it is one") };
                resize(file, len)?;
                let reserved = reserve(2)?;
                let read_write = reserved.map(0, file, writable)?;
                if shared.is_some() {
                    memfd::seal_for_now(file)?
                } else {
                    memfd::seal(file)?
                }
                // Before 6.7 the kernel takes any shared mapping of a descriptor that can write for a writer, and seals no memory
                // that has one against writers (e8e17ee90eaf, since then in stable series, too).
                let read_only = reserved.map(1, shared.map_or(file, SharedFile::reader), ProtFlags::PROT_READ)?;
                static IS_ENFORCED: AtomicBool = AtomicBool::new(false);
                reserved.check_read_only(read_only, &IS_ENFORCED)?;
                (reserved, read_write, Some(read_only))
            }
            Backing::Directory(directory) => {
                let file = directory::unlinked(directory)?;
                resize(&file, len)?;
                let reserved = reserve(2)?;
                let read_write = reserved.map(0, &file, writable)?;
                let read_only = reserved.map(1, &directory::reopened_read_only(&file)?, ProtFlags::PROT_READ)?;
                static IS_ENFORCED: AtomicBool = AtomicBool::new(false);
                reserved.check_read_only(read_only, &IS_ENFORCED)?;
                (reserved, read_write, Some(read_only))
            }
            Backing::Anonymous => {
                let reserved = reserve(1)?;
                let read_write = reserved.map_anonymous(0)?;
                (reserved, read_write, None)
            }
        };
        Ok(Self {
            read_write,
            read_only,
            len,
            reserved,
            on_file_system: matches!(backing, Backing::Directory(_)),
            has_promise: AtomicBool::new(false),
            granule: AtomicUsize::new(page_size()),
            huge_page: AtomicUsize::new(0),
            shared: None,
            huge_bytes: AtomicUsize::new(0),
        })
    }

    /// Asks for huge pages, or refuses those that the system would hand out unasked: a group accounts for what it commits, so
    /// the kernel must not find more than that for it.
    fn choose_pages(&mut self, Offer { size, is_unasked }: Offer, wanted: bool) {
        match (is_unasked, wanted) {
            (true, _) => {
                let advice = if wanted { MmapAdvise::MADV_HUGEPAGE } else { MmapAdvise::MADV_NOHUGEPAGE };
                // What is not to be had is done without.
                let _is_followed = self.advise_from(0, advice);
                self.granule = AtomicUsize::new(if wanted { size } else { page_size() });
            }
            (false, true) => self.huge_page = AtomicUsize::new(size),
            (false, false) => {}
        }
    }

    /// Advises the kernel of what begins at an offset, whole pages and at most the length; whether it follows in all mirrors.
    fn advise_from(&self, start: usize, advice: MmapAdvise) -> bool {
        debug_assert!(start <= self.len);
        self.bases().fold(true, |is_followed, base| {
            // SAFETY: start is within the mapping or at its end, so the sum stays in bounds.
            let first = unsafe { base.add(start) };
            // SAFETY: the range is the end of a mapping that self owns, and the advice changes no byte of it.
            unsafe { madvise(first.cast(), self.len - start, advice) }.is_ok() && is_followed
        })
    }

    /// Says whether children that are forked from now on are to have these mappings; returns whether the kernel agrees. In a
    /// child that has not, the addresses are anybody's: it must not drop its copy of this.
    pub(crate) fn set_inherited(&self, inherited: bool) -> bool {
        self.reserved.advise(if inherited { MmapAdvise::MADV_DOFORK } else { MmapAdvise::MADV_DONTFORK }).is_ok()
    }

    fn bases(&self) -> impl Iterator<Item = NonNull<u8>> {
        [Some(self.read_write()), self.read_only()].into_iter().flatten()
    }

    /// First byte of the read-write mirror.
    pub(crate) fn read_write(&self) -> NonNull<u8> {
        self.read_write
    }

    /// First byte of the read-only mirror.
    pub(crate) fn read_only(&self) -> Option<NonNull<u8>> {
        self.read_only
    }

    /// The file, where other processes may be given the memory.
    pub(crate) fn shared(&self) -> Option<&Arc<SharedFile>> {
        self.shared.as_ref()
    }

    /// Makes the memory what nobody can write to, for ever: the addresses of the read-write mirror are to be read only from now on,
    /// also where the kernel then refuses the rest, which it does (EBUSY) while another process can write.
    ///
    /// # Safety
    /// No unique Rust reference into either mirror may be left.
    pub(crate) unsafe fn freeze(&self) -> Result<(), Refusal> {
        let Some(shared) = &self.shared else { return Ok(()) };
        if !shared.is_frozen() {
            // In the place of the other: what is mapped there reads as before, and stops whoever writes.
            self.reserved.map(0, shared.reader(), ProtFlags::PROT_READ)?;
            shared.close_to_writers();
        }
        shared.freeze()
    }

    /// Finds memory for what of the bytes `start..end` was never touched, so that others can read them.
    pub(crate) fn fill_holes(&self, start: usize, end: usize) -> Result<(), Refusal> {
        let (Some(shared), Some(read_only)) = (&self.shared, self.read_only) else { return Ok(()) };
        if shared.is_solid(start..end)? {
            return Ok(());
        }
        let first = start / page_size() * page_size();
        debug_assert!(start <= end && end <= self.len);
        // SAFETY: first is within the mapping.
        let address = unsafe { read_only.add(first) };
        // SAFETY: the range lies in a mapping that self owns.
        unsafe { populate(address.cast(), end - first, Access::Read) }.map_err(Refusal::of(Operation::Populate))
    }

    /// Whether a forked child sees what this process writes, and the other way round.
    pub(crate) fn are_shared_by_forks(&self) -> bool {
        // Only anonymous memory is private, and only that has no second mirror.
        self.read_only.is_some()
    }

    /// Whether the bytes are in a file on a disk, and need no room in memory.
    pub(crate) fn are_in_files(&self) -> bool {
        self.on_file_system
    }

    /// Address space taken, in bytes.
    pub(crate) fn mapped(&self) -> usize {
        self.bases().count() * self.len
    }

    /// Bytes in each mirror.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All addresses that are set aside, the guards around the mirrors among them.
    pub(crate) fn addresses(&self) -> Range<usize> {
        self.reserved.addresses()
    }

    /// Gives all memory back but keeps the addresses, without access: whoever still holds one crashes cleanly
    /// instead of reading what was mapped there next.
    ///
    /// Where the kernel refuses, the memory stays until the mirrors are dropped: later, but never wrong.
    ///
    /// # Safety
    /// No Rust reference into either mirror may be left.
    pub(crate) unsafe fn revoke(&self) {
        self.settle();
        // SAFETY: all of it is self's; by contract no Rust reference into it is left.
        unsafe { self.reserved.revoke() };
    }
}

impl Drop for Mirrors {
    fn drop(&mut self) {
        self.settle();
    }
}

fn resize(file: &impl AsFd, len: usize) -> Result<(), Refusal> {
    // Beyond RLIMIT_FSIZE ftruncate sends SIGXFSZ, which ends a process that does not expect it.
    let (most, _) = getrlimit(Resource::RLIMIT_FSIZE).map_err(Refusal::of(Operation::ReadLimit))?;
    if len as u64 > most {
        return Err(Refusal::of(Operation::Resize)(Errno::EFBIG));
    }
    // Slots are at most 2^46 bytes, so the length fits.
    let end = libc::off_t::try_from(len).unwrap_or(libc::off_t::MAX);
    loop {
        match nix::unistd::ftruncate(file, end) {
            Err(Errno::EINTR) => {}
            result => return result.map_err(Refusal::of(Operation::Resize)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;
    use std::os::fd::AsRawFd;

    use super::*;

    pub(super) const LEN: usize = 1 << 20;

    pub(super) fn backings() -> [Backing; 3] {
        [Backing::Memfd, Backing::Directory(std::env::temp_dir()), Backing::Anonymous]
    }

    #[test]
    fn both_mirrors_show_the_same_bytes() {
        for backing in backings() {
            let mirrors = Mirrors::open(&backing, "test", LEN, false).unwrap();
            let Some(read_only) = mirrors.read_only() else {
                assert_eq!(backing, Backing::Anonymous);
                continue;
            };
            assert_ne!(read_only, mirrors.read_write());
            let writable = mirrors.read_write().as_ptr().wrapping_add(4097);
            // SAFETY: the byte is one of LEN mapped ones that nobody else knows of.
            unsafe { writable.write_volatile(42) };
            // SAFETY: the byte is one of LEN mapped ones, seen through the other mirror.
            assert_eq!(unsafe { read_only.as_ptr().wrapping_add(4097).read_volatile() }, 42);
        }
    }

    #[test]
    fn the_read_only_mirror_can_never_be_made_writable() {
        for backing in backings() {
            let mirrors = Mirrors::open(&backing, "test", LEN, false).unwrap();
            let Some(read_only) = mirrors.read_only() else { continue };
            for protection in [ProtFlags::PROT_WRITE, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE] {
                // SAFETY: the range is a mapping of this test; the call is to fail and changes nothing.
                let result = unsafe { nix::sys::mman::mprotect(read_only.cast::<c_void>(), LEN, protection) };
                assert_eq!(result, Err(Errno::EACCES), "{backing:?}");
            }
        }
    }

    #[test]
    fn a_mapping_leaves_no_descriptor_behind() {
        // Other tests open descriptors at the same time, so look for this mapping's own by name.
        let mirrors = Mirrors::open(&Backing::Memfd, "no-descriptor-test", LEN, false).unwrap();
        let open_files = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = open_files.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        assert!(!names.into_iter().any(|name| name.to_string_lossy().contains("no-descriptor-test")));
        drop(mirrors);
    }

    #[test]
    fn revoked_addresses_stay_reserved_without_access_or_memory() {
        for backing in backings() {
            let mirrors = Mirrors::open(&backing, "revoked", LEN, false).unwrap();
            mirrors.commit(0, LEN, true).unwrap();
            // SAFETY: the test makes no reference.
            unsafe { mirrors.revoke() };
            for base in [Some(mirrors.read_write()), mirrors.read_only()].into_iter().flatten() {
                // SAFETY: mincore checks the addresses, and writes a byte for each page to the array.
                let result = unsafe { libc::mincore(base.as_ptr().cast(), LEN, [0u8; LEN / 4096].as_mut_ptr()) };
                assert_eq!(result, 0, "{backing:?}: the addresses are not mapped any more");
                assert_eq!(readable(base), Err(Errno::EFAULT), "{backing:?}");
            }
        }
    }

    /// Whether the kernel can read a byte there.
    fn readable(address: NonNull<u8>) -> Result<usize, Errno> {
        let (_reader, writer) = nix::unistd::pipe().unwrap();
        // SAFETY: the kernel checks the address.
        let written = unsafe { libc::write(writer.as_raw_fd(), address.as_ptr().cast(), 1) };
        Errno::result(written).map(|written| written as usize)
    }

    #[test]
    fn missing_directories_are_named_by_the_kernel() {
        let missing = Backing::Directory("/nonexistent/directory".into());
        assert_eq!(Mirrors::open(&missing, "test", LEN, false).unwrap_err().errno, Errno::ENOENT);
    }
}
