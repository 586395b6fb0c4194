"""Length-prefixed messages: sources that are no descriptor, but store bytes into a buffer."""

from __future__ import annotations

import gc
import gzip
import io
import os
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup
from support.streams import Pieces, bodies_of, framed, in_pieces, noise

BODY_SIZES = (0, 10, 100_000, 70_000, 1)


@given(
    st.lists(st.integers(0, 3000), max_size=5), st.lists(st.integers(1, 9) | st.integers(1, 9000), min_size=1)
)
def test_messages_arrive_whole_however_the_stream_is_split(sizes, pieces):
    bodies = bodies_of(sizes, 4)
    source = Pieces(in_pieces(b"".join(map(framed, bodies)), pieces))
    with MemGroup() as group:
        assert list(group.frames(source)) == bodies


@pytest.mark.parametrize("read_ahead", [0, 3, 4, 100, 65536])
def test_a_large_message_is_stored_straight_into_its_block(group, read_ahead):
    lengths = []

    class Source(Pieces):
        def recv_into(self, view):
            assert not view.readonly
            lengths.append(len(view))
            return super().recv_into(view)

    source = Source([framed(noise(100_000)) + framed(b"ab")])
    reader = group.frames(source, read_ahead=read_ahead)
    assert list(reader) == [noise(100_000), b"ab"]
    # The first reads the prefix and what may be behind it, the second the rest of the message.
    first = max(read_ahead, 4)
    assert lengths[0] == first
    assert lengths[1] == 100_004 - first


def test_files_that_are_compressed_or_in_memory(group, tmp_path):
    bodies = [noise(size) for size in BODY_SIZES]
    stream = b"".join(map(framed, bodies))
    with gzip.GzipFile(tmp_path / "messages.gz", "wb") as file:
        file.write(stream)
    with gzip.open(tmp_path / "messages.gz") as file:
        assert list(group.frames(file)) == bodies
    assert list(group.frames(io.BytesIO(stream))) == bodies


def test_a_buffered_file_goes_on_where_it_is(group, tmp_path):
    bodies = [noise(size) for size in BODY_SIZES]
    (tmp_path / "messages").write_bytes(b"header\n" + b"".join(map(framed, bodies)))
    with open(tmp_path / "messages", "rb") as file:
        assert file.readline() == b"header\n"
        assert list(group.frames(file)) == bodies
    theirs, ours = socket.socketpair()
    theirs.sendall((tmp_path / "messages").read_bytes()[:1000])
    with theirs, ours, ours.makefile("rb") as file:
        assert file.readline() == b"header\n"
        reader = group.frames(file)
        assert next(reader) == b""
        assert next(reader) == bodies[1]


def test_the_output_of_a_program_through_its_buffered_pipe(group):
    code = "import os; os.write(1, b'\\0\\0\\0\\2ab' * 1000)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as program:
        assert list(group.frames(program.stdout)) == [b"ab"] * 1000


def test_what_is_not_read_from_is_refused(group, tmp_path):
    with open(tmp_path / "written", "wb") as file, pytest.raises(ValueError, match="not open for reading"):
        group.frames(file)
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        group.frames(closed)
    for wrong in (b"bytes", object(), None):
        with pytest.raises(TypeError, match=r"fileno\(\), recv_into\(\) or readinto\(\), not"):
            group.frames(wrong)


def test_an_exception_loses_nothing(group):
    stream = framed(b"one") + framed(noise(1000)) + framed(b"three")
    pieces = []
    for piece in in_pieces(stream, [1, 2, 300]):
        pieces += [BlockingIOError(), piece, KeyboardInterrupt(), None]
    reader, found, raised = group.frames(Pieces(pieces)), [], []
    while True:
        try:
            block = next(reader, None)
        except (BlockingIOError, KeyboardInterrupt) as error:
            raised.append(type(error))
            continue
        if block is None:
            break
        found.append(block)
    assert found == [b"one", noise(1000), b"three"]
    assert raised.count(KeyboardInterrupt) == len(pieces) // 4
    assert raised.count(BlockingIOError) == len(pieces) // 2


def test_many_messages_at_once(group, tmp_path):
    bodies = [noise(size, size) for size in (*range(500), 300_000, 5)]
    stream = b"".join(map(framed, bodies))
    pieces = [stream[:50_000], BlockingIOError(), stream[50_000:200_000], OSError("broken"), stream[200_000:]]
    reader = group.frames(Pieces(pieces))
    with pytest.raises(BlockingIOError):
        reader.take(502)
    assert 0 < reader.pending < 500
    with pytest.raises(OSError, match="broken"):
        reader.take(502)
    assert reader.take(502) == bodies
    with gzip.GzipFile(tmp_path / "messages.gz", "wb") as file:
        file.write(stream)
    with gzip.open(tmp_path / "messages.gz") as file:
        assert group.frames(file).take(502) == bodies


@pytest.mark.parametrize(
    ("count", "kind"), [(-1, ValueError), (5, ValueError), (2**70, ValueError), ("4", TypeError)]
)
def test_a_count_that_cannot_be_is_refused(group, count, kind):
    source = Pieces([count, framed(b"abc")])
    reader = group.frames(source, read_ahead=0)
    with pytest.raises(kind, match=r"returned|must be an integer"):
        next(reader)
    assert next(reader) == b"abc"


def test_the_end_within_a_message(group):
    reader = group.frames(Pieces([framed(noise(1000))[:504]]))
    with pytest.raises(EOFError, match="500 of its 1000 bytes"):
        next(reader)
    assert (reader.partial, reader.missing) == (noise(1000)[:500], 500)


def test_a_buffer_that_the_object_keeps_stays_valid(group):
    kept = []

    def keep(piece):
        def store(view):
            kept.append(view[:])
            view[: len(piece)] = piece
            return len(piece)

        return store

    stream = framed(noise(1000))
    reader = group.frames(Pieces([keep(stream[:504]), keep(stream[504:])]))
    block = next(reader)
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    del reader
    gc.collect()
    kept[0][:4] = bytes(4)
    kept[1][:4] = bytes(4)
    assert block == noise(1000)[:500] + bytes(4) + noise(1000)[504:]
    kept.clear()
    assert group.free() == 0


def test_a_bytearray_that_is_emptied_behind_the_readers_back(group):
    def empty(view):
        view[:3] = b"\0\0\0"
        with pytest.raises(BufferError):
            view.obj.clear()
        kept.append(view.obj)
        return 3

    kept = []
    reader = group.frames(Pieces([empty, BlockingIOError(), b"\1a"]))
    with pytest.raises(BlockingIOError):
        next(reader)
    kept[0].clear()
    assert next(reader) == b"a"


def test_a_buffer_that_the_object_releases(group):
    def release(view):
        view[:7] = framed(b"abc")
        view.release()
        return 7

    assert next(group.frames(Pieces([release]))) == b"abc"


def test_the_reader_is_busy_while_its_source_works(group):
    found = []

    def ask(view):
        for use in (lambda: next(reader), lambda: reader.partial, reader.close, reader._offer):
            with pytest.raises(RuntimeError, match="receiving right now"):
                use()
        assert group.copy(b"the group is not") == b"the group is not"
        found.append(len(view))
        raise BlockingIOError

    reader = group.frames(Pieces([ask, framed(b"abc")[:5], ask, b"bc"]))
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            next(reader)
    assert found == [65536, 2]
    assert next(reader) == b"abc"


def test_a_group_that_ends_while_its_source_works(group):
    def free(view):
        with pytest.raises(BufferError):
            group.free()
        view[:1] = b"b"
        return 1

    reader = group.frames(Pieces([framed(b"abc")[:5], free, b"c"]))
    assert next(reader) == b"abc"

    def end(view):
        view[:4] = framed(b"")
        group.free(force=True)
        return 4

    with pytest.raises(ValueError, match="freed"):
        next(group.frames(Pieces([end])))


def test_a_source_that_forks_has_its_message_in_the_parent(child):
    child.output("""
        class Source:
            def __init__(self):
                self.pieces = [b"\\0\\0\\0\\3a", b"bc"]

            def recv_into(self, view):
                piece = self.pieces.pop(0)
                if piece == b"bc":
                    global pid
                    pid = os.fork()
                    if pid == 0:
                        piece = b"XX"
                view[:len(piece)] = piece
                return len(piece)

        group = MemGroup(backing="anonymous")
        reader = group.frames(Source())
        try:
            block = next(reader)
        except RuntimeError as error:
            os._exit(0 if pid == 0 and "forked" in str(error) else 1)
        assert pid and bytes(block) == b"abc"
        assert os.waitpid(pid, 0)[1] == 0
    """)


def test_a_secret_group_reads_nothing_ahead():
    with MemGroup(secret=True) as group:
        source = Pieces([framed(b"secret") + b"behind"])
        assert next(group.frames(source)) == b"secret"
        assert source.pieces == [b"behind"]


def test_a_raw_stream_that_does_not_wait(group):
    read, write = os.pipe()
    os.set_blocking(read, False)
    with open(read, "rb") as file, open(write, "wb", buffering=0) as target:
        reader = group.frames(file)
        with pytest.raises(BlockingIOError):
            next(reader)
        target.write(framed(b"abc")[:6])
        with pytest.raises(BlockingIOError):
            next(reader)
        assert reader.partial == b"ab"
        target.write(b"c")
        assert next(reader) == b"abc"


def test_bytes_are_stored_into_buffers_that_were_offered(group):
    reader = group.frames(Pieces([BlockingIOError() for _ in range(9)]))
    with pytest.raises(RuntimeError, match="no buffer was offered"):
        reader._accept(1)
    stream = framed(b"one") + framed(noise(200_000)) + framed(b"three")
    found = []
    while stream:
        view = reader._offer()
        count = min(len(view), len(stream), 50_000)
        view[:count], stream = stream[:count], stream[count:]
        with pytest.raises(RuntimeError, match="more than were requested"):
            reader._accept(2**40)
        view = reader._offer()
        view[:count] = view[:count]
        if reader._accept(count):
            while True:
                try:
                    found.append(next(reader))
                except BlockingIOError:
                    break
    assert found == [b"one", noise(200_000), b"three"]
