"""`memgroup gather`: what it finds, reads, says and leaves behind.

What only a whole process can show (exit status, signals, terminals, pipes) runs in a child. Where the moment
matters, the child runs code first that replaces a function of `os`; so no test depends on how fast it is.
"""

import codecs
import errno
import inspect
import json
import os
import pty
import random
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup
from memgroup.cli.gather.find import Finder, Found
from memgroup.cli.gather.inspect import Search, Sizes, measure
from memgroup.cli.gather.job import Job, Outcome, gather, read_batch
from memgroup.cli.gather.json import as_json
from memgroup.cli.gather.report import complaints, report
from memgroup.cli.gather.shortage import Shortage, remedy, show_reason
from memgroup.display.report import Bar
from memgroup.display.text import read_pattern, read_size, show_rate, show_seconds, show_size, show_text

COMMAND = [sys.executable, "-m", "memgroup", "gather"]
ENOUGH = 60  # seconds after which a child is taken for hung

# Runs the command after `code`, in a process that Ctrl-C ends even if the tests themselves ignore it.
AFTER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
{code}
from memgroup.cli.main import main
sys.exit(main())
"""


def run(*arguments: str | bytes | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=ENOUGH, check=False, **options
    )


def after(code: str, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", AFTER.format(code=code), "gather", *arguments]


def run_json(*arguments: str | bytes | Path, status: int = 0) -> dict:
    done = run(*arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def unwatched(step, done, total) -> None:
    pass


def gather_here(*paths: Path | str, inspection: Search | int = 10, **options) -> Outcome:
    return gather(Job(tuple(map(str, paths)), inspection), MemGroup(**options), unwatched)


def find(*paths: Path | str) -> Found:
    found = Found()
    Finder(found).find(list(map(str, paths)))
    return found


def offsets_in(content: bytes, pattern: bytes) -> list[int]:
    offsets, at = [], content.find(pattern)
    while at >= 0:
        offsets.append(at)
        at = content.find(pattern, at + len(pattern))
    return offsets


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of 200 files of 0 to 20,000 bytes of four letters, in directories up to four deep."""
    chance = random.Random(1)
    root = tmp_path / "tree"
    for number in range(200):
        directory = root.joinpath(*(f"d{chance.randrange(3)}" for _ in range(chance.randrange(5))))
        directory.mkdir(parents=True, exist_ok=True)
        content = bytes(chance.choices(b"abc\0", k=chance.choice([0, 1, 700, chance.randrange(20_000)])))
        directory.joinpath(f"f{number}").write_bytes(content)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


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
    def test_what_is_no_size_is_refused(self, text):
        with pytest.raises(ValueError, match=r"not a (size|whole number)"):
            read_size(text)

    @pytest.mark.parametrize(
        ("text", "pattern"),
        [
            ("abc", b"abc"),
            ("größe", "größe".encode()),
            (r"\x00\xFF\xfe", b"\x00\xff\xfe"),
            (r"a\n\r\t\\x41", b"a\n\r\t\\x41"),
            ("caf\udce9", b"caf\xe9"),
        ],
    )
    def test_patterns_are_read(self, text, pattern):
        assert read_pattern(text) == pattern

    @pytest.mark.parametrize("text", ["", "\\", r"\q", r"\x", r"\x4", r"\xgg", "\\\udce9"])
    def test_what_is_no_pattern_is_refused(self, text):
        with pytest.raises(ValueError, match=r"nothing to find|unknown escape|needs two hex digits"):
            read_pattern(text)

    @pytest.mark.parametrize("text", [r"\x", r"\x4", r"\xgg"])
    def test_an_unfinished_escape_is_called_so(self, text):
        with pytest.raises(ValueError, match=r"^\\x needs two hex digits$"):
            read_pattern(text)

    def test_short_escapes_are_shown_short(self):
        assert show_text("hi\n\r\t\\\x1b") == r"hi\n\r\t\\\x1b"

    @given(st.binary(min_size=1))
    def test_what_is_shown_can_be_read_again(self, raw):
        shown = show_text(raw.decode("utf-8", "surrogateescape"))
        assert shown.isprintable()
        assert read_pattern(shown) == raw

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
        found = find(tree)
        assert sorted(found.paths) == sorted(contents(tree))
        assert found.paths == find(tree).paths
        assert not found.unreadable
        assert not found.skipped

    def test_what_is_no_regular_file_is_skipped_and_counted(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "file").touch()
        (tmp_path / "directory").mkdir()
        (tmp_path / "to_file").symlink_to("file")
        (tmp_path / "to_directory").symlink_to("directory")
        (tmp_path / "to_nothing").symlink_to("nothing")
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(os.path.relpath(tmp_path / "socket"))
            found = find(tmp_path, "/dev/null")
        assert found.paths == [str(tmp_path / "file")]
        assert found.skipped == {"fifo": 1, "symlink": 3, "socket": 1, "device": 1}

    def test_symlinks_given_are_followed(self, tree, tmp_path):
        (tmp_path / "tree_link").symlink_to(tree)
        (tmp_path / "file_link").symlink_to(tree / "d0" / "target")
        (tree / "d0" / "target").write_bytes(b"x")
        assert len(find(tmp_path / "tree_link").paths) == len(contents(tree))
        assert find(tmp_path / "file_link").paths == [str(tmp_path / "file_link")]

    def test_a_symlink_cycle_ends(self, tmp_path):
        (tmp_path / "again").symlink_to(tmp_path)
        (tmp_path / "file").touch()
        assert find(tmp_path / "again").paths == [str(tmp_path / "again" / "file")]

    @pytest.mark.parametrize(
        "order", [("", "d0", "d0/f"), ("d0/f", "d0", ""), ("d0", "d0/f", "", "d0/f", "d0/../d0")]
    )
    def test_a_file_is_found_once_whatever_leads_there(self, tmp_path, order):
        root = tmp_path / "root"
        (root / "d0" / "below").mkdir(parents=True)
        for name in ("d0/f", "d0/g", "d0/below/f", "top"):
            (root / name).touch()
        (tmp_path / "link").symlink_to(root / "d0" / "f")
        found = find(*(os.path.join(root, name) for name in order), tmp_path / "link")
        assert len(found.paths) == 4
        assert {os.path.realpath(path) for path in found.paths} == set(contents(root))

    def test_hard_links_are_two_files(self, tmp_path):
        (tmp_path / "one").touch()
        (tmp_path / "two").hardlink_to(tmp_path / "one")
        assert len(find(tmp_path).paths) == 2

    def test_a_directory_that_cannot_be_listed_is_reported_and_the_rest_found(self, tree, monkeypatch):
        files = contents(tree)
        scandir = os.scandir

        def refuse_d1(path):
            if path.endswith("d1"):
                raise PermissionError(errno.EACCES, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse_d1)
        found = find(tree)
        assert (str(tree / "d1"), "Permission denied") in found.unreadable
        assert set(found.paths) == {path for path in files if "d1" not in Path(path).parts}

    def test_a_tree_deeper_than_the_stack_is_searched(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        deep = "/".join(["d"] * 500)
        os.makedirs(deep)
        Path(deep, "file").touch()
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(0)) + 100)
        try:
            found = find(".")
        finally:
            sys.setrecursionlimit(usual)
        assert found.paths == [f"./{deep}/file"]


def interrupt(*_arguments) -> None:
    raise KeyboardInterrupt


class TestInspect:
    @given(st.lists(st.integers(0, 100_000)), st.integers(0, 12))
    def test_sizes_add_up(self, sizes, most):
        paths = [str(number) for number in range(len(sizes))]
        found = measure(paths, [bytes(size) for size in sizes], most)
        assert (found.files, found.nbytes) == (len(sizes), sum(sizes))
        assert sum(group.files for group in found.distribution) == len(sizes)
        assert sum(group.nbytes for group in found.distribution) == sum(sizes)
        assert all(group.low < group.high for group in found.distribution)
        largest = sorted(zip(sizes, map(int, paths), strict=True), key=lambda one: (-one[0], one[1]))
        assert [(one.nbytes, int(one.path)) for one in found.largest] == largest[:most]
        if sizes:
            assert sum(size < found.median for size in sizes) <= len(sizes) / 2
            assert sum(size > found.median for size in sizes) <= len(sizes) / 2 + 1
            assert min(sizes) <= found.median <= found.p90 <= max(sizes)

    @given(
        st.lists(st.binary(max_size=30).map(lambda raw: bytes(byte % 3 for byte in raw))),
        st.binary(min_size=1, max_size=2),
    )
    def test_matches_are_those_of_bytes(self, files, pattern):
        pattern = bytes(byte % 3 for byte in pattern)
        counts: list[int] = []
        found = Search(pattern, 3, 2).run([str(n) for n in range(len(files))], files, counts)
        assert counts == [content.count(pattern) for content in files]
        expected = [(str(n), offsets_in(content, pattern)) for n, content in enumerate(files)]
        expected = [(path, offsets) for path, offsets in expected if offsets]
        assert found.files == len(expected)
        assert [(m.path, m.matches, list(m.offsets)) for m in found.listed] == [
            (path, len(offsets), offsets[:2]) for path, offsets in expected[:3]
        ]

    @given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 50))
    def test_a_bar_fills_its_width(self, full, taken, width):
        cells = Bar(full, taken).cells(width)
        assert sum(cells) == width
        assert min(cells) >= 0
        assert (cells[0] > 0) == (full > 0)


class TestGather:
    def test_an_outcome_tells_all(self, tree):
        outcome = gather_here(tree)
        files = contents(tree)
        assert outcome.complete
        assert outcome.files == outcome.stats.blocks == len(files)
        assert outcome.nbytes == outcome.stats.requested == sum(map(len, files.values()))
        assert list(outcome.seconds) == ["walk", "gather", "protect", "inspect", "free"]
        assert isinstance(outcome.finding, Sizes)

    def test_the_group_is_freed(self, tree):
        group = MemGroup()
        gather(Job((str(tree),), 10), group, unwatched)
        assert group.freed

    @pytest.mark.parametrize("function", ["os.scandir", "memgroup.cli.gather.job.read_batch"])
    def test_the_group_is_freed_when_interrupted(self, tree, function, monkeypatch):
        group = MemGroup()
        monkeypatch.setattr(function, interrupt)
        with pytest.raises(KeyboardInterrupt):
            gather(Job((str(tree),), 10), group, unwatched)
        assert group.freed

    def test_blocks_are_protected_when_inspected(self, tree):
        seen = []

        class Spy(Search):
            def run(self, paths, blocks, counts):
                seen.extend(block.readonly for block in blocks)
                return super().run(paths, blocks, counts)

        gather_here(tree, inspection=Spy(b"a", 1, 1))
        assert seen == [True] * len(contents(tree))

    def test_the_work_can_be_watched(self, tree):
        steps = []

        def watch(step, done, total):
            steps.append((step, done, total))

        gather(Job((str(tree),), Search(b"a", 1, 1)), MemGroup(), watch)
        number = len(contents(tree))
        assert [(step, done(), total) for step, done, total in steps] == [
            ("walk", number, None),
            ("gather", number, number),
            ("inspect", number, number),
        ]

    def test_a_file_deleted_after_it_was_found_is_reported(self, tree, monkeypatch):
        gone = sorted(contents(tree))[3]

        def delete_first(group, paths, follow):
            if gone in paths:
                os.unlink(gone)
            return read_batch(group, paths, follow)

        monkeypatch.setattr("memgroup.cli.gather.job.read_batch", delete_first)
        outcome = gather_here(tree)
        assert outcome.unreadable == ((gone, "No such file or directory"),)
        assert outcome.files == len(contents(tree))
        assert not outcome.complete

    def test_changed_files_are_counted(self, tree, monkeypatch):
        monkeypatch.setattr("memgroup.cli.gather.job.read_batch", Altered)
        outcome = gather_here(tree)
        assert outcome.changed == outcome.abandoned == len(contents(tree))

    def test_files_of_proc_are_read(self):
        outcome = gather_here("/proc/self/limits", "/proc/self/status")
        assert (outcome.files, outcome.unsized, outcome.changed) == (2, 2, 0)
        assert outcome.nbytes > 0

    def test_what_is_abandoned_is_waste(self, tree, monkeypatch):
        monkeypatch.setattr("memgroup.cli.gather.job.read_batch", Altered)
        outcome = gather_here(tree)
        assert json.loads(as_json(outcome))["group"]["abandoned"] == 200
        waste = outcome.stats.committed - outcome.stats.allocated + 200
        text = str(report(outcome))
        assert f"{show_size(waste)} or " in text
        assert "200 B given up as files changed or failed" in text

    @pytest.mark.parametrize("batch", [1, 7, 200])
    def test_batches_change_nothing(self, tree, batch, monkeypatch):
        monkeypatch.setattr("memgroup.cli.gather.job._BATCH", batch)
        outcome = gather_here(tree)
        assert (outcome.files, outcome.nbytes) == (200, sum(map(len, contents(tree).values())))
        short = gather_here(tree, limit=128 * 1024)
        assert short.files < 200
        assert short.shortage is not None
        assert short.shortage.left == 200 - short.files
        assert short.shortage.path == gathered_in_order(tree)[short.files]

    def test_the_rates_of_the_walk_are_those_of_what_was_found(self, tree):
        outcome = gather_here(tree, limit=128 * 1024)
        assert outcome.files < outcome.found == 200
        row = re.search(r"^  walk +.*$", str(report(outcome)), re.MULTILINE)
        assert row is not None
        assert show_rate(200 / outcome.seconds["walk"]) in row[0]

    def test_complaints_are_bounded(self, tree, monkeypatch):
        def delete_all(group, paths, follow):
            for path in paths:
                os.unlink(path)
            return read_batch(group, paths, follow)

        monkeypatch.setattr("memgroup.cli.gather.job.read_batch", delete_all)
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

    def test_the_words_of_a_real_group_are_understood(self):
        with pytest.raises(MemoryError) as caught:
            MemGroup(4096, 8192).alloc(100_000)
        shortage = Shortage("file", 1, str(caught.value))
        assert "limit of 8 KiB" in show_reason(shortage)
        assert "reset" not in show_reason(shortage)
        assert remedy(shortage, 8192, "memfd") == "Raise --limit."


class Altered:
    """A result of files each of which had announced one byte more than it had."""

    def __init__(self, group, paths, follow):
        self._result = read_batch(group, paths, follow)
        self.changed = tuple(range(len(paths)))
        self.unannounced = ()
        self.abandoned = len(paths)

    def __iter__(self):
        return iter(self._result)


def gathered_in_order(tree) -> list[str]:
    return find(tree).paths


class TestCommand:
    @pytest.mark.parametrize("pattern", [b"a", b"abc", b"\0", b"c\0a", b"nowhere"])
    def test_every_match_is_counted_and_listed(self, tree, pattern):
        find = "".join(rf"\x{byte:02x}" for byte in pattern)
        facts = run_json(tree, "--find", find, "--max-files", "all", "--max-matches", "all")
        matches = facts["matches"]
        expected = {path: offsets_in(content, pattern) for path, content in contents(tree).items()}
        expected = {path: offsets for path, offsets in expected.items() if offsets}
        assert {file["path"]: file["offsets"] for file in matches["listed"]} == expected
        assert all(file["count"] == len(file["offsets"]) for file in matches["listed"])
        assert matches["count"] == sum(map(len, expected.values()))
        assert matches["files"] == len(expected)
        assert matches["pattern_hex"] == pattern.hex()

    def test_lists_are_bounded_and_totals_are_not(self, tree):
        whole = run_json(tree, "--find", "a", "--max-files", "all")["matches"]
        bounded = run_json(tree, "--find", "a", "--max-files", "2", "--max-matches", "3")["matches"]
        assert (bounded["count"], bounded["files"]) == (whole["count"], whole["files"])
        assert len(bounded["listed"]) == 2
        assert all(len(file["offsets"]) == min(3, file["count"]) for file in bounded["listed"])
        text = run(tree, "--find", "a", "--max-files", "2", "--max-matches", "3").stdout
        assert f"and {whole['files'] - 2} more files; --max-files lists them" in text
        text = run(tree, "--find", "a", "--max-files", "0").stdout
        assert f"\n  {whole['files']} files; --max-files lists them" in text

    def test_a_pattern_is_echoed_as_it_was_given(self, tree):
        assert r"0 matches of hi\n in 0 files" in run(tree, "--find", r"hi\n").stdout

    def test_json_has_this_shape(self, tree):
        facts = run_json(tree, "--largest", "3", "--base", "4K", "--limit", "1GiB")
        files = contents(tree)
        sizes = sorted(map(len, files.values()), reverse=True)
        assert set(facts) == {
            "version", "paths", "complete", "files", "bytes", "changed", "unsized", "skipped", "unreadable",
            "shortage", "seconds", "rates", "sizes", "group",
        }  # fmt: skip
        assert facts["paths"] == [{"path": str(tree)}]
        assert facts["complete"] is True
        assert (facts["files"], facts["bytes"]) == (len(files), sum(sizes))
        assert (facts["changed"], facts["unsized"], facts["skipped"]) == (0, 0, {})
        assert facts["unreadable"] == {"count": 0, "files": []}
        assert facts["shortage"] is None
        assert set(facts["seconds"]) == {"walk", "gather", "protect", "inspect", "free"}
        assert all(seconds >= 0 for seconds in facts["seconds"].values())
        assert set(facts["rates"]) == {"files_per_second", "bytes_per_second"}
        assert set(facts["sizes"]) == {"mean", "median", "p90", "distribution", "largest"}
        assert [file["bytes"] for file in facts["sizes"]["largest"]] == sizes[:3]
        assert all(len(files[file["path"]]) == file["bytes"] for file in facts["sizes"]["largest"])
        group = facts["group"]
        assert (group["backing"], group["base"], group["limit"]) == ("memfd", 4096, 2**30)
        assert (group["requested"], group["blocks"], group["exports"]) == (sum(sizes), len(files), 0)
        assert sum(slot["allocated"] for slot in group["slots"]) == group["allocated"]

    def test_plain_text_tells_the_same(self, tree):
        done = run(tree, "--largest", "1")
        facts = run_json(tree, "--largest", "1")
        assert done.returncode == 0
        assert done.stderr == ""
        assert "\x1b" not in done.stdout
        assert done.stdout.startswith(f"Gathered 200 files, {show_size(facts['bytes'])}, into one group of ")
        for title in ("Sizes", "Largest", "Slots", "Steps"):
            assert re.search(rf"^{title}", done.stdout, re.MULTILINE)
        assert facts["sizes"]["largest"][0]["path"] in done.stdout
        rows = done.stdout.split("Slots")[1].split("Steps")[0].splitlines()
        assert [int(row.split()[0]) for row in rows[2 : 2 + len(facts["group"]["slots"])]] == [
            slot["index"] for slot in facts["group"]["slots"]
        ]
        for step in ("walk", "gather", "protect", "inspect", "free"):
            assert re.search(rf"^  {step} +[0-9]", done.stdout, re.MULTILINE)

    def test_backings(self, tree, tmp_path):
        (tmp_path / "backing").mkdir()
        expected = run_json(tree, "--find", "ab")["matches"]
        facts = run_json(tree, "--find", "ab", "--backing", tmp_path / "backing")
        assert facts["matches"] == expected
        assert facts["group"]["backing"] == str(tmp_path / "backing")
        assert not list((tmp_path / "backing").iterdir())
        facts = run_json(tree, "--find", "ab", "--backing", "anonymous")
        assert facts["matches"] == expected
        assert "protect" not in facts["seconds"]
        assert "an anonymous group has no read-only mirror" in run(tree, "--backing", "anonymous").stdout

    def test_an_empty_directory_and_empty_files(self, tmp_path):
        facts = run_json(tmp_path)
        assert (facts["files"], facts["bytes"], facts["complete"]) == (0, 0, True)
        assert run(tmp_path).returncode == run(tmp_path, "--find", "x").returncode == 0
        for name in "abc":
            (tmp_path / name).touch()
        facts = run_json(tmp_path)
        assert (facts["files"], facts["bytes"], facts["sizes"]["median"]) == (3, 0, 0)
        assert run(tmp_path).returncode == run(tmp_path, "--find", "x").returncode == 0

    def test_thousands_of_files(self, tmp_path):
        chance = random.Random(4)
        needle, total, hits = b"needle", 0, 0
        for number in range(4000):
            directory = tmp_path / f"{number % 40}"
            directory.mkdir(exist_ok=True)
            content = bytes(chance.randrange(3000)) + needle * (number % 7 == 0)
            total, hits = total + len(content), hits + (number % 7 == 0)
            (directory / f"{number}").write_bytes(content)
        facts = run_json(tmp_path, "--find", "needle")
        assert (facts["files"], facts["bytes"], facts["matches"]["count"]) == (4000, total, hits)
        assert len(facts["matches"]["listed"]) == 50

    def test_two_paths_that_overlap(self, tree):
        assert run_json(tree, tree / "d0", tree)["files"] == 200

    def test_fifos_do_not_block(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        facts = run_json(tmp_path, tmp_path / "fifo")
        assert (facts["files"], facts["skipped"], facts["complete"]) == (0, {"fifo": 2}, True)
        assert "Skipped 1 fifo" in run(tmp_path).stdout

    def test_unreadable_files_are_reported_and_the_rest_gathered(self, tree, tmp_path):
        (tmp_path / "dangling").symlink_to("nowhere")
        arguments = (tree, tmp_path / "dangling", "/proc/self/mem")
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            f"memgroup: cannot read {tmp_path}/dangling: No such file or directory",
            "memgroup: cannot read /proc/self/mem: Input/output error",
        ]
        assert "2 files could not be read" in done.stdout
        facts = run_json(*arguments, status=1)
        assert facts["files"] == 200
        assert facts["complete"] is False
        assert facts["unreadable"]["count"] == 2
        assert facts["unreadable"]["files"][1] == {"path": "/proc/self/mem", "reason": "Input/output error"}

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_permissions(self, tree):
        (tree / "d0").chmod(0)
        try:
            facts = run_json(tree, status=1)
        finally:
            (tree / "d0").chmod(0o755)
        assert facts["unreadable"]["files"] == [{"path": str(tree / "d0"), "reason": "Permission denied"}]

    def test_memory_that_ends_is_said_and_the_rest_reported(self, tmp_path):
        for number in range(10):
            (tmp_path / f"{number}").write_bytes(bytes(100_000))
        done = run(tmp_path, "--limit", "512K")
        facts = run_json(tmp_path, "--limit", "512K", status=1)
        assert done.returncode == 1
        assert 0 < facts["files"] < 10
        assert facts["shortage"]["left"] == 10 - facts["files"]
        assert facts["shortage"]["path"] == str(tmp_path / str(facts["files"]))
        assert facts["group"]["committed"] <= 512 * 1024
        first, second = done.stderr.splitlines()
        assert first.startswith(f"memgroup: memory ended at {facts['shortage']['path']}: cannot commit ")
        assert second == (
            f"memgroup: gathered {facts['files']} files, {show_size(facts['bytes'])}; "
            f"left out {10 - facts['files']}. Raise --limit."
        )
        for text in (done.stderr, facts["shortage"]["reason"]):
            assert "reset" not in text

    def test_a_file_of_proc_without_end_is_listed_as_unreadable(self):
        facts = run_json("/proc/self/pagemap", status=1)
        reason = "Announces no size and goes on beyond 64 MiB"
        assert facts["unreadable"]["files"] == [{"path": "/proc/self/pagemap", "reason": reason}]
        assert (facts["files"], facts["complete"], facts["group"]["requested"]) == (0, False, 0)

    def test_undecodable_and_hostile_names(self, tmp_path):
        names = [b"caf\xe9", b"new\nline", b"esc\x1b[31m", "größe".encode(), b"back\\slash", b"[red]"]
        for name in names:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x" * len(name))
        text = run(tmp_path).stdout
        for shown in (r"caf\xe9", r"new\nline", r"esc\x1b[31m", "größe", r"back\\slash", "[red]"):
            assert f"{tmp_path}/{shown}\n" in text
        files = run_json(tmp_path)["sizes"]["largest"]
        raw = {
            bytes.fromhex(file["path_hex"]) if "path_hex" in file else file["path"].encode() for file in files
        }
        assert raw == {os.fsencode(tmp_path) + b"/" + name for name in names}
        assert [file["path"] for file in files if "path_hex" in file] == [f"{tmp_path}/caf\ufffd"]

    def test_an_output_that_knows_only_ascii(self, tmp_path):
        (tmp_path / "größe").touch()
        done = run(tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0
        assert r"gr\xf6\xdfe" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "PATH"),
            (["/nowhere/at/all"], "/nowhere/at/all: No such file or directory"),
            (["/etc/passwd/below"], "Not a directory"),
            ([".", "--limit", "lots"], "not a size: 'lots'"),
            ([".", "--base", "0"], "base"),
            ([".", "--base", "9999999E"], "base"),
            ([".", "--backing", "/nowhere"], "/nowhere"),
            ([".", "--find", ""], "nothing to find"),
            ([".", "--find", r"\q"], r"unknown escape \q"),
            ([".", "--find", r"\x4"], r"\x needs two hex digits"),
            ([".", "--max-files", "-1"], "--max-files"),
            ([".", "--largest", "x"], "number from 0 on"),
        ],
    )
    def test_bad_usage(self, arguments, words):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert words in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["/nope"], "/nope: No such file or directory"),
            ([""], "'': No such file or directory"),
            (
                [".", "--backing", "nonsense"],
                "--backing must be memfd, anonymous or a directory that exists, not nonsense",
            ),
            ([".", "--backing", "/etc/passwd"], "--backing /etc/passwd is not a directory"),
        ],
    )
    def test_what_was_understood_but_is_unusable_shows_no_usage(self, arguments, words):
        done = run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"memgroup gather: {words}\n")

    def test_a_bad_base_shows_no_usage(self):
        done = run(".", "--base", "0")
        assert done.stderr.startswith("memgroup gather: base must be ")
        assert len(done.stderr.splitlines()) == 1

    def test_help_says_how_base_is_rounded(self):
        assert "rounded up to whole pages" in " ".join(run("--help").stdout.split())

    def test_nothing_is_gathered_if_one_path_does_not_exist(self, tree):
        assert run(tree, "/nowhere").stdout == ""

    def test_version_help_and_no_command(self):
        base = [sys.executable, "-m", "memgroup"]
        assert re.fullmatch(
            r"memgroup \d+\.\d+\.\d+\n", subprocess.check_output([*base, "--version"], text=True)
        )
        assert b"gather" in subprocess.check_output([*base, "--help"])
        assert b"130  ended by Ctrl-C" in subprocess.check_output([*base, "gather", "--help"])
        assert subprocess.run(base, capture_output=True, check=False).returncode == 2

    def test_import_is_light_and_plain_output_needs_no_rich(self, tree):
        code = "import sys, memgroup; sys.exit(bool({'rich', 'argparse', 'json'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
        code = "import atexit; atexit.register(lambda: print('rich' in sys.modules, file=sys.stderr))"
        done = subprocess.run(after(code, tree), capture_output=True, text=True, check=False, timeout=ENOUGH)
        assert done.stderr == "False\n"


# Ctrl-C from within, at call number `call` of a function.
INTERRUPT_AT = """
import builtins, itertools, memgroup.cli.gather.job
real, calls = {owner}.{function}, itertools.count(1)
def interrupted(*arguments, **options):
    if next(calls) == {call}:
        os.kill(os.getpid(), signal.SIGINT)
    return real(*arguments, **options)
{owner}.{function} = interrupted
"""


class TestEnds:
    @pytest.mark.parametrize(
        ("owner", "function", "call"),
        [
            ("os", "lstat", 1),
            ("os", "scandir", 1),
            ("os", "scandir", 5),
            ("memgroup.cli.gather.job", "read_batch", 1),
            ("builtins", "print", 1),
        ],
    )
    def test_ctrl_c_at_any_moment(self, tree, tmp_path, owner, function, call):
        (tmp_path / "backing").mkdir()
        code = INTERRUPT_AT.format(owner=owner, function=function, call=call)
        command = after(code, tree, "--find", "a", "--backing", tmp_path / "backing")
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENOUGH, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "memgroup: interrupted\n")
        assert not list((tmp_path / "backing").iterdir())

    def test_ctrl_c_while_modules_are_imported(self, tree):
        code = """
import importlib.abc
class Impatient(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "memgroup.cli.gather.job":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Impatient())
"""
        done = subprocess.run(after(code, tree), capture_output=True, text=True, timeout=ENOUGH, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "memgroup: interrupted\n")

    def test_ctrl_c_from_outside_in_the_midst_of_a_read(self, tree):
        ready, started = os.pipe()
        code = f"""
import memgroup.cli.gather.job
read_batch = memgroup.cli.gather.job.read_batch
def hang(group, paths, follow):
    os.write({started}, b"!")
    while True:
        read_batch(group, paths, follow)
        group.reset()
memgroup.cli.gather.job.read_batch = hang
"""
        with subprocess.Popen(
            after(code, tree), stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[started]
        ) as child:
            os.close(started)
            assert os.read(ready, 1) == b"!"
            os.close(ready)
            child.send_signal(signal.SIGINT)
            assert child.communicate(timeout=ENOUGH) == (b"", b"memgroup: interrupted\n")
        assert child.returncode == 130

    def test_ctrl_c_is_ignored_where_the_caller_says_so(self, tree):
        code = "signal.signal(signal.SIGINT, signal.SIG_IGN)" + INTERRUPT_AT.format(
            owner="memgroup.cli.gather.job", function="read_batch", call=1
        )
        done = subprocess.run(after(code, tree), capture_output=True, text=True, timeout=ENOUGH, check=False)
        assert done.returncode == 0
        assert done.stdout.startswith("Gathered 200 files")

    @pytest.mark.parametrize("arguments", [[], ["--json"], ["--find", "a"]])
    def test_a_reader_that_has_gone_is_no_noise(self, tree, arguments):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as gone:
            done = subprocess.run(
                [*COMMAND, tree, *arguments], stdout=gone, stderr=subprocess.PIPE, timeout=ENOUGH, check=False
            )
        assert (done.returncode, done.stderr) == (141, b"")

    def test_an_output_that_is_full_is_said(self, tree):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*COMMAND, tree], stdout=full, stderr=subprocess.PIPE, timeout=ENOUGH, check=False
            )
        assert done.returncode == 2
        assert done.stderr == b"memgroup: cannot write the output: No space left on device\n"

    @pytest.mark.parametrize(
        ("closed", "status", "words"),
        [
            (">&-", 2, b"memgroup: cannot write the output: stdout is closed\n"),
            ("2>&-", 0, b""),
            (">&- 2>&-", 2, b""),
        ],
    )
    def test_closed_outputs(self, tree, closed, status, words):
        shell = f'exec "$0" -m memgroup gather "$1" {closed}'
        done = subprocess.run(
            ["sh", "-c", shell, sys.executable, tree], capture_output=True, timeout=ENOUGH, check=False
        )
        assert (done.returncode, done.stderr) == (status, words)


class Terminal:
    """A child whose stdin, stdout and stderr are a terminal of its own."""

    def __init__(self, command: list[str | Path], **environment: str) -> None:
        self._master, slave = pty.openpty()
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        self.gate_read, self._gate = os.pipe()
        self.child = subprocess.Popen(
            [str(part).replace("GATE", str(self.gate_read)) for part in command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            pass_fds=[self.gate_read],
            start_new_session=True,
            env={**plain, "TERM": "xterm-256color", "COLUMNS": "80", "PYTHONUTF8": "1", **environment},
        )
        os.close(slave)
        self.seen = ""
        self._letters = codecs.getincrementaldecoder("utf-8")("replace")

    def open_gate(self) -> None:
        """Let the child go on that reads from the gate."""
        os.write(self._gate, b"!")

    def wait_for(self, words: str) -> None:
        while words not in self.seen:
            assert self._read(), f"{words!r} never came: {self.seen!r}"

    def finish(self) -> int:
        while self._read():
            pass
        for fd in (self._master, self.gate_read, self._gate):
            os.close(fd)
        return self.child.wait(ENOUGH)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], ENOUGH)[0]:
            self.child.kill()
            pytest.fail(f"the child hangs: {self.seen!r}")
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # EIO: the child has closed its end
            chunk = b""
        self.seen += self._letters.decode(chunk)  # a letter may come in two reads
        return bool(chunk)


# The first read waits until the test opens the gate; the progress bar does not wait.
HELD = """
import memgroup.display.progress
memgroup.display.progress._PATIENCE = 0
import memgroup.cli.gather.job
real = memgroup.cli.gather.job.read_batch
def held(*arguments):
    memgroup.cli.gather.job.read_batch = real
    os.read(GATE, 1)
    return real(*arguments)
memgroup.cli.gather.job.read_batch = held
"""

# A second Ctrl-C comes when the first has begun to take the bar away.
IMPATIENT = """
from rich.live import Live
stop = Live.stop
def interrupted(self):
    os.kill(os.getpid(), signal.SIGINT)
    stop(self)
Live.stop = interrupted
"""

HIDE_CURSOR, SHOW_CURSOR, ERASE_LINE = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"


def assert_bar_has_gone(seen: str) -> None:
    assert SHOW_CURSOR in seen[seen.rindex(HIDE_CURSOR) :]
    assert ERASE_LINE in seen[seen.rindex(" of 200 files") :]


class TestTerminal:
    def test_long_work_shows_a_progress_bar_and_takes_it_away(self, tree):
        terminal = Terminal(after(HELD, tree))
        terminal.wait_for("gather 0 of 200 files")
        assert "━" in terminal.seen
        assert HIDE_CURSOR in terminal.seen
        terminal.open_gate()
        assert terminal.finish() == 0
        assert_bar_has_gone(terminal.seen)
        assert terminal.seen.index("Gathered 200 files") > terminal.seen.rindex(" of 200 files")

    def test_short_work_shows_none(self, tree):
        code = "import memgroup.display.progress; memgroup.display.progress._PATIENCE = 3600"
        terminal = Terminal(after(code, tree))
        assert terminal.finish() == 0
        assert HIDE_CURSOR not in terminal.seen
        assert "of 200 files" not in terminal.seen

    @pytest.mark.parametrize("second", ["", IMPATIENT])
    def test_ctrl_c_takes_the_bar_away(self, tree, second):
        terminal = Terminal(after(HELD + second, tree))
        terminal.wait_for("gather 0 of 200 files")
        terminal.child.send_signal(signal.SIGINT)
        assert terminal.finish() == 130
        assert_bar_has_gone(terminal.seen)
        assert terminal.seen.endswith("memgroup: interrupted\r\n")
        assert "Traceback" not in terminal.seen

    def test_no_progress_where_stderr_is_no_terminal(self, tree):
        done = subprocess.run(
            after("import memgroup.display.progress; memgroup.display.progress._PATIENCE = 0", tree),
            capture_output=True, text=True, timeout=ENOUGH, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")

    def test_colours_unless_they_are_unwanted(self, tree):
        coloured = Terminal([*COMMAND, tree])
        assert coloured.finish() == 0
        assert "\x1b[32m█" in coloured.seen
        plain = Terminal([*COMMAND, tree], NO_COLOR="1")
        assert plain.finish() == 0
        assert "█" in plain.seen
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain.seen)

    @pytest.mark.parametrize("width", [44, 80, 200])
    @pytest.mark.parametrize("arguments", [[], ["--find", "ab"]])
    def test_every_width_shows_whole_numbers_and_paths(self, tree, width, arguments):
        (tree / ("long" * 50)).write_bytes(b"ab" * 100_000)
        terminal = Terminal([*COMMAND, tree, *arguments], COLUMNS=str(width), NO_COLOR="1")
        assert terminal.finish() == 0
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.seen).replace("\r\n", "\n")
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        assert sum(text.count(letter) for letter in "l") >= 50
        for word in ("capacity", "waste", "protect", "inspect"):
            assert word in text

    def test_a_hostile_name_reaches_no_terminal(self, tmp_path):
        (tmp_path / "evil\x1b]0;title\x07\n").write_bytes(b"x")
        terminal = Terminal([*COMMAND, tmp_path], COLUMNS="300")
        assert terminal.finish() == 0
        assert "\x1b]0;" not in terminal.seen
        assert r"evil\x1b]0;title\x07\n" in terminal.seen

    def test_brackets_in_a_name_are_no_markup(self, tmp_path):
        (tmp_path / "[bold]name[").write_bytes(b"x")
        terminal = Terminal([*COMMAND, tmp_path], COLUMNS="300")
        assert terminal.finish() == 0
        assert "[bold]name[" in terminal.seen
