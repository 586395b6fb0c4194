"""Handing memory to another process: both ends of a socket in one process, so that nothing waits."""

from __future__ import annotations

import mmap
import os
import pickle
import socket
from collections.abc import Callable
from typing import Any

import memgroup

from model import Measure, Peer, Scale, Work
from optional import module
from timing import per_call

Names = Callable[[], dict[str, Any]]


def calls(statement: str, count: int, names: Names) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of so many calls."""

    def prepare(scale: Scale) -> Measure:
        call = per_call(statement, scale.of(count), **names())
        return lambda: {"time": call()}

    return prepare


def ends() -> dict[str, Any]:
    """Return a socket pair with a shared group at one end and a receiving one at the other."""
    here, there = socket.socketpair()
    group, receiver = memgroup.MemGroup(shared=True), memgroup.MemGroup()
    return {"here": here, "there": there, "group": group, "receiver": receiver}


def block() -> dict[str, Any]:
    """Return the ends, and a block of a slot that the receiver has."""
    names = ends()
    names["b"] = names["group"].copy(bytes(1000))
    return names


def new_slot() -> dict[str, Any]:
    """Return the ends, and what hands over a block of a group that the receiver has nothing of."""
    names = ends()
    here, there, receiver = names["here"], names["there"], names["receiver"]

    def first() -> None:
        group = memgroup.MemGroup(shared=True)
        group.send(here, group.copy(b"first"))
        receiver.recv(there)
        receiver.reset()

    return {**names, "first": first}


def array() -> dict[str, Any]:
    """Return the ends, and an array of 64 MiB."""
    names = ends()
    names["a"] = names["group"].array(module("numpy").ones(64 << 17))
    return names


def by_hand() -> dict[str, Any]:
    """Return what sends a memfd of 64 KiB, and maps it at the other end."""
    here, there = socket.socketpair()
    file = os.memfd_create("by-hand")
    os.ftruncate(file, 1 << 16)

    def round_trip() -> None:
        socket.send_fds(here, [b"x"], [file])
        _, [received], _, _ = socket.recv_fds(there, 1, 1)
        mmap.mmap(received, 1 << 16, prot=mmap.PROT_READ).close()
        os.close(received)

    return {"round_trip": round_trip, "ends": (here, there)}


def pickled() -> dict[str, Any]:
    """Return an array of 64 MiB, which pipes carry as a pickle."""
    return {"a": module("numpy").ones(64 << 17), "dumps": pickle.dumps, "loads": pickle.loads}


WORKS = (
    Work(
        "send-block",
        "a block of 1000 bytes, of a slot that the receiver has",
        "object",
        (
            Peer(
                "memgroup-send",
                "group.send(here, b); receiver.recv(there)",
                calls("group.send(here, b); receiver.recv(there)", 10_000, block),
            ),
            Peer("memfd", "send_fds, recv_fds, mmap by hand", calls("round_trip()", 10_000, by_hand)),
        ),
    ),
    Work(
        "send-slot",
        "the first block of a new group",
        "group",
        (
            Peer(
                "memgroup-send", "MemGroup(shared=True), send, recv, reset", calls("first()", 2_000, new_slot)
            ),
            Peer("memfd", "send_fds, recv_fds, mmap by hand", calls("round_trip()", 10_000, by_hand)),
        ),
    ),
    Work(
        "send-array",
        "a numpy array of 64 MiB, of a slot that the receiver has",
        "array",
        (
            Peer(
                "memgroup-send",
                "group.send(here, a); receiver.recv(there)",
                calls("group.send(here, a); receiver.recv(there)", 5_000, array),
            ),
            Peer("pickle", "loads(dumps(a)): less than a pipe does", calls("loads(dumps(a))", 5, pickled)),
        ),
    ),
)
