//! Huge pages: whether the system offers them for a backing, and asking for them.

use std::ffi::c_void;
use std::fs;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::mman::{MmapAdvise, madvise};

use crate::os::memory_facts::HugePageFacts;
use crate::os::{Backing, fork};

/// How the system hands out huge pages for one kind of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// Not at all, or nobody knows.
    Never,
    /// Pages of so many bytes, to those who ask.
    OnRequest(usize),
    /// Pages of so many bytes, to everybody who does not refuse them.
    Always(usize),
}

/// What the system offers slots of that backing. It is looked up once: a process keeps to what it first saw.
pub(super) fn offer(backing: &Backing) -> Offer {
    static ANONYMOUS: Once = Once::new();
    static MEMFD: Once = Once::new();
    match backing {
        Backing::Anonymous => ANONYMOUS.get(|| look_up("enabled")),
        Backing::Memfd => MEMFD.get(|| look_up("shmem_enabled")),
        // Their file systems decide for themselves.
        Backing::Directory(_) => Offer::Never,
    }
}

impl Offer {
    /// Bytes in one of the pages.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::Never => None,
            Self::OnRequest(size) | Self::Always(size) => Some(size),
        }
    }
}

/// Asks for huge pages in memory of the process's own that is going to be written from end to end: where it is new, that
/// takes half the time. Without, or where it is too small, nothing happens.
pub(crate) fn ask_for<T>(memory: &mut [MaybeUninit<T>]) {
    let Offer::OnRequest(page) = offer(&Backing::Anonymous) else { return };
    let bytes = memory.as_mut_ptr_range();
    // Whole pages within, for the neighbours are somebody else's.
    let before = bytes.start.addr().next_multiple_of(page) - bytes.start.addr();
    let len = size_of_val(memory).saturating_sub(before) / page * page;
    let start = NonNull::new(bytes.start.cast::<c_void>().wrapping_byte_add(before));
    if let Some(start) = start.filter(|_| len > 0) {
        // It is a wish: refused, it changes nothing.
        // SAFETY: the range is within memory, and the advice changes none of its contents.
        let _ = unsafe { madvise(start, len, MmapAdvise::MADV_HUGEPAGE) };
    }
}

const SETTINGS: &str = "/sys/kernel/mm/transparent_hugepage";

fn look_up(setting: &str) -> Offer {
    let _no_fork = fork::hold_off(); // files are read
    let read = |name: &str| fs::read_to_string(format!("{SETTINGS}/{name}")).ok();
    let size = read("hpage_pmd_size").and_then(|size| size.trim().parse().ok());
    parse(&read(setting).unwrap_or_default(), size.unwrap_or(0))
}

/// What displays show of it.
pub(crate) fn huge_page_facts() -> HugePageFacts {
    let read = |name: &str| fs::read_to_string(format!("{SETTINGS}/{name}")).unwrap_or_default();
    HugePageFacts {
        enabled: chosen(&read("enabled")).map(str::to_owned),
        shmem_enabled: chosen(&read("shmem_enabled")).map(str::to_owned),
        size: read("hpage_pmd_size").trim().parse().ok(),
    }
}

/// The word in brackets.
fn chosen(setting: &str) -> Option<&str> {
    setting.split('[').nth(1)?.split(']').next()
}

/// What a setting such as `always [madvise] never` means for pages of `size` bytes.
fn parse(setting: &str, size: usize) -> Offer {
    let chosen = chosen(setting);
    match chosen {
        _ if !size.is_power_of_two() => Offer::Never,
        Some("madvise" | "advise") => Offer::OnRequest(size),
        Some("always" | "within_size" | "force") => Offer::Always(size),
        _ => Offer::Never,
    }
}

/// An offer that is looked up once. Not a OnceLock, which a fork might catch half-way; two threads that come here at once
/// find the same.
struct Once(AtomicUsize);

/// Low bits beside the size, which is a power of two of at least a page.
const KNOWN: usize = 1;
const ALWAYS: usize = 2;

impl Once {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn get(&self, look_up: fn() -> Offer) -> Offer {
        let known = match self.0.load(Ordering::Relaxed) {
            0 => {
                let found = match look_up() {
                    Offer::Never => KNOWN,
                    Offer::OnRequest(size) => size | KNOWN,
                    Offer::Always(size) => size | KNOWN | ALWAYS,
                };
                self.0.store(found, Ordering::Relaxed);
                found
            }
            known => known,
        };
        match known & !(KNOWN | ALWAYS) {
            0 => Offer::Never,
            size if known & ALWAYS != 0 => Offer::Always(size),
            size => Offer::OnRequest(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 2 << 20;

    #[test]
    fn the_bracketed_word_counts() {
        assert_eq!(parse("always [madvise] never\n", SIZE), Offer::OnRequest(SIZE));
        assert_eq!(parse("always within_size [advise] never deny force\n", SIZE), Offer::OnRequest(SIZE));
        assert_eq!(parse("[always] within_size advise never deny force\n", SIZE), Offer::Always(SIZE));
        assert_eq!(parse("always [within_size] advise never deny force\n", SIZE), Offer::Always(SIZE));
        for never in ["always madvise [never]\n", "always within_size advise never [deny] force\n", "", "[", "nonsense"]
        {
            assert_eq!(parse(never, SIZE), Offer::Never, "{never}");
        }
        assert_eq!(parse("[always]", 0), Offer::Never);
    }

    #[test]
    fn what_was_looked_up_is_remembered() {
        for found in [|| Offer::Never, || Offer::OnRequest(SIZE), || Offer::Always(SIZE)] {
            let once = Once::new();
            assert_eq!(once.get(found), found());
            assert_eq!(once.get(|| unreachable!()), found());
        }
    }
}
