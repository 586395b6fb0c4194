//! The bounce buffer, which small pieces go through together: to the kernel a piece costs about as much as some hundred
//! bytes do, and to copy it here costs far less.
//!
//! They are bytes of a group, which others may write at any time, so they are copied by the C library. Those of secret
//! groups never come here: the buffer is ordinary memory, and keeps what passed through it.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::iovec;

use super::batch::Batch;

/// Pieces of fewer bytes are copied. Ten thousand of 16 to 512 bytes go through a socket in half the time then, of 512
/// to 1,024 in nine tenths; of 1,024 to 2,048 it takes longer.
pub(super) const BOUNCE_BELOW_BYTES: usize = 1024;

/// With fewer pieces there is little to be won.
pub(super) const BOUNCE_MIN_PIECES: usize = 16;

/// What the processor keeps near itself. Less means more calls; more is copied from afar.
const MAX_BYTES: usize = 256 << 10;

/// At first less is copied, for who does not wait may be able to take little.
const INITIAL_BYTES: usize = 64 << 10;

/// More pieces do not come in at once.
const MAX_PIECES: usize = 8192;

/// Small pieces of a batch, in a buffer.
#[derive(Debug, Default)]
pub(super) struct Bounce {
    buffer: Option<BounceBuffer>,
    /// Whether they are on their way in.
    is_input: bool,
    /// How many bytes are to be in it at most.
    room: usize,
    used: usize,
    /// On the way in: where they belong, in order, less what is there.
    pieces: Vec<iovec>,
    /// The first that is not there.
    next: usize,
    /// Where its bytes are in the buffer.
    at: usize,
}

// SAFETY: addresses and lengths, and memory of its own.
unsafe impl Send for Bounce {}

impl Bounce {
    pub(super) fn new(is_input: bool) -> Self {
        Self { is_input, ..Self::default() }
    }

    /// Makes room for the next batch.
    pub(super) fn clear(&mut self) {
        self.room = if self.used == 0 { INITIAL_BYTES } else { (self.room * 2).min(MAX_BYTES) };
        self.pieces.clear();
        (self.used, self.next, self.at) = (0, 0, 0);
    }

    /// Puts a piece into a batch by way of the buffer, as [`Batch::push`] would put the piece itself.
    ///
    /// # Safety
    /// The piece must be mapped if it is on its way out.
    pub(super) unsafe fn push(&mut self, batch: &mut Batch, start: *mut u8, len: usize) -> usize {
        let mut filling = self.fill(batch, len);
        if filling.to.is_null() {
            return batch.push(start, len);
        }
        // SAFETY: on its way out the piece is mapped, by contract.
        unsafe { filling.take(start, len.min(filling.room)) };
        filling.finish()
    }

    /// Puts whole pieces into a batch by way of the buffer, `most` bytes of them together.
    pub(super) fn fill<'a>(&'a mut self, batch: &'a mut Batch, most: usize) -> Filling<'a> {
        if self.buffer.is_none() {
            self.buffer = BounceBuffer::spare_or_new();
        }
        let Some(buffer) = &self.buffer else {
            // Null where there is no memory.
            return Filling { to: std::ptr::null_mut(), room: 0, filled: 0, bounce: self, batch };
        };
        let to = buffer.start().wrapping_add(self.used);
        let room = if self.pieces.len() < MAX_PIECES { batch.room(to).min(self.room - self.used).min(most) } else { 0 };
        Filling { to, room, filled: 0, bounce: self, batch }
    }

    /// Whether some of the pieces of the batch are still to be put where they belong.
    pub(super) fn has_pieces(&self) -> bool {
        self.next < self.pieces.len()
    }

    /// Puts what has arrived where it belongs, before the first `moved` bytes of the batch are noted as done.
    ///
    /// # Safety
    /// The pieces must be mapped, writable, and nothing borrowed there.
    pub(super) unsafe fn copy_out(&mut self, batch: &Batch, moved: usize) {
        let Some(buffer) = &self.buffer else { return };
        let start = buffer.start();
        let mut arrived = batch.moved_within(start.addr()..start.addr() + MAX_BYTES, moved);
        while let Some(piece) = self.pieces.get_mut(self.next).filter(|_| arrived > 0) {
            let len = piece.iov_len.min(arrived);
            // SAFETY: the piece is mapped, writable and not borrowed, by contract; the kernel has just written so many
            // bytes to the
            // buffer.
            unsafe { libc::memcpy(piece.iov_base, start.wrapping_add(self.at).cast(), len) };
            piece.iov_base = piece.iov_base.wrapping_byte_add(len);
            piece.iov_len -= len;
            self.next += usize::from(piece.iov_len == 0);
            self.at += len;
            arrived -= len;
        }
    }
}

/// Pieces that are being put into the buffer and, together, into a batch.
pub(super) struct Filling<'a> {
    /// Where the first belongs in the buffer.
    to: *mut u8,
    room: usize,
    filled: usize,
    bounce: &'a mut Bounce,
    batch: &'a mut Batch,
}

impl Filling<'_> {
    /// Puts a piece behind those that are there. Whether there was room for it.
    ///
    /// # Safety
    /// The piece must be mapped if it is on its way out.
    #[inline(always)]
    pub(super) unsafe fn take(&mut self, start: *mut u8, len: usize) -> bool {
        if len > self.room - self.filled || self.to.is_null() {
            return false;
        }
        if !self.bounce.is_input {
            let copy = self.to.wrapping_add(self.filled);
            // SAFETY: a piece on its way out is mapped, by contract, and the buffer has room for as many bytes.
            unsafe { libc::memcpy(copy.cast(), start.cast(), len) };
        } else if self.bounce.pieces.len() == MAX_PIECES || self.bounce.pieces.try_reserve(1).is_err() {
            return false;
        } else if len > 0 {
            self.bounce.pieces.push(iovec { iov_base: start.cast(), iov_len: len });
        }
        self.filled += len;
        true
    }

    /// How many bytes it has become.
    pub(super) fn finish(self) -> usize {
        let pushed = self.batch.push(self.to, self.filled);
        debug_assert_eq!(pushed, self.filled, "there was room");
        self.bounce.used += pushed;
        pushed
    }
}

/// Memory for [`MAX_BYTES`] bytes at the start of a page, for descriptors that want that, and with a page on either
/// side, so that no piece ends where the buffer begins.
#[derive(Debug)]
struct BounceBuffer(NonNull<u8>);

const PAGE: usize = 4096;

/// One that nobody uses, for the next transfer: to touch new pages takes longer than all the copying.
static FREE_LIST: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

impl BounceBuffer {
    fn layout() -> Option<Layout> {
        Layout::from_size_align(MAX_BYTES + 2 * PAGE, PAGE).ok()
    }

    /// `None` if there is no memory.
    fn spare_or_new() -> Option<Self> {
        let spare = NonNull::new(FREE_LIST.swap(std::ptr::null_mut(), Ordering::AcqRel));
        // SAFETY: the layout is not empty.
        spare.or_else(|| NonNull::new(unsafe { alloc(Self::layout()?) })).map(Self)
    }

    fn start(&self) -> *mut u8 {
        self.0.as_ptr().wrapping_add(PAGE)
    }
}

impl Drop for BounceBuffer {
    fn drop(&mut self) {
        let former = FREE_LIST.swap(self.0.as_ptr(), Ordering::AcqRel);
        if let (Some(former), Some(layout)) = (NonNull::new(former), Self::layout()) {
            // SAFETY: it was made with this layout, and taking it out of its place made it this thread's.
            unsafe { dealloc(former.as_ptr(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes of pieces, one after the other, and the pieces.
    fn laid_out(sizes: &[usize]) -> (Vec<u8>, Vec<(usize, usize)>) {
        let mut pieces = Vec::new();
        let mut at = 0;
        for &size in sizes {
            pieces.push((at, size));
            at += size + 3;
        }
        ((0..at).map(|byte| byte as u8).collect(), pieces)
    }

    proptest! {
        #[test]
        fn what_comes_in_pieces_lands_where_it_belongs(
            sizes in prop::collection::vec(prop_oneof![0..40usize, Just(3000)], 0..60),
            moves in prop::collection::vec(1..700usize, 1..20),
        ) {
            let (content, pieces) = laid_out(&sizes);
            let mut memory = vec![0_u8; content.len()];
            let (mut batch, mut bounce) = (Batch::default(), Bounce::new(true));
            bounce.clear();
            for &(at, len) in &pieces {
                let start = memory.as_mut_ptr().wrapping_add(at);
                let pushed = match len < BOUNCE_BELOW_BYTES {
                    // SAFETY: the piece is on its way in.
                    true => unsafe { bounce.push(&mut batch, start, len) },
                    false => batch.push(start, len),
                };
                prop_assert_eq!(pushed, len);
            }
            let mut stream = pieces.iter().flat_map(|&(at, len)| content[at..at + len].to_vec());
            for most in moves.iter().cycle() {
                if batch.bytes() == 0 {
                    break;
                }
                let moved = (*most).min(batch.bytes());
                let mut left = moved;
                for iovec in batch.pending() {
                    for offset in 0..iovec.iov_len.min(left) {
                        let byte = iovec.iov_base.cast::<u8>().wrapping_add(offset);
                        // SAFETY: the iovec is of the memory above or of the buffer.
                        unsafe { byte.write(stream.next().unwrap()) };
                    }
                    left -= iovec.iov_len.min(left);
                }
                // SAFETY: the memory is there and nobody else's.
                unsafe { bounce.copy_out(&batch, moved) };
                batch.advance(moved);
            }
            prop_assert!(!bounce.has_pieces());
            for (at, len) in pieces {
                prop_assert_eq!(&memory[at..at + len], &content[at..at + len]);
            }
        }

        #[test]
        fn what_goes_out_is_all_of_it_in_order(sizes in prop::collection::vec(0..40usize, 0..60)) {
            let (mut content, pieces) = laid_out(&sizes);
            let (mut batch, mut bounce) = (Batch::default(), Bounce::new(false));
            bounce.clear();
            for &(at, len) in &pieces {
                // SAFETY: the piece is there.
                let pushed = unsafe { bounce.push(&mut batch, content.as_mut_ptr().wrapping_add(at), len) };
                prop_assert_eq!(pushed, len);
            }
            prop_assert!(batch.pending().len() <= 1, "small pieces are one");
            let mut sent = Vec::<u8>::new();
            for iovec in batch.pending() {
                // SAFETY: the iovec is of the buffer, so far used.
                sent.extend_from_slice(unsafe { std::slice::from_raw_parts(iovec.iov_base.cast(), iovec.iov_len) });
            }
            let expected: Vec<u8> = pieces.iter().flat_map(|&(at, len)| content[at..at + len].to_vec()).collect();
            prop_assert_eq!(sent, expected);
        }
    }

    #[test]
    fn a_full_buffer_takes_what_it_has_room_for() {
        let (mut batch, mut bounce) = (Batch::default(), Bounce::new(false));
        let mut piece = [1_u8; BOUNCE_BELOW_BYTES];
        for room in [INITIAL_BYTES, 2 * INITIAL_BYTES, MAX_BYTES, MAX_BYTES] {
            batch.clear();
            bounce.clear();
            let mut taken = 0;
            loop {
                // SAFETY: the piece is there.
                let pushed = unsafe { bounce.push(&mut batch, piece.as_mut_ptr(), BOUNCE_BELOW_BYTES - 1) };
                taken += pushed;
                if pushed < BOUNCE_BELOW_BYTES - 1 {
                    break;
                }
            }
            assert_eq!((taken, batch.bytes()), (room, room));
        }
    }
}
