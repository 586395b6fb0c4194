"""The error for a wrong argument has its name, the passed value, and a remedy that exists."""

from __future__ import annotations

from typing import Any

import memgroup
import pytest

# Calls that a type checker would refuse are what this is about.
module: Any = memgroup
MemGroup: Any = memgroup.MemGroup

# For each call: the exception, and words that its message must have.
GROUPS = {
    "base a str": (lambda: MemGroup("x"), TypeError, ("base", "integer", "str")),
    "base 0": (lambda: MemGroup(base=0), ValueError, ("base", "not 0")),
    "base negative": (lambda: MemGroup(base=-1), ValueError, ("base", "not -1")),
    "limit a str": (lambda: MemGroup(limit="x"), TypeError, ("limit", "str")),
    "limit negative": (lambda: MemGroup(limit=-1), ValueError, ("limit", "not -1")),
    "backing a number": (lambda: MemGroup(backing=5), TypeError, ("backing", "memfd", "int")),
    "name bytes": (lambda: MemGroup(name=b"x"), TypeError, ("name", "str", "bytes b'x'")),
    "name a number": (lambda: MemGroup(name=5), TypeError, ("name", "str", "int 5")),
    "name with NUL": (lambda: MemGroup(name="a\0b"), ValueError, ("name", "NUL")),
    "secret a str": (lambda: MemGroup(secret="yes"), TypeError, ("secret", "True or False", "str 'yes'")),
    "secret a number": (lambda: MemGroup(secret=1), TypeError, ("secret", "True or False", "int 1")),
    "a block": (module.MemBlock, TypeError, ("group.alloc(n)", "group.copy(data)")),
    "a block of something": (lambda: module.MemBlock(b"x", n=1), TypeError, ("group.alloc(n)",)),
    "a list": (module.MemList, TypeError, ("MemList", "group.alloc_many(sizes)")),
    "a list of something": (lambda: module.MemList([1], n=1), TypeError, ("group.alloc_many(sizes)",)),
    "a reader": (module.FrameReader, TypeError, ("FrameReader", "group.frames(source)")),
    "a result": (module.ReadResult, TypeError, ("group.read_files(paths)", "group.read_ranges(")),
    "warm limit": (lambda: module.set_warm_limit(-1), ValueError, ("warm limit", "not -1")),
}

CALLS = {
    "alloc a str": (lambda g: g.alloc("x"), TypeError, ("size", "str")),
    "alloc negative": (lambda g: g.alloc(-1), ValueError, ("size", "not -1")),
    "alloc without a size": (lambda g: g.alloc(), TypeError, ("'n'",)),
    "alloc zero=1": (lambda g: g.alloc(1, zero=1), TypeError, ("zero", "True or False", "int 1")),
    "alloc zero=None": (lambda g: g.alloc(1, zero=None), TypeError, ("zero", "True or False", "NoneType")),
    "alloc align=3": (lambda g: g.alloc(1, align=3), ValueError, ("align", "power of two", "not 3")),
    "alloc with an unknown name": (lambda g: g.alloc(1, foo=2), TypeError, ("'foo'",)),
    "copy a str": (lambda g: g.copy("x"), TypeError, ("bytes-like", "str", "encode")),
    "sizes bytes": (lambda g: g.alloc_many(b"ab"), TypeError, ("sizes", "not bytes", "copy_many(items)")),
    "sizes a bytearray": (lambda g: g.alloc_many(bytearray(2)), TypeError, ("sizes", "not bytearray")),
    "sizes a number": (lambda g: g.alloc_many(5), TypeError, ("sizes", "not int", "[size] * count")),
    "sizes of a str": (lambda g: g.alloc_many([1, "x"]), TypeError, ("sizes[1]", "str")),
    "sizes of bytes": (lambda g: g.alloc_many([b"ab"]), TypeError, ("sizes[0]", "bytes")),
    "sizes negative": (lambda g: g.alloc_many([1, -1]), ValueError, ("sizes[1]", "-1")),
    "count negative": (lambda g: g.alloc_many(count=-1, size=1), ValueError, ("count", "not -1")),
    "count alone": (lambda g: g.alloc_many(count=1), TypeError, ("count=", "size=")),
    "alloc_many zero=1": (lambda g: g.alloc_many([1], zero=1), TypeError, ("zero", "int 1")),
    "free a str": (lambda g: g.free("yes"), TypeError, ("force", "True or False", "str 'yes'")),
    "free a number": (lambda g: g.free(force=1), TypeError, ("force", "True or False", "int 1")),
    "frames counts_prefix=1": (lambda g: g.frames(0, counts_prefix=1), TypeError, ("counts_prefix", "int 1")),
    "frames prefix=9": (lambda g: g.frames(0, prefix=9), ValueError, ("prefix", "not 9")),
    "frames byteorder": (lambda g: g.frames(0, byteorder="x"), ValueError, ("byteorder", "'x'")),
    "frames read_ahead": (lambda g: g.frames(0, read_ahead=-1), ValueError, ("read_ahead", "not -1")),
    "read_ranges one size": (
        lambda g: g.read_ranges(__file__, [0, 10], 10),
        TypeError,
        ("sizes", "not int", "[size] * count"),
    ),
    "read_ranges one offset": (lambda g: g.read_ranges(__file__, 0, [10]), TypeError, ("offsets", "int")),
    "read_ranges too few": (
        lambda g: g.read_ranges(__file__, [0, 1], [1]),
        ValueError,
        ("2 offsets", "1 sizes"),
    ),
    "read_files a number": (
        lambda g: g.read_files([b"/", 5]),
        TypeError,
        ("paths[1]", "os.PathLike", "int 5"),
    ),
    "read_files NUL": (lambda g: g.read_files(["/", "a\0b"]), ValueError, ("paths[1]", "NUL", r"'a\x00b'")),
    "read_files NUL in bytes": (lambda g: g.read_files([b"a\0b"]), ValueError, ("paths[0]", "NUL")),
    "read_files progress=5": (
        lambda g: g.read_files([], progress=5),
        TypeError,
        ("progress", "function", "int 5"),
    ),
    "read_ranges progress=5": (
        lambda g: g.read_ranges(__file__, [], [], progress=5),
        TypeError,
        ("progress", "function", "int 5"),
    ),
    "read_ranges of a list": (lambda g: g.read_ranges([], [], []), TypeError, ("file", "path", "list []")),
    "read_ranges NUL": (lambda g: g.read_ranges("a\0b", [], []), ValueError, ("file", "NUL")),
    "read_files a str": (lambda g: g.read_files("abc"), TypeError, ("paths", "str", "[path]")),
    "protect bytes": (lambda g: g.protect(b"x"), TypeError, ("protect()", "MemBlock", "bytes")),
    "find a number too large": (lambda g: g.copy(b"x").find(300), ValueError, ("byte", "300")),
    "find from a str": (lambda g: g.copy(b"x").find(b"x", "y"), TypeError, ("start", "str")),
    "too long a slice": (lambda g: g.alloc(9).__setitem__(slice(0, 2), b"abc"), ValueError, ("3 bytes", "2")),
    "fill too little": (lambda g: g.alloc_many([6]).fill_from(b"x"), ValueError, ("6 bytes", "from 1")),
    "preadv negative": (lambda g: g.alloc_many([6]).preadv(0, -1), ValueError, ("offset", "not -1")),
}


@pytest.mark.parametrize(("call", "error", "words"), GROUPS.values(), ids=GROUPS)
def test_arguments_that_make_no_group_are_explained(call, error, words):
    with pytest.raises(error) as raised:
        call()
    assert [word for word in words if word not in str(raised.value)] == []


@pytest.mark.parametrize(("call", "error", "words"), CALLS.values(), ids=CALLS)
def test_an_error_names_the_wrong_argument_and_a_remedy(group, call, error, words):
    with pytest.raises(error) as raised:
        call(group)
    assert [word for word in words if word not in str(raised.value)] == []
    assert group.alloc(1).nbytes == 1  # the group is unchanged


def test_no_error_gives_useless_advice():
    with pytest.raises(MemoryError, match="split the request, or make the group with a larger base"):
        MemGroup(base=4096).alloc(1 << 60)
    for group in (MemGroup(), MemGroup(base=1 << 46)):
        with pytest.raises(MemoryError, match="split the request") as raised:
            group.alloc(1 << 60)
        assert "larger base" not in str(raised.value)
    with pytest.raises(TypeError) as refused:
        MemGroup().read_ranges(__file__, [0, 10], 10)
    assert "count=" not in str(refused.value)


def test_a_number_of_bytes_in_a_memoryview_is_still_a_size(group):
    assert list(map(len, group.alloc_many(memoryview(b"ab")))) == [97, 98]
