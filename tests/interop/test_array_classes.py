"""Subclasses of numpy's arrays whose `__array_finalize__` raises: no view is left, and no address dangles."""

from __future__ import annotations

import gc

import pytest
from memgroup import MemGroup

np = pytest.importorskip("numpy")


class Picky(np.ndarray):
    raising = False

    def __array_finalize__(self, obj):
        if self.raising:
            raise TypeError("no such unit")


def raising(kind, work, *arguments, **options):
    kind.raising = True
    try:
        with pytest.raises(TypeError, match="no such unit"):
            work(*arguments, **options)
    finally:
        kind.raising = False


@pytest.mark.parametrize("verb", ["protect", "unprotect"])
def test_a_class_that_raises_leaves_no_view(verb):
    group = MemGroup()
    made = group.zeros(10).view(Picky)
    for _ in range(5):
        raising(Picky, getattr(group, verb), made)
    del made
    gc.collect()
    assert group.stats().exports == 0
    group.reset()
    group.free()


def test_a_group_that_copies_such_an_array_is_left_without_views():
    group = MemGroup()
    source = np.arange(10.0).view(Picky)
    for _ in range(5):
        raising(Picky, group.array, source, subok=True)
    gc.collect()
    assert group.stats().exports == 0
    group.free()


def test_an_array_that_escaped_keeps_its_memory_and_nothing_more():
    escaped = []

    class Leaking(Picky):
        def __array_finalize__(self, obj):
            if self.raising:
                escaped.append(self)
            super().__array_finalize__(obj)

    group = MemGroup()
    made = group.full(3, 7).view(Leaking)
    raising(Leaking, group.protect, made)
    del made
    gc.collect()
    assert escaped[0].tolist() == [7, 7, 7]
    assert not escaped[0].flags.writeable
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    escaped.clear()
    group.free()
