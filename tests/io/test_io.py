"""Lists through files, pipes and sockets: every byte, whatever the pieces, the signals and the peer."""

import contextlib
import errno
import fcntl
import io
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time
from array import array
from pathlib import Path

import memgroup
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ENOUGH = 60  # seconds after which something is taken for hung

SIZES = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 70_000)), max_size=60)
SMALL = st.lists(st.one_of(st.integers(0, 40), st.integers(900, 1200)), min_size=16, max_size=600)
UNPADDED = st.lists(st.integers(0, 3000).map(lambda size: size * 16), max_size=60)


def content(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


def joined(blocks) -> bytes:
    return b"".join(map(bytes, blocks))


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return pieces


def blocks_bytes(size: int) -> int:
    """How many bytes some eight million are in blocks of one size."""
    return 8_000_000 // size * size


def moved(raised) -> int:
    """How many bytes were moved before that was raised."""
    return raised.value.characters_written


@pytest.fixture
def file(tmp_path: Path):
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        yield file


@contextlib.contextmanager
def in_thread(work, *arguments):
    """Run `work` beside the body; what it raises is raised here."""
    failed = []

    def run():
        try:
            work(*arguments)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(ENOUGH)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


def send_in_pieces(sock: socket.socket, data: bytes, pieces: random.Random, most: int = 5000) -> None:
    at = 0
    while at < len(data):
        size = pieces.randint(1, most)
        sock.sendall(data[at : at + size])
        at += size
        if pieces.random() < 0.02:
            time.sleep(0.002)  # a stall
    sock.shutdown(socket.SHUT_WR)


def receive_in_pieces(sock: socket.socket, into: bytearray, pieces: random.Random) -> None:
    while data := sock.recv(pieces.randint(1, 5000)):
        into += data
        if pieces.random() < 0.02:
            time.sleep(0.002)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        return server.accept()[0], client


PAIRS = {"unix": socket.socketpair, "tcp": tcp_pair}


@pytest.fixture(params=PAIRS)
def pair(request):
    one, two = PAIRS[request.param]()
    with one, two:
        yield one, two


class TestFiles:
    @given(
        sizes=st.one_of(SIZES, UNPADDED, SMALL), step=st.sampled_from([1, -1, 3]), offset=st.integers(0, 100)
    )
    def test_every_byte_arrives_and_leaves(self, sizes, step, offset):
        with tempfile.TemporaryFile(buffering=0) as file, memgroup.MemGroup() as group:
            blocks = group.alloc_many(sizes, zero=True)[::step]
            data = content(blocks.nbytes)
            file.write(bytes(offset) + data)
            assert blocks.preadv(file, offset) == len(data)
            assert list(map(bytes, blocks)) == cut(data, sizes[::step])
            if blocks.nbytes:  # a file of another length, a hole first
                assert group.protect(blocks).pwritev(file.fileno(), 3 * offset) == len(data)
                assert os.pread(file.fileno(), len(data), 3 * offset) == data

    def test_the_position_moves_or_stays(self, group, file):
        file.write(b"0123456789")
        blocks = group.alloc_many([2, 1])
        file.seek(1)
        assert blocks.preadv(file, 5) == 3
        assert joined(blocks) == b"567"
        assert blocks.readv(file) == 3
        assert joined(blocks) == b"123"
        assert file.tell() == 4
        assert blocks.writev(file) == 3
        assert file.tell() == 7
        assert blocks.pwritev(file, 0) == 3
        assert file.tell() == 7
        assert os.pread(file.fileno(), 99, 0) == b"1233123789"

    def test_what_lies_between_blocks_stays(self, group, file):
        file.write(b"x" * 100)
        blocks = group.alloc_many([1] * 30, zero=True)
        every_other = blocks[::2]
        assert every_other.preadv(file, 0) == 15
        assert joined(every_other) == b"x" * 15
        assert joined(blocks[1::2]) == bytes(15)

    @pytest.mark.parametrize("there", [0, 1, 9, 10, 11])
    def test_the_count_tells_the_end_of_a_file(self, group, file, there):
        file.write(content(there))
        blocks = group.alloc_many([3, 0, 7], zero=True)
        assert blocks.preadv(file, 0) == blocks.readv(file) + min(there, 10) == min(there, 10)
        assert joined(blocks) == content(there)[:10].ljust(10, b"\0")
        assert blocks.preadv(file, 1000) == 0

    def test_far_more_blocks_than_a_call_takes(self, group, file):
        sizes = [random.Random(1).randrange(40) for _ in range(20_000)]
        blocks = group.alloc_many(sizes)
        data = content(blocks.nbytes)
        blocks.fill_from(data)
        assert blocks.pwritev(file, 0) == len(data)
        assert Path(file.name).read_bytes() == data
        again = group.alloc_many(sizes[::-1])
        assert again.preadv(file, 0) == len(data)
        assert joined(again) == data

    def test_more_bytes_than_a_call_is_given(self, group, file):
        blocks = group.alloc_many([70 << 20, 1, 66 << 20])
        file.truncate(blocks.nbytes)
        marks = [0, (64 << 20) - 1, 64 << 20, (70 << 20) - 1, 70 << 20, (70 << 20) + 1, blocks.nbytes - 1]
        for mark in marks:
            os.pwrite(file.fileno(), bytes([mark % 251 + 1]), mark)
        assert blocks.preadv(file, 0) == blocks.nbytes
        whole = blocks.join()
        assert [whole[mark] for mark in marks] == [mark % 251 + 1 for mark in marks]
        assert whole.count(0) == len(whole) - len(marks)

    @given(sizes=SIZES, start=st.integers(0, 100_000))
    def test_start_passes_bytes_over(self, sizes, start):
        with tempfile.TemporaryFile(buffering=0) as file, memgroup.MemGroup() as group:
            for blocks in (group.alloc_many(sizes, zero=True), group.alloc_many(sizes, align=1, zero=True)):
                data = content(blocks.nbytes)
                file.seek(0)
                file.write(data)
                if start > blocks.nbytes:
                    with pytest.raises(ValueError, match=f"the list has {blocks.nbytes} bytes"):
                        blocks.preadv(file, 0, start=start)
                else:
                    assert blocks.preadv(file, start, start=start) == blocks.nbytes - start
                    assert joined(blocks) == bytes(start) + data[start:]

    def test_nothing_to_move_still_asks(self, group, file):
        for blocks in (group.alloc_many([]), group.alloc_many([0, 0])):
            assert blocks.preadv(file, 0) == blocks.readv(file) == blocks.writev(file) == 0
            with pytest.raises(OSError, match="Bad file descriptor"):
                blocks.readv(-1)

    def test_every_backing(self, backing, file):
        with memgroup.MemGroup(backing=backing) as group:
            blocks = group.alloc_many([5, 5])
            file.write(b"0123456789")
            assert blocks.preadv(file, 0) == 10
            assert joined(blocks) == b"0123456789"
            assert blocks.pwritev(file, 10) == 10


class TestPipesAndSockets:
    @given(
        sizes=st.one_of(SIZES, SMALL),
        seed=st.integers(0, 99),
        kind=st.sampled_from(["unix", "tcp"]),
        pipe=st.booleans(),
    )
    @settings(max_examples=40)
    def test_odd_pieces_are_put_together(self, sizes, seed, kind, pipe):
        one, two = PAIRS[kind]()
        with one, two, memgroup.MemGroup() as group:
            blocks = group.alloc_many(sizes)
            data = content(blocks.nbytes, seed)
            with in_thread(send_in_pieces, one, data, random.Random(seed)):
                got = blocks.readv(two) if pipe else blocks.recvmsg_into(two)
            assert got == len(data)
            assert list(map(bytes, blocks)) == cut(data, sizes)
            assert two.recv(1) == b""

    @given(sizes=st.one_of(SIZES, SMALL), seed=st.integers(0, 99), kind=st.sampled_from(["unix", "tcp"]))
    @settings(max_examples=40)
    def test_slow_readers_get_all(self, sizes, seed, kind):
        one, two = PAIRS[kind]()
        with one, two, memgroup.MemGroup() as group:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
            blocks = group.alloc_many(sizes)
            data, received = content(blocks.nbytes, seed), bytearray()
            blocks.fill_from(data)
            with in_thread(receive_in_pieces, two, received, random.Random(seed)):
                assert group.protect(blocks).sendmsg(one) == len(data)
                one.close()
            assert received == data

    def test_a_peer_that_hangs_up_ends_the_input(self, group, pair):
        blocks = group.alloc_many([1000] * 100, zero=True)
        with in_thread(send_in_pieces, pair[0], content(54_321), random.Random(3)):
            assert blocks.recvmsg_into(pair[1]) == 54_321
        assert joined(blocks) == content(54_321).ljust(100_000, b"\0")

    def test_a_peer_that_is_gone_takes_nothing(self, group):
        one, two = socket.socketpair()
        blocks = group.alloc_many([1 << 20] * 4)
        hang_up = in_thread(lambda: (two.recv(1000), two.close()))
        with one, hang_up, pytest.raises(BrokenPipeError) as raised:
            blocks.sendmsg(one)
        assert 1000 <= moved(raised) < 4 << 20
        reader, writer = os.pipe()
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            blocks.writev(writer)
        os.close(writer)

    def test_a_connection_that_is_reset(self, group):
        one, two = tcp_pair()
        two.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        two.sendall(b"abc")
        blocks = group.alloc_many([3, 5])
        assert blocks[:1].recvmsg_into(one) == 3
        two.close()
        with one, pytest.raises(ConnectionResetError) as raised:
            blocks.recvmsg_into(one)
        assert moved(raised) == 0

    def test_a_socket_that_does_not_wait(self, group, pair):
        one, two = pair
        two.setblocking(False)
        blocks = group.alloc_many([4, 4, 4])
        with pytest.raises(BlockingIOError) as raised:
            blocks.recvmsg_into(two)
        assert moved(raised) == 0
        assert raised.value.errno == errno.EAGAIN
        one.sendall(b"abcdef")
        time.sleep(0.05)
        with pytest.raises(BlockingIOError) as raised:
            blocks.recvmsg_into(two)
        assert moved(raised) == 6
        one.sendall(b"ghijkl")
        time.sleep(0.05)
        assert blocks.recvmsg_into(two, start=6) == 6
        assert joined(blocks) == b"abcdefghijkl"

    def test_sending_goes_on_where_it_was(self, group, pair):
        one, two = pair
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        blocks = group.alloc_many([1000] * 3000)
        data, received, sent, refused = content(blocks.nbytes), bytearray(), 0, 0
        blocks.fill_from(data)
        with in_thread(receive_in_pieces, two, received, random.Random(2)):
            while sent < len(data):
                try:
                    sent += blocks.sendmsg(one, start=sent)
                except BlockingIOError as error:
                    sent += error.characters_written
                    refused += 1
                    time.sleep(0.0005)
            one.close()
        assert received == data
        assert refused

    def test_a_timeout_is_the_sockets_own(self, group, pair):
        one, two = pair
        two.settimeout(0.1)
        blocks = group.alloc_many([4, 4])
        one.sendall(b"abc")
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out") as raised:
            blocks.recvmsg_into(two)
        assert moved(raised) == 3
        assert time.monotonic() - start >= 0.1
        two.settimeout(ENOUGH)
        with in_thread(lambda: (time.sleep(0.05), one.sendall(b"defgh"))):
            assert blocks.recvmsg_into(two, start=3) == 5
        assert joined(blocks) == b"abcdefgh"

    @pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
    def test_messages_stay_messages(self, group, kind):
        one, two = socket.socketpair(socket.AF_UNIX, kind)
        with one, two:
            blocks = group.alloc_many([3, 0, 5])
            blocks.fill_from(b"abcdefgh")
            assert blocks.sendmsg(one) == 8
            assert two.recv(99) == b"abcdefgh"
            one.send(b"xy")
            one.send(b"zzz")
            assert blocks.recvmsg_into(two) == 2
            assert joined(blocks) == b"xycdefgh"
            one.send(b"0123456789")
            assert blocks.recvmsg_into(two) == 3
            with pytest.raises(OSError, match="its rest is lost") as raised:
                blocks.recvmsg_into(two)
            assert (raised.value.errno, moved(raised)) == (errno.EMSGSIZE, 8)
            assert joined(blocks) == b"01234567"
            assert group.alloc_many([]).sendmsg(one) == 0
            assert two.recv(9) == b""
            with pytest.raises(OSError, match=r"no message.*list\.join") as raised:
                group.alloc_many(count=1025, size=1).sendmsg(one)
            assert raised.value.errno == errno.EMSGSIZE
            two.setblocking(False)
            with pytest.raises(BlockingIOError):
                two.recv(1)

    def test_an_empty_list_asks_no_stream_to_send(self, group, pair):
        assert group.alloc_many([0]).recvmsg_into(pair[0]) == group.alloc_many([]).sendmsg(pair[0]) == 0


class TestPrograms:
    def test_tar_writes_and_reads(self, group, tmp_path):
        if shutil.which("tar") is None:
            pytest.skip("there is no tar")
        files = {f"file{number}": content(number * 997, number) for number in range(50)}
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        archived = io.BytesIO(subprocess.check_output(["tar", "-cf", "-", *files], cwd=tmp_path))
        sizes = []  # headers and contents by turns
        with tarfile.open(fileobj=archived) as archive:
            for member in archive:
                sizes += [member.offset_data - sum(sizes), member.size]
        blocks = group.alloc_many(sizes)
        with subprocess.Popen(["tar", "-cf", "-", *files], cwd=tmp_path, stdout=subprocess.PIPE) as tar:
            assert tar.stdout is not None
            assert blocks.readv(tar.stdout) == blocks.nbytes
            tar.stdout.read()
        assert list(map(bytes, blocks[1::2])) == list(files.values())
        whole = group.alloc_many([7000] * (len(archived.getvalue()) // 7000 + 1))
        whole.preadv(os.memfd_create("none"), 0)
        whole[:1].fill_from(bytes(7000))
        with subprocess.Popen(
            ["tar", "-tf", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as tar:
            assert tar.stdin is not None
            assert tar.stdout is not None
            blocks.writev(tar.stdin)
            os.write(tar.stdin.fileno(), archived.getvalue()[blocks.nbytes :])
            tar.stdin.close()
            assert tar.stdout.read().split() == list(files)

    def test_git_gives_objects(self, group, tmp_path):
        if shutil.which("git") is None:
            pytest.skip("there is no git")

        def git(*arguments, **options):
            return subprocess.run(
                ["git", *arguments], cwd=tmp_path, check=True, capture_output=True, **options
            )

        git("init", "-q")
        datas = [content(size, size) for size in (0, 1, 100, 5000, 300_000)]
        names = [git("hash-object", "-w", "--stdin", input=data).stdout.strip() for data in datas]
        sizes = []
        for name, data in zip(names, datas, strict=True):
            sizes += [len(b"%s blob %d\n" % (name, len(data))), len(data), 1]
        blocks = group.alloc_many(sizes)
        with subprocess.Popen(
            ["git", "cat-file", "--batch"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as batch:
            assert batch.stdin is not None
            assert batch.stdout is not None
            batch.stdin.write(b"".join(name + b"\n" for name in names))
            batch.stdin.close()
            assert blocks.readv(batch.stdout) == blocks.nbytes
        assert list(map(bytes, blocks[1::3])) == datas
        assert all(block == b"\n" for block in blocks[2::3])


class Interrupted(BaseException):  # as KeyboardInterrupt is called
    pass


@contextlib.contextmanager
def signals(handler, seconds: float):
    """SIGALRM again and again."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class TestSignals:
    @given(
        seconds=st.floats(0.0002, 0.01),
        seed=st.integers(0, 99),
        kind=st.sampled_from(["unix", "tcp"]),
        receives=st.booleans(),
        most=st.sampled_from([100, 9000]),
    )
    @settings(max_examples=30)
    def test_no_byte_is_lost_to_signals(self, seconds, seed, kind, receives, most):
        one, two = PAIRS[kind]()
        heard = []
        with one, two, memgroup.MemGroup() as group:
            draw = random.Random(seed)
            blocks = group.alloc_many([draw.randrange(most) for _ in range(900_000 // most)])
            data, received = content(blocks.nbytes, seed), bytearray()
            work = (send_in_pieces, one, data) if receives else (receive_in_pieces, two, received)
            if not receives:
                blocks.fill_from(data)
            with in_thread(*work, random.Random(seed)), signals(lambda *_: heard.append(1), seconds):
                assert (blocks.recvmsg_into(two) if receives else blocks.sendmsg(one)) == len(data)
                one.shutdown(socket.SHUT_WR) if not receives else None
            assert (joined(blocks) if receives else received) == data

    def test_a_handler_that_raises_ends_a_call_that_waits(self, group):
        def interrupt(*_):
            raise Interrupted

        reader, writer = os.pipe()
        os.write(writer, b"abcde")
        blocks = group.alloc_many([3, 3])
        with signals(interrupt, 0.05), pytest.raises(Interrupted) as raised:
            blocks.readv(reader)
        assert moved(raised) == 5
        os.write(writer, b"f")
        assert blocks.readv(reader, start=5) == 1
        assert joined(blocks) == b"abcdef"
        os.close(reader)
        os.close(writer)
        group.free()

    def test_ctrl_c_ends_a_call_that_waits(self, child):
        said = child.output("""
            import time
            signal.signal(signal.SIGINT, signal.default_int_handler)
            one, two = __import__("socket").socketpair()
            main = threading.main_thread().ident
            threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
            group = MemGroup()
            blocks = group.alloc_many([5])
            try:
                blocks.recvmsg_into(two)
            except KeyboardInterrupt as error:
                print("interrupted after", error.characters_written, group.stats().exports)
        """)
        assert said == "interrupted after 0 0"

    def test_handlers_run_while_a_timeout_runs(self, group, pair):
        heard = []
        pair[0].settimeout(0.3)
        start = time.monotonic()
        with signals(lambda *_: heard.append(1), 0.02), pytest.raises(TimeoutError):
            group.alloc_many([1]).recvmsg_into(pair[0])
        assert len(heard) >= 2
        assert time.monotonic() - start >= 0.3


# Few pieces are left where they are; many small ones go by way of a buffer.
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
    def test_a_call_that_waits_is_a_view_and_holds_nobody_up(self, group, sizes):
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
    def test_what_is_taken_away_by_force_is_said(self, group, sizes):
        results: list[object] = []
        blocks = group.alloc_many(sizes)
        with self.waiting(group, blocks, results) as peer:
            group.free(force=True)
            peer.sendall(b"def")
        (error,) = results
        assert isinstance(error, ValueError)
        assert "is freed" in str(error)

    @FEW_OR_MANY
    @pytest.mark.filterwarnings("ignore:.*live view:ResourceWarning")
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
    def test_what_goes_out_is_taken_away_by_force(self, group, size):
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

    def test_what_the_kernel_refuses(self, group, file, tmp_path):
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

    def test_no_way_past_encryption(self, group):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        one, two = socket.socketpair()
        with two, context.wrap_socket(one, do_handshake_on_connect=False) as wrapped:
            with pytest.raises(TypeError, match="past its encryption"):
                group.alloc_many([3]).sendmsg(wrapped)
            two.setblocking(False)
            with pytest.raises(BlockingIOError):
                two.recv(1)


def ranges(draw_size: int):
    return st.lists(
        st.tuples(st.integers(0, draw_size + 50), st.one_of(st.integers(0, 30), st.integers(0, 9000))),
        max_size=80,
    )


class TestReadRanges:
    DATA = content(60_000)

    @given(ranges=ranges(60_000), ordered=st.booleans())
    def test_every_range_arrives(self, ranges, ordered):
        ranges = sorted(ranges) if ordered else ranges
        self.check(ranges)

    @given(
        sizes=st.lists(st.integers(0, 3000), max_size=60),
        gaps=st.sampled_from([(0,), (0, 1, 16), (0, 4096, 4097), (8,)]),
        align=st.booleans(),
        shuffled=st.randoms(),
    )
    def test_ranges_that_lie_close_together(self, sizes, gaps, align, shuffled):
        ranges, at = [], 0
        for size in sizes:
            ranges.append((at, size))
            at += size + shuffled.choice(gaps)
            at = -(-at // 16) * 16 if align else at
        if shuffled.random() < 0.5:
            shuffled.shuffle(ranges)
        self.check(ranges)

    def check(self, ranges):
        with tempfile.TemporaryFile(buffering=0) as file, memgroup.MemGroup(base=4096) as group:
            file.write(self.DATA)
            fences = group.copy(b"fence" * 3)
            blocks, errors = group.read_ranges(file, [o for o, _ in ranges], [s for _, s in ranges])
            expected = [self.DATA[offset : offset + size] for offset, size in ranges]
            assert list(map(bytes, blocks)) == expected
            short = {
                i for i, (got, (_, size)) in enumerate(zip(expected, ranges, strict=True)) if len(got) < size
            }
            assert set(errors) == short == set(errors)
            assert list(errors) == sorted(errors)
            assert fences == b"fence" * 3
            for index, error in errors.items():
                offset, size = ranges[index]
                assert isinstance(error, EOFError)
                assert f"after {len(expected[index])} of the {size} bytes from offset {offset} on" in str(
                    error
                )
            assert file.tell() == len(self.DATA)

    def test_what_is_short_is_known(self, group, tmp_path):
        path = tmp_path / "short"
        path.write_bytes(b"0123456789")
        result = group.read_ranges(path, [8, 0, 20], [5, 3, 2])
        assert list(map(bytes, result.blocks)) == [b"89", b"012", b""]
        assert list(result.blocks.sizes) == [2, 3, 0]
        assert result.blocks.nbytes == 5
        assert {0, 2} == set(result.errors)
        assert str(path) in str(result.errors[0])
        assert result.abandoned == 5
        assert result.changed == ()
        with pytest.raises(ExceptionGroup, match="2 of 3 could not be read") as raised:
            result.check()
        assert raised.value.exceptions == tuple(result.errors.values())
        assert group.read_ranges(path, [1], [2]).check()[0] == b"12"
        # A list of shorter blocks is a list like any other.
        blocks = group.protect(result.blocks)
        assert blocks[::-1].join() == b"01289"
        assert blocks.index(b"012") == 1
        (_slot, start, stop, _offset) = blocks.slots[0]
        assert (start, stop) == (0, 3)

    @pytest.mark.parametrize(
        "numbers",
        [
            lambda values: values,
            tuple,
            iter,
            lambda values: array("q", values),
            lambda values: array("H", values),
            lambda values: memoryview(array("I", values * 2))[: 2 * len(values) : 1][: len(values)],
        ],
    )
    def test_numbers_come_in_many_forms(self, group, file, numbers):
        file.write(self.DATA[:1000])
        blocks = group.read_ranges(file.fileno(), numbers([3, 900, 0]), numbers([10, 50, 7])).check()
        assert list(map(bytes, blocks)) == [self.DATA[3:13], self.DATA[900:950], self.DATA[:7]]

    def test_bad_numbers(self, group, file):
        for offsets, sizes, error, words in [
            ([0], [], ValueError, "1 offsets and 0 sizes"),
            ([0, -1], [1, 1], ValueError, r"offsets\[1\] is -1"),
            (array("q", [5, -7]), [1, 1], ValueError, r"offsets\[1\] is -7"),
            (array("Q", [2**63]), [1], ValueError, r"offsets\[0\] is 9223372036854775808"),
            ([2**90], [1], ValueError, r"offsets\[0\] is 12379"),
            ([0], [-1], ValueError, r"sizes\[0\] is -1"),
            (["0"], [1], TypeError, r"offsets\[0\] must be an integer"),
            ("0", [1], TypeError, "offsets must be a buffer"),
            (None, [1], TypeError, "offsets must be a buffer"),
            (array("d", [0]), [1], TypeError, "offsets must be integers"),
        ]:
            with pytest.raises(error, match=words):
                group.read_ranges(file, offsets, sizes)
        assert group.stats().blocks == 0
        with pytest.raises(MemoryError):
            group.read_ranges(file, [0], [2**45])

    def test_bad_files(self, group, tmp_path):
        for file, error in [
            (tmp_path / "none", FileNotFoundError),
            (str(tmp_path), IsADirectoryError),
            (-1, OSError),
            (987_654, OSError),
            (3.5, TypeError),
            ("a\0b", ValueError),
        ]:
            with pytest.raises(error) as raised:
                group.read_ranges(file, [0], [1])
            if isinstance(raised.value, OSError):
                assert raised.value.filename == file
        reader, writer = os.pipe()
        with pytest.raises(OSError, match="Illegal seek"):
            group.read_ranges(reader, [0], [1])
        os.close(reader)
        os.close(writer)
        write_only = os.open(tmp_path / "w", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="Bad file descriptor"):
            group.read_ranges(write_only, [0], [1])
        os.close(write_only)
        assert group.stats().exports == 0

    def test_a_file_that_shrinks_meanwhile(self, group, tmp_path):
        """It shrinks when the first progress is told, of a file too large for one breath."""
        path = tmp_path / "shrinks"
        with open(path, "wb") as file:
            file.truncate(1 << 40)  # a hole
        calls = []

        def shrink(done, total):
            calls.append((done, total))
            os.truncate(path, 0)

        many = 40
        result = group.read_ranges(path, [n << 30 for n in range(many)], [16 << 20] * many, progress=shrink)
        assert calls[-1] == (many, many)
        got = list(result.blocks.sizes)
        assert all(size % 4096 == 0 for size in got)
        assert all(isinstance(error, EOFError) for error in result.errors.values())
        assert set(result.errors) == {index for index, size in enumerate(got) if size < 16 << 20}

    @pytest.mark.parametrize("cpus", [1, None])
    @pytest.mark.parametrize("ordered", [True, False])
    def test_much_is_shared_out(self, group, file, cpus, ordered):
        """So much that several threads read it, where there are processors for them."""
        data = content(100 << 20)
        file.write(data)
        draw = random.Random(8)
        ranges, at = [], 0
        while at < len(data):
            ranges.append((at, min(draw.choice([0, 100, 5000, 3 << 20]), len(data) - at)))
            at += ranges[-1][1] + draw.choice([0, 30])
        ranges.append((len(data) - 10, 20))
        if not ordered:
            draw.shuffle(ranges)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(before)[:cpus])
        try:
            told = []
            blocks, errors = group.read_ranges(
                file, *zip(*ranges, strict=True), progress=lambda *of: told.append(of)
            )
        finally:
            os.sched_setaffinity(0, before)
        assert all(
            block == data[start : start + size] for block, (start, size) in zip(blocks, ranges, strict=True)
        )
        assert list(errors) == [ranges.index((len(data) - 10, 20))]
        assert told[-1] == (len(ranges), len(ranges))
        assert told == sorted(told)

    def test_progress_may_end_it(self, group, file):
        file.write(self.DATA)

        def stop(done, total):
            raise Interrupted

        with pytest.raises(Interrupted):
            group.read_ranges(file, [0], [10], progress=stop)
        assert group.stats().exports == 0
        group.free()

    def test_a_descriptor_that_goes_bad_meanwhile_leaves_what_was_read(self, group, tmp_path):
        piece = 40_000_000
        with open(tmp_path / "large", "wb") as large:
            large.truncate(20 * piece)
        fd = os.open(tmp_path / "large", os.O_RDONLY)
        told = []

        def close(done, total):
            if not told:
                os.dup2(directory, fd)  # the number is somebody else's now
            told.append(done)

        directory = os.open(tmp_path, os.O_RDONLY)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            blocks, errors = group.read_ranges(
                fd, [at * piece for at in range(20)], [piece] * 20, progress=close
            )
        finally:
            os.sched_setaffinity(0, before)
            os.close(directory)
            os.close(fd)
        assert told[0] < 20, "it was too fast to be disturbed"
        assert told[0] > 0 or blocks.sizes[0] > 0
        for number, block in enumerate(blocks):
            assert (number in errors) == (len(block) < piece)
            assert len(block) == piece if number < told[0] else number == told[0] or not len(block)
        assert all(isinstance(error, IsADirectoryError) for error in errors.values())
        assert set(map(len, blocks[: told[0]])) <= {piece}

    def test_a_file_under_a_lease_is_waited_for(self, group, tmp_path):
        path = tmp_path / "leased"
        path.write_bytes(b"leased")
        for read in (
            lambda: group.read_ranges(path, [1], [3]).check()[0] == b"eas",
            lambda: group.read_files([path]).check()[0] == b"leased",
        ):
            fd = os.open(path, os.O_RDONLY)
            asked = []

            def give_up(*_, fd=fd, asked=asked):
                asked.append(1)
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

            before = signal.signal(signal.SIGIO, give_up)
            try:
                try:
                    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
                except OSError as error:
                    pytest.skip(f"this file system has no leases: {error}")
                assert read()
                assert asked
            finally:
                signal.signal(signal.SIGIO, before)
                os.close(fd)

    def test_a_hundred_thousand_ranges(self, group, tmp_path):
        draw = random.Random(4)
        sizes = [draw.randrange(400) for _ in range(100_000)]
        offsets, at = [], 0
        for size in sizes:
            offsets.append(at)
            at += size + draw.choice([0, 0, 3])
        data = content(at)
        (tmp_path / "data").write_bytes(data)
        blocks = group.read_ranges(tmp_path / "data", array("Q", offsets), array("Q", sizes)).check()
        assert joined(blocks) == b"".join(data[o : o + s] for o, s in zip(offsets, sizes, strict=True))


class TestReadFiles:
    def tree(self, directory: Path, sizes) -> list[Path]:
        paths = [directory / f"file{number}" for number in range(len(sizes))]
        for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
            path.write_bytes(content(size, number))
        return paths

    @given(sizes=st.lists(st.one_of(st.integers(0, 100), st.integers(0, 200_000)), max_size=25))
    @settings(max_examples=30)
    def test_every_byte_of_every_file(self, sizes):
        with tempfile.TemporaryDirectory() as directory, memgroup.MemGroup(base=4096) as group:
            paths = self.tree(Path(directory), sizes)
            told = []
            blocks = group.read_files(iter(paths), progress=lambda *of: told.append(of)).check()
            assert list(map(bytes, blocks)) == [content(size, number) for number, size in enumerate(sizes)]
            assert told[-1] == (len(sizes), len(sizes))

    def test_who_is_told_of_progress_may_stop_while_sizes_are_asked(self, group, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"x")
        told = []

        def stop(*of):
            told.append(of)
            raise Interrupted

        with pytest.raises(Interrupted):
            group.read_files([path] * 200_000, progress=stop)
        assert told == [(0, 200_000)]
        assert group.stats().allocated == 0

    @given(
        interval=st.floats(0.0005, 0.01), sizes=st.lists(st.integers(0, 400_000), min_size=20, max_size=60)
    )
    @settings(max_examples=15)
    def test_signals_at_random_change_nothing(self, interval, sizes):
        heard = []
        with tempfile.TemporaryDirectory() as directory, memgroup.MemGroup() as group:
            paths = self.tree(Path(directory), sizes)
            data = b"".join(path.read_bytes() for path in paths)
            Path(directory, "all").write_bytes(data)
            offsets = [sum(sizes[:number]) for number in range(len(sizes))]
            with signals(lambda *_: heard.append(1), interval):
                files = group.read_files(paths).check()
                ranges = group.read_ranges(Path(directory, "all"), offsets, sizes).check()
            assert joined(files) == joined(ranges) == data

    def test_paths_come_in_many_forms(self, group, tmp_path):
        (path,) = self.tree(tmp_path, [5])
        name = os.fsencode(tmp_path) + b"/\xff"
        Path(os.fsdecode(name)).write_bytes(b"odd")
        blocks = group.read_files([path, str(path), os.fsencode(path), name, os.fsdecode(name)]).check()
        assert list(map(bytes, blocks)) == [content(5, 0)] * 3 + [b"odd"] * 2

    def test_errors_are_by_number_and_name_the_path(self, group, tmp_path):
        good = self.tree(tmp_path, [3, 4])
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "loop").symlink_to("loop")
        paths = ["/nope", good[0], tmp_path, tmp_path / "fifo", good[1], tmp_path / "loop", "/dev/null"]
        result = group.read_files(paths)
        assert list(map(bytes, result.blocks)) == [b"", content(3, 0), b"", b"", content(4, 1), b"", b""]
        kinds = {number: (type(error), error.errno) for number, error in result.errors.items()}
        assert kinds == {
            0: (FileNotFoundError, errno.ENOENT),
            2: (IsADirectoryError, errno.EISDIR),
            3: (OSError, errno.EINVAL),
            5: (OSError, errno.ELOOP),
            6: (OSError, errno.EINVAL),
        }
        assert [error.filename for error in result.errors.values()] == [
            paths[number] for number in result.errors
        ]
        assert result.errors[0].strerror == os.strerror(errno.ENOENT)
        assert repr(result) == "<ReadResult, 7 blocks, 5 errors>"

    def test_bad_paths(self, group):
        for wrong, error, words in [
            ("/etc/passwd", TypeError, r"pass \[path\]"),
            (b"x", TypeError, r"pass \[path\]"),
            (None, TypeError, "paths must be an iterable"),
            ([3.5], TypeError, "os.PathLike"),
            (["a\0b"], ValueError, "embedded null byte"),
        ]:
            with pytest.raises(error, match=words):
                group.read_files(wrong)
        assert list(group.read_files([]).check()) == []

    def test_files_that_announce_nothing(self, group, tmp_path):
        (path,) = self.tree(tmp_path, [100])
        result = group.read_files([path, "/proc/self/cmdline", path, "/proc/self/auxv", path])
        assert result.unannounced == (1, 3)
        assert result.changed == ()
        assert not result.errors
        assert result.blocks[1] == Path("/proc/self/cmdline").read_bytes()
        assert result.blocks[3] == Path("/proc/self/auxv").read_bytes()
        assert [bytes(result.blocks[number]) for number in (0, 2, 4)] == [content(100, 0)] * 3
        offsets = list(result.blocks.offsets)
        assert offsets == sorted(offsets)
        assert joined(result.blocks) == result.blocks.join()

    def test_a_file_without_end(self, group, tmp_path):
        (path,) = self.tree(tmp_path, [100])
        result = group.read_files(["/proc/self/pagemap", path])
        assert result.errors[0].errno == errno.EFBIG
        assert "goes on beyond 64 MiB" in str(result.errors[0])
        assert result.blocks[1] == content(100, 0)

    @pytest.mark.parametrize("length", [0, 1, 10_000, 20_000, 200_000, 9_000_000])
    def test_files_that_change_meanwhile(self, group, tmp_path, length):
        """The second changes when the first progress is told, behind one that takes longer than a breath."""
        first, second = tmp_path / "first", tmp_path / "second"
        with open(first, "wb") as file:
            file.truncate(3 << 30 if memory_is_plenty() else 1 << 30)
        second.write_bytes(content(10_000))
        calls = []

        def change(done, total):
            calls.append(done)
            if len(calls) == 1 and done == 0:
                os.truncate(first, 64 << 20)
                second.write_bytes(content(length))

        result = group.read_files([first, second], progress=change)
        if calls[0] != 0:
            pytest.skip("this machine reads a gigabyte in no time")
        assert result.blocks[1] == content(length)
        assert not result.errors
        assert (1 in result.changed) == (length != 10_000)

    def test_a_file_that_a_thread_keeps_changing_is_always_a_state_of_it(self, group, tmp_path):
        """Whatever length is read, it is all of one letter: nothing is there that was not in the file."""
        path = tmp_path / "changing"
        path.write_bytes(b"z" * 100_000)
        stop = threading.Event()

        def change():
            chance = random.Random(3)
            while not stop.is_set():
                with open(path, "r+b") as file:
                    file.truncate(chance.randrange(50_000))
                    file.seek(0)
                    file.write(b"z" * chance.randrange(200_000))

        with in_thread(change):
            try:
                for _ in range(100):
                    for block in group.read_files([path] * 3).check():
                        assert block.count(b"z") + block.count(b"\0") == len(block)
            finally:
                stop.set()

    def test_too_large_for_any_slot_is_the_files_own_error(self, tmp_path):
        with open(tmp_path / "huge", "wb") as file:
            try:
                file.truncate((1 << 43) + 1)
            except OSError:
                pytest.skip("this file system has no files of 8 TiB")
        (path,) = self.tree(tmp_path, [9])
        with memgroup.MemGroup(base=4096) as group:
            result = group.read_files([tmp_path / "huge", path])
            assert isinstance(result.errors[0], MemoryError)
            assert "larger base" in str(result.errors[0])
            assert result.blocks[1] == content(9, 0)

    def test_no_room_for_all(self, tmp_path):
        paths = self.tree(tmp_path, [30_000] * 10)
        with memgroup.MemGroup(limit=1 << 16) as group:
            with pytest.raises(MemoryError, match="limit"):
                group.read_files(paths)
            assert group.read_files(paths[:1]).check()[0] == content(30_000, 0)

    def test_descriptors_that_run_out(self, child, tmp_path):
        paths = self.tree(tmp_path, [10] * 100)
        said = child.output(
            """
            resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
            blocks = MemGroup().read_files(sys.argv[1:]).check()
            print(len(blocks), blocks.nbytes)
            """,
            *paths,
        )
        assert said == "100 1000"

    def test_no_descriptor_is_left(self, group, tmp_path):
        paths = self.tree(tmp_path, [10] * 300)
        before = len(os.listdir("/proc/self/fd"))
        group.read_files([*paths, "/nope", tmp_path])
        group.read_ranges(paths[0], [0], [5])
        assert len(os.listdir("/proc/self/fd")) == before

    def test_ctrl_c_ends_it(self, child, tmp_path):
        with open(tmp_path / "large", "wb") as file:
            file.truncate(8 << 30)
        said = child.output(
            """
            signal.signal(signal.SIGINT, signal.default_int_handler)
            group = MemGroup(backing="memfd")
            main = threading.main_thread().ident
            path = sys.argv[1]
            size = 512 << 20
            threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
            try:
                while True:
                    group.read_ranges(path, [0], [size])
                    group.reset()
            except KeyboardInterrupt:
                print("interrupted", group.stats().exports)
            """,
            tmp_path / "large",
        )
        assert said == "interrupted 0"


def memory_is_plenty() -> bool:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) > 8 << 20


def unread_errors(timeout):
    """A TCP socket whose queue of errors is not empty, so that it always seems ready, and its peer."""
    server = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(server.getsockname())
    peer, _ = server.accept()
    server.close()
    try:
        ours.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY, whose notices go there
        ours.send(b"x" * 100_000, 0x4000000)  # MSG_ZEROCOPY
    except OSError as error:
        pytest.skip(f"no sending without a copy: {error}")
    time.sleep(0.2)
    ours.settimeout(timeout)
    return ours, peer


@pytest.mark.parametrize("receive", ["list", "frames"])
def test_a_socket_that_only_seems_ready_times_out(group, receive):
    ours, peer = unread_errors(0.3)
    with ours, peer:
        blocks, reader = group.alloc_many([5]), group.frames(ours)
        call = (lambda: blocks.recvmsg_into(ours)) if receive == "list" else (lambda: next(reader))
        with pytest.raises(TimeoutError):
            call()


def test_sockets_of_messages_are_not_read_as_streams(group):
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, peer:
        peer.send(b"abcdef")
        blocks = group.alloc_many([4, 4], zero=True)
        for call, remedy in [(blocks.readv, "recvmsg_into"), (blocks.writev, "sendmsg")]:
            with pytest.raises(ValueError, match=remedy):
                call(ours)
        assert blocks.recvmsg_into(ours) == 6
        assert bytes(blocks.join()) == b"abcdef\0\0"


BIG = os.environ.get("MEMGROUP_BIG_TESTS") == "1"


class TestTheWholeSize:
    """Every byte at the size that this is for: less of it, unless MEMGROUP_BIG_TESTS=1 says otherwise."""

    def file(self, path: Path, length: int) -> None:
        """Make a file in which every 8 bytes say where they are, so that no two places look alike."""
        step = 1 << 24
        with open(path, "wb") as file:
            for start in range(0, length, step):
                file.write(np.arange(start // 8, min(start + step, length + 7) // 8, dtype="<u8").tobytes())
            file.truncate(length)

    @pytest.mark.parametrize("ordered", [True, False])
    def test_records(self, tmp_path, ordered):
        count = 100_000 if BIG else 5_000
        draw = random.Random(5)
        sizes = [min(1 << 20, int(16 * 65536 ** (draw.random() ** 9))) for _ in range(count)]
        gaps = [draw.choice([0, 0, 0, 1, 100, 5000]) for _ in range(count)]
        offsets, at = [], 0
        for size, gap in zip(sizes, gaps, strict=True):
            offsets.append(at)
            at += size + gap
        self.file(tmp_path / "records", at)
        if not ordered:
            places = draw.sample(range(count), count)
            offsets, sizes = [offsets[place] for place in places], [sizes[place] for place in places]
        expected = np.memmap(tmp_path / "records", np.uint8, "r")
        group = memgroup.MemGroup()
        told = []
        start = time.perf_counter()
        blocks = group.read_ranges(
            tmp_path / "records", array("Q", offsets), array("Q", sizes), progress=lambda *of: told.append(of)
        ).check()
        seconds = time.perf_counter() - start
        assert list(blocks.sizes) == sizes
        for offset, size, block in zip(offsets, sizes, blocks, strict=True):
            assert np.array_equal(
                np.frombuffer(memoryview(block), np.uint8), expected[offset : offset + size]
            )
        assert told[-1] == (count, count)
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        print(f"{count} records, {sum(sizes)} bytes in {seconds:.3f} s")
        # And out again through a socket, where all of it is compared once more.
        one, two = socket.socketpair()
        wrong = []

        def compare():
            buffer = bytearray(1 << 20)
            at = 0
            want = b""
            number = 0
            while got := two.recv_into(buffer):
                while len(want) < got:
                    offset, size = offsets[number], sizes[number]
                    want += expected[offset : offset + size].tobytes()
                    number += 1
                if buffer[:got] != want[:got]:
                    wrong.append(at)
                want = want[got:]
                at += got
            assert at == sum(sizes)

        with one, two, in_thread(compare):
            assert group.protect(blocks).sendmsg(one) == sum(sizes)
            one.shutdown(socket.SHUT_WR)
        assert not wrong
        group.free(force=True)

    def test_files(self, tmp_path):
        count = 100_000 if BIG else 3_000
        draw = random.Random(3)
        sizes = [draw.randrange(4097) for _ in range(count)]
        paths = [f"{tmp_path}/{number // 1000}/{number}" for number in range(count)]
        source = draw.randbytes(10_000)
        for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
            if number % 1000 == 0:
                os.mkdir(os.path.dirname(path))
            with open(path, "wb", buffering=0) as file:
                file.write(source[number % 5000 : number % 5000 + size])
        with memgroup.MemGroup() as group:
            start = time.perf_counter()
            blocks = group.read_files(paths).check()
            seconds = time.perf_counter() - start
            for number, (size, block) in enumerate(zip(sizes, blocks, strict=True)):
                assert block == source[number % 5000 : number % 5000 + size]
        print(f"{count} files, {sum(sizes)} bytes in {seconds:.3f} s")
