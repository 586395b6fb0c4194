"""Random histories of two processes, one of which sends what it writes, against a model of bytearrays."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
from dataclasses import dataclass

import memgroup
import pytest
from conftest import cases
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memgroup import MemBlock, MemGroup, MemList
from support.sharing import contents

sizes = st.integers(0, 40) | st.integers(0, 20_000)

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@dataclass
class Sent:
    """What the sender has made, and its expected contents, which it can change until a reset."""

    obj: MemBlock | MemList
    model: list[bytearray]

    def is_right(self):
        """Whether the sender finds what it expects. No block gives out its address: that would keep it."""
        own = self.obj.tolist() if isinstance(self.obj, MemList) else self.obj
        return own == self.expected()

    def expected(self):
        parts = [bytes(part) for part in self.model]
        return parts if isinstance(self.obj, MemList) else parts[0]


def serve(link, sock):
    """Do what the test says with what comes over the socket."""
    group, held = MemGroup(name="receiver"), []
    children = []
    while True:
        what, number = link.recv()
        if what == "recv":
            held.append(group.recv(sock))
            assert held[-1].readonly
            link.send(contents(held[-1]))
        elif what == "read":
            link.send([contents(obj) for obj in held])
        elif what == "drop":
            del held[number]
            link.send(None)
        elif what == "reset":
            held.clear()
            group.reset()
            link.send(memgroup.send_releases(sock))
        elif what == "fork":
            children.append(Peer(serve_child, held))
            link.send(None)
        elif what == "ask":
            link.send(children[number].ask("read"))
        else:
            assert what == "end"
            children.pop(number).kill()
            link.send(None)


def serve_child(link, held):
    """Be a child of the receiver, which has what its parent had."""
    while True:
        link.recv()
        link.send([contents(obj) for obj in held])


class Peer:
    """Another process, by fork."""

    def __init__(self, work, argument, not_its=()):
        self.link, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.link.close()
            for group in not_its:
                # Else it could write to it, and nobody would freeze it.
                group.free()
            with contextlib.suppress(EOFError):
                work(theirs, argument)
            os._exit(0)
        theirs.close()

    def ask(self, what, number=0):
        self.link.send((what, number))
        return self.link.recv()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.link.close()


class History(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.new_group()
        self.connect()

    def new_group(self):
        self.group = MemGroup(base=4096, shared=True, name="sender")
        self.live: list[Sent] = []

    def connect(self):
        """Start a receiver."""
        self.sock, theirs = socket.socketpair()
        self.peer = Peer(serve, theirs, [self.group])
        theirs.close()
        self.under_way: list[Sent] = []
        self.held: list[Sent] = []
        self.inherited: list[list[Sent]] = []

    def teardown(self):
        if hasattr(self, "peer"):
            self.exit_of_the_receiver()
            self.peer.kill()
            self.sock.close()
            self.group.free(force=True)

    # The sender

    @rule(n=sizes, fill=st.integers(1, 255))
    def alloc(self, n, fill):
        if self.group.frozen:
            with pytest.raises(ValueError, match="frozen"):
                self.group.alloc(n)
            return
        self.live.append(Sent(self.group.copy(bytes([fill]) * n), [bytearray([fill]) * n]))

    @precondition(lambda self: not self.group.frozen)
    @rule(ns=st.lists(sizes, max_size=5), fill=st.integers(1, 255))
    def alloc_many(self, ns, fill):
        model = [bytearray([fill]) * n for n in ns]
        self.live.append(Sent(self.group.copy_many(model), model))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), byte=st.integers(0, 255))
    def write(self, data, byte):
        sent = data.draw(st.sampled_from(self.live))
        parts = list(sent.obj) if isinstance(sent.obj, MemList) else [sent.obj]
        for part, model in zip(parts, sent.model, strict=True):
            if self.group.frozen:
                with pytest.raises(TypeError):
                    part[:1] = bytes([byte])
            elif model:
                part[-1] = model[-1] = byte

    @precondition(lambda self: self.live and len(self.under_way) < 20)
    @rule(data=st.data())
    def send(self, data):
        sent = data.draw(st.sampled_from(self.live))
        self.group.send(self.sock, sent.obj)
        self.under_way.append(sent)

    @rule()
    def reset(self):
        self.group.reset()
        assert not self.group.frozen
        self.live.clear()

    @rule()
    def free(self):
        self.group.free()
        self.new_group()

    @precondition(lambda self: self.group.stats().slots)
    @rule()
    def freeze(self):
        self.group.freeze()

    @rule()
    def hear(self):
        memgroup.recv_releases(self.sock)

    @rule()
    def fork_of_the_sender(self):
        """A child reads what its parent has, and allocates elsewhere."""
        child = os.fork()
        if child == 0:
            is_right = all(sent.is_right() for sent in self.live)
            if not self.group.frozen:
                self.group.copy(b"of the child" * 500)
            os._exit(0 if is_right else 1)
        assert os.waitpid(child, 0)[1] == 0

    # The receiver

    @precondition(lambda self: self.under_way)
    @rule()
    def recv(self):
        sent = self.under_way.pop(0)
        assert self.peer.ask("recv") == sent.expected()
        self.held.append(sent)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def drop(self, data):
        number = data.draw(st.integers(0, len(self.held) - 1))
        self.peer.ask("drop", number)
        del self.held[number]

    @rule()
    def reset_of_the_receiver(self):
        self.peer.ask("reset")
        self.held.clear()

    @precondition(lambda self: len(self.inherited) < 2)
    @rule()
    def fork_of_the_receiver(self):
        self.peer.ask("fork")
        self.inherited.append(list(self.held))

    @precondition(lambda self: self.inherited)
    @rule(data=st.data())
    def exit_of_its_child(self, data):
        number = data.draw(st.integers(0, len(self.inherited) - 1))
        self.peer.ask("end", number)
        del self.inherited[number]

    @rule()
    def exit_of_the_receiver(self):
        """It is killed; what it released before is still heard of, and another takes its place."""
        while self.inherited:
            self.peer.ask("end", 0)
            self.inherited.pop()
        self.peer.kill()
        with contextlib.suppress(EOFError, ConnectionError):
            memgroup.recv_releases(self.sock)
        self.sock.close()
        self.connect()

    @invariant()
    def everybody_has_the_same_bytes(self):
        for sent in self.live:
            assert sent.is_right()
        assert self.peer.ask("read") == [sent.expected() for sent in self.held]
        for number, held in enumerate(self.inherited):
            assert self.peer.ask("ask", number) == [sent.expected() for sent in held]


History.TestCase.settings = settings(
    max_examples=cases(15),
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestHistory = History.TestCase
