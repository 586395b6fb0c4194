//! Frames of a stream of bytes: where each begins, what of it is shown, and where it ends.
//!
//! A [`Format`] describes the frames of a protocol: a header with the length of the payload in it, the payload and a trailer,
//! or records that end with a delimiter. A [`Decoder`] says where the next frame lies in the bytes that have arrived, or how
//! many more it needs. Nothing here makes system calls or allocates for what a header announces, so it serves any source of
//! bytes.
//!
//! ```
//! use memgroup::framing::{Decoder, Format, Step};
//!
//! // A message of PostgreSQL: a type, then four bytes of length that count themselves.
//! let format = Format::fixed(4).length_offset(1).adjust(-4).skip(0);
//! let mut decoder = Decoder::new(format)?;
//! let mut stream: &[u8] = b"D\0\0\0\x06hiC\0\0";
//! let Step::Frame(frame) = decoder.decode(stream)? else { unreachable!() };
//! assert_eq!(&stream[frame.shown], b"D\0\0\0\x06hi");
//! stream = &stream[frame.len..];
//! assert_eq!(decoder.decode(stream)?, Step::Missing(2)); // of the header
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With `tokio_util::codec::Decoder`, whose `BytesMut` keeps what has arrived, the call is:
//!
//! ```ignore
//! fn decode(&mut self, arrived: &mut BytesMut) -> io::Result<Option<BytesMut>> {
//!     Ok(match self.decoder.decode(arrived).map_err(io::Error::other)? {
//!         Step::Frame(found) => {
//!             let mut frame = arrived.split_to(found.len);
//!             frame.truncate(found.shown.end);
//!             frame.advance(found.shown.start);
//!             Some(frame)
//!         }
//!         Step::Missing(more) => {
//!             arrived.reserve(more);
//!             None
//!         }
//!     })
//! }
//! ```

pub(crate) mod buffered;
mod decoder;
mod description;
mod encoder;
mod lengths;

pub use decoder::{Decoder, Frame, OutOfStep, Step};
pub use description::{Format, FormatError, Misfit};
pub use encoder::Unframed;
pub use lengths::ByteOrder;
