"""Releases: a receiver says that it is done, and the sender's reset writes to the same memory again."""

from __future__ import annotations

import mmap
import os
import socket
import threading

import memgroup
import numpy as np
import pytest
from memgroup import _memgroup
from support.sharing import KINDS, Wire, contents


def memory_of(group):
    """Which memory a group allocates next."""
    return group.alloc(100).address


def readers(group):
    return sum(slot.receivers for slot in group.stats().slots)


def give_back(wire):
    """The receiver is done with everything, and the sender hears of it."""
    wire.receiver.reset()
    told = memgroup.send_releases(wire.there)
    assert memgroup.recv_releases(wire.here) == told
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_released_memory_is_written_again(wire, kind):
    before = memory_of(wire.group)
    wire.group.reset()
    for _ in range(3):
        sent = KINDS[kind](wire.group)
        arrived = wire.send(sent)
        assert contents(arrived) == contents(sent)
        slots = len([slot for slot in wire.group.stats().slots if slot.receivers])
        del arrived, sent
        assert give_back(wire) == slots > 0
        assert readers(wire.group) == 0
        wire.group.reset()
        assert memory_of(wire.group) == before
        wire.group.reset()


@pytest.mark.parametrize("sort", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_releases_go_over_every_kind_of_socket(sort):
    wire = Wire(sort)
    wire.send(wire.group.copy(b"x"))
    assert give_back(wire) == 1
    wire.close()


def test_memory_that_was_not_released_is_left_alone(wire):
    sent = wire.group.copy(b"still read")
    arrived = wire.send(sent)
    assert memgroup.send_releases(wire.there) == 0
    assert memgroup.recv_releases(wire.here) == 0
    wire.group.reset()
    wire.group.copy(b"other data")
    assert arrived == b"still read"


def test_a_view_of_the_receiver_keeps_the_memory(wire):
    array = np.frombuffer(wire.send(wire.group.copy(b"still read")), "u1")
    with pytest.raises(BufferError):
        wire.receiver.reset()
    wire.receiver.free(force=True)
    assert memgroup.send_releases(wire.there) == 0
    del array
    assert memgroup.send_releases(wire.there) == 1


def test_a_message_under_way_is_not_released_with_those_before(wire):
    block = wire.group.copy(b"some bytes")
    wire.send(block)
    wire.group.send(wire.here, block)
    wire.receiver.reset()
    assert memgroup.send_releases(wire.there) == 1
    assert memgroup.recv_releases(wire.here) == 0
    assert readers(wire.group) == 1
    assert wire.receiver.recv(wire.there) == b"some bytes"
    assert give_back(wire) == 1
    assert readers(wire.group) == 0


def test_every_receiver_must_be_done(wire):
    other = Wire()
    block = wire.group.copy(b"still read")
    wire.send(block)
    wire.group.send(other.here, block)
    arrived = other.receiver.recv(other.there)
    assert give_back(wire) == 1
    assert readers(wire.group) == 1
    wire.group.reset()
    wire.group.copy(b"other data")
    assert arrived == b"still read"
    other.close()


def test_an_end_that_was_closed_releases_nothing(wire):
    sent = wire.group.copy(b"still read")
    arrived = wire.send(sent)
    wire.there.close()
    with pytest.raises(EOFError):
        memgroup.recv_releases(wire.here)
    wire.group.reset()
    wire.group.copy(b"other data")
    assert arrived == b"still read"


def test_a_child_of_the_receiver_keeps_the_memory(wire):
    arrived = wire.send(wire.group.copy(b"still read"))
    ours, childs = socket.socketpair()
    child = os.fork()
    if child == 0:
        childs.recv(1)
        # Neither does it release what is its parent's.
        os._exit(0 if arrived == b"still read" and memgroup.send_releases(wire.there) == 0 else 1)
    del arrived
    assert give_back(wire) == 0
    wire.group.reset()
    wire.group.copy(b"other data")
    ours.send(b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ours.close()
    childs.close()
    # What comes after is released as ever, but for the same memory.
    wire.send(wire.group.copy(b"x"))
    assert give_back(wire) == 1


def test_objects_carry_releases_along(wire):
    there = memgroup.MemGroup(shared=True)
    wire.send(wire.group.copy(b"x"))
    wire.receiver.reset()
    there.send(wire.there, there.copy(b"an answer"))
    here = memgroup.MemGroup()
    assert memgroup.recv_releases(wire.here) == 1  # the object waits
    assert memgroup.recv_releases(wire.here) == 0
    assert here.recv(wire.here) == b"an answer"
    assert readers(wire.group) == 0


def test_recv_passes_releases_by(wire):
    there = memgroup.MemGroup(shared=True)
    wire.send(wire.group.copy(b"x"))
    wire.receiver.reset()
    assert memgroup.send_releases(wire.there) == 1
    there.send(wire.there, there.copy(b"an answer"))
    assert memgroup.MemGroup().recv(wire.here) == b"an answer"
    assert readers(wire.group) == 0


def spy(block):
    """Show the memory of a block without the sender's knowledge."""
    handle = _memgroup.handle_of(block)
    assert handle is not None
    # The number of its first and only segment.
    descriptor = _memgroup.shared_descriptor(handle[16:32])
    assert descriptor is not None
    with os.fdopen(descriptor, "rb"):
        return mmap.mmap(descriptor, 4096, prot=mmap.PROT_READ)


def test_what_was_handed_over_by_handle_is_never_written_again(wire):
    block = wire.group.copy(b"still read")
    shown = spy(block)
    wire.send(block)
    assert give_back(wire) == 1
    wire.group.reset()
    wire.group.copy(b"other data")
    assert shown[:10] == b"still read"


def test_frozen_memory_is_never_written_again(wire):
    block = wire.group.copy(b"x")
    wire.send(block)
    assert give_back(wire) == 1
    wire.group.freeze()
    wire.group.reset()
    wire.group.copy(b"can be written")


def raw_release(segment, messages):
    header = (
        b"mgrp" + bytes([1, 5, 0, 0]) + (24).to_bytes(4, "little") + bytes(36) + (1).to_bytes(2, "little")
    )
    return header.ljust(64, b"\0") + segment + messages.to_bytes(8, "little")


def test_a_receiver_that_lies_frees_nothing_of_others():
    first, second = Wire(), Wire()
    block = first.group.copy(b"still read")
    first.group.send(first.here, block)
    first.group.send(second.here, block)
    message = first.there.recv(4096)  # its descriptor is lost on the way
    segment = message[16:32]
    arrived = second.receiver.recv(second.there)
    for messages in [0, 2, 2**64 - 1, 1, 1, 1]:
        first.there.send(raw_release(segment, messages) * 2)
    first.there.send(raw_release(os.urandom(16), 1))
    assert memgroup.recv_releases(first.here) == 1
    assert readers(first.group) == 1
    first.group.reset()
    first.group.copy(b"other data")
    assert arrived == b"still read"
    first.close()
    second.close()


def test_parcels_hand_over_memory_that_is_described_elsewhere(wire):
    parcel = _memgroup.Parcel()
    objects = [wire.group.copy(b"one"), wire.group.copy_many([b"two", b""]), wire.group.array(np.arange(3))]
    handles = [parcel.add(obj) or b"" for obj in objects]
    assert parcel.add(b"no object of a group") is None
    parcel.send(wire.here)
    came = _memgroup.recv_parcel(wire.there)
    taken = [came.take(wire.receiver, handle) for handle in handles]
    assert [contents(obj) for obj in taken] == [contents(obj) for obj in objects]
    del taken
    assert give_back(wire) == 0  # the parcel has it still
    del came, parcel
    assert give_back(wire) > 0
    assert readers(wire.group) == 0


def test_parcels_and_objects_are_told_apart(wire):
    parcel = _memgroup.Parcel()
    handle = parcel.add(wire.group.copy(b"x"))
    assert handle is not None
    parcel.send(wire.here)
    with pytest.raises(ValueError, match="not an object"):
        wire.receiver.recv(wire.there)
    wire.group.send(wire.here, wire.group.copy(b"x"))
    with pytest.raises(ValueError, match="not a parcel"):
        _memgroup.recv_parcel(wire.there)
    _memgroup.Parcel().send(wire.here)
    wire.there.settimeout(0.01)
    with pytest.raises(TimeoutError):  # an empty one is nothing
        _memgroup.recv_parcel(wire.there)
    parcel.send(wire.here)
    other = _memgroup.Parcel()
    other.add(wire.group.copy(b"x"))
    other.send(wire.here)
    came = _memgroup.recv_parcel(wire.there)
    for bad in [b"", handle[:-1], bytes(64), handle.replace(handle[16:32], os.urandom(16))]:
        with pytest.raises(ValueError, match=r"handle|memory"):
            came.take(wire.receiver, bad)


def test_releases_and_objects_cross_from_many_threads():
    wire = Wire(socket.SOCK_SEQPACKET)
    stop, errors = threading.Event(), []

    def send():
        try:
            for number in range(300):
                wire.group.send(wire.here, wire.group.copy(b"%d" % number))
                memgroup.recv_releases(wire.here)
        except BaseException as error:
            errors.append(error)
        stop.set()

    def release():
        while not stop.is_set():
            memgroup.send_releases(wire.there)

    threads = [threading.Thread(target=work) for work in (send, release)]
    for thread in threads:
        thread.start()
    for number in range(300):
        assert memgroup.MemGroup().recv(wire.there) == b"%d" % number
    for thread in threads:
        thread.join()
    assert not errors
    memgroup.send_releases(wire.there)
    memgroup.recv_releases(wire.here)
    assert readers(wire.group) == 0
    wire.close()
