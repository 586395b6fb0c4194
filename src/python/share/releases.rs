//! Memory of other processes that is used no more, said and heard.

use pyo3::prelude::*;

use crate::os::iovecs::Call;
use crate::python::share::waiting::Waiting;
use crate::share::channel::Channel;

/// Tell the process that sends over a socket which of its memory is not used here any more.
///
/// That is a slot of which no object is left that came over this socket: the groups that received them were reset or have ended, and
/// no memoryview, array or child forked meanwhile uses them. The sender's `reset` then writes to it again. Objects that are sent over
/// the same socket carry this along.
///
/// Args:
///     sock: The socket that the objects came over.
///
/// Returns:
///     Of how many slots it was told. It never waits: what the socket does not take now goes with the next call.
///
/// Raises:
///     OSError: The socket refused it.
///     ValueError: It is no Unix socket.
#[pyfunction]
pub(crate) fn send_releases(sock: &Bound<'_, PyAny>) -> PyResult<usize> {
    let fd = Waiting::of(sock, Call::Send)?.fd();
    Ok(Channel::of(fd)?.send_released(fd)?)
}

/// Take what the process at the other end of a socket has told by `send_releases`.
///
/// `recv` does it too, on its way to the next object.
///
/// Args:
///     sock: The socket that the objects were sent over.
///
/// Returns:
///     Of how many slots. It never waits.
///
/// Raises:
///     EOFError: The other end was closed.
///     OSError: The socket refused it.
///     ValueError: What came is refused, or it is no Unix socket.
#[pyfunction]
pub(crate) fn recv_releases(sock: &Bound<'_, PyAny>) -> PyResult<usize> {
    let fd = Waiting::of(sock, Call::Receive)?.fd();
    Ok(Channel::of(fd)?.receive_released(fd)?)
}
