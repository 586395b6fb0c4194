//! A hostile sender over real sockets: each message is refused with a reason, or can be read within its bounds, and nothing of it
//! stays open.
//!
//! `MEMGROUP_FUZZ_MESSAGES=1000000 cargo test --release --lib hostile -- --nocapture` sends a million.

#![cfg(not(heap))]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use crate::os::messages::{self, MAX_DESCRIPTORS};
use crate::share::arrived::Arrived;
use crate::share::channel::Channel;
use crate::share::wire::{Announcement, Columns, Extent, Message, Object, Release, SegmentId, View};
use crate::share::{ShareError, list};

const SIZE: usize = 1 << 16;

/// As many as the environment variable says, or a few.
fn count() -> u64 {
    std::env::var("MEMGROUP_FUZZ_MESSAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(5_000)
}

/// A generator of numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn happens(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// A number that is most often small, and else at an edge.
    fn number(&mut self) -> u64 {
        let edges = [0, 1, SIZE as u64 - 1, SIZE as u64, 1 << 31, 1 << 46, 1 << 63, u64::MAX - 7, u64::MAX];
        match self.below(8) {
            0 => edges[self.below(edges.len() as u64) as usize],
            1 => self.next(),
            _ => self.below(200),
        }
    }

    fn id(&mut self) -> SegmentId {
        SegmentId([self.below(6) as u8; 16])
    }

    fn ids(&mut self) -> Vec<SegmentId> {
        (0..self.below(4)).map(|_| self.id()).collect()
    }

    fn extent(&mut self, len: u64) -> Extent {
        Extent { segment: self.id(), offset: 8 * self.below(4), len }
    }

    fn view(&mut self) -> View {
        let dimensions = self.below(3);
        View {
            origin: self.below(64),
            item_size: 1 + self.below(8),
            shape: (0..dimensions).map(|_| self.below(5) as i64).collect(),
            strides: (0..dimensions).map(|_| self.below(16) as i64 - 4).collect(),
            format: b"<f8"[..self.below(4) as usize].to_vec(),
        }
    }

    fn list(&mut self) -> Object {
        let objects = self.below(6);
        let runs = self.below(objects.min(3) + 1);
        let size = self.below(40);
        let uniform = self.happens(3).then_some((size, size.next_multiple_of(16).max(16)));
        let columns = Columns { objects, runs, uniform, align: 16, segments: self.ids() };
        Object::List(self.extent(columns.table_bytes().unwrap_or(0)), columns)
    }

    fn object(&mut self) -> Object {
        match self.below(6) {
            0 => Object::Block(self.extent(100)),
            1 => Object::View(self.extent(500), self.view()),
            2 => Object::Array(self.extent(500), self.view()),
            3 => Object::Memory(self.ids()),
            _ => self.list(),
        }
    }

    /// The bytes of a message that may be honest, how much memory it announces, and damage to it.
    fn message(&mut self) -> (Vec<u8>, usize) {
        let capacity = |dice: &mut Self| if dice.happens(8) { dice.number() } else { SIZE as u64 };
        let message = Message {
            announced: (0..self.below(4))
                .map(|_| Announcement { segment: self.id(), capacity: capacity(self) })
                .collect(),
            retired: if self.happens(8) { self.ids() } else { Vec::new() },
            released: (0..self.below(2)).map(|_| Release { segment: self.id(), messages: self.number() }).collect(),
            object: self.object(),
        };
        let announced = message.announced.len();
        let mut bytes = message.encode().unwrap_or_else(|_| b"mgrp\x01".repeat(20));
        for _ in 0..self.below(3) {
            let at = self.below(bytes.len() as u64) as usize;
            let number = self.number().to_le_bytes();
            let len = (bytes.len() - at).min(1 << self.below(4));
            bytes[at..at + len].copy_from_slice(&number[..len]);
        }
        match self.below(32) {
            0 => bytes.truncate(self.below(bytes.len() as u64) as usize),
            1 => bytes.iter_mut().skip(6).for_each(|byte| *byte = self.next() as u8),
            2 => bytes.extend_from_slice(&[0; 16]),
            _ => {}
        }
        (bytes, announced)
    }
}

/// What a sender has, most of which no receiver takes.
struct Files(Vec<OwnedFd>);

fn memfd(seals: SealFlag, len: usize) -> OwnedFd {
    let file = memfd_create("hostile", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).unwrap();
    ftruncate(&file, len as i64).unwrap();
    let bytes: Vec<u8> = (0..SIZE).map(|at| if at % 8 == 0 { (at % 40) as u8 } else { 0 }).collect();
    // SAFETY: the bytes are borrowed.
    unsafe { libc::pwrite(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len().min(len), 0) };
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file
}

impl Files {
    /// So many of the first are fit.
    const FIT: u64 = 4;

    fn new() -> Self {
        let shrink = SealFlag::F_SEAL_SHRINK;
        let mut files = vec![
            memfd(shrink, SIZE),
            memfd(shrink, 2 * SIZE),
            memfd(shrink | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_FUTURE_WRITE, SIZE),
            memfd(shrink | SealFlag::F_SEAL_WRITE, SIZE),
            memfd(SealFlag::empty(), SIZE),
            memfd(SealFlag::F_SEAL_GROW, SIZE),
            memfd(shrink, 100),
            memfd(shrink, 0),
            File::open("/dev/null").unwrap().into(),
            File::open(std::env::current_exe().unwrap()).unwrap().into(),
            File::open("/").unwrap().into(),
        ];
        files.extend(nix::unistd::pipe().map(|(reading, _)| reading));
        files.extend(memfd_create("huge", MFdFlags::MFD_HUGETLB | MFdFlags::MFD_ALLOW_SEALING));
        Self(files)
    }

    fn some(&self, dice: &mut Dice, count: usize) -> Vec<RawFd> {
        let one = |dice: &mut Dice| {
            let bound = if dice.happens(8) { self.0.len() as u64 } else { Self::FIT };
            self.0[dice.below(bound) as usize].as_raw_fd()
        };
        let count = match dice.below(24) {
            0 => dice.below(4) as usize,
            1 if dice.happens(16) => MAX_DESCRIPTORS,
            _ => count,
        };
        (0..count).map(|_| one(dice)).collect()
    }

    /// Writes, grows, makes shorter and punches, as far as the seals let it.
    fn vandalize(&self, dice: &mut Dice) {
        let file = &self.0[dice.below(8) as usize];
        let (fd, at) = (file.as_raw_fd(), 8 * dice.below(SIZE as u64 / 64) as i64);
        let number = dice.number().to_le_bytes();
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        match dice.below(16) {
            // SAFETY: the call takes numbers only.
            0 => drop(Errno::result(unsafe { libc::fallocate(fd, mode, 4096 * (at % 8), 4096) })),
            1 => drop(ftruncate(file, at)),
            2 => drop(ftruncate(file, 2 * SIZE as i64 + at)),
            // SAFETY: the bytes are borrowed.
            _ => drop(Errno::result(unsafe { libc::pwrite(fd, number.as_ptr().cast(), 8, at) })),
        }
    }
}

/// A pair of sockets, the second of which reports its sender's credentials, too.
fn pair(kind: libc::c_int) -> [OwnedFd; 2] {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) }, 0);
    // SAFETY: the call has just opened them.
    let [here, there] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let (level, on) = (libc::SOL_SOCKET, 1_i32);
    // SAFETY: the number outlives the call, which is told its size.
    let set = unsafe { libc::setsockopt(there.as_raw_fd(), level, libc::SO_PASSCRED, (&raw const on).cast(), 4) };
    assert_eq!(set, 0);
    [here, there]
}

/// Reads a byte of memory that arrived.
fn look(arrived: &Arrived, memory: usize, at: usize) {
    let memory = &arrived.memory[memory];
    assert!(at < memory.len());
    // SAFETY: the byte is within the memory, which is mapped for as long as it arrived.
    let _ = unsafe { memory.start().as_ptr().wrapping_add(at).read_volatile() };
}

/// Reads the first and the last byte of all that an object shows.
fn look_at(arrived: &Arrived) -> Result<(), ShareError> {
    let extent = arrived.object.extent();
    let (offset, len) = (extent.offset as usize, extent.len as usize);
    match &arrived.object {
        Object::Memory(_) => {}
        Object::Block(_) => (offset..offset + len).step_by(1000).for_each(|at| look(arrived, 0, at)),
        Object::View(_, view) | Object::Array(_, view) if !view.shape.contains(&0) => {
            let reach = |sign: i64| {
                let ends = view.shape.iter().zip(&view.strides);
                ends.filter(|(_, stride)| stride.signum() == sign)
                    .map(|(count, stride)| (count - 1) * stride)
                    .sum::<i64>()
            };
            for at in [view.origin as i64 + reach(-1), view.origin as i64 + reach(1) + view.item_size as i64 - 1] {
                if view.item_size > 0 {
                    look(arrived, 0, offset + at as usize);
                }
            }
        }
        Object::View(..) | Object::Array(..) => {}
        Object::List(..) => {
            let (columns, runs) = list::read(arrived)?;
            for (number, run) in runs.iter().enumerate() {
                let end = runs.get(number + 1).map_or(columns.len(), |next| next.first);
                for object in run.first..end.min(run.first + 100) {
                    let start = run.offset + columns.start(object) - columns.start(run.first);
                    let size = columns.size(object);
                    [start, start + size.saturating_sub(1)]
                        .iter()
                        .filter(|_| size > 0)
                        .for_each(|&at| look(arrived, 1 + run.memory, at));
                }
            }
        }
    }
    Ok(())
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn no_message_of_a_hostile_sender_crashes_the_receiver_or_stays_open() {
    let seed = std::env::var("MEMGROUP_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20);
    println!("seed {seed}");
    let (files, stop, begun, before) = (Files::new(), AtomicBool::new(false), Instant::now(), open_files());
    let mut said = BTreeMap::<String, u64>::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice(seed ^ 1);
            while !stop.load(Ordering::Relaxed) {
                files.vandalize(&mut dice);
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        bombard(&mut Dice(seed), &files, &mut said);
        stop.store(true, Ordering::Relaxed);
    });
    // Other tests run meanwhile, and what is known of sockets that were closed is forgotten as new ones come.
    assert!(open_files() <= before + 1000, "{} {before}", open_files());
    for (reason, times) in &said {
        println!("{times:8} {reason}");
    }
    println!("{} messages in {:.1} s", said.values().sum::<u64>(), begun.elapsed().as_secs_f64());
    assert!(said["taken"] > 0 && said.len() > 15);
}

fn bombard(dice: &mut Dice, files: &Files, said: &mut BTreeMap<String, u64>) {
    let kinds = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET];
    let mut kind = kinds[0];
    let mut ends = pair(kind);
    for number in 0..count() {
        if number % 64 == 0 {
            kind = kinds[(number / 64 % 4) as usize];
            ends = pair(kind);
        }
        files.vandalize(dice);
        let (bytes, announced) = dice.message();
        let descriptors = files.some(dice, announced);
        let sent = messages::send(ends[0].as_fd(), &bytes, &descriptors);
        assert!(bytes.is_empty() || sent == Ok(bytes.len()), "{sent:?}");
        let wait = || Err(ShareError::Socket(libc::EAGAIN));
        let channel = Channel::of(ends[1].as_fd()).unwrap();
        let outcome = channel.receive(ends[1].as_fd(), wait).and_then(|arrived| look_at(&arrived));
        if kind == libc::SOCK_STREAM && outcome.is_err() {
            // Behind it no other message can be found.
            ends = pair(kind);
        }
        let reason = outcome.map_or_else(|error| error.to_string(), |()| "taken".into());
        assert!(!reason.is_empty());
        // Without the numbers.
        *said.entry(reason.replace(|letter: char| letter.is_ascii_digit(), "")).or_default() += 1;
    }
}
