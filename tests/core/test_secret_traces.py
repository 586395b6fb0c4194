"""No way in or out of a secret group leaves a copy behind.

Another process looks through all memory, and through core dumps. The process that is looked through never
knows the mark that is looked for: its secrets come from files and streams, and it has a mark only where
memgroup put one.
"""

from __future__ import annotations

import os
import random
import re
import resource
import select
import shutil
import socket
import string
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import PRELUDE

pytestmark = pytest.mark.skipif(
    0 <= resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 4096 * 1024 and os.getuid() != 0,
    reason="RLIMIT_MEMLOCK is too low for these tests",
)

MARK = "".join(random.SystemRandom().choices(string.ascii_letters, k=6)).encode()
TOKENS = b"".join(MARK + b"%02d" % number for number in range(100))
"""100 tokens of 8 bytes; each cut of 14 bytes has the whole mark in it."""

KEYS = b"".join((MARK + b"%02d" % number) * 5 for number in range(100))
"""100 keys of 40 bytes."""

WATCHED = """
import pickle, socket, struct
from pathlib import Path

secrets = MemGroup(secret=True)
keep = [bytearray(50_000) for _ in range(3)]  # a heap in use, of which nothing goes back to the kernel


def stage(name):
    print(name, flush=True)
    sys.stdin.readline()


def keys(size=40):
    made = secrets.alloc_many(count=100, size=size)
    with open(sys.argv[1] if size == 40 else sys.argv[2], "rb", 0) as file:
        assert made.preadv(file, 0) == 100 * size
    return made


def end():
    global secrets
    gc.collect()
    secrets.free()
    stage("freed")
"""


class Trace(NamedTuple):
    """Where a mark was found, and what the kernel says of the mapping."""

    mapping: str
    flags: frozenset[str]

    @property
    def is_kept(self) -> bool:
        """Whether it is out of dumps and, unless it is one more mapping of locked pages, locked."""
        return "dd" in self.flags and ("lo" in self.flags or "memfd" in self.mapping)


class Watched:
    """A process that is looked through whenever it says that it has come to a stage."""

    def __init__(self, code: str, *arguments: object, inherit: tuple[int, ...] = ()) -> None:
        command = [sys.executable, "-c", PRELUDE + WATCHED + textwrap.dedent(code), *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=inherit,
            # Binding a symbol lazily saves vector registers on the stack, with what memcpy has left in them.
            env={**os.environ, "LD_BIND_NOW": "1"},
        )

    def stages(self) -> Iterator[str]:
        """The stages, one after the other; the process goes on when the next is asked for."""
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        for line in self.process.stdout:
            yield line.strip()
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        errors = self.process.communicate()[1]
        assert self.process.returncode == 0, errors

    def traces(self) -> list[Trace]:
        """Every mapping of the process that has a mark in it."""
        found: list[Trace] = []
        with Path(f"/proc/{self.process.pid}/mem").open("rb", 0) as memory:
            for start, stop, mapping, flags in self.mappings():
                memory.seek(start)
                if MARK in memory.read(stop - start):
                    found.append(Trace(mapping, flags))
        return found

    def mappings(self) -> Iterator[tuple[int, int, str, frozenset[str]]]:
        start = stop = resident = 0
        mapping = ""
        for line in Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            if begins := re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line):
                start, stop, mapping = int(begins[1], 16), int(begins[2], 16), line
            elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                start = stop = 0
            elif line.startswith("Rss:"):
                resident = int(line.split()[1])
            elif line.startswith("VmFlags:") and start < stop and resident:
                yield start, stop, mapping, frozenset(line.split()[1:])

    def dump(self, directory: Path) -> bytes | None:
        """A core dump, if gcore may make one."""
        command = ["gcore", "-o", directory / "core", str(self.process.pid)]
        subprocess.run(command, capture_output=True, check=False)
        core = directory / f"core.{self.process.pid}"
        if not core.exists():
            return None
        content = core.read_bytes()
        core.unlink()
        return content


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    """Make processes to look through, none of which outlives the test."""
    watched: list[Watched] = []

    def make(*arguments: Any, **options: Any) -> Watched:
        watched.append(Watched(*arguments, **options))
        return watched[-1]

    yield make
    for one in watched:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The keys and the tokens, each in a file."""
    (tmp_path / "keys").write_bytes(KEYS)
    (tmp_path / "tokens").write_bytes(TOKENS)
    return [tmp_path / "keys", tmp_path / "tokens"]


def look(watched: Watched) -> list[str]:
    """Look through a process at each of its stages, and return these."""
    seen = []
    for name in watched.stages():
        traces = watched.traces()
        strays = [trace for trace in traces if not trace.is_kept]
        assert not strays, f"{name}: {strays}"
        assert bool(traces) == (name != "freed"), f"{name}: {traces}"
        seen.append(name)
    assert seen[-1] == "freed"
    return seen


WAYS_IN = {
    "preadv": "made = keys(); stage('there')",
    "small and large pieces": """
        made = secrets.alloc_many([8] * 200 + [1500] + [8] * 112)
        with open(sys.argv[1], "rb", 0) as file:
            assert made.readv(file) == 3996
        stage("there")
    """,
    "read_files": """
        made = secrets.read_files(sys.argv[1:3] * 50).check()
        assert made.nbytes == 50 * 4800
        stage("there")
    """,
    "read_ranges": """
        with open(sys.argv[1], "rb", 0) as file:
            made = secrets.read_ranges(file, range(0, 4000, 80), [40] * 50).check()
        assert made.nbytes == 2000
        stage("there")
    """,
    "fill_from itself": """
        made = secrets.alloc_many([4000])
        with open(sys.argv[1], "rb", 0) as file:
            made.readv(file)
        made.fill_from(made[0])
        stage("there")
    """,
    "strides": """
        made = keys()
        joined = made.join()
        half = memoryview(joined)[::2]
        assert secrets.copy(half).nbytes == 2000
        other = secrets.alloc(4000)
        other[:2000] = half
        other[::2] = joined[:2000]
        other[1::2] = half
        other[2000:] = half
        assert not other == memoryview(joined)[::-1]
        other.find(half), other.count(half), half in other
        made[:50].fill_from(half)
        del half
        stage("there")
    """,
    "deepcopy": "import copy; made = copy.deepcopy([keys(), keys(8)]); stage('there')",
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_bytes_on_the_way_in_leave_no_trace(way, files, watch):
    look(watch(textwrap.dedent(WAYS_IN[way]) + "\ndel keep; made = joined = other = None; end()", *files))


def test_files_that_announce_no_size_leave_no_trace(files, watch):
    environment = {"SECRET": (MARK + b"00").decode() * 2000}
    with subprocess.Popen(["/bin/sleep", "1000"], env=environment) as sleeper:
        try:
            code = """
                read = secrets.read_files([sys.argv[3]] * 100)
                assert len(read.unannounced) == 100 and read.blocks.nbytes > 1_600_000, read
                stage("there")
                del read
                end()
            """
            look(watch(code, *files, f"/proc/{sleeper.pid}/environ"))
        finally:
            sleeper.kill()


STREAMS = {
    "readv": "assert made.readv(stream) == 4000",
    "recvmsg_into": "assert made.recvmsg_into(socket.socket(fileno=os.dup(stream))) == 4000",
    "aio": """
        import asyncio
        from memgroup import aio
        os.set_blocking(stream, False)
        assert asyncio.run(aio.readv(made, stream).complete()) == 4000
    """,
    "frames": """
        messages = list(secrets.frames(stream))
        assert [len(message) for message in messages] == [40] * 100
        del messages
    """,
}


@pytest.mark.parametrize("way", STREAMS)
def test_streams_leave_no_trace_while_they_wait_nor_afterwards(way, files, watch):
    ours, theirs = socket.socketpair()
    sent = KEYS
    if way == "frames":
        sent = b"".join(b"\0\0\0\x28" + KEYS[at : at + 40] for at in range(0, 4000, 40))
    half = len(sent) * 19 // 20
    code = f"""
        stream = int(sys.argv[3])
        made = secrets.alloc_many(count=100, size=40)
        def receive():
            {textwrap.indent(textwrap.dedent(STREAMS[way]), " " * 12).strip()}
        receiving = threading.Thread(target=receive)
        receiving.start()
        stage("waiting")
        receiving.join()
        stage("there")
        del made, receiving
        end()
    """
    with ours, theirs:
        theirs.sendall(sent[:half])
        watched = watch(code, *files, ours.fileno(), inherit=(ours.fileno(),))
        for name in watched.stages():
            if name == "waiting":
                # Until it has taken all that there is so far, and waits for the rest.
                while is_readable(ours):
                    time.sleep(0.01)
            traces = watched.traces()
            assert not [trace for trace in traces if not trace.is_kept], name
            assert bool(traces) == (name != "freed"), name
            if name == "waiting":
                theirs.sendall(sent[half:])
                theirs.shutdown(socket.SHUT_WR)


def is_readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


WAYS_OUT = {
    "writev": "assert made.writev(sink) == 4000 and tokens.writev(sink) == 800",
    "pwritev": "assert made.pwritev(sink, 0) == 4000 and tokens.pwritev(sink, 0) == 800",
    "search": "made.count(made[7]), made.index(made[9]), made == keys(), made[3] < made[4]",
    "repr": "repr(made), repr(made[0]), repr(secrets)",
    "join": "made.join(), tokens.join()",
    "pickle out of band": """
        kept = []
        for one in (made, tokens, made[::3]):
            pickle.dumps(one, 5, buffer_callback=kept.append)
    """,
    "numpy": """
        np = __import__("numpy")
        kept = [np.frombuffer(made[0], "u1"), np.from_dlpack(made[2])]
        kept.append(secrets.array(kept[0]))
        secrets.zeros(40, "u1")[:] = kept[1]
    """,
    "Arrow": """
        pa = __import__("pyarrow")
        kept = [pa.array(one) for one in (made, tokens, tokens[::2], made[::2], made[0])]
        for kind in ("string_view", "string", "large_binary"):
            kept += [pa.array(one.as_arrow(kind)) for one in (made, tokens)]
        for one in kept:
            one.validate(full=True)
    """,
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_bytes_on_the_way_out_leave_no_trace(way, files, watch):
    if way in ("numpy", "Arrow"):
        pytest.importorskip({"numpy": "numpy", "Arrow": "pyarrow"}[way])
    code = f"""
        made, tokens, kept = keys(), keys(8), None
        sink = os.open("/dev/null", os.O_WRONLY)
        {textwrap.indent(textwrap.dedent(WAYS_OUT[way]), " " * 8).strip()}
        stage("done")
        kept = one = None
        gc.collect()
        stage("let go")
        made = tokens = None
        end()
    """
    look(watch(code, *files))


def test_a_writer_that_waits_leaves_no_trace(files, watch):
    read, write = os.pipe()
    code = """
        made = secrets.alloc_many(count=4000, size=40)
        for number in range(40):
            with open(sys.argv[1], "rb", 0) as file:
                made[100 * number:100 * (number + 1)].readv(file)
        writing = threading.Thread(target=made.writev, args=(int(sys.argv[3]),))
        writing.start()
        stage("waiting")
        writing.join()
        stage("written")
        del made, writing
        end()
    """
    watched = watch(code, *files, write, inherit=(write,))
    os.close(write)
    reader = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(read, 1 << 16), b"")])
    for name in watched.stages():
        traces = watched.traces()
        assert not [trace for trace in traces if not trace.is_kept], name
        assert bool(traces) == (name != "freed"), name
        if name == "waiting":
            reader.start()
    reader.join()
    os.close(read)


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_core_dumps_have_no_secret_while_it_waits_or_shows_nor_afterwards(backing, files, watch, tmp_path):
    if not shutil.which("gcore"):
        pytest.skip("needs gcore")
    ours, theirs = socket.socketpair()
    code = """
        secrets = MemGroup(secret=True, backing=sys.argv[3])
        made, tokens = keys(), keys(8)
        more = secrets.alloc_many(count=100, size=40)
        receiving = threading.Thread(target=more.readv, args=(int(sys.argv[4]),))
        receiving.start()
        try:
            pa = __import__("pyarrow") if sys.argv[3] == "memfd" else None
        except ImportError:
            pa = None
        kept = [pa.array(made), pa.array(tokens)] if pa else None
        stage("shown")
        kept = None
        receiving.join()
        del receiving, made, tokens, more
        end()
    """
    with ours, theirs:
        theirs.sendall(KEYS[:3000])
        watched = watch(code, *files, backing, ours.fileno(), inherit=(ours.fileno(),))
        for name in watched.stages():
            core = watched.dump(tmp_path)
            if core is None:
                pytest.skip("gcore may not look")
            assert MARK not in core, name
            theirs.sendall(KEYS[3000:]) if name == "shown" else None


def test_a_forked_child_finds_no_trace_of_what_was_on_its_way(files, watch):
    pytest.importorskip("pyarrow")
    code = """
        import pyarrow as pa
        tokens = keys(8)
        shown = pa.array(tokens)
        child = os.fork()
        if child == 0:
            views = shown.buffers()[1]
            os._exit(0 if not any(ctypes.string_at(views.address, views.size)) else 1)
        assert os.waitpid(child, 0)[1] == 0
        stage("there")
        del shown, tokens
        end()
    """
    look(watch(code, *files))
