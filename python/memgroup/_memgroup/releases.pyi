"""Memory of other processes that is used no more, said and heard."""

import socket
from multiprocessing.connection import Connection

def send_releases(sock: socket.socket | Connection) -> int:
    """Tell the process that sends over a socket which of its memory is not used here any more.

    That is a slot of which no object is left that came over this socket: the groups that received them were
    reset or have ended, and no memoryview, array or child forked meanwhile uses them. The sender's `reset`
    then writes to it again. Objects that are sent over the same socket carry this along.

    Args:
        sock: The socket that the objects came over.

    Returns:
        Of how many slots it was told. It never waits: what the socket does not take now goes with the next
        call.

    Raises:
        OSError: The socket refused it.
        ValueError: It is no Unix socket.
    """

def recv_releases(sock: socket.socket | Connection) -> int:
    """Take what the process at the other end of a socket has told by `send_releases`.

    `recv` does it too, on its way to the next object.

    Args:
        sock: The socket that the objects were sent over.

    Returns:
        Of how many slots. It never waits.

    Raises:
        EOFError: The other end was closed.
        OSError: The socket refused it.
        ValueError: What came is refused, or it is no Unix socket.
    """
