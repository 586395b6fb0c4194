//! How the length of a frame is written: a number of fixed size, a varint, or a delimiter at the frame's end.

use memchr::memmem;

/// Bytes of the longest varint that can stand for a number of 64 bits.
pub(super) const MAX_VARINT_BYTES: usize = 10;

/// The order of the bytes of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The most significant byte comes first: network order.
    Big,
    /// The least significant byte comes first.
    Little,
}

/// How frames are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Length {
    /// An unsigned number of `size` bytes, behind `offset` others.
    Fixed { offset: usize, size: usize, order: ByteOrder },
    /// A number in groups of 7 bits, the least significant first, behind `offset` other bytes: protobuf's varint.
    Varint { offset: usize },
    /// No length: a frame ends where these bytes are.
    Delimiter(Box<[u8]>),
}

/// A number of 1 to 8 bytes at the start of `bytes`, which has at least so many.
#[inline]
pub(super) fn fixed(bytes: &[u8], size: usize, order: ByteOrder) -> u64 {
    if let Some(&word) = bytes.first_chunk::<8>() {
        let unused = 64 - 8 * size as u32;
        return match order {
            ByteOrder::Big => u64::from_be_bytes(word) >> unused,
            ByteOrder::Little => u64::from_le_bytes(word) << unused >> unused,
        };
    }
    let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    match order {
        ByteOrder::Big => bytes[..size].iter().fold(0, join),
        ByteOrder::Little => bytes[..size].iter().rev().fold(0, join),
    }
}

/// What stands where a varint should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Varint {
    /// A number, and how many bytes it takes.
    Complete(u64, usize),
    /// Its last byte has not arrived.
    Missing,
    /// It has more than 64 bits.
    TooLong,
}

/// The varint at the start of `bytes`.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Varint {
    let mut number = 0;
    for (index, &byte) in bytes.iter().take(MAX_VARINT_BYTES).enumerate() {
        let bits = u64::from(byte & 0x7F);
        // Of the tenth byte, only the lowest bit is the number's.
        if index == MAX_VARINT_BYTES - 1 && byte > 1 {
            return Varint::TooLong;
        }
        number |= bits << (7 * index);
        if byte < 0x80 {
            return Varint::Complete(number, index + 1);
        }
    }
    Varint::Missing
}

/// Appends a varint.
pub(super) fn put_varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Where a delimiter begins, if it is there. The first `searched` bytes are known not to have it.
#[inline]
pub(super) fn delimiter(bytes: &[u8], delimiter: &[u8], searched: usize) -> Option<usize> {
    // It may have begun in what was searched.
    let start = (searched + 1).saturating_sub(delimiter.len());
    let rest = bytes.get(start..)?;
    let at = match delimiter {
        &[byte] => memchr::memchr(byte, rest),
        several => memmem::find(rest, several),
    };
    at.map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_size_are_read_in_both_orders_whatever_follows() {
        let bytes = [1_u8, 0x82, 3, 0x84, 5, 0x86, 7, 0xF8];
        for size in 1..=8 {
            let mut padded = [0; 8];
            padded[8 - size..].copy_from_slice(&bytes[..size]);
            let big = u64::from_be_bytes(padded);
            padded = [0; 8];
            padded[..size].copy_from_slice(&bytes[..size]);
            let little = u64::from_le_bytes(padded);
            for end in [size, 8] {
                assert_eq!(fixed(&bytes[..end], size, ByteOrder::Big), big);
                assert_eq!(fixed(&bytes[..end], size, ByteOrder::Little), little);
            }
        }
    }

    #[test]
    fn varints_of_all_lengths() {
        for shift in 0..64 {
            let number = u64::MAX >> shift;
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            assert_eq!(varint(&bytes), Varint::Complete(number, bytes.len()));
            for end in 0..bytes.len() {
                assert_eq!(varint(&bytes[..end]), Varint::Missing);
            }
        }
        assert_eq!(varint(&[0x80, 0]), Varint::Complete(0, 2));
        assert_eq!(varint(&[0xFF; 10]), Varint::TooLong);
        assert_eq!(varint(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"), Varint::TooLong);
    }

    #[test]
    fn a_delimiter_that_arrives_in_parts_is_found() {
        assert_eq!(delimiter(b"ab\r\n", b"\r\n", 3), Some(2));
        assert_eq!(delimiter(b"ab\r\n", b"\r\n", 0), Some(2));
        assert_eq!(delimiter(b"ab\r", b"\r\n", 0), None);
        assert_eq!(delimiter(b"\n", b"\n", 0), Some(0));
        assert_eq!(delimiter(b"", b"\n", 0), None);
    }
}
