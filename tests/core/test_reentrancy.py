"""User code that a call runs may free any group by force: the call borrows memory only afterwards."""

from __future__ import annotations

import pytest

PRELUDE = """
    class Freeing:
        '''An integer whose conversion frees a group by force.'''

        def __init__(self, value, group):
            self.value, self.group = value, group

        def __index__(self):
            self.group.free(force=True)
            return self.value


    own, other = MemGroup(), MemGroup()
    block, needle = own.alloc(1000, zero=True), other.copy(b"needle")
    records = own.copy(b"0123456789" * 10)
    made = own.alloc_many([10] * 10)
"""

# The conversion of the integer `n` frees the group of the other operand.
CALLS = [
    "block.find(needle, n)",
    "block.find(needle, 0, n)",
    "block.index(needle, n)",
    "block.count(needle, n)",
    "block.count(needle, 0, n)",
    "made.index(needle, n)",
    "made.index(needle, 0, n)",
    "block.__setitem__(slice(n, 6), needle)",
    "block.__setitem__(slice(0, n), needle)",
    "own.copy(needle, align=n)",
    "made.readv(n, start=n)",
]

# The conversion of the integer `n` frees the group that the call is about.
OWN_CALLS = [
    "block[n]",
    "block[n:]",
    "block[:n:2]",
    "block.__setitem__(n, 1)",
    "block.__setitem__(0, n)",
    "block.__setitem__(slice(n, None, 2), bytes(500))",
    "block.find(n)",
    "block.count(n)",
    "n in block",
    "block.find(b'x', n)",
    "made[n]",
    "made[n:]",
    "made.index(b'x', n)",
    "own.alloc(n)",
    "own.alloc(1, align=n)",
    "own.alloc_many([1, 2, n])",
    "own.alloc_many(count=n, size=1)",
    "made.pwritev(n, 0)",
    "made.pwritev(0, n)",
    "made.writev(1, start=n)",
    "own.read_ranges('/dev/null', [n], [1])",
    "own.read_ranges('/dev/null', [0], [n])",
    "own.frames(0, prefix=n)",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_group_that_is_freed_while_arguments_are_read_is_not_touched(child, call):
    said = child.output(PRELUDE + f"    n = Freeing(1, other)\n    print(outcome(lambda: {call}))")
    assert said.startswith(("ValueError", "TypeError", "OSError", "BufferError")), said


@pytest.mark.parametrize("call", OWN_CALLS)
def test_a_call_whose_arguments_free_its_own_group_is_an_error(child, call):
    said = child.output(PRELUDE + f"    n = Freeing(1, own)\n    print(outcome(lambda: {call}))")
    assert said.startswith(("ValueError", "TypeError", "OSError", "BufferError")), said


def test_numpy_calls_whose_arguments_free_the_group_are_errors(child):
    pytest.importorskip("numpy")
    for call in (
        "own.empty(n)",
        "own.zeros((2, n))",
        "own.full((n,), 7)",
        "own.full(3, n, 'i8')",
        "own.array([n])",
    ):
        said = child.output(PRELUDE + f"    n = Freeing(2, own)\n    print(outcome(lambda: {call}))")
        assert said.startswith(("ValueError", "TypeError", "fine")), (call, said)


def test_a_progress_callback_may_free_the_group(child, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    code = """
    end = lambda *_: own.free(force=True)
    path = sys.argv[1]
    """
    for call in (
        "own.read_files([path] * 3, progress=end)",
        "own.read_ranges(path, [0, 9], [5, 5], progress=end)",
    ):
        said = child.output(PRELUDE + code + f"print(outcome(lambda: {call}))", path)
        assert "freed" in said, (call, said)
