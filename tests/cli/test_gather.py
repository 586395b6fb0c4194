"""`memgroup gather`: finding, reading, reporting, and freeing everything.

Tests of exit status, signals, terminals and pipes run in a child process. Where the moment
matters, the child runs code first that replaces a function of `os`; so no test depends on how fast it is.
"""

import inspect
import json
import os
import re
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup
from memgroup._files import read_batch
from memgroup.cli.gather.inspect import Largest, measure
from memgroup.cli.gather.job import Job, Outcome, gather
from memgroup.cli.gather.json import as_json
from memgroup.cli.gather.report import complaints, report
from memgroup.cli.gather.shortage import Shortage, remedy, show_reason
from memgroup.display.report import Bar
from memgroup.display.text import read_size, show_rate, show_seconds, show_size, show_text
from support.gathering import Found, contents


def read_shown(shown: str) -> bytes:
    """The bytes that are shown so."""
    special = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\"}
    escape = rb"\\(x[0-9a-f]{2}|.)"
    return re.sub(
        escape, lambda found: special.get(found[1]) or bytes.fromhex(found[1][1:].decode()), shown.encode()
    )


def unwatched(step, done, total) -> None:
    pass


def job(*paths: Path | str, memory: int = 2**28) -> Job:
    return Job(tuple(map(str, paths)), 10, memory)


def gather_here(*paths: Path | str, memory: int = 2**28, **options) -> Outcome:
    return gather(job(*paths, memory=memory), MemGroup(**options), unwatched)


class TestText:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("0", 0),
            ("4096", 4096),
            ("64K", 65536),
            ("64k", 65536),
            ("64KiB", 65536),
            ("64KB", 64000),
            ("1.5M", 1536 * 1024),
            ("2GiB", 2**31),
            ("7 B", 7),
            (" 3T ", 3 * 2**40),
            ("1E", 2**60),
        ],
    )
    def test_sizes_are_read(self, text, size):
        assert read_size(text) == size

    @pytest.mark.parametrize(
        "text", ["", "K", "-1", "1.3", "1.0001K", "12X", "1KK", "1e3", "0x10", "1_000", "∞"]
    )
    def test_invalid_sizes_are_refused(self, text):
        with pytest.raises(ValueError, match=r"not a (size|whole number)"):
            read_size(text)

    def test_short_escapes_are_shown_short(self):
        assert show_text("hi\n\r\t\\\x1b") == r"hi\n\r\t\\\x1b"

    @given(st.binary(min_size=1))
    def test_shown_text_can_be_parsed_again(self, raw):
        shown = show_text(raw.decode("utf-8", "surrogateescape"))
        assert shown.isprintable()
        assert read_shown(shown) == raw

    @pytest.mark.parametrize(
        ("shown", "text"),
        [
            (show_size(0), "0 B"),
            (show_size(1023), "1023 B"),
            (show_size(1024), "1 KiB"),
            (show_size(2**20 - 1), "1.00 MiB"),
            (show_size(31.234 * 2**20), "31.2 MiB"),
            (show_size(2**70), "1024 EiB"),
            (show_seconds(0.0123), "12.3 ms"),
            (show_seconds(0.9999999), "1.00 s"),
            (show_seconds(75), "75 s"),
            (show_rate(28_800), "28.8 k/s"),
        ],
    )
    def test_numbers_are_shown_with_three_digits(self, shown, text):
        assert shown == text


class TestFind:
    def test_every_regular_file_is_found_in_order(self, tree):
        found = Found(tree)
        assert sorted(found.paths) == sorted(contents(tree))
        assert found.paths == Found(tree).paths
        assert not found.unreadable
        assert not found.skipped

    def test_non_regular_files_are_skipped_and_counted(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "file").touch()
        (tmp_path / "directory").mkdir()
        (tmp_path / "to_file").symlink_to("file")
        (tmp_path / "to_directory").symlink_to("directory")
        (tmp_path / "to_nothing").symlink_to("nothing")
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(os.path.relpath(tmp_path / "socket"))
            found = Found(tmp_path, tmp_path / "socket")
        assert found.paths == [str(tmp_path / "file")]
        assert found.skipped == {"fifo": 1, "symlink": 3, "socket": 2}

    def test_symlinks_given_are_followed(self, tree, tmp_path):
        (tmp_path / "tree_link").symlink_to(tree)
        (tmp_path / "file_link").symlink_to(tree / "d0" / "target")
        (tree / "d0" / "target").write_bytes(b"x")
        assert len(Found(tmp_path / "tree_link").paths) == len(contents(tree))
        assert Found(tmp_path / "file_link").paths == [str(tmp_path / "file_link")]

    def test_a_symlink_cycle_ends(self, tmp_path):
        (tmp_path / "again").symlink_to(tmp_path)
        (tmp_path / "file").touch()
        assert Found(tmp_path / "again").paths == [str(tmp_path / "again" / "file")]

    def test_hard_links_are_two_files(self, tmp_path):
        (tmp_path / "one").touch()
        (tmp_path / "two").hardlink_to(tmp_path / "one")
        assert len(Found(tmp_path).paths) == 2

    def test_a_tree_deeper_than_the_stack_is_searched(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        deep = "/".join(["d"] * 500)
        os.makedirs(deep)
        Path(deep, "file").touch()
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(0)) + 100)
        try:
            found = Found(".")
        finally:
            sys.setrecursionlimit(usual)
        assert found.paths == [f"./{deep}/file"]


def interrupt(*_arguments) -> None:
    raise KeyboardInterrupt


class TestInspect:
    @given(st.lists(st.integers(0, 100_000)), st.integers(0, 12))
    def test_sizes_add_up(self, sizes, most):
        paths = [str(number) for number in range(len(sizes))]
        kept = Largest(most)
        for path, size in zip(paths, sizes, strict=True):
            kept.add(path, size)
        found = measure(sizes, kept)
        assert (found.files, found.nbytes) == (len(sizes), sum(sizes))
        assert sum(group.files for group in found.distribution) == len(sizes)
        assert sum(group.nbytes for group in found.distribution) == sum(sizes)
        assert all(group.low < group.high for group in found.distribution)
        largest = sorted(zip(sizes, map(int, paths), strict=True), key=lambda one: (-one[0], one[1]))
        assert [(one.nbytes, int(one.path)) for one in found.largest] == largest[:most]
        if sizes:
            assert sum(size < found.median for size in sizes) <= len(sizes) / 2
            assert sum(size > found.median for size in sizes) <= len(sizes) / 2
            assert sum(size > found.p90 for size in sizes) <= len(sizes) / 10
            assert min(sizes) <= found.median <= found.p90 <= max(sizes)

    @given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 50))
    def test_a_bar_fills_its_width(self, full, taken, width):
        cells = Bar(full, taken).cells(width)
        assert sum(cells) == width
        assert min(cells) >= 0
        assert (cells[0] > 0) == (full > 0)


class TestGather:
    def test_an_outcome_has_all_figures(self, tree):
        outcome = gather_here(tree)
        files = contents(tree)
        assert outcome.complete
        assert outcome.files == len(files) > outcome.stats.blocks
        assert outcome.nbytes == sum(map(len, files.values())) > outcome.stats.requested
        assert list(outcome.seconds) == ["read", "protect", "inspect", "free"]

    def test_the_group_is_freed(self, tree):
        group = MemGroup()
        gather(job(tree), group, unwatched)
        assert group.freed

    def test_the_group_is_freed_when_interrupted(self, tree, monkeypatch):
        group = MemGroup()
        monkeypatch.setattr("memgroup._files.read_batch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            gather(job(tree), group, unwatched)
        assert group.freed

    def test_the_work_can_be_watched(self, tree):
        steps = []

        def watch(step, done, total):
            steps.append((step, done, total))

        gather(job(tree), MemGroup(), watch)
        assert [(step, done(), total) for step, done, total in steps] == [("read", 200, None)]

    def test_a_file_deleted_after_it_was_found_is_reported(self, tree, monkeypatch):
        gone = sorted(contents(tree))[3]

        def delete_first(group, paths, follow):
            if gone in paths:
                os.unlink(gone)
            return read_batch(group, paths, follow)

        monkeypatch.setattr("memgroup._files.read_batch", delete_first)
        outcome = gather_here(tree)
        assert outcome.unreadable == ((gone, "No such file or directory"),)
        assert outcome.files == len(contents(tree))
        assert not outcome.complete

    def test_changed_files_are_counted(self, tree, monkeypatch):
        monkeypatch.setattr("memgroup._files.read_batch", Altered)
        outcome = gather_here(tree)
        assert outcome.changed == outcome.abandoned == len(contents(tree))

    def test_files_of_proc_are_read(self):
        outcome = gather_here("/proc/self/limits", "/proc/self/status")
        assert (outcome.files, outcome.unsized, outcome.changed) == (2, 2, 0)
        assert outcome.nbytes > 0

    def test_abandoned_bytes_are_counted_as_waste(self, tree, monkeypatch):
        monkeypatch.setattr("memgroup._files.read_batch", Altered)
        outcome = gather_here(tree)
        assert json.loads(as_json(outcome))["group"]["abandoned"] == 200
        waste = outcome.stats.committed - outcome.stats.allocated + 200
        text = str(report(outcome))
        assert f"{show_size(waste)} or " in text
        assert "200 B given up as files changed or failed" in text

    @pytest.mark.parametrize("memory", [2**15, 2**18])
    def test_batches_change_nothing(self, tree, memory):
        whole, outcome = gather_here(tree), gather_here(tree, memory=memory)
        assert outcome.batches > whole.batches
        assert (outcome.sizes, outcome.files) == (whole.sizes, 200)
        assert outcome.stats.requested <= memory
        short = gather_here(tree, limit=16 * 1024)
        assert short.shortage is not None
        assert short.shortage.left == 200 - short.files > 0

    def test_a_file_that_is_larger_than_the_memory_is_one_file(self, tmp_path):
        (tmp_path / "large").write_bytes(bytes(1_000_000))
        (tmp_path / "small").write_bytes(bytes(10))
        outcome = gather_here(tmp_path, memory=2**18)
        assert (outcome.files, outcome.nbytes, outcome.batches) == (2, 1_000_010, 5)
        assert [file.nbytes for file in outcome.sizes.largest] == [1_000_000, 10]

    def test_complaints_are_bounded(self, tree, monkeypatch):
        def delete_all(group, paths, follow):
            for path in paths:
                os.unlink(path)
            return read_batch(group, paths, follow)

        monkeypatch.setattr("memgroup._files.read_batch", delete_all)
        outcome = gather_here(tree)
        assert len(outcome.unreadable) == 200
        lines = list(complaints(outcome))
        assert len(lines) == 21
        assert lines[-1] == "cannot read 180 more files; --json lists them all"


REMEDIES = [
    (
        "cannot commit 65536 more bytes: 458752 of the group's limit of 524288 are committed; reset it",
        (524288, "memfd"),
        "cannot commit 64 KiB more: 448 KiB of the group's limit of 512 KiB are committed",
        "Raise --limit.",
    ),
    (
        "cannot commit 1048576 more bytes: this machine has 4096 available; ask for less",
        (2**40, "anonymous"),
        "cannot commit 1 MiB more: this machine has 4 KiB available",
        "Name a directory with room: --backing DIR.",
    ),
    (
        "committing 8192 bytes in /srv/20261123 failed in fallocate: No space left on device (os error 28)",
        (None, "/srv/20261123"),
        "committing 8 KiB in /srv/20261123 failed in fallocate: No space left on device",
        "Make room in /srv/20261123 or name another with --backing.",
    ),
    (
        "opening slot 4 (1048576 bytes) failed in memfd_create: Too many open files (os error 24); "
        "raise RLIMIT_NOFILE (ulimit -n) or close files",
        (2**40, "memfd"),
        "opening slot 4 (1 MiB) failed in memfd_create: Too many open files",
        "Raise RLIMIT_NOFILE (ulimit -n).",
    ),
    (
        "cannot allocate 2199023255552 bytes: the largest slot of this group holds 1099511627776; split it",
        (None, "memfd"),
        "cannot allocate 2 TiB: the largest slot of this group holds 1 TiB",
        "Raise --base.",
    ),
]


class TestShortage:
    @pytest.mark.parametrize(("words", "group", "reason", "advice"), REMEDIES)
    def test_one_reason_and_the_one_remedy_that_fits(self, words, group, reason, advice):
        shortage = Shortage("file", 1, words)
        assert show_reason(shortage) == reason
        assert remedy(shortage, *group) == advice

    def test_the_error_message_of_a_real_group_is_parsed(self):
        with pytest.raises(MemoryError) as caught:
            MemGroup(4096, 8192).alloc(100_000)
        shortage = Shortage("file", 1, str(caught.value))
        assert "limit of 8 KiB" in show_reason(shortage)
        assert "reset" not in show_reason(shortage)
        assert remedy(shortage, 8192, "memfd") == "Raise --limit."


class Altered:
    """A result of files that each reported one byte more than they had."""

    def __init__(self, group, paths, follow):
        result = read_batch(group, paths, follow)
        self.blocks, self.errors = result.blocks, result.errors
        self.changed = tuple(range(len(paths)))
        self.unannounced = ()
        self.abandoned = len(paths)
