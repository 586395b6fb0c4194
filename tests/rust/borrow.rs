//! Memory of other owners, shown by a group: what it shows, and when its owner is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memgroup::{Backing, Error, MemGroup, Options};

use crate::support::{backings, group_of};

/// Bytes that count how often they were dropped.
struct Owned {
    bytes: Vec<u8>,
    drops: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

fn owned(bytes: &[u8], drops: &Arc<AtomicUsize>) -> Owned {
    Owned { bytes: bytes.to_vec(), drops: Arc::clone(drops) }
}

fn count(drops: &AtomicUsize) -> usize {
    drops.load(Ordering::Relaxed)
}

#[test]
fn bytes_are_shown_where_they_are_until_the_group_is_reset_or_gone() {
    for backing in backings() {
        let drops = Arc::default();
        let mut group = group_of(backing);
        let bytes = vec![7; 1000];
        let start = bytes.as_ptr();
        let shown = group.borrow(Owned { bytes, drops: Arc::clone(&drops) }).unwrap();
        assert_eq!((shown.as_ptr(), &shown[..]), (start, &[7; 1000][..]));
        assert_eq!(format!("{shown:?}"), "Protected(1000 bytes in borrowed memory)");
        group.borrow(owned(b"second", &drops)).unwrap();
        assert_eq!(group.stats().borrowed, 1006);
        assert_eq!(count(&drops), 0);
        group.reset();
        assert_eq!((count(&drops), group.stats().borrowed), (2, 0));
        group.borrow(owned(b"third", &drops)).unwrap();
        drop(group);
        assert_eq!(count(&drops), 3);
    }
}

#[test]
fn an_owner_may_hold_its_bytes_itself_or_have_none() {
    let group = MemGroup::new().unwrap();
    let inline = group.borrow([1, 2, 3]).unwrap();
    let (empty, text) = (group.borrow([]).unwrap(), group.borrow("text").unwrap());
    group.alloc(100).unwrap().fill(9);
    assert_eq!((&inline[..], &empty[..], &text[..]), (&[1, 2, 3][..], &[][..], &b"text"[..]));
}

#[test]
fn what_is_borrowed_counts_as_nothing_else() {
    let group = Options::new().limit(1 << 16).open().unwrap();
    group.borrow(vec![1; 1 << 20]).unwrap();
    let stats = group.stats();
    assert_eq!((stats.committed, stats.mapped, stats.allocated, stats.slots.len()), (0, 0, 0, 0));
    assert!(group.alloc(1 << 15).is_ok());
    assert!(format!("{group:?}").contains("borrowed: 1048576"));
}

#[test]
fn what_is_borrowed_cannot_be_written() {
    let group = MemGroup::new().unwrap();
    let refused = group.try_unprotect(group.borrow(b"constant").unwrap()).unwrap_err();
    assert_eq!((refused.error, &refused.value[..]), (Error::BorrowedReadOnly, &b"constant"[..]));
}

#[test]
fn a_secret_group_borrows_nothing_and_drops_the_owner() {
    let drops = Arc::default();
    let group = Options::new().secret(true).backing(Backing::Anonymous).open().unwrap();
    assert_eq!(group.borrow(owned(b"public", &drops)).unwrap_err(), Error::BorrowedSecret);
    assert_eq!(count(&drops), 1);
}

/// An owner that uses groups as it is dropped.
struct Busy(Arc<AtomicUsize>);

impl AsRef<[u8]> for Busy {
    fn as_ref(&self) -> &[u8] {
        b"busy"
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut group = MemGroup::new().unwrap();
        group.borrow(owned(b"inner", &self.0)).unwrap();
        group.alloc(1000).unwrap().fill(1);
        group.reset();
    }
}

#[test]
fn an_owner_may_use_other_groups_as_it_is_dropped() {
    let drops = Arc::default();
    let mut group = MemGroup::new().unwrap();
    group.borrow(Busy(Arc::clone(&drops))).unwrap();
    group.reset();
    assert_eq!(count(&drops), 1);
    group.borrow(Busy(Arc::clone(&drops))).unwrap();
    group.free();
    assert_eq!(count(&drops), 2);
}

#[test]
fn threads_borrow_at_once_and_nothing_is_lost() {
    const EACH: usize = if cfg!(miri) { 20 } else { 2000 };
    let drops = Arc::default();
    let group = MemGroup::new().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (group, drops) = (&group, &drops);
            scope.spawn(move || {
                let shown: Vec<_> = (0..EACH).map(|_| group.borrow(owned(&[thread; 3], drops)).unwrap()).collect();
                assert!(shown.iter().all(|bytes| bytes[..] == [thread; 3]));
            });
        }
    });
    assert_eq!((group.stats().borrowed, count(&drops)), (4 * EACH * 3, 0));
    drop(group);
    assert_eq!(count(&drops), 4 * EACH);
}
