"""Lists through files, pipes and sockets: every byte arrives, for all pieces, signals and peers."""

import errno
import io
import os
import random
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import memgroup
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.transfers import ENOUGH, Interrupted, content, in_thread, joined, signals

SIZES = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 70_000)), max_size=60)


SMALL = st.lists(st.one_of(st.integers(0, 40), st.integers(900, 1200)), min_size=16, max_size=600)


UNPADDED = st.lists(st.integers(0, 3000).map(lambda size: size * 16), max_size=60)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return pieces


def moved(raised) -> int:
    """The number of bytes that were moved before the exception."""
    return raised.value.characters_written


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

    def test_bytes_between_blocks_stay_unchanged(self, group, file):
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
    def test_start_skips_bytes(self, sizes, start):
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

    def test_an_empty_transfer_still_checks_the_descriptor(self, group, file):
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

    def test_a_nonblocking_socket(self, group, pair):
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

    def test_sending_continues_where_it_stopped(self, group, pair):
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
        sizes = []  # headers and contents alternate
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
