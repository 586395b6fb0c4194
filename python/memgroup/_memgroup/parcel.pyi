"""Parcels, by which `memgroup.futures` sends the memory of results."""

import socket
from typing import Any, final

from memgroup._memgroup.group import MemGroup

@final
class Parcel:
    """The memory of objects that will be sent."""

    def __new__(cls) -> Parcel: ...
    def add(self, obj: object) -> bytes | None:
        """Return the handle of an object of a shared group, and add its memory to the parcel.

        None for any other object.
        """
    def send(self, sock: socket.socket) -> None:
        """Send the memory."""

@final
class ReceivedParcel:
    """A parcel that was received."""

    def take(self, group: MemGroup, handle: bytes) -> Any:
        """Return the object of a handle, borrowed by `group`.

        Raises:
            ValueError: The handle is refused.
        """

def recv_parcel(sock: socket.socket) -> ReceivedParcel:
    """Receive a parcel.

    Raises:
        EOFError: The other end was closed.
        OSError: The socket raised it.
        ValueError: The parcel is refused.
    """
