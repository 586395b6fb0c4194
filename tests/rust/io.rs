//! Lists through files and sockets.

use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;

use memgroup::MemGroup;
use proptest::prelude::*;

/// A file that goes with its last descriptor.
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
fn errors_know_how_far_it_came() {
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
