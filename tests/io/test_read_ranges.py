"""Many ranges of one file, read into one list by one call."""

import fcntl
import os
import random
import signal
import tempfile
from array import array

import memgroup
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.transfers import Interrupted, content, joined, ranges


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

    def test_short_ranges_are_reported(self, group, tmp_path):
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
        """The file shrinks at the first progress call; it is too large for one interval."""
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
    def test_large_reads_are_shared_among_threads(self, group, file, cpus, ordered):
        """Enough bytes that several threads read them, if there are processors for them."""
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
                os.dup2(directory, fd)  # another file has the number now
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
