"""`memgroup gather --find` prints what GNU grep prints."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gathering import COMMAND, ENOUGH, after

pytestmark = pytest.mark.skipif(not shutil.which("grep"), reason="there is no grep")

KIB = 1024
BLOCK = 96 * KIB  # what grep reads at once, and looks for zero bytes in
LEAST = 256 * KIB  # the least --memory
LOCALES = ["C", "C.UTF-8"]

Result = tuple[int, bytes, list[bytes]]


def run(command: list, *arguments, cwd: Path, locale: str = "C", **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "LC_ALL": locale},
        timeout=ENOUGH,
        check=False,
        **options,
    )


def searched(*arguments, **options) -> Result:
    done = run(COMMAND, *arguments, **options)
    return done.returncode, done.stdout, errors(done.stderr, b"memgroup: ")


def grepped(*arguments, **options) -> Result:
    done = run(["grep", "-r"], *arguments, **options)
    return done.returncode, done.stdout, errors(done.stderr, b"grep: ")


def errors(text: bytes, program: bytes) -> list[bytes]:
    return sorted(line.removeprefix(program) for line in text.split(b"\n") if line)


def in_order(result: Result) -> Result:
    """The same in an order that does not depend on the directories'."""
    status, output, messages = result
    return status, b"\n".join(sorted(output.split(b"\n"))), messages


# What is asked of both, in the words of each.
QUESTIONS = [
    ((), ("-n",)),
    (("--no-line-number",), ()),
    (("-c",), ("-c",)),
    (("-l",), ("-l",)),
    (("-q",), ("-q",)),
    (("-a",), ("-na",)),
    (("-i",), ("-ni",)),
    (("--color=always",), ("-n", "--color=always")),
    (("-c", "--color=always"), ("-c", "--color=always")),
    (("-l", "--color=always"), ("-l", "--color=always")),
]


def agree(where: Path, *texts: str | bytes, paths: tuple = (".",), locales: list[str] = LOCALES) -> None:
    for locale in locales:
        for ours, theirs in QUESTIONS:
            found = searched(
                *ours,
                *(f for t in texts for f in (b"--find=" + os.fsencode(t),)),
                *paths,
                cwd=where,
                locale=locale,
            )
            expected = grepped(
                "-F", *theirs, *(f for t in texts for f in ("-e", t)), *paths, cwd=where, locale=locale
            )
            assert in_order(found) == in_order(expected), (locale, ours)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_lines_of_all_kinds(place):
    files = {
        b"plain": b"one\nhello\ntwo hello hello\nend",
        b"no-feed": b"x\nsay hello",
        b"crlf": b"a\r\nhello\r\nb\r\n",
        b"empty": b"",
        b"feeds": b"\n\n\n",
        b"zero": b"a\0hello\nhello\n",
        b"late-zero": b"hello\nx\n" + b"y" * 50 + b"\0",
        b"latin": b"caf\xe9 hello\nhello\n",
        b"utf8": "größe hello\nHELLO\n".encode(),
        b"new\nline": b"hello\n",
        b"inv\xffalid": b"hello\n",
        b"none": b"nothing\n",
    }
    for name, content in files.items():
        directory = os.path.join(os.fsencode(place), b"d" + name)
        os.mkdir(directory)
        Path(os.fsdecode(os.path.join(directory, name))).write_bytes(content)
    agree(place, "hello")
    agree(place, "")
    agree(place, "hello", "two", "HELLO")
    agree(place, "one\nend")
    agree(place, b"\xe9")
    agree(place, "nowhere to be found")
    agree(place, "hello", paths=("dplain", "dzero/", "dcrlf//", "./dempty", "dplain/plain"))
    agree(place, "hello", paths=("dplain/plain",))
    agree(place, "hello", paths=("dzero/zero",))
    agree(place, "hello", paths=())


def test_special_files_and_symlinks(place):
    place.joinpath("real").mkdir()
    place.joinpath("real/file").write_text("hello\n")
    place.joinpath("link").symlink_to("real")
    place.joinpath("linked").symlink_to("real/file")
    place.joinpath("dangling").symlink_to("nowhere")
    os.mkfifo(place / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place / "socket"))
        agree(place, "hello")
        agree(place, "hello", paths=("link", "linked", "real"))
        agree(place, "hello", paths=("dangling", "real", "nowhere", "real/file/below", "/dev/null"))


def test_what_is_binary_depends_on_the_block_of_the_first_zero(place):
    for at in (BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 3 * BLOCK):
        content = bytearray(b"hello\n" + (b"x" * 99 + b"\n") * 3000)
        content[at] = 0
        content[at + 100 : at + 100] = b"\nhello\n"
        place.joinpath(f"at{at}").write_bytes(content)
    with place.joinpath("hole").open("wb") as file:
        file.write(b"hello\n" + b"y\n" * BLOCK)
        file.seek(1 << 20)
        file.write(b"hello\n")
    agree(place, "hello")


@pytest.mark.parametrize("size", [0, 1, LEAST - 1, LEAST, LEAST + 1, 3 * LEAST])
def test_files_as_large_as_the_memory_and_larger(place, size):
    needle = b"needle"
    for name, line in {
        "short": b"some line or other\n",
        "long": b"x" * 70_001 + b"\n",
        "one": b"y" * size,
    }.items():
        content = bytearray(line * (size // len(line) + 1))[:size] if line else bytearray()
        for seam in (0, BLOCK, BLOCK + BLOCK // 3, LEAST // 2, LEAST, size):
            at = min(max(seam - 3, 0), size)
            content[at : at + len(needle)] = needle
        place.joinpath(name).write_bytes(content)
    for locale in LOCALES:
        for ours, theirs in QUESTIONS[:6]:
            found = searched(*ours, "--find=needle", "--memory=256K", ".", cwd=place, locale=locale)
            assert in_order(found) == in_order(
                grepped("-F", *theirs, "needle", ".", cwd=place, locale=locale)
            )


def test_a_line_longer_than_the_memory_that_is_no_utf8_or_cannot_be_searched(place):
    for name, end in (("whole", "ö".encode()), ("cut", b"\xc3"), ("wrong", b"\xff\xff")):
        place.joinpath(name).write_bytes(
            b"first needle\n" + "ö".encode() * LEAST + b"needle" + end + b"\nneedle\n"
        )
    ours = ("--find=needle", "--memory=256K", ".")
    for locale in LOCALES:
        found = searched(*ours, cwd=place, locale=locale)
        assert in_order(found) == in_order(grepped("-n", "needle", ".", cwd=place, locale=locale))
    status, output, messages = searched("--regex", *ours, cwd=place)
    assert (status, output.count(b"\n")) == (2, 3)
    assert all(b"does not fit: raise --memory" in message for message in messages)


@pytest.mark.parametrize("texts", [("", "a"), ("a", "ab"), ("ab", "", "a", "abä")])
def test_the_longest_of_several_texts_is_coloured(place, texts):
    place.joinpath("f").write_bytes("a\nb\nabä\nbab\nAB\n".encode())
    for flags in ((), ("-i",)):
        found = searched("--color=always", *flags, *(f"--find={text}" for text in texts), ".", cwd=place)
        words = (f for text in texts for f in ("-e", text))
        assert found == grepped("-F", "-n", "--color=always", *flags, *words, ".", cwd=place)


@settings(max_examples=25)
@given(
    files=st.lists(
        st.lists(
            st.sampled_from([b"a", b"b", b"ab", b"\n", b"\r\n", b"\0", b"\xff", "ä".encode(), b"A" * 40_000]),
            max_size=12,
        ),
        max_size=4,
    ),
    texts=st.lists(st.sampled_from(["a", "b", "ab", "aa", "ä", "", "ba"]), min_size=1, max_size=2),
    question=st.sampled_from(QUESTIONS),
    locale=st.sampled_from(LOCALES),
)
def test_random_trees(files, texts, question, locale):
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for number, parts in enumerate(files):
            place.joinpath(f"d{number % 2}").mkdir(exist_ok=True)
            place.joinpath(f"d{number % 2}", f"f{number}").write_bytes(b"".join(parts))
        ours, theirs = question
        found = searched(*ours, *(f"--find={text}" for text in texts), ".", cwd=place, locale=locale)
        expected = grepped(
            "-F", *theirs, *(f for t in texts for f in ("-e", t)), ".", cwd=place, locale=locale
        )
        assert in_order(found) == in_order(expected)


@pytest.mark.parametrize(
    "expression", ["^hello$", "h.l+o", "[^h]ello", "hello|two", r"\bhell", "x*", "(a|b)$", "é"]
)
def test_regular_expressions_that_both_know(place, expression):
    place.joinpath("d").mkdir()
    place.joinpath("d/f").write_bytes(b"hello\n hello\nhallo\r\nJello two\n\nhelloa\nb" + "\né".encode())
    for locale in LOCALES:
        for ours, theirs in QUESTIONS[:7]:
            found = searched(*ours, "--regex", f"--find={expression}", ".", cwd=place, locale=locale)
            assert found == grepped("-E", *theirs, expression, ".", cwd=place, locale=locale)


def test_files_are_in_the_order_of_their_names_for_any_number_of_threads(place):
    for number in range(200):
        place.joinpath(f"{number % 7}").mkdir(exist_ok=True)
        place.joinpath(f"{number % 7}", f"{number:03}").write_bytes(b"hello\n" * (number * number % 5000))
    _, one, _ = searched("--find=hello", "--threads=1", ".", cwd=place)
    names = [line.split(b":")[0] for line in one.splitlines()]
    assert names == sorted(names)
    assert one.count(b"\n") == sum(n * n % 5000 for n in range(200))
    for threads in (2, 3, 7):
        assert searched("--find=hello", f"--threads={threads}", ".", cwd=place) == (0, one, [])


def test_json(place):
    place.joinpath("d").mkdir()
    Path(os.fsdecode(os.fsencode(place) + b"/d/caf\xe9")).write_bytes(
        b'one\n"two"\tthree two\x01\n\xff two\n'
    )
    place.joinpath("d/zero").write_bytes(b"\0two\n")

    def objects(*arguments) -> list[dict]:
        return list(
            map(json.loads, searched("--json", "--find=two", *arguments, ".", cwd=place)[1].splitlines())
        )

    path = {"path": "./d/caf\ufffd", "path_base64": base64.b64encode(b"./d/caf\xe9").decode()}
    assert objects() == [
        {**path, "line": 2, "offset": 4, "text": '"two"\tthree two\x01', "matches": [[1, 4], [12, 15]]},
        {
            **path,
            "line": 3,
            "offset": 21,
            "text": "\ufffd two",
            "text_base64": base64.b64encode(b"\xff two").decode(),
            "matches": [[2, 5]],
        },
        {"path": "./d/zero", "offset": 1, "binary": True},
    ]
    assert objects("-c") == [{**path, "count": 2}, {"path": "./d/zero", "count": 1}]
    assert objects("-l") == [path, {"path": "./d/zero"}]


def test_what_gitignore_names_is_skipped_if_asked_for(place):
    files = [
        "a.txt",
        "a.log",
        "keep.log",
        "build/x",
        "sub/build/y",
        "sub/deep/z.tmp",
        "sub/deep/z",
        ".git/config",
        "out/q",
    ]
    for name in files:
        place.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        place.joinpath(name).write_text("hello\n")
    place.joinpath(".gitignore").write_text("*.log\n!keep.log\n/build/\nout\n")
    place.joinpath("sub/.gitignore").write_text("*.tmp\n")
    all_of_them = searched("-l", "--find=hello", ".", cwd=place)[1].split()
    assert len(all_of_them) == len(files)
    expected = [b"a.txt", b"keep.log", b"sub/build/y", b"sub/deep/z"]
    assert searched("-l", "--ignore", "--find=hello", cwd=place)[1].split() == expected
    below = searched("-l", "--ignore", "--find=hello", "deep", cwd=place / "sub")[1].split()
    assert below == [b"deep/z"]


def test_standard_input(place):
    done = run(COMMAND, "--find=two", "-", cwd=place, input=b"one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, b"2:two\n")
    place.joinpath("a").write_bytes(b"one\ntwo\n" * 50_000 + b"three\n")
    with place.joinpath("a").open("rb") as file:
        file.seek(4)
        done = run(COMMAND, "--find=three", "-", cwd=place, stdin=file)
    assert (done.returncode, done.stdout) == (0, b"100000:three\n")
    done = run(COMMAND, "--find=two", "-", "/dev/null", cwd=place, input=b"one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, b"(standard input):2:two\n")


def test_what_is_written_to_is_not_searched(place):
    place.joinpath("a").write_text("hello\n")
    with place.joinpath("out").open("wb") as out:
        done = subprocess.run(
            [*COMMAND, "--find=hello", "."],
            cwd=place,
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            timeout=ENOUGH,
        )
    assert (done.returncode, done.stderr) == (2, b"memgroup: ./out: input file is also the output\n")
    assert place.joinpath("out").read_text() == "./a:1:hello\n"


def test_files_that_end_or_vanish_cost_no_others(place):
    place.joinpath("a").write_text("hello\n")
    found = searched("--find=hello", "a", "gone", "b", cwd=place)
    assert found == (2, b"a:1:hello\n", [b"b: No such file or directory", b"gone: No such file or directory"])
    # Reading this one fails, as of a disk that is broken.
    status, output, messages = searched("--find=hello", "/proc/self/mem", "a", cwd=place)
    assert (status, output, messages) == (2, b"a:1:hello\n", [b"/proc/self/mem: Input/output error"])
    # It announces no size.
    assert searched("-l", "--find=processor", "/proc/cpuinfo", cwd=place) == (0, b"/proc/cpuinfo\n", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the privileges of root away")
def test_permissions(place):
    place.chmod(0o755)
    for name in ("open", "closed", "directory/inside"):
        place.joinpath(name).parent.mkdir(exist_ok=True)
        place.joinpath(name).write_text("hello\n")
    place.joinpath("closed").chmod(0)
    place.joinpath("directory").chmod(0)
    # Whoever is not root need not be able to import anything.
    code = """
import gettext, locale, shutil
import memgroup.cli.command, memgroup.cli.gather.command, memgroup.cli.gather.search
os.setgroups([]), os.setgid(65534), os.setuid(65534)
"""
    done = run(after(code), "--find=hello", ".", cwd=place)
    expected = [b"./closed: Permission denied", b"./directory: Permission denied"]
    assert (done.returncode, done.stdout) == (2, b"./open:1:hello\n")
    assert errors(done.stderr, b"memgroup: ") == expected


def test_exit_statuses(place):
    place.joinpath("a").write_text("hello\n")
    statuses = {
        ("--find=hello", "a"): 0,
        ("--find=none", "a"): 1,
        ("--find=hello", "a", "gone"): 2,
        ("--find=none", "a", "gone"): 2,
        ("-q", "--find=hello", "gone", "a"): 0,
        ("-q", "--find=none", "gone", "a"): 2,
        ("--regex", "--find=(", "a"): 2,
        ("--find=hello", "--memory=1K", "a"): 2,
        ("--find=hello", "--threads=0", "a"): 2,
    }
    assert {question: searched(*question, cwd=place)[0] for question in statuses} == statuses


def test_a_reader_that_leaves_ends_it_quietly(place):
    place.joinpath("a").write_bytes(b"hello\n" * 1_000_000)
    with subprocess.Popen(
        [*COMMAND, "--find=hello", "a"], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"1:hello\n"
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == b""
        assert child.wait(ENOUGH) == 128 + signal.SIGPIPE


def test_an_output_that_is_full(place):
    place.joinpath("a").write_text("hello\n")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "--find=hello", "a"],
            cwd=place,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=ENOUGH,
        )
    assert (done.returncode, done.stderr) == (
        2,
        b"memgroup: cannot write the output: No space left on device\n",
    )


def test_ctrl_c_ends_it_at_once_though_it_waits(place):
    command = after("", "--find=x", "-")
    reading, writing = os.pipe()
    with subprocess.Popen(
        command, cwd=place, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        os.close(reading)
        # The pipe is full for as long as nobody reads: so the search has begun when it is empty again.
        os.write(writing, b"y" * 65536)
        os.write(writing, b"y")
        child.send_signal(signal.SIGINT)
        assert child.wait(ENOUGH) == -signal.SIGINT
    os.close(writing)


def test_paths_of_any_length_and_depth(place):
    here = os.open(place, os.O_RDONLY)
    for depth in range(120):
        name = f"{depth:03}" + "d" * 97
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        for file in ("0", "z"):
            with open(os.open(file, os.O_WRONLY | os.O_CREAT, dir_fd=here), "w") as opened:
                opened.write(f"hello {depth}\n")
    os.close(here)
    _, output, messages = searched("--no-line-number", "--find=hello", ".", cwd=place)
    assert messages == []
    numbers = [line.rpartition(b"hello ")[2] for line in output.splitlines()]
    assert numbers == [b"%d" % n for n in [*range(120), *reversed(range(120))]]


def test_the_figures_of_a_search(place):
    place.joinpath("a").write_text("hello\nhello\n")
    place.joinpath("b").write_text("none\n")
    done = run(COMMAND, "--stats", "--find=hello", "-c", cwd=place)
    assert (done.returncode, done.stdout) == (0, b"a:2\nb:0\n")
    assert done.stderr.startswith(b"Searched 2 files, 17 B\nFound 2 lines in 1 file\n\nSteps\n")
    assert b"\n  search  " in done.stderr


def test_nothing_heavy_is_imported(place):
    place.joinpath("a").write_text("hello\n")
    heavy = {"rich", "numpy", "pyarrow", "dataclasses", "json", "inspect"}
    code = f"import atexit; atexit.register(lambda: print(*{heavy} & set(sys.modules)))"
    done = run(after(code), "--find=hello", "a", cwd=place)
    assert done.stdout == b"1:hello\n\n"
