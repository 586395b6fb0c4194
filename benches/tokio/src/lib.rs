//! Receives length-prefixed messages by tokio-util's codec, for the process that measures.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use futures_util::TryStreamExt;
use tokio::net::UnixStream;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// Receives messages from a Unix socket that does not block, until the stream ends, and keeps them all. Returns how many
/// bytes they have, or -1 if receiving fails.
///
/// # Safety
/// The descriptor must be open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receive(descriptor: RawFd, read_ahead: usize) -> i64 {
    // SAFETY: the caller has it open, and the borrow ends with this expression.
    let source = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned();
    match source.and_then(|source| received(source, read_ahead)) {
        Ok(messages) => messages.iter().map(|message| message.len() as i64).sum(),
        Err(_) => -1,
    }
}

fn received(source: OwnedFd, read_ahead: usize) -> io::Result<Vec<BytesMut>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let source = UnixStream::from_std(source.into())?;
        FramedRead::with_capacity(source, LengthDelimitedCodec::new(), read_ahead).try_collect().await
    })
}
