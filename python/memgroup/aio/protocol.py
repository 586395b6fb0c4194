"""Messages of a connection whose transport stores into blocks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from memgroup.aio.messages import Arrivals, FrameReader
from memgroup.aio.ready import wake

if TYPE_CHECKING:
    from typing import Unpack

    from memgroup._memgroup import MemGroup
    from memgroup.frames import Format

TLS_BYTES = 512 * 1024
"""The most bytes of a TLS connection that asyncio has received and not yet decrypted.

When the peer closes the connection, asyncio asks for one more buffer, and drops what that cannot hold.
"""


class FrameProtocol(asyncio.BufferedProtocol):
    """Receives the messages of a connection, as an asyncio protocol.

    Pass a factory of it to `loop.create_connection` or `loop.create_server`::

        transport, protocol = await loop.create_connection(lambda: FrameProtocol(group), host, port)
        async for block in protocol.messages:
            ...

    The transport stores a large message directly in its block, with TLS too. It stops reading while a
    received message waits. Write to the connection and close it through `transport`.
    """

    def __init__(self, group: MemGroup, *, read_ahead: int = 65536, **description: Unpack[Format]) -> None:
        """Make a protocol for one connection.

        Args:
            group: The group that receives the messages.
            read_ahead: The most bytes to read behind the message that is wanted.
            description: How messages are told apart, as in the group's `frames`.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of range, or the group is freed.
        """
        self._arrivals = Arrivals()
        self._reader = group.frames(self._arrivals, read_ahead=read_ahead, **description)
        self._messages = FrameReader(self._reader, self._wait, self._arrivals)
        self._is_secret = group.secret
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_tls = False
        self._is_offered = False
        self._decrypted: memoryview | None = None

    @property
    def messages(self) -> FrameReader:
        """The messages, as an asynchronous iterator."""
        return self._messages

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport of the connection; None before there is one."""
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to receive; the loop calls this."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        if self._is_tls and self._is_secret:
            self._arrivals.error = ValueError(
                "asyncio decrypts into memory that is not the group's: use an SSLSocket for a secret group"
            )
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return a buffer for the next bytes; the transport calls this."""
        buffer = self._reader._offer()
        self._is_offered = not self._is_tls or len(buffer) >= TLS_BYTES
        if self._is_offered:
            return buffer
        if self._decrypted is None:
            self._decrypted = memoryview(bytearray(TLS_BYTES))
        return self._decrypted

    def buffer_updated(self, nbytes: int) -> None:
        """Note that so many bytes were stored; the transport calls this."""
        if self._is_offered:
            if not self._reader._accept(nbytes):
                return
        elif self._decrypted is not None:
            self._arrivals.rest = self._decrypted[:nbytes]
        if self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Note that the peer sends no more; the transport calls this."""
        self._arrivals.ended = True
        self._wake()
        return not self._is_tls  # what is to be written still can be

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection; the loop calls this."""
        self._arrivals.ended = True
        self._arrivals.error = self._arrivals.error or exc
        self._wake()

    async def _wait(self) -> None:
        """Wait until there may be a message."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self._transport is not None:
            self._transport.resume_reading()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None:
            wake(self._waiter)
