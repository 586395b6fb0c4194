//! Huge pages: whether a process may have them for a backing, whether making them is worth a try, and asking for them.

use std::ffi::c_void;
use std::fs;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MmapAdvise, madvise};

use crate::os::memory_facts::HugePageFacts;
use crate::os::{Backing, HugePageObstacle, fork};

/// The environment variable that turns huge pages off, by the value 0, for programs that cannot be changed.
const VARIABLE: &str = "MEMGROUP_HUGE_PAGES";

/// How slots come by huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Bytes in a huge page, a power of two.
    pub(crate) size: usize,
    /// Whether the kernel hands them out as memory is touched, unless it is told not to. Else they are asked for,
    /// window by window: of anonymous memory by `MADV_HUGEPAGE`, of a memfd by `MADV_COLLAPSE`, for which `never` is no
    /// hindrance.
    pub(crate) is_unasked: bool,
}

/// What the system offers slots of that backing. It is looked up once: a process keeps to what it first saw.
pub(crate) fn offer(backing: &Backing) -> Option<Offer> {
    static ANONYMOUS: Once = Once::new();
    static MEMFD: Once = Once::new();
    match backing {
        Backing::Anonymous => ANONYMOUS.get(|| look_up("enabled", "never")),
        Backing::Memfd => MEMFD.get(|| look_up("shmem_enabled", "deny")),
        // Their file systems decide for themselves.
        Backing::Directory(_) => None,
    }
}

/// Why memory of that backing is not in huge pages, as far as the process knows.
pub(crate) fn obstacle(backing: &Backing) -> Option<HugePageObstacle> {
    match backing {
        Backing::Directory(_) => Some(HugePageObstacle::Files),
        _ if is_turned_off() => Some(HugePageObstacle::TurnedOff),
        _ if offer(backing).is_none() => Some(HugePageObstacle::NoneOffered),
        _ => TRIALS.obstacle(),
    }
}

fn is_turned_off() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| value == "0")
}

/// Asks for huge pages in memory of the process's own that is going to be written from end to end: where it is new,
/// that takes half the time. Without, or where it is too small, nothing happens.
pub(crate) fn ask_for<T>(memory: &mut [MaybeUninit<T>]) {
    let Some(Offer { size: page, is_unasked: false }) = offer(&Backing::Anonymous) else { return };
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

fn look_up(setting: &str, none: &str) -> Option<Offer> {
    if is_turned_off() {
        return None;
    }
    let _no_fork = fork::hold_off(); // files are read
    let read = |name: &str| fs::read_to_string(format!("{SETTINGS}/{name}")).ok();
    let size = read("hpage_pmd_size").and_then(|size| size.trim().parse().ok());
    parse(&read(setting).unwrap_or_default(), none, size.unwrap_or(0))
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

/// What a setting such as `always [madvise] never` means for pages of `size` bytes, of which `none` says that there are
/// none.
fn parse(setting: &str, none: &str, size: usize) -> Option<Offer> {
    let chosen = chosen(setting);
    match chosen {
        _ if !size.is_power_of_two() => None,
        Some("always" | "within_size" | "force") => Some(Offer { size, is_unasked: true }),
        Some(chosen) if chosen != none => Some(Offer { size, is_unasked: false }),
        _ => None,
    }
}

/// An offer that is looked up once. Not a OnceLock, which a fork might catch half-way; two threads that come here at
/// once find the same.
struct Once(AtomicUsize);

/// Low bits beside the size, which is a power of two of at least a page.
const KNOWN: usize = 1;
const UNASKED: usize = 2;

impl Once {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn get(&self, look_up: fn() -> Option<Offer>) -> Option<Offer> {
        let known = match self.0.load(Ordering::Relaxed) {
            0 => {
                let found =
                    look_up().map_or(0, |offer| offer.size | if offer.is_unasked { UNASKED } else { 0 }) | KNOWN;
                self.0.store(found, Ordering::Relaxed);
                found
            }
            known => known,
        };
        match known & !(KNOWN | UNASKED) {
            0 => None,
            size => Some(Offer { size, is_unasked: known & UNASKED != 0 }),
        }
    }
}

/// What the process has learned of making huge pages. After a refusal nothing is tried for a while, and twice as long
/// after the next: so a machine without huge pages pays for one try. Where making them takes longer than touching small
/// ones, nothing is tried for some times as long as that took.
pub(super) struct Trials {
    /// Milliseconds since the process's first commit; before them nothing is tried.
    not_before: AtomicU64,
    /// How long the next pause is, in milliseconds.
    pause: AtomicU64,
    /// What touching a page took when it was measured, in nanoseconds; 0 before.
    touch: AtomicU64,
    /// How many times in a row making huge pages took longer, and how many nanoseconds all of them took.
    slow: AtomicU32,
    lost: AtomicU64,
    /// What stood in the way last: an error, or one of the numbers below; 0 for nothing yet.
    obstacle: AtomicI32,
}

const SLOW: i32 = -1;
const HEADROOM: i32 = -2;

pub(super) static TRIALS: Trials = Trials::new();

const FIRST_PAUSE_MS: u64 = 1000;

/// What touching a page takes where nobody has measured it, in nanoseconds.
const TOUCH_NS: u64 = 2500;

/// Fewer pages are not worth measuring: that takes a microsecond.
const MIN_MEASURED: usize = 16;

/// So many slow ones in a row are no accident.
const MAX_SLOW: u32 = 2;

/// A pause is so many times as long as what was lost: so little of the time is.
const PAUSE_FACTOR: u64 = 8;

impl Trials {
    const fn new() -> Self {
        Self {
            not_before: AtomicU64::new(0),
            pause: AtomicU64::new(FIRST_PAUSE_MS),
            touch: AtomicU64::new(0),
            slow: AtomicU32::new(0),
            lost: AtomicU64::new(0),
            obstacle: AtomicI32::new(0),
        }
    }

    // Relaxed throughout: these are estimates, and threads that overwrite each other's have seen the same machine.

    /// Whether a try is due.
    pub(super) fn are_due(&self) -> bool {
        let not_before = self.not_before.load(Ordering::Relaxed);
        not_before == 0 || milliseconds() >= not_before
    }

    /// What stood in the way last.
    fn obstacle(&self) -> Option<HugePageObstacle> {
        match self.obstacle.load(Ordering::Relaxed) {
            0 => None,
            SLOW => Some(HugePageObstacle::Slow),
            HEADROOM => Some(HugePageObstacle::Headroom),
            code => Some(HugePageObstacle::Refused { code }),
        }
    }

    /// Notes that nothing was tried, for too little memory was left.
    pub(super) fn skipped(&self) {
        self.obstacle.store(HEADROOM, Ordering::Relaxed);
    }

    /// Notes that the kernel refused.
    pub(super) fn refused(&self, errno: Errno) {
        self.obstacle.store(errno as i32, Ordering::Relaxed);
        let pause = self.pause.load(Ordering::Relaxed);
        self.pause_for(pause);
        self.pause.store(pause.saturating_mul(2), Ordering::Relaxed);
    }

    fn pause_for(&self, pause: u64) {
        self.not_before.store(milliseconds().saturating_add(pause).max(1), Ordering::Relaxed);
    }

    /// Touches so many small pages, and measures once in a process what that takes.
    pub(super) fn touch<R>(&self, pages: usize, touch: impl FnOnce() -> R) -> R {
        if pages < MIN_MEASURED || self.touch.load(Ordering::Relaxed) != 0 {
            return touch();
        }
        let (result, took) = timed(touch);
        self.touched(pages, took);
        result
    }

    fn touched(&self, pages: usize, took: u64) {
        self.touch.store((took / pages.max(1) as u64).max(1), Ordering::Relaxed);
    }

    /// Notes how many nanoseconds it took to make huge pages of what would be so many small ones.
    pub(super) fn made(&self, pages: usize, took: u64) {
        let touch = Some(self.touch.load(Ordering::Relaxed)).filter(|&touch| touch > 0).unwrap_or(TOUCH_NS);
        if took <= touch.saturating_mul(pages as u64) {
            self.forget_slow();
            self.pause.store(FIRST_PAUSE_MS, Ordering::Relaxed);
            return;
        }
        let lost = self.lost.fetch_add(took, Ordering::Relaxed).saturating_add(took);
        if self.slow.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_SLOW {
            self.forget_slow();
            self.obstacle.store(SLOW, Ordering::Relaxed);
            self.pause_for(lost.saturating_mul(PAUSE_FACTOR) / 1_000_000 + 1);
        }
    }

    fn forget_slow(&self) {
        self.slow.store(0, Ordering::Relaxed);
        self.lost.store(0, Ordering::Relaxed);
    }
}

/// A clock that only runs forward.
fn milliseconds() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC_COARSE) / 1_000_000
}

/// Does something, and says how many nanoseconds of the processor's time that took: a stall to find huge pages is work,
/// and a busy machine is no reason to do without them.
pub(super) fn timed<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let begun = nanoseconds(libc::CLOCK_THREAD_CPUTIME_ID);
    let result = work();
    (result, nanoseconds(libc::CLOCK_THREAD_CPUTIME_ID).saturating_sub(begun))
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call. Refused, it stays 0.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 2 << 20;
    const MADE: Option<Offer> = Some(Offer { size: SIZE, is_unasked: false });
    const UNASKED: Option<Offer> = Some(Offer { size: SIZE, is_unasked: true });

    #[test]
    fn the_bracketed_word_counts() {
        for (setting, of_anonymous, of_memfd) in [
            ("always [madvise] never\n", MADE, MADE),
            ("always within_size [advise] never deny force\n", MADE, MADE),
            ("always within_size advise [never] deny force\n", None, MADE),
            ("always within_size advise never [deny] force\n", MADE, None),
            ("[always] within_size advise never deny force\n", UNASKED, UNASKED),
            ("always [within_size] advise never deny force\n", UNASKED, UNASKED),
            ("", None, None),
        ] {
            assert_eq!(parse(setting, "never", SIZE), of_anonymous, "{setting}");
            assert_eq!(parse(setting, "deny", SIZE), of_memfd, "{setting}");
        }
        assert_eq!(parse("[always]", "never", 0), None);
    }

    #[test]
    fn what_was_looked_up_is_remembered() {
        for found in [|| None, || MADE, || UNASKED] {
            let once = Once::new();
            assert_eq!(once.get(found), found());
            assert_eq!(once.get(|| unreachable!()), found());
        }
    }

    #[test]
    fn after_a_refusal_nothing_is_tried_for_a_while_that_doubles() {
        let trials = Trials::new();
        assert!(trials.are_due());
        trials.refused(Errno::EBUSY);
        assert!(!trials.are_due());
        assert_eq!(trials.obstacle(), Some(HugePageObstacle::Refused { code: Errno::EBUSY as i32 }));
        assert_eq!(trials.pause.load(Ordering::Relaxed), 2 * FIRST_PAUSE_MS);
        trials.not_before.store(milliseconds(), Ordering::Relaxed);
        assert!(trials.are_due());
        trials.made(512, 0);
        assert_eq!(trials.pause.load(Ordering::Relaxed), FIRST_PAUSE_MS);
    }

    #[test]
    fn what_takes_longer_than_touching_is_given_up_for_some_times_as_long() {
        let trials = Trials::new();
        trials.touched(64, 64_000);
        for _ in 1..MAX_SLOW {
            trials.made(512, 600_000_000);
        }
        assert!(trials.are_due());
        trials.made(512, 600_000_000);
        let pause = trials.not_before.load(Ordering::Relaxed) - milliseconds();
        assert_eq!(trials.obstacle(), Some(HugePageObstacle::Slow));
        assert!((5_000..=9601).contains(&pause), "{pause}"); // on a slow machine some of it is over
        assert_eq!(trials.pause.load(Ordering::Relaxed), FIRST_PAUSE_MS);
        trials.not_before.store(0, Ordering::Relaxed);
        trials.made(512, 513_000);
        trials.made(512, 511_000);
        trials.made(512, 513_000);
        assert!(trials.are_due());
    }
}
