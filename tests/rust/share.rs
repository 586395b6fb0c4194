//! Objects in other processes: what arrives, what a receiver cannot do to it, and what a receiver refuses.

use std::ffi::c_void;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use memgroup::{Backing, Error, MemGroup, Options, RemoteBlock, ShareError, receive, receive_releases, send_releases};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mprotect};

use crate::support::{alone, forked, wait_for};

const PAGE: usize = 4096;

fn shared() -> MemGroup {
    Options::new().shared(true).open().unwrap()
}

/// Sends bytes that a shared group holds, and returns them as they arrive.
fn round_trip(group: &MemGroup, bytes: &[u8]) -> RemoteBlock {
    let (here, there) = UnixStream::pair().unwrap();
    group.send(&here, &group.protect(group.copy(bytes).unwrap()).unwrap()).unwrap();
    receive(&there).unwrap()
}

/// How many descriptors this process has, and how many mappings of memfds.
fn resources() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (descriptors, maps.lines().filter(|line| line.contains("/memfd:")).count())
}

#[test]
fn what_arrives_is_what_was_sent_and_what_is_written_later() {
    let (here, there) = UnixStream::pair().unwrap();
    let group = shared();
    let mut sent = Vec::new();
    for size in [0, 1, 100, 5000, 300_000] {
        let block = group.protect(group.copy(&vec![size as u8; size]).unwrap()).unwrap();
        group.send(&here, &block).unwrap();
        let arrived = receive(&there).unwrap();
        assert_eq!(arrived.to_vec().unwrap(), &block[..]);
        assert_eq!((arrived.len(), arrived.is_empty(), arrived.is_frozen()), (size, size == 0, false));
        sent.push((block, arrived));
    }
    let (block, arrived) = sent.pop().unwrap();
    group.unprotect(block).unwrap()[7] = 99;
    assert_eq!(arrived.to_vec().unwrap()[7], 99);
}

#[test]
fn both_ends_of_messages_and_of_streams_are_served() {
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET, libc::SOCK_DGRAM] {
        let [here, there] = pair(kind);
        let group = shared();
        for round in 0..100_u8 {
            let block = group.protect(group.copy(&[round; 1000]).unwrap()).unwrap();
            group.send(&here, &block).unwrap();
            assert_eq!(receive(&there).unwrap().to_vec().unwrap(), [round; 1000]);
        }
    }
}

fn pair(kind: libc::c_int) -> [OwnedFd; 2] {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) }, 0);
    // SAFETY: the call has just opened them.
    ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

#[test]
fn a_slot_is_announced_once_to_each_socket() {
    alone("share::a_slot_is_announced_once_to_each_socket", || {
        let group = shared();
        let block = group.protect(group.copy(&[1; 100]).unwrap()).unwrap();
        let sockets: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
        for (here, there) in &sockets {
            let lengths: Vec<_> = (0..3)
                .map(|_| {
                    group.send(here, &block).unwrap();
                    let mut bytes = [0; 1000];
                    there.set_nonblocking(true).unwrap();
                    (&mut &*there).read(&mut bytes).unwrap()
                })
                .collect();
            assert_eq!(lengths, [64 + 24, 64, 64]);
        }
    });
}

#[test]
fn only_memfd_groups_without_secrets_are_shared() {
    for options in [
        Options::new().backing(Backing::Anonymous),
        Options::new().backing(Backing::Directory(std::env::temp_dir())),
        Options::new().secret(true),
    ] {
        assert_eq!(options.shared(true).open().unwrap_err(), Error::Unshareable);
    }
    let (here, _there) = UnixStream::pair().unwrap();
    let private = MemGroup::new().unwrap();
    let block = private.protect(private.copy(b"private").unwrap()).unwrap();
    assert_eq!(private.send(&here, &block), Err(ShareError::NotShared));
    assert_eq!(shared().send(&here, &block), Err(ShareError::Group(Error::Foreign)));
    let group = shared();
    let block = group.protect(group.copy(b"shared").unwrap()).unwrap();
    let (inet, file) = (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), File::open("/dev/null").unwrap());
    assert_eq!(group.send(&inet, &block), Err(ShareError::Family));
    assert_eq!(group.send(&file, &block), Err(ShareError::Socket(libc::ENOTSOCK)));
}

#[test]
fn memory_that_was_announced_is_not_used_again() {
    alone("share::memory_that_was_announced_is_not_used_again", || {
        let mut group = shared();
        let kept = group.alloc(100).unwrap().as_ptr();
        group.reset();
        assert_eq!(group.alloc(100).unwrap().as_ptr(), kept, "nobody has it: it is used again");
        let arrived = round_trip(&group, &[5; 100]);
        group.reset();
        group.alloc(60_000).unwrap().fill(6);
        group.free();
        (0..4).for_each(|_| shared().alloc(60_000).unwrap().fill(7));
        (0..4).for_each(|_| MemGroup::new().unwrap().alloc(60_000).unwrap().fill(8));
        assert_eq!(arrived.to_vec().unwrap(), [5; 100]);
    });
}

#[test]
fn memory_that_every_receiver_has_released_is_used_again() {
    let mut group = shared();
    let pairs = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
    let mut places = Vec::new();
    for byte in 0..4 {
        let block = group.protect(group.copy(&[byte; 100]).unwrap()).unwrap();
        places.push(block.as_ptr());
        for (here, there) in &pairs {
            group.send(here, &block).unwrap();
            let arrived = receive(there).unwrap();
            assert_eq!(send_releases(there).unwrap(), 0, "it is still used");
            assert_eq!(arrived.to_vec().unwrap(), [byte; 100]);
            drop(arrived);
            assert_eq!(send_releases(there).unwrap(), 1);
            assert_eq!(send_releases(there).unwrap(), 0, "that was said");
            if byte < 3 || here.as_raw_fd() == pairs[0].0.as_raw_fd() {
                assert_eq!(receive_releases(here).unwrap(), 1);
            }
        }
        group.reset();
    }
    assert_eq!(places, [places[0]; 4]);
    assert_ne!(group.alloc(100).unwrap().as_ptr(), places[0], "one receiver was not heard");
}

#[test]
fn nothing_stays_open_or_mapped() {
    alone("share::nothing_stays_open_or_mapped", || {
        memgroup::set_warm_limit(0);
        // What the process opens once.
        round_trip(&shared(), b"first");
        let before = resources();
        for _ in 0..200 {
            let (here, there) = UnixStream::pair().unwrap();
            let group = shared();
            for size in [10, 100_000, 1_000_000] {
                group.send(&here, &group.protect(group.copy(&vec![1; size]).unwrap()).unwrap()).unwrap();
                receive(&there).unwrap();
            }
        }
        let (descriptors, mappings) = resources();
        // What is known of sockets that were closed is forgotten as new ones come: a few may be left.
        assert!(descriptors <= before.0 + 100 && mappings <= before.1 + 100, "{before:?} {descriptors} {mappings}");
    });
}

#[test]
fn what_a_sender_has_freed_a_receiver_forgets_with_the_next_message() {
    alone("share::what_a_sender_has_freed_a_receiver_forgets_with_the_next_message", || {
        memgroup::set_warm_limit(0);
        let (here, there) = UnixStream::pair().unwrap();
        let before = resources();
        for _ in 0..1000 {
            let group = shared();
            group.send(&here, &group.protect(group.copy(b"once").unwrap()).unwrap()).unwrap();
            assert_eq!(receive(&there).unwrap().to_vec().unwrap(), b"once");
        }
        let (descriptors, mappings) = resources();
        assert!(descriptors <= before.0 + 8 && mappings <= before.1 + 8, "{before:?} {descriptors} {mappings}");
    });
}

#[test]
fn a_receiver_cannot_change_what_it_was_given() {
    alone("share::a_receiver_cannot_change_what_it_was_given", || {
        let (here, there) = UnixStream::pair().unwrap();
        let group = shared();
        let block = group.protect(group.copy(&[0x5a; PAGE]).unwrap()).unwrap();
        group.send(&here, &block).unwrap();
        // The message as it is on its way: the descriptor and nothing else of the receiver's.
        let (_, mut descriptors) = raw_receive(&there);
        let file = descriptors.pop().unwrap();
        let len = std::num::NonZeroUsize::new(PAGE).unwrap();
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping replaces no other.
        let map = |file: &OwnedFd, access| unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, file, 0) };
        let anew = File::options().read(true).write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // SAFETY: the call takes nothing and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        // Root may open anything, and even so can do no more than anybody else.
        assert!(anew.is_err() || is_root);
        for file in anew.ok().map(OwnedFd::from).into_iter().chain([file]) {
            assert!(matches!(map(&file, access), Err(Errno::EACCES | Errno::EPERM)));
            let mapped = map(&file, ProtFlags::PROT_READ).unwrap();
            // SAFETY: the mapping is this test's own; the kernel is to refuse.
            assert_eq!(unsafe { mprotect(mapped, PAGE, access) }, Err(Errno::EACCES));
            let refusals = [
                nix::unistd::ftruncate(&file, 0),
                nix::unistd::ftruncate(&file, 1 << 40),
                write_at(&file, b"x").map(drop),
                nix::unistd::write(&file, b"x").map(drop),
                punch(&file),
            ];
            assert!(refusals.iter().all(Result::is_err), "{refusals:?}");
            assert!(is_root || fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_err());
        }
        assert_eq!(&block[..], [0x5a; PAGE]);
    });
}

fn write_at(file: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    // SAFETY: the bytes are borrowed.
    let written = unsafe { libc::pwrite(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    Errno::result(written).map(|written| written as usize)
}

fn punch(file: &OwnedFd) -> nix::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, PAGE as i64) }).map(drop)
}

#[test]
fn bytes_that_were_never_touched_are_committed_before_they_are_sent() {
    let group = Options::new().base(64 << 20).shared(true).open().unwrap();
    let block = group.protect(group.alloc_zeroed(16 << 20).unwrap()).unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    group.send(&here, &block).unwrap();
    assert_eq!(receive(&there).unwrap().to_vec().unwrap(), &block[..]);
}

#[test]
fn a_fork_is_another_process_that_receives() {
    alone("share::a_fork_is_another_process_that_receives", || {
        let group = shared();
        let before = group.protect(group.copy(&[1; 5000]).unwrap()).unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        group.send(&here, &before).unwrap();
        assert!(forked(|| receive(&there).unwrap().to_vec().unwrap() == [1; 5000]));

        // And a child sends: what it has from its parent, and what it has made itself.
        let (here, there) = UnixStream::pair().unwrap();
        assert!(forked(|| {
            let own = group.protect(group.copy(&[2; 5000]).unwrap()).unwrap();
            group.send(&here, &before).and_then(|()| group.send(&here, &own)).is_ok()
        }));
        assert_eq!(receive(&there).unwrap().to_vec().unwrap(), [1; 5000]);
        assert_eq!(receive(&there).unwrap().to_vec().unwrap(), [2; 5000]);
        // The parent announces again what the child has: the receiver knows it.
        group.send(&here, &before).unwrap();
        assert_eq!(receive(&there).unwrap().to_vec().unwrap(), [1; 5000]);
    });
}

#[test]
fn what_was_received_outlasts_its_sender() {
    alone("share::what_was_received_outlasts_its_sender", || {
        let (here, there) = UnixStream::pair().unwrap();
        // SAFETY: as in support::forked.
        let sender = unsafe { libc::fork() };
        if sender == 0 {
            let group = shared();
            for byte in 0..10 {
                group.send(&here, &group.protect(group.copy(&[byte; 50_000]).unwrap()).unwrap()).unwrap();
            }
            // SAFETY: as in support::forked.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        drop(here);
        assert_eq!(wait_for(sender), libc::SIGKILL);
        // Nothing was taken yet: the descriptors are under way.
        for byte in 0..10 {
            assert_eq!(receive(&there).unwrap().to_vec().unwrap(), [byte; 50_000]);
        }
        assert_eq!(receive(&there).unwrap_err(), ShareError::Closed);
    });
}

/// As many as the environment variable says, or a few.
fn kills() -> u32 {
    std::env::var("MEMGROUP_SHARE_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(30)
}

#[test]
fn senders_and_receivers_that_are_killed_leave_nothing_wrong() {
    alone("share::senders_and_receivers_that_are_killed_leave_nothing_wrong", || {
        for round in 0..kills() {
            let (here, there) = UnixStream::pair().unwrap();
            let victim_sends = round % 2 == 0;
            // SAFETY: as in support::forked.
            let victim = unsafe { libc::fork() };
            if victim == 0 {
                if victim_sends {
                    drop(there);
                    send_without_end(&here);
                } else {
                    drop(here);
                    receive_without_end(&there);
                }
                // SAFETY: _exit never returns and runs nothing of the parent's.
                unsafe { libc::_exit(0) };
            }
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_micros(u64::from(round * 7919 % 9000)));
                // SAFETY: victim is this process's child, which it has not waited for yet.
                unsafe { libc::kill(victim, libc::SIGKILL) };
            });
            let error = if victim_sends {
                drop(here);
                receive_without_end(&there)
            } else {
                drop(there);
                send_without_end(&here)
            };
            assert!(matches!(error, ShareError::Closed | ShareError::Cut { .. } | ShareError::Socket(_)), "{error:?}");
            killer.join().unwrap();
            wait_for(victim);
        }
    });
}

fn send_without_end(here: &UnixStream) -> ShareError {
    loop {
        let group = shared();
        for size in [1_usize, 1000, 100_000, 1_000_000] {
            let block = group.protect(group.copy(&vec![size as u8; size]).unwrap()).unwrap();
            if let Err(error) = group.send(here, &block) {
                return error;
            }
        }
    }
}

fn receive_without_end(there: &UnixStream) -> ShareError {
    loop {
        match receive(there) {
            Ok(arrived) => {
                let bytes = arrived.to_vec().unwrap();
                assert!(bytes.iter().all(|&byte| byte == bytes.len() as u8), "wrong bytes");
            }
            Err(error) => return error,
        }
    }
}

#[test]
fn two_threads_send_over_one_socket_and_two_receive() {
    alone("share::two_threads_send_over_one_socket_and_two_receive", || {
        const ROUNDS: usize = 500;
        let (here, there) = UnixStream::pair().unwrap();
        let sum = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..2_usize {
                let (here, there, sum) = (&here, &there, &sum);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let group = shared();
                        let bytes = vec![(thread + 1) as u8; 1 + round * 17];
                        group.send(here, &group.protect(group.copy(&bytes).unwrap()).unwrap()).unwrap();
                    }
                });
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let bytes = receive(there).unwrap().to_vec().unwrap();
                        assert!(bytes.iter().all(|&byte| byte == bytes[0]));
                        sum.fetch_add(bytes.len() * usize::from(bytes[0]), std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        let sizes: usize = (0..ROUNDS).map(|round| 1 + round * 17).sum();
        assert_eq!(sum.into_inner(), 3 * sizes);
    });
}

#[test]
fn a_small_socket_buffer_takes_a_message_in_parts() {
    let (here, there) = UnixStream::pair().unwrap();
    let least: libc::c_int = 1;
    let size = size_of_val(&least) as libc::socklen_t;
    // SAFETY: least outlives the call, and size is its size.
    let set = unsafe {
        libc::setsockopt(here.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const least).cast(), size)
    };
    assert_eq!(set, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..300_u32 {
                let group = shared();
                let bytes = round.to_le_bytes().repeat(1000);
                group.send(&here, &group.protect(group.copy(&bytes).unwrap()).unwrap()).unwrap();
            }
        });
        for round in 0..300_u32 {
            assert_eq!(receive(&there).unwrap().to_vec().unwrap(), round.to_le_bytes().repeat(1000));
        }
    });
}

// A hostile sender.

/// A message that names a block, and announces memory.
fn message(announced: &[([u8; 16], u64)], segment: [u8; 16], offset: u64, len: u64) -> Vec<u8> {
    let body: Vec<u8> = announced.iter().flat_map(|(id, size)| [&id[..], &size.to_le_bytes()].concat()).collect();
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"mgrp\x01\x01");
    bytes[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
    bytes[12..14].copy_from_slice(&(announced.len() as u16).to_le_bytes());
    bytes[16..32].copy_from_slice(&segment);
    bytes[32..40].copy_from_slice(&offset.to_le_bytes());
    bytes[40..48].copy_from_slice(&len.to_le_bytes());
    bytes.extend(body);
    bytes
}

fn raw_send(socket: &impl AsFd, bytes: &[u8], descriptors: &[RawFd]) {
    let mut control = vec![0_u64; 300];
    let iovec = [IoSlice::new(bytes)];
    // SAFETY: integers and pointers, all of which may be 0.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iovec.as_ptr().cast::<libc::iovec>().cast_mut();
    message.msg_iovlen = 1;
    if !descriptors.is_empty() {
        let len = size_of_val(descriptors);
        message.msg_control = control.as_mut_ptr().cast::<c_void>();
        message.msg_controllen = (16 + len.next_multiple_of(8)) as _;
        control[0] = (16 + len) as u64;
        control[1] = u64::from(libc::SOL_SOCKET as u32) | u64::from(libc::SCM_RIGHTS as u32) << 32;
        // SAFETY: there is room for the descriptors behind the header.
        unsafe { control[2..].as_mut_ptr().cast::<RawFd>().copy_from(descriptors.as_ptr(), descriptors.len()) };
    }
    // SAFETY: the message has bytes that are borrowed, and control data as long as it says.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &message, libc::MSG_NOSIGNAL) };
    assert_eq!(Errno::result(sent), Ok(bytes.len() as isize));
}

fn raw_receive(socket: &impl AsFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let (mut control, mut bytes) = (vec![0_u64; 300], vec![0; 4096]);
    let mut iovec = [libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }];
    // SAFETY: integers and pointers, all of which may be 0.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iovec.as_mut_ptr();
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast::<c_void>();
    message.msg_controllen = (control.len() * 8) as _;
    // SAFETY: the message has room as long as it says.
    let came = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC) };
    bytes.truncate(Errno::result(came).unwrap() as usize);
    let count = (control[0] as usize).saturating_sub(16) / 4;
    // SAFETY: the kernel has written so many descriptors.
    let descriptors = unsafe { std::slice::from_raw_parts(control[2..].as_ptr().cast::<RawFd>(), count) };
    // SAFETY: it has just opened them.
    (bytes, descriptors.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

fn memfd(bytes: usize, seals: SealFlag) -> OwnedFd {
    let file = memfd_create("hostile", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).unwrap();
    assert_eq!(write_at(&file, &vec![1; bytes]), Ok(bytes));
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file
}

const ID: [u8; 16] = [3; 16];

/// What a receiver says to a message and those descriptors. It keeps none of them, and takes the next message.
fn refusal(bytes: &[u8], descriptors: &[RawFd]) -> ShareError {
    let (here, there) = UnixStream::pair().unwrap();
    let good = memfd(PAGE, SealFlag::F_SEAL_SHRINK);
    let check = || {
        raw_send(&here, &message(&[([9; 16], PAGE as u64)], [9; 16], 0, 5), &[good.as_raw_fd()]);
        assert_eq!(receive(&there).unwrap().to_vec().unwrap(), [1; 5]);
    };
    check();
    raw_send(&here, bytes, descriptors);
    let before = resources();
    let error = receive(&there).unwrap_err();
    assert_eq!(resources(), before, "{error}");
    check();
    error
}

#[test]
fn hostile_messages_are_refused_with_the_reason_and_leave_nothing() {
    alone("share::hostile_messages_are_refused_with_the_reason_and_leave_nothing", || {
        let good = memfd(2 * PAGE, SealFlag::F_SEAL_SHRINK);
        let fd = good.as_raw_fd();
        let size = 2 * PAGE as u64;
        let one = |offset, len| message(&[(ID, size)], ID, offset, len);
        let descriptors = |came, announced| ShareError::Descriptors { came, announced };

        // None, too many, and more than a receiver may have.
        assert_eq!(refusal(&one(0, 1), &[]), descriptors(0, 1));
        assert_eq!(refusal(&one(0, 1), &[fd; 2]), descriptors(2, 1));
        assert_eq!(refusal(&one(0, 1), &[fd; 253]), descriptors(253, 1));
        assert_eq!(refusal(&message(&[], ID, 0, 1), &[fd]), descriptors(1, 0));
        assert_eq!(refusal(&message(&[], ID, 0, 1), &[]), ShareError::Unknown);

        // Files that are none, can shrink, are too short, or have holes.
        let disk = tempfile();
        let unsealed = memfd(2 * PAGE, SealFlag::F_SEAL_GROW);
        let huge = memfd_create("huge", MFdFlags::MFD_HUGETLB | MFdFlags::MFD_ALLOW_SEALING);
        let others = [File::open("/dev/null").unwrap().into(), UnixStream::pair().unwrap().0.into(), disk.into()];
        for file in others.into_iter().chain(huge) {
            let _ = fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK));
            let said = refusal(&one(0, 1), &[file.as_raw_fd()]).to_string();
            assert!(said.contains("no memfd"), "{said}");
        }
        assert!(refusal(&one(0, 1), &[unsealed.as_raw_fd()]).to_string().contains("shorter"));
        assert!(refusal(&message(&[(ID, size + 1)], ID, 0, 1), &[fd]).to_string().contains("8192 bytes"));
        let hole = memfd(PAGE, SealFlag::empty());
        nix::unistd::ftruncate(&hole, 1 << 30).unwrap();
        fcntl(&hole, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        for (offset, len) in [(0, PAGE as u64 + 1), (PAGE as u64, 1), (1 << 29, 1 << 29)] {
            let bytes = message(&[(ID, 1 << 30)], ID, offset, len);
            assert_eq!(refusal(&bytes, &[hole.as_raw_fd()]), ShareError::Uncommitted);
        }

        // Places that are none.
        for (offset, len) in [(0, size + 1), (size, 1), (size + 1, 0), (1, size)] {
            let said = refusal(&one(offset, len), &[fd]).to_string();
            assert!(said.contains("beyond its end"), "{said}");
        }
        for (offset, len) in [(u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX), (1 << 46, 1)] {
            assert!(matches!(refusal(&one(offset, len), &[fd]), ShareError::Malformed(_)));
        }

        // Twice the same number for different memory.
        let (here, there) = UnixStream::pair().unwrap();
        raw_send(&here, &one(0, 1), &[fd]);
        receive(&there).unwrap();
        raw_send(&here, &one(0, 1), &[fd]);
        receive(&there).unwrap();
        let other = memfd(2 * PAGE, SealFlag::F_SEAL_SHRINK);
        raw_send(&here, &one(0, 1), &[other.as_raw_fd()]);
        assert!(receive(&there).unwrap_err().to_string().contains("the same number"));

        // No header, half a message, too long a body.
        assert!(matches!(refusal_out_of_step(&[0; 64], &[fd]), ShareError::Malformed(_)));
        let mut long = one(0, 1);
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(refusal_out_of_step(&long, &[fd]), ShareError::Malformed(_)));
        for cut in [1, 63, 64, 70] {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(&one(0, 1)[..cut]).unwrap();
            drop(here);
            assert_eq!(receive(&there).unwrap_err(), ShareError::Cut { came: cut });
            assert_eq!(receive(&there).unwrap_err(), ShareError::Closed);
        }
    });
}

/// The same for bytes behind which no other message can be found.
fn refusal_out_of_step(bytes: &[u8], descriptors: &[RawFd]) -> ShareError {
    let (here, there) = UnixStream::pair().unwrap();
    raw_send(&here, bytes, descriptors);
    let before = resources();
    let error = receive(&there).unwrap_err();
    // Less, where what is known of other sockets, which were closed, was forgotten.
    assert!(resources().0 <= before.0 && resources().1 <= before.1, "{error}");
    error
}

fn tempfile() -> File {
    let path = std::env::temp_dir().join(format!("memgroup-share-{}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    (&file).write_all(&[1; 2 * PAGE]).unwrap();
    file
}

#[test]
fn descriptors_that_find_no_room_are_an_error_that_says_so() {
    alone("share::descriptors_that_find_no_room_are_an_error_that_says_so", || {
        use nix::sys::resource::{Resource, setrlimit};

        let good = memfd(2 * PAGE, SealFlag::F_SEAL_SHRINK);
        let (here, there) = UnixStream::pair().unwrap();
        let announced: Vec<_> = (0..200_u8).map(|id| ([id; 16], 2 * PAGE as u64)).collect();
        raw_send(&here, &message(&announced, [1; 16], 0, 1), &[good.as_raw_fd(); 200]);
        let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        let open = resources().0;
        let error = receive(&there).unwrap_err();
        assert!(matches!(error, ShareError::Descriptors { announced: 200, .. }), "{error:?}");
        assert!(error.to_string().contains("RLIMIT_NOFILE"));
        assert_eq!(resources().0, open);
    });
}
