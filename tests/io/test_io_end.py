"""Transfers of lists: the end of a group during a transfer, and invalid arguments."""

import contextlib
import errno
import os
import socket
import ssl
import time

import memgroup
import pytest
from support.transfers import ENOUGH, in_thread, joined


def blocks_bytes(size: int) -> int:
    """About eight million bytes, rounded to blocks of one size."""
    return 8_000_000 // size * size


# Few pieces are sent in place; many small ones go through a bounce buffer.
FEW_OR_MANY = pytest.mark.parametrize("sizes", [[2, 4], [1] * 6 + [0] * 30], ids=["few", "many"])


class TestTheEnd:
    @contextlib.contextmanager
    def waiting(self, group, blocks, results):
        """A thread that waits for input."""
        one, two = socket.socketpair()

        def work():
            try:
                results.append(blocks.recvmsg_into(two))
            except Exception as error:
                results.append(error)

        with one, two, in_thread(work):
            one.sendall(b"abc")
            while group.stats().exports == 0:
                time.sleep(0.001)
            time.sleep(0.02)
            yield one

    @FEW_OR_MANY
    def test_a_call_that_waits_is_a_view_and_delays_no_other_thread(self, group, sizes):
        results: list[object] = []
        blocks = group.alloc_many(sizes)
        with self.waiting(group, blocks, results) as peer:
            with pytest.raises(BufferError, match="1 live view"):
                group.free()
            with pytest.raises(BufferError, match="1 live view"):
                group.reset()
            assert group.alloc(10).nbytes == 10
            peer.sendall(b"def")
        assert results == [6]
        assert joined(blocks) == b"abcdef"
        assert group.stats().exports == 0
        group.free()

    @FEW_OR_MANY
    def test_a_forced_free_during_a_call_is_reported(self, group, sizes):
        results: list[object] = []
        blocks = group.alloc_many(sizes)
        with self.waiting(group, blocks, results) as peer:
            group.free(force=True)
            peer.sendall(b"def")
        (error,) = results
        assert isinstance(error, ValueError)
        assert "is freed" in str(error)

    @FEW_OR_MANY
    def test_a_gentle_end_waits_for_the_call(self, sizes):
        results: list[object] = []
        with contextlib.ExitStack() as stack:
            with memgroup.MemGroup() as group:
                blocks = group.alloc_many(sizes)
                peer = stack.enter_context(self.waiting(group, blocks, results))
            peer.sendall(b"def")
        assert results == [6]
        with pytest.raises(ValueError, match="has ended"):
            joined(blocks)

    @pytest.mark.parametrize("size", [10, 5000])
    def test_a_forced_free_takes_memory_that_is_being_sent(self, group, size):
        one, two = socket.socketpair()
        results: list[object] = []
        blocks = group.alloc_many([size] * (8_000_000 // size), zero=True)

        def send():
            try:
                results.append(blocks.sendmsg(one))
            except Exception as error:
                results.append(error)

        with one, two:
            with in_thread(send):
                while group.stats().exports == 0:
                    time.sleep(0.001)
                time.sleep(0.02)
                group.free(force=True)
                two.settimeout(ENOUGH)
                received = 0
                while not results:
                    two.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        received += len(two.recv(1 << 20))
            (error,) = results
            assert isinstance(error, ValueError)
            assert "is freed" in str(error)
            assert received <= vars(error)["characters_written"] < blocks_bytes(size)

    def test_a_freed_list(self, group, file):
        blocks = group.alloc_many([1])
        group.free()
        for call in (blocks.readv, blocks.writev, blocks.recvmsg_into, blocks.sendmsg):
            with pytest.raises(ValueError, match="freed"):
                call(file)
        for call in (blocks.preadv, blocks.pwritev):
            with pytest.raises(ValueError, match="freed"):
                call(file, 0)
        for read in (lambda: group.read_files([]), lambda: group.read_ranges(file, [], [])):
            with pytest.raises(ValueError, match="freed"):
                read()


class TestBadInput:
    def test_descriptors(self, group, file):
        blocks = group.alloc_many([1])
        file.close()
        with pytest.raises(ValueError, match="closed file"):
            blocks.readv(file)
        closed = socket.socket()
        closed.close()
        for wrong in (-1, 2**40, -(2**70), 987_654, closed):
            with pytest.raises(OSError, match="Bad file descriptor") as raised:
                blocks.readv(wrong)
            assert raised.value.errno == errno.EBADF
        for none in ("0", None, 1.0, b"x"):
            with pytest.raises(TypeError, match=r"fileno\(\)"):
                blocks.writev(none)

    def test_errors_of_the_kernel(self, group, file, tmp_path):
        blocks = group.alloc_many([1])
        directory = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(IsADirectoryError):
            blocks.readv(directory)
        os.close(directory)
        reader, writer = os.pipe()
        with pytest.raises(OSError, match="Illegal seek"):
            blocks.preadv(reader, 0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            blocks.writev(reader)
        os.close(reader)
        os.close(writer)
        for call in (blocks.recvmsg_into, blocks.sendmsg):
            with pytest.raises(OSError, match="non-socket"):
                call(file)

    @pytest.mark.parametrize("offset", [-1, -(2**80), 2**63, 2**80])
    def test_offsets(self, group, file, offset):
        blocks = group.alloc_many([1])
        for call in (blocks.preadv, blocks.pwritev):
            with pytest.raises(ValueError, match="offset must be from 0"):
                call(file, offset)
            with pytest.raises(TypeError, match="offset must be an integer"):
                call(file, "0")
        with pytest.raises(ValueError, match="start must be"):
            blocks.readv(file, start=-1)

    def test_a_protected_list_is_refused_before_the_kernel_is_asked(self, group):
        protected = group.protect(group.alloc_many([1]))
        one, two = socket.socketpair()
        with one, two:
            two.send(b"x")
            for call in (lambda: protected.readv(one), lambda: protected.preadv(one, 0)):
                with pytest.raises(TypeError, match=r"protected: the group's unprotect\(\)"):
                    call()
            with pytest.raises(TypeError, match="protected"):
                protected.recvmsg_into(one)
            assert one.recv(2) == b"x"
            assert protected.sendmsg(one) == 1

    def test_ssl_sockets_are_refused(self, group):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        one, two = socket.socketpair()
        with two, context.wrap_socket(one, do_handshake_on_connect=False) as wrapped:
            with pytest.raises(TypeError, match="past its encryption"):
                group.alloc_many([3]).sendmsg(wrapped)
            two.setblocking(False)
            with pytest.raises(BlockingIOError):
                two.recv(1)
