"""Lists that are loaded from buffers out of band, some of which are not aligned as the sender's were."""

from __future__ import annotations

import pickle

import pytest
from memgroup import MemGroup
from support.pickles import block_addresses, is_same, list_of

LARGE = 2 * 2**20


def at_remainder(data: bytes, remainder: int) -> memoryview:
    """A view of these bytes, writable, at an address that has this remainder by 64."""
    room = memoryview(bytearray(len(data) + 128))
    start = (remainder - MemGroup().borrow(room).address) % 64
    view = room[start : start + len(data)]
    view[:] = data
    return view


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize(("moved", "is_shown"), [("short", True), ("long", False)])
def test_only_short_buffers_are_copied_to_align_them(moved, is_shown, readonly):
    # The short record has the first slot for itself.
    group = MemGroup(base=4096)
    sent = list_of(group, [b"short", b"x" * LARGE, b"y" * LARGE], align=64)
    sent = group.protect(sent) if readonly else sent
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(sent, protocol=5, buffer_callback=buffers.append)
    raw = [bytes(buffer) for buffer in buffers]
    received = [at_remainder(data, 8 if (len(data) < LARGE) == (moved == "short") else 0) for data in raw]
    loaded = pickle.loads(head, buffers=received)
    assert is_same(loaded, sent)
    assert all(address % 64 == 0 for address in block_addresses(loaded))
    places = {MemGroup().borrow(view).address for view in received}
    assert (loaded[1].address in places, loaded[2].address in places) == (is_shown, is_shown)
    assert loaded[0].address not in places
