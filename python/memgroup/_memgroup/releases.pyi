"""Messages about received memory that is no longer used."""

import socket
from multiprocessing.connection import Connection

def send_releases(sock: socket.socket | Connection) -> int:
    """Tell the process at the other end of a socket which of its memory this process no longer uses.

    A slot is no longer used when the groups that received its objects over this socket were reset or have
    ended, and no memoryview, array or forked child uses them. The sender's `reset` then reuses it. Objects
    that are sent over the same socket carry this message along.

    Args:
        sock: The socket over which the objects were received.

    Returns:
        The number of slots in the message. It never waits: slots that the socket does not accept now go with
        the next call.

    Raises:
        OSError: The socket raised it.
        ValueError: `sock` is no Unix socket.
    """

def recv_releases(sock: socket.socket | Connection) -> int:
    """Receive the messages that the process at the other end of a socket sent by `send_releases`.

    `recv` does this, too, before the next object.

    Args:
        sock: The socket over which the objects were sent.

    Returns:
        The number of slots. It never waits.

    Raises:
        EOFError: The other end was closed.
        OSError: The socket raised it.
        ValueError: The message is refused, or `sock` is no Unix socket.
    """
