//! Lists through files and sockets.

use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;

use memgroup::MemGroup;
use proptest::prelude::*;

/// A file that is deleted with its last descriptor.
fn temporary() -> std::fs::File {
    let path = std::env::temp_dir().join(format!("memgroup-io-{}-{:?}", std::process::id(), thread::current().id()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_byte_goes_through_a_file(sizes in prop::collection::vec(0..3000usize, 0..2000), offset in 0..100u64) {
        let group = MemGroup::new().unwrap();
        let mut file = temporary();
        let mut list = group.alloc_many(&sizes).unwrap();
        let data = content(list.nbytes());
        list.fill_from(&data).unwrap();
        prop_assert_eq!(list.pwritev(&file, offset).unwrap(), data.len());
        let mut again = group.alloc_many(&sizes).unwrap();
        prop_assert_eq!(again.preadv(&file, offset).unwrap(), data.len());
        prop_assert!(again.iter().eq(list.iter()));
        file.seek(SeekFrom::Start(offset)).unwrap();
        let mut written = Vec::new();
        file.read_to_end(&mut written).unwrap();
        prop_assert_eq!(written, data);
        prop_assert_eq!(again.preadv(&file, 10_000_000).unwrap(), 0);
    }

    #[test]
    fn every_byte_goes_through_a_socket(
        sizes in prop::collection::vec(0..3000usize, 0..1500), pieces in prop::collection::vec(1..9000usize, 1..20),
    ) {
        let group = MemGroup::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut list = group.alloc_many(&sizes).unwrap();
        let data = content(list.nbytes());
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut theirs = &theirs;
                let mut rest = &data[..];
                for piece in pieces.iter().cycle() {
                    let (now, later) = rest.split_at(rest.len().min(*piece));
                    theirs.write_all(now).unwrap();
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
            });
            assert_eq!(list.recvmsg(&ours).unwrap(), data.len());
        });
        let protected = group.protect_many(list).unwrap();
        let mut received = vec![0; data.len()];
        thread::scope(|scope| {
            scope.spawn(|| (&theirs).read_exact(&mut received).unwrap());
            assert_eq!(protected.sendmsg(&ours).unwrap(), data.len());
        });
        prop_assert_eq!(received, data);
    }
}

#[test]
fn errors_say_how_many_bytes_were_moved() {
    let group = MemGroup::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut list = group.alloc_many(&[4, 4]).unwrap();
    theirs.write_all(b"abcde").unwrap();
    let failed = list.readv(&ours).unwrap_err();
    assert_eq!((failed.moved, failed.error.kind()), (5, ErrorKind::WouldBlock));
    assert!(failed.to_string().ends_with("(after 5 bytes)"), "{failed}");
    assert_eq!((&list[0], &list[1][..1]), (&b"abcd"[..], &b"e"[..]));
    theirs.write_all(b"fgh").unwrap();
    assert_eq!(list.readv_from(&ours, failed.moved).unwrap(), 3);
    assert_eq!(&list[1], b"efgh");
    drop(theirs);
    assert_eq!(list.readv(&ours).unwrap(), 0);
    assert_eq!(list.writev(&ours).unwrap_err().error.kind(), ErrorKind::BrokenPipe);
    let directory = std::fs::File::open("/").unwrap();
    assert_eq!(list.preadv(&directory, 0).unwrap_err().error.kind(), ErrorKind::IsADirectory);
}

#[test]
fn messages_stay_messages() {
    let group = MemGroup::new().unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let mut list = group.alloc_many(&[2, 2]).unwrap();
    theirs.send(b"abc").unwrap();
    theirs.send(b"defghi").unwrap();
    assert_eq!(list.recvmsg(&ours).unwrap(), 3);
    let cut = list.recvmsg(&ours).unwrap_err();
    assert_eq!((cut.moved, cut.error.raw_os_error()), (4, Some(libc::EMSGSIZE)));
    assert_eq!(list.sendmsg(&ours).unwrap(), 4);
    let mut received = [0; 9];
    assert_eq!(theirs.recv(&mut received).unwrap(), 4);
    assert_eq!(&received[..4], b"defg");
    let many = group.alloc_uniform(1025, 1).unwrap();
    assert_eq!(many.sendmsg(&ours).unwrap_err().error.raw_os_error(), Some(libc::EMSGSIZE));
}

/// A directory that is deleted when this is dropped.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("memgroup-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn small_and_large_pieces_go_through_a_nonblocking_socket(
        sizes in prop::collection::vec(prop_oneof![4 => 0..60usize, 1 => 900..1200usize, 1 => 5000..9000usize], 0..900),
        start in 0..5000usize,
        align in prop::sample::select(vec![1, 16]),
    ) {
        let group = MemGroup::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let sizes: Vec<usize> = sizes.iter().map(|size| size.next_multiple_of(align)).collect();
        let mut list = group.alloc_many(&sizes).unwrap();
        let data = content(list.nbytes());
        list.fill_from(&data).unwrap();
        let mut again = group.alloc_many(&sizes).unwrap();
        let (mut sent, mut got) = (start.min(data.len()), start.min(data.len()));
        again.iter_mut().for_each(|bytes| bytes.fill(0));
        while got < data.len() {
            sent += list.writev_from(&ours, sent).or_else(would_block).unwrap();
            got += again.readv_from(&theirs, got).or_else(would_block).unwrap();
        }
        let mut at = 0;
        for (one, two) in list.iter().zip(again.iter()) {
            for (byte, found) in one.iter().zip(two) {
                prop_assert_eq!(*found, if at < start { 0 } else { *byte });
                at += 1;
            }
        }
    }

    #[test]
    fn every_range_of_a_file_arrives(
        ranges in prop::collection::vec((0..70_000u64, 0..9000usize), 0..200), length in 0..60_000usize,
    ) {
        let group = MemGroup::new().unwrap();
        let mut file = temporary();
        let data = content(length);
        file.write_all(&data).unwrap();
        let read = group.read_ranges(&file, &ranges).unwrap();
        let mut short = Vec::new();
        let mut abandoned = 0;
        for (index, (&(offset, size), found)) in ranges.iter().zip(read.list.iter()).enumerate() {
            let there = data.get(offset as usize..).unwrap_or_default();
            let expected = &there[..size.min(there.len())];
            prop_assert_eq!(found, expected);
            if expected.len() < size {
                short.push(index);
                abandoned += size - expected.len();
            }
        }
        prop_assert_eq!(read.errors.iter().map(|error| error.index).collect::<Vec<_>>(), short);
        prop_assert!(read.errors.iter().all(|error| error.error.kind() == ErrorKind::UnexpectedEof));
        prop_assert_eq!((read.abandoned, read.changed), (abandoned, vec![]));
    }
}

/// The number of bytes that were moved.
fn would_block(failed: memgroup::TransferError) -> Result<usize, memgroup::TransferError> {
    if failed.error.kind() == ErrorKind::WouldBlock { Ok(failed.moved) } else { Err(failed) }
}

#[test]
fn much_is_read_by_several_threads() {
    let group = MemGroup::new().unwrap();
    let mut file = temporary();
    let data = content(80 << 20);
    file.write_all(&data).unwrap();
    // Backwards, so that the call has to sort them.
    let ranges: Vec<_> = (0..800).rev().map(|number| (number * ((80 << 20) / 800), (80 << 20) / 800)).collect();
    let read = group.read_ranges(&file, &ranges.iter().map(|&(at, len)| (at as u64, len)).collect::<Vec<_>>()).unwrap();
    assert!(read.errors.is_empty());
    assert!(ranges.iter().zip(read.list.iter()).all(|(&(at, len), found)| found == &data[at..at + len]));
}

#[test]
fn ranges_that_no_file_has() {
    let group = MemGroup::new().unwrap();
    let read = group.read_ranges(temporary(), &[(u64::MAX, 3), (1 << 63, 1), (0, 0)]).unwrap();
    assert_eq!(read.errors.iter().map(|error| error.index).collect::<Vec<_>>(), [0, 1]);
    assert!(read.list.iter().all(<[u8]>::is_empty));
    let (pipe, _theirs) = UnixStream::pair().unwrap();
    let read = group.read_ranges(&pipe, &[(0, 3)]).unwrap();
    assert_eq!(read.errors[0].error.raw_os_error(), Some(libc::ESPIPE));
    assert!(read.errors[0].to_string().starts_with("number 0: "));
}

#[test]
fn every_byte_of_every_file() {
    let directory = Directory::new("files");
    let group = MemGroup::new().unwrap();
    let mut paths: Vec<_> = (0..300).map(|number| directory.0.join(number.to_string())).collect();
    let bytes = |number: usize| content(number * 37 % 5000);
    for (number, path) in paths.iter().enumerate() {
        std::fs::write(path, bytes(number)).unwrap();
    }
    paths.extend([
        directory.0.join("none"),
        directory.0.clone(),
        "/dev/null".into(),
        "a\0b".into(),
        "/proc/self/status".into(),
    ]);
    let read = group.read_files(&paths).unwrap();
    assert!((0..300).all(|number| read.list[number] == bytes(number)));
    let kinds: Vec<_> = read.errors.iter().map(|error| (error.index - 300, error.error.kind())).collect();
    assert_eq!(
        kinds,
        [
            (0, ErrorKind::NotFound),
            (1, ErrorKind::IsADirectory),
            (2, ErrorKind::InvalidInput),
            (3, ErrorKind::NotFound)
        ]
    );
    assert!(read.list[304].starts_with(b"Name:"));
    assert_eq!((read.changed, read.abandoned), (vec![], 0));
}

#[test]
fn a_list_that_finds_no_room_leaves_the_group_usable() {
    let group = memgroup::Options::new().limit(Some(1 << 20)).open().unwrap();
    assert!(group.read_ranges(temporary(), &[(0, 2 << 20)]).is_err());
    assert_eq!(group.alloc(10).unwrap().len(), 10);
}
