//! The iovecs that one system call is given. No operating system: addresses and lengths only.

use std::ops::Range;

use libc::iovec;

use crate::os::iovecs::MAX_IOVECS;

/// One call moves no more bytes than this, so that a signal need not wait for gigabytes. A thousand calls a second and
/// more could be made of that size, so they cost nothing.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// Stretches of memory in the order in which bytes go into them or come out, less what is done already.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    iovecs: Vec<iovec>,
    /// The first that is not done.
    first: usize,
    bytes: usize,
}

// SAFETY: addresses and lengths; what makes an access safe is argued where it is made.
unsafe impl Send for Batch {}

impl Batch {
    /// Adds an iovec, as one with the last where it lies behind that. Returns how many of its bytes there was room for;
    /// 0 where it has some means that the batch is full.
    #[inline(always)]
    pub(crate) fn push(&mut self, start: *mut u8, len: usize) -> usize {
        let len = len.min(MAX_BATCH_BYTES - self.bytes.min(MAX_BATCH_BYTES));
        if len == 0 {
            return 0;
        }
        let many = self.iovecs.len();
        match self.iovecs.last_mut() {
            Some(last) if last.iov_base.addr() + last.iov_len == start.addr() => last.iov_len += len,
            _ if many < MAX_IOVECS => self.iovecs.push(iovec { iov_base: start.cast(), iov_len: len }),
            _ => return 0,
        }
        self.bytes += len;
        len
    }

    /// Notes that the first `moved` bytes are done, of which there must be so many.
    pub(crate) fn advance(&mut self, mut moved: usize) {
        debug_assert!(moved <= self.bytes);
        self.bytes -= moved;
        while let Some(iovec) = self.iovecs.get_mut(self.first) {
            if moved < iovec.iov_len {
                iovec.iov_base = iovec.iov_base.cast::<u8>().wrapping_add(moved).cast();
                iovec.iov_len -= moved;
                return;
            }
            moved -= iovec.iov_len;
            self.first += 1;
        }
        self.clear();
    }

    /// How many bytes of an iovec that begins there [`push`](Self::push) would take.
    pub(crate) fn room(&self, start: *mut u8) -> usize {
        let joins = |last: &iovec| last.iov_base.addr() + last.iov_len == start.addr();
        match self.iovecs.len() < MAX_IOVECS || self.iovecs.last().is_some_and(joins) {
            true => MAX_BATCH_BYTES - self.bytes.min(MAX_BATCH_BYTES),
            false => 0,
        }
    }

    /// How many of the next `moved` bytes, of which there must be so many, lie at some addresses. No iovec must lie
    /// there only partly.
    pub(crate) fn moved_within(&self, addresses: Range<usize>, mut moved: usize) -> usize {
        let mut within = 0;
        for iovec in self.pending() {
            let len = iovec.iov_len.min(moved);
            within += if addresses.contains(&iovec.iov_base.addr()) { len } else { 0 };
            moved -= len;
            if moved == 0 {
                break;
            }
        }
        within
    }

    /// Makes room for others.
    pub(crate) fn clear(&mut self) {
        self.iovecs.clear();
        (self.first, self.bytes) = (0, 0);
    }

    /// What is not done.
    pub(crate) fn pending(&self) -> &[iovec] {
        &self.iovecs[self.first..]
    }

    /// How many bytes are not done.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The address of every byte that is not done.
    fn addresses(batch: &Batch) -> Vec<usize> {
        let iovecs = batch.pending().iter();
        iovecs.flat_map(|iovec| iovec.iov_base.addr()..iovec.iov_base.addr() + iovec.iov_len).collect()
    }

    proptest! {
        #[test]
        fn every_byte_is_moved_once_and_in_order(
            stretches in prop::collection::vec((0..50usize, 0..9usize), 0..60),
            moves in prop::collection::vec(1..40usize, 0..60),
        ) {
            let mut batch = Batch::default();
            let mut expected = Vec::new();
            let mut at = 4096;
            for (len, gap) in stretches {
                prop_assert_eq!(batch.push(std::ptr::without_provenance_mut(at), len), len);
                expected.extend(at..at + len);
                at += len + gap;
            }
            for moved in moves {
                prop_assert_eq!(batch.bytes(), expected.len());
                prop_assert_eq!(addresses(&batch), expected.clone());
                prop_assert!(batch.pending().iter().all(|iovec| iovec.iov_len > 0));
                let moved = moved.min(expected.len());
                batch.advance(moved);
                expected.drain(..moved);
            }
            prop_assert_eq!(addresses(&batch), expected);
        }
    }

    #[test]
    fn neighbours_are_one_iovec() {
        let mut batch = Batch::default();
        for start in [100, 110, 120, 131] {
            batch.push(std::ptr::without_provenance_mut(start), 10);
        }
        assert_eq!(batch.pending().len(), 2);
    }

    #[test]
    fn a_full_batch_takes_what_it_has_room_for() {
        let mut batch = Batch::default();
        let far = |index: usize| std::ptr::without_provenance_mut::<u8>(index << 32);
        assert_eq!(batch.push(far(1), MAX_BATCH_BYTES - 1), MAX_BATCH_BYTES - 1);
        assert_eq!((batch.push(far(2), 5), batch.push(far(3), 5)), (1, 0));
        batch.clear();
        for index in 0..MAX_IOVECS {
            assert_eq!(batch.push(far(index + 1), 2), 2);
        }
        assert_eq!(batch.push(far(MAX_IOVECS + 1), 2), 0, "no further iovec");
        assert_eq!(batch.push(far(MAX_IOVECS).wrapping_add(2), 2), 2, "but a longer one");
        batch.advance(3);
        assert_eq!(batch.push(far(MAX_IOVECS + 1), 2), 0, "what is done makes no room before all is");
    }
}
