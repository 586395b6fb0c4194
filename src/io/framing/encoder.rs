//! What a sender puts round a payload, so that a decoder of the same format finds it.

use super::description::Format;
use super::lengths::{ByteOrder, Length, MAX_VARINT_BYTES, put_varint};

/// Why a payload cannot be sent by a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unframed {
    /// A message has parts that only its sender knows.
    #[error("{0} describes a part that is no length: make messages with all of their parts, and send them as they are")]
    OtherParts(&'static str),
    /// The receiver would refuse it.
    #[error("{size} bytes are more than the limit of {limit}: pass a higher limit")]
    TooLarge {
        /// Bytes of the payload.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The number is less than nothing, or needs more bytes than the length has.
    #[error(
        "the length of {size} bytes cannot be written as {bytes} bytes: pass a larger length_size, or check adjust"
    )]
    Length {
        /// Bytes of the payload.
        size: usize,
        /// Bytes of a length.
        bytes: usize,
    },
}

impl Format {
    /// Appends the bytes before a payload of `size` bytes: its length, if the format has one.
    ///
    /// # Errors
    /// The format has other parts than a length or a delimiter, or no such payload.
    ///
    /// ```
    /// use memgroup::framing::Format;
    ///
    /// let mut front = Vec::new();
    /// Format::fixed(2).adjust(-2).put_length(5, &mut front)?; // counts itself
    /// assert_eq!(front, [0, 7]);
    /// # Ok::<(), memgroup::framing::Unframed>(())
    /// ```
    pub fn put_length(&self, size: usize, front: &mut Vec<u8>) -> Result<(), Unframed> {
        self.check_is_length_alone()?;
        if size > self.limit {
            return Err(Unframed::TooLarge { size, limit: self.limit });
        }
        let number = |bytes| {
            let number = i128::try_from(size).unwrap_or(i128::MAX) - i128::from(self.adjust);
            u64::try_from(number).map_err(|_| Unframed::Length { size, bytes })
        };
        match self.length {
            Length::Delimiter(_) => {}
            Length::Varint { .. } => put_varint(number(MAX_VARINT_BYTES)?, front),
            Length::Fixed { size: bytes, order, .. } => {
                let number = number(bytes)?;
                let little = number.to_le_bytes();
                if little[bytes..].iter().any(|&byte| byte != 0) {
                    return Err(Unframed::Length { size, bytes });
                }
                match order {
                    ByteOrder::Big => front.extend(little[..bytes].iter().rev()),
                    ByteOrder::Little => front.extend(&little[..bytes]),
                }
            }
        }
        Ok(())
    }

    /// The bytes behind a payload, which must not be in it: none, if the format has lengths.
    pub fn delimiter(&self) -> &[u8] {
        match &self.length {
            Length::Delimiter(delimiter) => delimiter,
            _ => &[],
        }
    }

    fn check_is_length_alone(&self) -> Result<(), Unframed> {
        let (offset, end) = match self.length {
            Length::Fixed { offset, size, .. } => (offset, offset + size),
            Length::Varint { offset } => (offset, offset),
            Length::Delimiter(_) => (0, 0),
        };
        let parts = [
            ("length_offset", offset > 0),
            ("header", self.header.is_some_and(|header| header > end)),
            ("skip", self.skip.is_some()),
            ("trailer", self.trailer > 0),
        ];
        parts.into_iter().find(|(_, is_there)| *is_there).map_or(Ok(()), |(part, _)| Err(Unframed::OtherParts(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Frame, Step};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_what_the_decoder_finds(
            size in 0..9usize, adjust in -9..1i64, is_big in any::<bool>(), payload in 0..100_000usize,
        ) {
            let format = if size == 0 { Format::varint() } else { Format::fixed(size) };
            let order = if is_big { ByteOrder::Big } else { ByteOrder::Little };
            let format = format.adjust(adjust).byte_order(order);
            let mut stream = Vec::new();
            let number = payload as u128 + adjust.unsigned_abs() as u128;
            match format.put_length(payload, &mut stream) {
                Err(error) => {
                    prop_assert_eq!(error, Unframed::Length { size: payload, bytes: size });
                    prop_assert!(number >= 1 << (8 * size));
                }
                Ok(()) => {
                    let front = stream.len();
                    stream.resize(front + payload, 0xEE);
                    let step = Decoder::new(format).unwrap().decode(&stream);
                    let frame = Frame { shown: front..stream.len(), len: stream.len() };
                    prop_assert_eq!(step, Ok(Step::Frame(frame)));
                }
            }
        }
    }

    #[test]
    fn parts_that_only_a_sender_knows_are_refused() {
        let put = |format: Format| format.put_length(1, &mut Vec::new());
        assert_eq!(put(Format::fixed(4).length_offset(1)), Err(Unframed::OtherParts("length_offset")));
        assert_eq!(put(Format::fixed(4).header(5)), Err(Unframed::OtherParts("header")));
        assert_eq!(put(Format::fixed(4).skip(0)), Err(Unframed::OtherParts("skip")));
        assert_eq!(put(Format::varint().trailer(1)), Err(Unframed::OtherParts("trailer")));
        assert_eq!(put(Format::fixed(4).limit(0)), Err(Unframed::TooLarge { size: 1, limit: 0 }));
        assert_eq!(put(Format::fixed(4).adjust(2)), Err(Unframed::Length { size: 1, bytes: 4 }));
        assert_eq!(put(Format::delimited(*b"\n")), Ok(()));
    }
}
