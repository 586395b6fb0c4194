//! What is said of a fault. Everything here runs in a signal handler: it neither allocates nor locks.

use std::cell::UnsafeCell;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::objects::{self, FoundObject, Relation};
use super::registry::{self, SlotSnapshot, SlotState};
use crate::os::signals::{self, Access, Fault};

/// Bytes in the longest report.
const MAX_REPORT_BYTES: usize = 1536;

/// The most characters of a group's name that are shown.
const MAX_NAME_BYTES: usize = 80;

/// Whether the user has nothing against colours.
static MAY_COLOUR: AtomicBool = AtomicBool::new(false);

/// Looks at what a signal handler must not: the environment.
pub(super) fn choose_look() {
    let is_set = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    MAY_COLOUR.store(!is_set("NO_COLOR") && !is_dumb, Ordering::Relaxed);
}

/// Reports a fault, if it is one in the memory of a group.
pub(super) fn write(fault: &Fault) {
    let Some(snapshot) = registry::find(fault.address) else { return };
    let look = Style::new(MAY_COLOUR.load(Ordering::Relaxed) && signals::stderr_is_terminal());
    with_scratch(|ReportMemory { text, name }| {
        // What does not fit is left out.
        let _cut = Report::new(fault, &snapshot, snapshot.name(name)).write(text, look);
        signals::write_to_stderr(text.whole_lines());
    });
}

/// What a report is made in. A signal stack may have room for little more than what the kernel puts there.
struct ReportMemory {
    text: Text,
    name: registry::Name,
}

/// Some for threads that fault at once, and whether somebody has each of them.
static SCRATCH: [(AtomicBool, StaticCell<ReportMemory>); 4] = {
    const EMPTY: Text = Text { bytes: [0; MAX_REPORT_BYTES], len: 0 };
    [const {
        (
            AtomicBool::new(false),
            StaticCell(UnsafeCell::new(ReportMemory { text: EMPTY, name: [0; size_of::<registry::Name>()] })),
        )
    }; 4]
};

struct StaticCell<T>(UnsafeCell<T>);

// SAFETY: one thread at a time has it, as the flag beside it says.
unsafe impl<T: Send> Sync for StaticCell<T> {}

/// Works with one that nobody has, if there is one.
fn with_scratch(work: impl FnOnce(&mut ReportMemory)) {
    let mut all = SCRATCH.iter();
    let Some((taken, place)) = all.find(|(taken, _)| !taken.swap(true, Ordering::Acquire)) else { return };
    // SAFETY: whoever finds the flag unset has it alone until the flag is unset again.
    work(unsafe { &mut *place.0.get() });
    taken.store(false, Ordering::Release);
}

/// Text that is not allocated.
struct Text {
    bytes: [u8; MAX_REPORT_BYTES],
    len: usize,
}

impl Text {
    /// What was written since the last time, up to the end of a line.
    fn whole_lines(&mut self) -> &[u8] {
        let written = &self.bytes[..std::mem::take(&mut self.len)];
        let end = written.iter().rposition(|&byte| byte == b'\n');
        end.map_or(&[], |end| &written[..=end])
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// How the parts of a report are set off on a terminal.
#[derive(Clone, Copy)]
struct Style {
    alarm: &'static str,
    label: &'static str,
    strong: &'static str,
    plain: &'static str,
}

impl Style {
    fn new(coloured: bool) -> Self {
        match coloured {
            true => Self { alarm: "\x1b[1;31m", label: "\x1b[2m", strong: "\x1b[1m", plain: "\x1b[0m" },
            false => Self { alarm: "", label: "", strong: "", plain: "" },
        }
    }
}

/// Where in the reserved addresses of a slot something is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// So many bytes from the beginning of the mirror.
    Mirror(usize),
    /// So many bytes before it.
    Before(usize),
    /// So many bytes behind its last; at least 1.
    Behind(usize),
}

impl Zone {
    /// Where an address is, as seen from a mirror of so many bytes at `base`.
    fn of(address: usize, base: usize, capacity: usize) -> Self {
        match address.checked_sub(base) {
            None => Self::Before(base - address),
            Some(offset) if offset < capacity => Self::Mirror(offset),
            Some(offset) => Self::Behind(offset - capacity + 1),
        }
    }

    fn distance(self) -> usize {
        match self {
            Self::Mirror(_) => 0,
            Self::Before(by) | Self::Behind(by) => by,
        }
    }
}

struct Report<'a> {
    fault: &'a Fault,
    snapshot: &'a SlotSnapshot,
    name: &'a str,
    /// The nearest mirror, and what is where in it.
    mirror: &'static str,
    zone: Zone,
    base: usize,
}

impl<'a> Report<'a> {
    fn new(fault: &'a Fault, snapshot: &'a SlotSnapshot, name: &'a str) -> Self {
        let zone = |base| Zone::of(fault.address, base, snapshot.capacity);
        let read_write = (READ_WRITE, zone(snapshot.read_write), snapshot.read_write);
        let read_only = snapshot.read_only.map(|base| (READ_ONLY, zone(base), base));
        let nearest = read_only.filter(|(_, zone, _)| zone.distance() < read_write.1.distance());
        let (mirror, zone, base) = nearest.unwrap_or(read_write);
        // An anonymous slot has one mapping, so nobody calls it a mirror.
        let mirror = match (snapshot.state, read_only) {
            (SlotState::Borrowed, _) => "borrowed memory",
            (SlotState::Received, _) => "received memory",
            (_, None) => "memory",
            _ => mirror,
        };
        Self { fault, snapshot, name, mirror, zone, base }
    }

    fn write(&self, to: &mut Text, look: Style) -> fmt::Result {
        let (Style { alarm, label, strong, plain }, snapshot) = (look, self.snapshot);
        let access = match self.fault.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Execute => "jump",
            Access::Unknown => "access",
        };
        let (at, of) = (self.fault.address, Where(self));
        write!(to, "{alarm}memgroup:{plain} {strong}{access} at {at:#x}, {of} of ")?;
        if !snapshot.state.is_borrowed() {
            write!(to, "slot {} of ", snapshot.index)?;
        }
        let kind = match snapshot.state {
            SlotState::Freed => "freed ",
            SlotState::Frozen => "frozen ",
            SlotState::Received => "other process's ",
            SlotState::InUse | SlotState::Kept | SlotState::Borrowed => "",
        };
        writeln!(to, "the {kind}group {}{plain}", Name(self.name))?;
        let mut line = |name: &str, text: &dyn fmt::Display| writeln!(to, "  {label}{name:<7}{plain} {text}");
        let piece = if snapshot.state.is_borrowed() { "memory" } else { "slot" };
        match self.zone {
            Zone::Mirror(offset) => line(piece, &format_args!("offset {offset} of {}", ByteCount(snapshot.capacity)))?,
            _ => line(piece, &format_args!("{} long", ByteCount(snapshot.capacity)))?,
        }
        if let Some(found) = objects::find(self.fault.address, &(self.base..self.base + snapshot.capacity)) {
            line("object", &Object { found, base: self.base })?;
        }
        line("cause", &self.cause())?;
        line("remedy", &self.remedy())?;
        let (process, thread) = (signals::getpid(), signals::gettid());
        let signal = if self.fault.signal == libc::SIGBUS { "SIGBUS" } else { "SIGSEGV" };
        line("signal", &format_args!("{signal} in thread {thread} of process {process}"))
    }

    /// Whether it is a store into a read-only mirror.
    fn is_protected(&self) -> bool {
        self.mirror == READ_ONLY && matches!(self.fault.access, Access::Write | Access::Unknown)
    }

    fn cause(&self) -> &'static str {
        if self.fault.access == Access::Execute {
            return "the memory of a group is not executable";
        }
        match (self.snapshot.state, self.zone) {
            (SlotState::Freed, _) => "the group's memory was freed; an address in it was still in use",
            (SlotState::Kept, _) => {
                "the group has ended, and its memory is kept for the next group; an address in it was still in use"
            }
            (SlotState::InUse | SlotState::Frozen, Zone::Before(_)) => {
                "guard page: the access lies before the memory of the slot"
            }
            (SlotState::InUse | SlotState::Frozen, Zone::Behind(_)) => {
                "guard page: the access lies behind the memory of the slot"
            }
            _ if self.fault.signal == libc::SIGBUS => match self.fault.code {
                libc::BUS_MCEERR_AR | libc::BUS_MCEERR_AO => "the hardware reports a memory error at the address",
                _ if self.snapshot.state == SlotState::Borrowed => {
                    "the file behind the borrowed memory was truncated while it was mapped, or its disk has failed"
                }
                _ => "the kernel has no memory for the page: its file was truncated, or the disk or the memory is full",
            },
            (SlotState::Received, _) => "another process has sent the memory: only that process can write to it",
            (SlotState::Frozen, _) => "the group is frozen: no process can write to its memory",
            _ if self.is_protected() => "the object is protected: the read-only mirror cannot be written",
            (SlotState::Borrowed, _) => {
                "the owner of the borrowed memory mapped it without that access, or has unmapped it"
            }
            _ => "other code has changed the mapping (mprotect, munmap, mmap)",
        }
    }

    fn remedy(&self) -> &'static str {
        if self.fault.access == Access::Execute {
            return "look for a call through a pointer that was overwritten";
        }
        match (self.snapshot.state, self.zone) {
            (SlotState::Freed, _) => {
                "copy data that must outlast free(force=True), or call free() without force, which keeps memory in use"
            }
            (SlotState::Kept, _) => "keep the block for as long as its address is used, or copy it",
            (SlotState::InUse | SlotState::Frozen, Zone::Before(_) | Zone::Behind(_)) => {
                "keep indices, lengths and strides within the object"
            }
            (SlotState::Received, _) => "write into a copy: group.copy(data), in a group of this process",
            (SlotState::Frozen, _) => "write before freeze(), or into a copy",
            (SlotState::Borrowed, _) => {
                "copy memory that others may truncate or unmap: group.copy(data), or read it into the group"
            }
            _ if self.fault.signal == libc::SIGBUS => "leave more room, set a limit=, or use another backing=",
            _ if self.is_protected() => "write through group.unprotect(object), or into a copy",
            _ => "do not change the mappings of a group",
        }
    }
}

const READ_WRITE: &str = "read-write mirror";
const READ_ONLY: &str = "read-only mirror";

/// `in the read-only mirror`, `1 byte behind the read-write mirror`.
struct Where<'a>(&'a Report<'a>);

impl fmt::Display for Where<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mirror = self.0.mirror;
        match self.0.zone {
            Zone::Mirror(_) => write!(f, "in the {mirror}"),
            Zone::Before(by) => write!(f, "{} before the {mirror}", ByteCount(by)),
            Zone::Behind(by) => write!(f, "{} behind the {mirror}", ByteCount(by)),
        }
    }
}

/// `byte 10 of a block of 100 bytes at offset 4096`.
struct Object {
    found: FoundObject,
    base: usize,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FoundObject { start, len, at } = self.found;
        match at {
            Relation::Within(offset) => write!(f, "byte {offset} of")?,
            Relation::Before(by) => write!(f, "{} before", ByteCount(by))?,
            Relation::Behind(by) => write!(f, "{} behind", ByteCount(by))?,
        }
        write!(f, " a block of {} at offset {}", ByteCount(len), start - self.base)
    }
}

/// `1 byte`, `2 bytes`.
struct ByteCount(usize);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} byte{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

/// A name in quotes, without what a terminal might obey, and not too long.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_NAME_BYTES) {
            Some((end, _)) => write!(f, "{:?}...", self.0.get(..end).unwrap_or_default()),
            None => write!(f, "{:?}", self.0),
        }
    }
}
