"""Many files, read into one list by one call."""

import errno
import os
import pickle
import random
import socket
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
from support.transfers import Interrupted, content, in_thread, joined, signals


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

    def test_a_progress_callback_may_stop_the_call_while_sizes_are_read(self, group, tmp_path):
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

    def test_a_result_is_a_tuple_that_can_be_pickled(self, group, tmp_path):
        (tmp_path / "there").write_bytes(b"data")
        result = group.read_files([tmp_path / "there", tmp_path / "gone"])
        blocks, errors = result
        assert (blocks, errors) == result == (result.blocks, result.errors)
        loaded = pickle.loads(pickle.dumps(result))
        assert loaded.blocks.tolist() == [b"data", b""]
        assert repr(loaded) == repr(result) == "<ReadResult, 2 blocks, 1 error>"
        assert (loaded.changed, loaded.unannounced, loaded.abandoned) == ((), (), 0)
        group.free(force=True)
        with pytest.raises(ExceptionGroup, match="1 of 2 could not be read"):
            result.check()

    def test_bad_paths(self, group):
        for wrong, error, words in [
            ("/etc/passwd", TypeError, r"pass \[path\]"),
            (b"x", TypeError, r"pass \[path\]"),
            (None, TypeError, "paths must be an iterable"),
            ([3.5], TypeError, "os.PathLike"),
            (["a\0b"], ValueError, "contains NUL"),
        ]:
            with pytest.raises(error, match=words):
                group.read_files(wrong)
        assert list(group.read_files([]).check()) == []

    def test_files_that_report_no_size(self, group, tmp_path):
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
        assert "more than 64 MiB of content" in str(result.errors[0])
        assert result.blocks[1] == content(100, 0)

    @pytest.mark.parametrize("length", [0, 1, 10_000, 20_000, 200_000, 9_000_000])
    def test_files_that_change_meanwhile(self, group, tmp_path, length):
        """The second file changes at the first progress call, because reading the first file takes long."""
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

    def test_a_file_that_keeps_changing_is_read_in_a_state_that_it_had(self, group, tmp_path):
        """The bytes that were read are all of one letter: the file had this state at one time."""
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
    """A TCP socket with a non-empty error queue, so that it always seems ready, and its peer."""
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
    """Every byte at full size if MEMGROUP_BIG_TESTS=1, otherwise at a smaller size."""

    def file(self, path: Path, length: int) -> None:
        """Make a file in which every 8 bytes contain their position, so that no two places are equal."""
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
        # Send it through a socket, and compare all of it once more.
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
