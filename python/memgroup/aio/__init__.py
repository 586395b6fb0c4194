"""Receiving and sending through asyncio: lists of blocks, and length-prefixed messages.

The event loop only says when a stream is ready; the kernel moves the bytes straight into or out of the
blocks. After a cancellation, a timeout or an error, the next await continues where the last one stopped::

    from memgroup import aio

    async for block in aio.frames(group, sock):
        ...

Streams are nonblocking sockets, and pipes and other descriptors that the loop can watch. One task at a time
may wait for one direction of a stream, and no other code (a transport, `loop.sock_recv`) may have the loop
watch it.
"""

from memgroup.aio.messages import FrameReader, frames
from memgroup.aio.protocol import FrameProtocol
from memgroup.aio.transfers import Transfer, readv, recvmsg_into, sendmsg, writev

__all__ = ["FrameProtocol", "FrameReader", "Transfer", "frames", "readv", "recvmsg_into", "sendmsg", "writev"]
